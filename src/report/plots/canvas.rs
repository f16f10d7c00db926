//! What every plot has: its size, axes with units, a legend above, shaded times in which nothing came, lines that differ by
//! colour and by dashes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;

const WIDTH: u32 = 960;
const LEGEND: u32 = 26;
const LEFT: u32 = 66;
const RIGHT: u32 = 16;
/// Pixels of the plot itself from left to right.
pub(super) const COLUMNS: usize = (WIDTH - LEFT - RIGHT) as usize;
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xee, 0xee, 0xee);
const SHADE: RGBColor = RGBColor(0xd8, 0xd8, 0xd8);

/// Colours that colour-blind people tell apart (Okabe and Ito 2008), each with dashes of its own.
const STYLES: [(RGBColor, Dash); 7] = [
    (RGBColor(0x00, 0x72, 0xb2), None),
    (RGBColor(0xd5, 0x5e, 0x00), Some((8, 4))),
    (RGBColor(0x00, 0x9e, 0x73), Some((3, 3))),
    (RGBColor(0xcc, 0x79, 0xa7), None),
    (RGBColor(0xe6, 0x9f, 0x00), Some((14, 5))),
    (RGBColor(0x56, 0xb4, 0xe9), Some((6, 6))),
    (RGBColor(0x00, 0x00, 0x00), Some((2, 4))),
];

/// Length of a dash and of the gap after it, pixels; None is a whole line.
type Dash = Option<(u32, u32)>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

/// A line over time: its name, and points in pieces between which nothing is drawn.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) pieces: Vec<Vec<(f64, f64)>>,
}

/// What a plot's axes are.
pub(super) struct Frame<'a> {
    pub(super) height: u32,
    pub(super) time: &'a Axis,
    pub(super) values: &'a Axis,
    /// What the values are, with their unit.
    pub(super) label: &'a str,
    /// Columns in which nothing came.
    pub(super) shaded: &'a [bool],
}

/// What stands above a plot.
pub(super) enum Legend {
    /// The lines' names, in their colours.
    Lines(Vec<String>),
    /// Filled boxes.
    Boxes(Vec<(RGBColor, String)>),
}

/// Draws a plot: axes and shades, then what `draw` adds.
pub(super) fn plot(
    frame: &Frame<'_>,
    legend: &Legend,
    draw: impl FnOnce(&mut Chart<'_, '_>) -> Result<(), String>,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, frame.height + LEGEND)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (above, below) = root.split_vertically(LEGEND);
        draw_legend(&above, legend)?;
        let mut chart = ChartBuilder::on(&below)
            .margin_right(RIGHT)
            .margin_top(6)
            .x_label_area_size(28)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(frame.time.clone(), frame.values.clone())
            .map_err(failed)?;
        let (low, high) = (frame.values.low(), frame.values.high());
        for (from, to) in runs(frame.shaded) {
            let corners = [(column(frame.time, from), low), (column(frame.time, to), high)];
            chart.draw_series([Rectangle::new(corners, SHADE.filled())]).map_err(failed)?;
        }
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 12, &INK))
            .axis_desc_style(("sans-serif", 12, &INK))
            .x_label_formatter(&|value| frame.time.label(*value))
            .y_label_formatter(&|value| frame.values.label(*value))
            .y_desc(frame.label)
            .draw()
            .map_err(failed)?;
        draw(&mut chart)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Draws rows of flags over time, each with its name; there is nothing above.
pub(super) fn flags(time: &Axis, rows: &[(&str, Vec<bool>)]) -> Result<String, String> {
    let height = 34 + 26 * rows.len() as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart: Chart<'_, '_> = ChartBuilder::on(&root)
            .margin_right(RIGHT)
            .margin_top(6)
            .margin_left(LEFT - 10)
            .x_label_area_size(28)
            .y_label_area_size(10)
            .build_cartesian_2d(time.clone(), Axis::rows(rows.len()))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 12, &INK))
            .y_labels(0)
            .x_label_formatter(&|value| time.label(*value))
            .draw()
            .map_err(failed)?;
        for (row, (name, flags)) in rows.iter().enumerate() {
            let row = row as i32;
            let color = STYLES[rows.len().saturating_sub(1).min(row as usize) % STYLES.len()].0;
            for (from, to) in runs(flags) {
                let (bottom, top) = (f64::from(row), f64::from(row + 1));
                let corners = [(column(time, from), bottom), (column(time, to), top)];
                let mut bar = Rectangle::new(corners, color.filled());
                bar.set_margin(5, 5, 0, 0);
                chart.draw_series([bar]).map_err(failed)?;
            }
            let at = (LEFT as i32 - 6, 6 + (rows.len() as i32 - 1 - row) * 26 + 13);
            let style = TextStyle::from(("sans-serif", 11)).color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new((*name).to_owned(), at, style)).map_err(failed)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Draws lines, the first in the first style and so on.
pub(super) fn draw_lines(chart: &mut Chart<'_, '_>, lines: &[Line]) -> Result<(), String> {
    for (line, (color, dash)) in lines.iter().zip(STYLES.iter().cycle()) {
        for piece in &line.pieces {
            let style = color.stroke_width(2);
            match (dash, &piece[..]) {
                (_, [point]) => chart.draw_series([Circle::new(*point, 2, color.filled())]).map(drop),
                (Some((length, gap)), _) => {
                    chart.draw_series(DashedLineSeries::new(piece.iter().copied(), *length, *gap, style)).map(drop)
                }
                (None, _) => chart.draw_series(LineSeries::new(piece.iter().copied(), style)).map(drop),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, legend: &Legend) -> Result<(), String> {
    let style = TextStyle::from(("sans-serif", 13)).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = LEFT as i32;
    let middle = LEGEND as i32 / 2 + 2;
    let mut put = |name: &str, mark: &dyn Fn(i32) -> Result<i32, String>| {
        let width = mark(x)?;
        area.draw(&Text::new(name.to_owned(), (x + width + 6, middle), style.clone())).map_err(failed)?;
        // Nobody measures text here; this is as wide as sans-serif is at most.
        x += width + 6 + 7 * name.chars().count() as i32 + 18;
        Ok::<_, String>(())
    };
    match legend {
        Legend::Lines(names) => {
            for (name, (color, dash)) in names.iter().zip(STYLES.iter().cycle()) {
                put(name, &|x| {
                    let (length, gap) = dash.map_or((30, 0), |(length, gap)| (length as i32, gap as i32));
                    let mut from = x;
                    while from < x + 30 {
                        let to = (from + length).min(x + 30);
                        let line = PathElement::new(vec![(from, middle), (to, middle)], color.stroke_width(2));
                        area.draw(&line).map_err(failed)?;
                        from = to + gap.max(1);
                    }
                    Ok(30)
                })?;
            }
        }
        Legend::Boxes(boxes) => {
            for (color, name) in boxes {
                put(name, &|x| {
                    let corners = [(x, middle - 6), (x + 16, middle + 6)];
                    area.draw(&Rectangle::new(corners, color.filled())).map_err(failed)?;
                    area.draw(&Rectangle::new(corners, INK.stroke_width(1))).map_err(failed)?;
                    Ok(16)
                })?;
            }
        }
    }
    Ok(())
}

/// Where a column of pixels begins, as a time.
pub(super) fn column(time: &Axis, column: usize) -> f64 {
    time.at(column as f64 / COLUMNS as f64)
}

/// First and one past the last of each run of true.
fn runs(flags: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, _) in flags.iter().enumerate().filter(|(_, is_set)| **is_set) {
        match runs.last_mut().filter(|(_, end)| *end == index) {
            Some((_, end)) => *end += 1,
            None => runs.push((index, index + 1)),
        }
    }
    runs
}

pub(super) fn failed(error: impl std::fmt::Display) -> String {
    format!("a plot can't be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a line for each element, which a browser can show too.
    fn lines(svg: &str) -> String {
        svg.replace("><", ">\n<") + "\n"
    }

    /// Compares with a picture that somebody has looked at.
    fn assert_drawn(svg: &str, expected: &str) {
        let found = lines(svg);
        for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "line {}", line + 1);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_have_colours_dashes_a_legend_and_grey_where_nothing_came() {
        let (time, values) = (Axis::time(1_700_000_000.0, 1_700_003_600.0), Axis::linear(0.0, 10.0));
        let at = |share: f64, value: f64| (time.at(share), value);
        let lines = [
            // Two pieces, and a point alone.
            vec![vec![at(0.1, 1.0), at(0.2, 3.0)], vec![at(0.6, 2.0), at(0.7, 4.0)], vec![at(0.9, 9.0)]],
            vec![vec![at(0.1, 5.0), at(0.13, 5.0)]],
            vec![vec![at(0.2, 7.0), at(0.22, 7.0)]],
        ];
        let names = ["one", "two", "three"];
        let lines = lines.into_iter().zip(names).map(|(pieces, name)| Line { name: name.to_owned(), pieces });
        let lines: Vec<Line> = lines.collect();
        let mut shaded = vec![false; COLUMNS];
        shaded[300..400].fill(true);
        shaded[500] = true;
        let frame = Frame { height: 250, time: &time, values: &values, label: "W", shaded: &shaded };
        let legend = Legend::Lines(names.map(str::to_owned).into());
        let svg = plot(&frame, &legend, |chart| draw_lines(chart, &lines)).unwrap();
        assert_drawn(&svg, include_str!("../../../tests/data/plots/lines.svg"));
    }

    #[test]
    fn boxes_stand_in_the_legend_of_a_distribution() {
        let (time, values) = (Axis::time(1_700_000_000.0, 1_700_003_600.0), Axis::linear(0.0, 10.0));
        let frame = Frame { height: 100, time: &time, values: &values, label: "ms", shaded: &[] };
        let legend = Legend::Boxes(vec![(INK, "up to 1 %".to_owned()), (GRID, "all".to_owned())]);
        let svg = plot(&frame, &legend, |_| Ok(())).unwrap();
        assert_drawn(&svg, include_str!("../../../tests/data/plots/boxes.svg"));
        assert_eq!(plot(&frame, &legend, |_| Err(failed("why"))), Err("a plot can't be drawn: why".to_owned()));
    }

    #[test]
    fn rows_of_flags_have_their_names_and_bars() {
        let time = Axis::time(1_700_000_000.0, 1_700_003_600.0);
        let row = |name, from: usize, to: usize| (name, (0..COLUMNS).map(|n| (from..to).contains(&n)).collect());
        let rows: [(&str, Vec<bool>); 3] = [row("camera", 0, 100), row("engine", 200, 201), row("clock", 400, COLUMNS)];
        assert_drawn(&flags(&time, &rows).unwrap(), include_str!("../../../tests/data/plots/flags.svg"));
    }

    #[test]
    fn neighbouring_columns_are_one_run() {
        for (flags, expected) in [
            (&[][..], &[][..]),
            (&[false, false], &[]),
            (&[true], &[(0, 1)]),
            (&[true, true, false, true, false, false, true, true, true], &[(0, 2), (3, 4), (6, 9)]),
            (&[false, true, true], &[(1, 3)]),
        ] {
            assert_eq!(runs(flags), expected);
        }
    }
}
