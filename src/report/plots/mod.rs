//! The plots of a report, as SVG: outages, latency, its distribution, stages, rate, power, temperature.

mod axis;
mod canvas;

use plotters::prelude::{Color as _, RGBColor, Rectangle};

use super::figures::{Figures, UNSET};
use super::outages::{Kind, Outage};
use super::timeline::{Slot, Timeline};
use crate::telemetry::Stage;
use axis::Axis;
use canvas::{Frame, Legend, Line, COLUMNS};

const END_TO_END: usize = Stage::EndToEnd as usize;
const HEIGHT: u32 = 250;
/// Rows of the heat map.
const ROWS: usize = 56;
/// Shares of a slot's frames, and the colours of those above them: cividis, made for colour-blind people, dark for many.
const LEVELS: [(f64, RGBColor, &str); 6] = [
    (0.0, RGBColor(0xfe, 0xe8, 0x38), "up to 0.1 %"),
    (0.001, RGBColor(0xd2, 0xbc, 0x62), "1 %"),
    (0.01, RGBColor(0xa5, 0x9c, 0x74), "3 %"),
    (0.03, RGBColor(0x7c, 0x7b, 0x78), "10 %"),
    (0.1, RGBColor(0x4a, 0x53, 0x6b), "30 %"),
    (0.3, RGBColor(0x00, 0x22, 0x4e), "all"),
];

/// A plot for the page.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// What it shows, in words, for those who don't see it.
    pub(super) caption: String,
    pub(super) svg: String,
}

struct Data<'a> {
    slots: Vec<(f64, &'a Slot)>,
    width: f64,
    time: Axis,
    shaded: Vec<bool>,
}

/// Every plot that there is something to show on.
pub(super) fn all(figures: &Figures, timeline: &Timeline) -> Result<Vec<Plot>, String> {
    let Some(mut data) = Data::new(timeline) else { return Ok(Vec::new()) };
    let rows = data.outages(&figures.outages);
    let mut plots = Vec::new();
    if !rows.is_empty() {
        plots.push(Plot {
            title: "Outages",
            caption: "When the daemon, the camera or the engine was away, or the board was throttled.".to_owned(),
            svg: canvas::flags(&data.time, &rows)?,
        });
    }
    plots.extend(data.percentiles()?);
    plots.extend(data.heat_map()?);
    plots.extend(data.stages()?);
    plots.extend(data.rates()?);
    plots.extend(data.power()?);
    plots.extend(data.temperatures()?);
    Ok(plots)
}

impl<'a> Data<'a> {
    /// What `timeline` has that can be drawn; None without any.
    fn new(timeline: &'a Timeline) -> Option<Self> {
        let width = timeline.width();
        // A clock that nobody had set would make the rest a line at the edge.
        let slots: Vec<_> = timeline.slots().filter(|(begin, _)| *begin >= UNSET as f64).collect();
        let time = Axis::time(slots.first()?.0, slots.last()?.0 + width);
        Some(Self { slots, width, time, shaded: vec![false; COLUMNS] })
    }

    /// A row for each kind of outage that there is; marks the columns in which nothing can have come.
    fn outages(&mut self, outages: &[Outage]) -> Vec<(&'static str, Vec<bool>)> {
        let column = |seconds: f64| {
            let share = self.time.share(seconds).clamp(0.0, 1.0);
            ((share * COLUMNS as f64) as usize).min(COLUMNS - 1)
        };
        let mut rows = Vec::new();
        for kind in Kind::ALL.into_iter().rev() {
            let mut flags = vec![false; COLUMNS];
            for outage in outages.iter().filter(|outage| outage.kind == kind) {
                let from = outage.from.as_second() as f64;
                let to = outage.to.map_or(from + outage.seconds, |to| to.as_second() as f64);
                if to >= self.time.low() && from <= self.time.high() {
                    flags[column(from)..=column(to.max(from))].fill(true);
                }
            }
            if flags.contains(&true) {
                if !matches!(kind, Kind::Engine | Kind::Throttled | Kind::Clock) {
                    self.shaded.iter_mut().zip(&flags).for_each(|(shaded, flag)| *shaded |= flag);
                }
                rows.push((kind.short_name(), flags));
            }
        }
        rows
    }

    /// A line of what `of` finds in each slot, broken where slots are missing.
    fn line(&self, name: impl Into<String>, of: impl Fn(&Slot) -> Option<f64>) -> Line {
        let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
        for (begin, slot) in &self.slots {
            let Some(value) = of(slot) else { continue };
            let at = begin + self.width / 2.0;
            match pieces.last_mut() {
                Some(piece) if piece.last().is_some_and(|(last, _)| at - last < 2.5 * self.width) => {
                    piece.push((at, value));
                }
                _ => pieces.push(vec![(at, value)]),
            }
        }
        Line { name: name.into(), pieces }
    }

    /// A plot of the lines that have points; None without any.
    fn plot(
        &self,
        title: &'static str,
        caption: &str,
        label: &str,
        lines: Vec<Line>,
        axis: impl Fn(f64, f64) -> Axis,
    ) -> Result<Option<Plot>, String> {
        let lines: Vec<Line> = lines.into_iter().filter(|line| !line.pieces.is_empty()).collect();
        let values = || lines.iter().flat_map(|line| line.pieces.iter().flatten().map(|(_, value)| *value));
        if lines.is_empty() {
            return Ok(None);
        }
        let axis = axis(values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        let frame = Frame { height: HEIGHT, time: &self.time, values: &axis, label, shaded: &self.shaded };
        let legend = Legend::Lines(lines.iter().map(|line| line.name.clone()).collect());
        let svg = canvas::plot(&frame, &legend, |chart| canvas::draw_lines(chart, &lines))?;
        Ok(Some(Plot { title, caption: caption.to_owned(), svg }))
    }

    fn percentiles(&self) -> Result<Option<Plot>, String> {
        let caption = "From the sensor's time stamp to the published result: percentiles of each slot of time.";
        self.plot("End-to-end latency", caption, "ms, logarithmic", self.percentile_lines(), around)
    }

    fn percentile_lines(&self) -> Vec<Line> {
        [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)]
            .map(|(name, quantile)| self.line(name, |slot| slot.latency[END_TO_END].quantile_ms(quantile)))
            .into()
    }

    fn stages(&self) -> Result<Option<Plot>, String> {
        let caption = "The median time that each step of a frame's way took.";
        self.plot("Median of each stage", caption, "ms, logarithmic", self.stage_lines(), around)
    }

    fn stage_lines(&self) -> Vec<Line> {
        let line = |(index, stage): (usize, Stage)| {
            self.line(stage.name(), move |slot| slot.latency[index].quantile_ms(0.5).filter(|ms| *ms > 0.0))
        };
        Stage::ALL.into_iter().enumerate().map(line).collect()
    }

    fn rates(&self) -> Result<Option<Plot>, String> {
        let caption = "Frames per second by what became of them.";
        self.plot("Frames", caption, "frames per second", self.rate_lines(), |_, most| Axis::from_zero(most))
    }

    fn rate_lines(&self) -> Vec<Line> {
        let rate = |slot: &Slot, count: u64| (slot.seconds > 0.0).then(|| count as f64 / slot.seconds);
        vec![
            self.line("published", |slot| rate(slot, slot.counts.published)),
            self.line("replaced or skipped", |slot| rate(slot, slot.counts.replaced + slot.counts.skipped)),
            self.line("corrupt or failed", |slot| rate(slot, slot.counts.corrupt + slot.counts.failed)),
        ]
    }

    fn power(&self) -> Result<Option<Plot>, String> {
        let caption = "The board's power, of the rails that make its total.";
        self.plot("Power", caption, "W", self.power_lines(), |_, most| Axis::from_zero(most))
    }

    fn power_lines(&self) -> Vec<Line> {
        vec![self.line("mean", Slot::watts), self.line("highest record", |slot| slot.most_watts)]
    }

    fn temperatures(&self) -> Result<Option<Plot>, String> {
        self.plot("Temperature", "Mean of each sensor.", "°C", self.temperature_lines(), Axis::linear)
    }

    fn temperature_lines(&self) -> Vec<Line> {
        let mut names: Vec<&String> = self.slots.iter().flat_map(|(_, slot)| slot.celsius.keys()).collect();
        names.sort_by_key(|name| (name.as_str() != "soc", name.as_str()));
        names.dedup();
        // As many as there are colours.
        names.iter().take(7).map(|name| self.line(name.as_str(), |slot| slot.celsius(name))).collect()
    }

    fn heat_map(&self) -> Result<Option<Plot>, String> {
        let latencies = || self.slots.iter().flat_map(|(_, slot)| slot.latency[END_TO_END].values().map(|(ms, _)| ms));
        let (low, high) = (latencies().fold(f64::MAX, f64::min), latencies().fold(f64::MIN, f64::max));
        if low > high {
            return Ok(None);
        }
        let axis = around(low, high);
        let frame =
            Frame { height: 320, time: &self.time, values: &axis, label: "ms, logarithmic", shaded: &self.shaded };
        let legend = LEVELS.iter().map(|(_, color, words)| (*color, (*words).to_owned())).collect();
        let svg = canvas::plot(&frame, &Legend::Boxes(legend), |chart| {
            let boxes = self.slots.iter().flat_map(|&(begin, slot)| {
                cells(slot, &axis).into_iter().map(move |Cell { bottom, top, level }| {
                    Rectangle::new([(begin, bottom), (begin + self.width, top)], LEVELS[level].1.filled())
                })
            });
            chart.draw_series(boxes).map(drop).map_err(canvas::failed)
        })?;
        let caption =
            "How end-to-end latency is distributed: the darker, the larger the share of a slot's frames that took so \
                       long. The legend has the upper end of each share.";
        Ok(Some(Plot { title: "Distribution of end-to-end latency", caption: caption.to_owned(), svg }))
    }
}

/// A part of a slot's column of the heat map.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    bottom: f64,
    top: f64,
    /// Index of its colour.
    level: usize,
}

/// A slot's column of the heat map; neighbours of one colour are one cell.
fn cells(slot: &Slot, axis: &Axis) -> Vec<Cell> {
    let latency = &slot.latency[END_TO_END];
    let (mut rows, all) = ([0_u64; ROWS], latency.len().max(1) as f64);
    for (ms, count) in latency.values() {
        let row = (axis.share(ms).clamp(0.0, 1.0) * ROWS as f64) as usize;
        rows[row.min(ROWS - 1)] += count;
    }
    let level = |count: u64| {
        let share = count as f64 / all;
        (count > 0).then(|| LEVELS.iter().rposition(|(above, ..)| share > *above).unwrap_or(0))
    };
    let mut cells = Vec::new();
    let mut from = 0;
    for row in 1..=ROWS {
        if row < ROWS && level(rows[row]) == level(rows[from]) {
            continue;
        }
        if let Some(level) = level(rows[from]) {
            let (bottom, top) = (axis.at(from as f64 / ROWS as f64), axis.at(row as f64 / ROWS as f64));
            cells.push(Cell { bottom, top, level });
        }
        from = row;
    }
    cells
}

/// A logarithmic axis with some room at both ends.
fn around(low: f64, high: f64) -> Axis {
    Axis::log(low / 1.2, high * 1.2)
}

#[cfg(test)]
mod tests;
