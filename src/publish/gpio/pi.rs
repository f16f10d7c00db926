//! The Raspberry Pi's pins, by rppal, which maps the GPIO registers. The only file that names rppal.
//!
//! Registers know no owner, so the kernel is asked first whether somebody else has the pin.

use std::thread;
use std::time::Duration;

use gpiocdev::Chip;
use rppal::gpio::{Error, Gpio, InputPin, Level, Mode, OutputPin, Pin};
use rustix::time::{clock_gettime, ClockId};

use super::board::Board;
use crate::config::Pull;

/// Labels of the chips that have the header's pins: Raspberry Pi 1 to 3, 4, and 5.
const HEADER_CHIPS: [&str; 3] = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];

/// Uptime by which udev has given every device of the start to its group.
const UDEV_IS_DONE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// A Raspberry Pi.
pub(super) struct PiBoard {
    gpio: Gpio,
    /// None where the kernel can't be asked; then every pin counts as free.
    chip: Option<Chip>,
    outputs: Vec<OutputPin>,
    inputs: Vec<InputPin>,
}

impl PiBoard {
    /// Opens the board. No pin changes.
    ///
    /// # Errors
    /// When this is no Raspberry Pi, or its pins may not be used: why, and what to do.
    pub(super) fn open() -> Result<Self, String> {
        Self::of(Gpio::new())
    }

    /// As [`open`](Self::open), but waits for permission while the system has only just started: the service may be faster
    /// than udev, which gives the pins to the group.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn open_at_start() -> Result<Self, String> {
        let uptime = || Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or(Duration::MAX);
        Self::of(patiently(Gpio::new, uptime, thread::sleep))
    }

    fn of(gpio: Result<Gpio, Error>) -> Result<Self, String> {
        let gpio = gpio.map_err(|error| advice(&error))?;
        Ok(Self { gpio, chip: header_chip(), outputs: Vec::new(), inputs: Vec::new() })
    }

    /// Takes a pin that nobody else uses. It keeps its mode for now.
    ///
    /// # Errors
    /// When somebody does: who, and what to do.
    pub(super) fn take(&self, pin: u8) -> Result<Pin, String> {
        let info = self.chip.as_ref().and_then(|chip| chip.line_info(u32::from(pin)).ok());
        if let Some(info) = info.filter(|info| info.used) {
            let who = if info.consumer.is_empty() { "the kernel or another program" } else { &info.consumer };
            return Err(format!("pin {pin} is used by {who}; take another, or turn that off"));
        }
        let taken = self.gpio.get(pin).map_err(|error| advice(&error))?;
        match taken.mode() {
            Mode::Input | Mode::Output | Mode::Null => Ok(taken),
            mode => Err(format!(
                "pin {pin} serves another function ({mode}: I2C, SPI, a serial port or the like); take another pin, or \
                 turn that off in config.txt"
            )),
        }
    }
}

impl Board for PiBoard {
    fn make_output(&mut self, pin: u8, high: bool) -> Result<(), String> {
        let taken = self.take(pin)?;
        // The level comes before the direction: a relay doesn't click at start.
        let mut output = if high { taken.into_output_high() } else { taken.into_output_low() };
        // The panel leaves outputs inactive. As an input again the pin would have whatever level the wiring gives it,
        // and a relay board might take that for a signal.
        output.set_reset_on_drop(false);
        self.outputs.push(output);
        Ok(())
    }

    fn make_input(&mut self, pin: u8, pull: Pull) -> Result<(), String> {
        let taken = self.take(pin)?;
        let mut input = match pull {
            Pull::Up => taken.into_input_pullup(),
            Pull::Down => taken.into_input_pulldown(),
        };
        // A pin that was an output before must not become one again with a pressed button at it, nor float.
        input.set_reset_on_drop(false);
        self.inputs.push(input);
        Ok(())
    }

    fn write(&mut self, pin: u8, high: bool) {
        if let Some(output) = self.outputs.iter_mut().find(|output| output.pin() == pin) {
            output.write(Level::from(high));
        }
    }

    fn is_high(&self, pin: u8) -> bool {
        self.inputs.iter().any(|input| input.pin() == pin && input.is_high())
    }
}

fn header_chip() -> Option<Chip> {
    let has_header = |chip: &Chip| chip.info().is_ok_and(|info| HEADER_CHIPS.contains(&info.label.as_str()));
    gpiocdev::chip::chips().ok()?.iter().filter_map(|path| Chip::from_path(path).ok()).find(has_header)
}

/// Tries again while permission is denied and the system is younger than [`UDEV_IS_DONE`].
fn patiently<T>(
    mut open: impl FnMut() -> Result<T, Error>,
    uptime: impl Fn() -> Duration,
    sleep: impl Fn(Duration),
) -> Result<T, Error> {
    loop {
        match open() {
            // /dev/mem is never given to a group.
            Err(Error::PermissionDenied(path)) if path != "/dev/mem" && uptime() < UDEV_IS_DONE => sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

/// What to do about an error of rppal.
fn advice(error: &Error) -> String {
    const NODES: &str = "read and write access to /dev/gpiomem (Raspberry Pi 5: /dev/gpiomem0) and /dev/gpiochip0";
    match error {
        Error::UnknownModel => {
            "this is no known Raspberry Pi, by /proc/cpuinfo and /sys/firmware/devicetree/base; set the pins of [gpio] to off"
                .to_owned()
        }
        Error::PermissionDenied(path) if path == "/dev/mem" => {
            "there is no /dev/gpiomem, and /dev/mem can't be used: that takes root and the kernel parameter \
             iomem=relaxed; Raspberry Pi OS has /dev/gpiomem"
                .to_owned()
        }
        Error::PermissionDenied(path) => {
            format!("{path}: permission denied; the program's account must be in the group gpio, see docs/gpio.md")
        }
        Error::Io(error) => format!("{error}; needed is {NODES}, see docs/gpio.md"),
        other => format!("{other}; needed is {NODES}, see docs/gpio.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_is_waited_for_while_the_system_is_young() {
        use std::cell::Cell;
        let tried = |granted_after: u32, denied: fn() -> Error| {
            let (now, tries) = (Cell::new(Duration::from_secs(29)), Cell::new(0));
            let open = || {
                tries.set(tries.get() + 1);
                if tries.get() > granted_after {
                    Ok(())
                } else {
                    Err(denied())
                }
            };
            let outcome = patiently(open, || now.get(), |pause| now.set(now.get() + pause));
            (outcome.is_ok(), tries.get())
        };
        let denied = || Error::PermissionDenied("/dev/gpiomem".to_owned());
        assert_eq!(tried(2, denied), (true, 3));
        // A second is left of the thirty.
        assert_eq!(tried(100, denied), (false, 6));
        assert_eq!(tried(100, || Error::UnknownModel), (false, 1));
        assert_eq!(tried(100, || Error::PermissionDenied("/dev/mem".to_owned())), (false, 1));
    }

    #[test]
    fn every_error_says_what_to_do() {
        let denied = |path: &str| advice(&Error::PermissionDenied(path.to_owned()));
        assert!(denied("/dev/gpiomem").starts_with("/dev/gpiomem: permission denied"), "{}", denied("/dev/gpiomem"));
        assert!(denied("/dev/gpiochip0").contains("group gpio"));
        assert!(denied("/dev/mem").contains("iomem=relaxed"));
        assert!(advice(&Error::UnknownModel).contains("no known Raspberry Pi"));
        let missing = advice(&Error::Io(std::io::Error::from_raw_os_error(2)));
        assert!(missing.starts_with("No such file") && missing.contains("/dev/gpiochip0"), "{missing}");
    }
}
