//! `pspnetd devices`

use super::print_line;
use super::settings::Settings;
use crate::capture::v4l2::{self, DeviceInfo, Extent, Interval, Rates, SizeInfo};
use crate::failure::{Failure, Kind};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.settings.load(&[])?;
    let devices = v4l2::list();
    if args.json {
        let text =
            serde_json::to_string_pretty(&devices).map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        print_line(&text)?;
        return Ok(());
    }
    if devices.is_empty() {
        print_line("no V4L2 devices: nothing at /dev/video*. Is the camera plugged in, and the driver loaded?")?;
    }
    for device in &devices {
        describe(device)?;
    }
    Ok(())
}

fn describe(device: &DeviceInfo) -> Result<(), Failure> {
    let usable = device.unusable.as_ref().map_or_else(|| "usable".to_owned(), |reason| format!("not usable: {reason}"));
    print_line(&format!("{}  {} ({}, {}): {usable}", device.path.display(), device.card, device.driver, device.bus))?;
    for name in &device.stable_names {
        print_line(&format!("    --camera v4l2:{}", name.display()))?;
    }
    for format in &device.formats {
        let taken = if format.taken { "" } else { " (not taken)" };
        print_line(&format!("    {} {}{taken}", format.fourcc, format.description))?;
        for size in &format.sizes {
            print_line(&format!("        {}", describe_size(size)))?;
        }
    }
    Ok(())
}

fn describe_size(size: &SizeInfo) -> String {
    let extent = match size.extent {
        Extent::Discrete { width, height } => format!("{width}x{height}"),
        Extent::Stepwise { min_width, max_width, min_height, max_height, .. } => {
            format!("{min_width}x{min_height} to {max_width}x{max_height}")
        }
    };
    let rates = match &size.rates {
        Rates::Discrete(intervals) if intervals.is_empty() => return extent,
        Rates::Discrete(intervals) => intervals.iter().map(|interval| rate(*interval)).collect::<Vec<_>>().join(", "),
        Rates::Range { slowest, fastest } => format!("{} to {}", rate(*slowest), rate(*fastest)),
    };
    format!("{extent}: {rates} fps")
}

fn rate(interval: Interval) -> String {
    let text = format!("{:.2}", interval.rate());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
