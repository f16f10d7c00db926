//! What is drawn, before it is: lines and their pieces, cells of the heat map, columns of outages.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::report::tests::{example, line, read};
use crate::report::timeline::Coarse;
use crate::report::Range;
use crate::telemetry::Counts;

/// 2023-11-14, in the middle of a column of ten seconds.
const BEGIN: i64 = 1_700_000_000;

fn data(slots: Vec<(f64, &Slot)>) -> Data<'_> {
    let end = BEGIN + 10 * COLUMNS as i64;
    Data { slots, width: 60.0, time: Axis::time(BEGIN as f64, end as f64), shaded: vec![false; COLUMNS] }
}

/// Latencies by the counters of a fine histogram, which up to 1.023 ms are microseconds.
fn coarse(counts: &[(usize, u64)]) -> Coarse {
    let mut coarse = Coarse::default();
    counts.iter().for_each(|&(us, count)| coarse.add(us, count));
    coarse
}

/// Names, and the values of each piece.
fn values(lines: Vec<Line>) -> Vec<(String, Vec<Vec<f64>>)> {
    let piece = |piece: Vec<(f64, f64)>| piece.into_iter().map(|(_, value)| value).collect();
    lines.into_iter().map(|line| (line.name, line.pieces.into_iter().map(piece).collect())).collect()
}

fn one(name: &str, value: f64) -> (String, Vec<Vec<f64>>) {
    (name.to_owned(), vec![vec![value]])
}

fn none(name: &str) -> (String, Vec<Vec<f64>>) {
    (name.to_owned(), vec![])
}

#[test]
fn a_line_is_broken_where_slots_are_missing() {
    let slot = |dropped: u64| Slot { dropped, ..Slot::default() };
    let slots = [slot(1), slot(2), slot(0), slot(3), slot(4), slot(5)];
    // Two slots of 60 s may be missing between two points, but not more.
    let begins = [0.0, 60.0, 120.0, 180.0, 330.0, 479.0];
    let data = data(begins.into_iter().zip(&slots).collect());
    let line = data.line("x", |slot| (slot.dropped > 0).then_some(slot.dropped as f64));
    assert_eq!(line.name, "x");
    assert_eq!(line.pieces, [vec![(30.0, 1.0), (90.0, 2.0), (210.0, 3.0)], vec![(360.0, 4.0), (509.0, 5.0)]]);
}

#[test]
fn each_line_shows_its_own_value() {
    let mut latency: [Coarse; Stage::ALL.len()] = Default::default();
    // Counters stand for sixteen microseconds, so these are 15, 31, 47, 63 and so on.
    (0..END_TO_END).for_each(|stage| latency[stage] = coarse(&[(16 * stage, 1)]));
    latency[END_TO_END] = coarse(&[(160, 50), (320, 40), (480, 9), (640, 1)]);
    let counts =
        Counts { frames_in: 1000, skipped: 2, corrupt: 30, replaced: 4, inferred: 1000, failed: 60, published: 500 };
    let celsius = [("a".to_owned(), (100.0, 2, 90.0)), ("soc".to_owned(), (50.0, 1, 50.0))].into();
    let (joules, joule_seconds, most_watts) = (80.0, 20.0, Some(7.0));
    let slot = Slot { seconds: 10.0, counts, dropped: 9, latency, joules, joule_seconds, most_watts, celsius };
    let empty = Slot::default();
    let data = data(vec![(0.0, &slot), (60.0, &empty)]);
    assert_eq!(
        values(data.percentile_lines()),
        [one("p50", 0.175), one("p90", 0.335), one("p99", 0.495), one("max", 0.655)]
    );
    let mut stages: Vec<_> =
        Stage::ALL.iter().map(|&stage| one(stage.name(), f64::from(16 * stage as u32 + 15) / 1000.0)).collect();
    stages[END_TO_END] = one("end_to_end", 0.175);
    assert_eq!(values(data.stage_lines()), stages);
    assert_eq!(
        values(data.rate_lines()),
        [one("published", 50.0), one("replaced or skipped", 0.6), one("corrupt or failed", 9.0)]
    );
    assert_eq!(values(data.power_lines()), [one("mean", 4.0), one("highest record", 7.0)]);
    assert_eq!(values(data.temperature_lines()), [one("soc", 50.0), one("a", 50.0)]);
}

#[test]
fn nothing_is_shown_of_what_is_not_known() {
    let slot = Slot::default();
    let data = data(vec![(0.0, &slot)]);
    assert_eq!(values(data.power_lines()), [none("mean"), none("highest record")]);
    assert!(values(data.stage_lines()).into_iter().all(|(_, pieces)| pieces.is_empty()));
    for plot in [data.percentiles(), data.stages(), data.rates(), data.power(), data.temperatures(), data.heat_map()] {
        assert!(plot.unwrap().is_none());
    }
}

#[test]
fn seven_temperatures_are_drawn_the_processors_first() {
    let celsius = ["b", "a", "soc", "c", "d", "e", "f", "g"].map(|name| (name.to_owned(), (1.0, 1, 1.0)));
    let slot = Slot { celsius: celsius.into(), ..Slot::default() };
    let data = data(vec![(0.0, &slot), (60.0, &slot)]);
    let names: Vec<String> = data.temperature_lines().into_iter().map(|line| line.name).collect();
    assert_eq!(names, ["soc", "a", "b", "c", "d", "e", "f"]);
}

#[test]
fn neighbours_of_one_share_are_one_cell_of_the_heat_map() {
    // 56 rows of 0.016 ms, whose middles are the values of the counters.
    let axis = Axis::linear(0.0, 0.9);
    let row = |ms: f64| (axis.share(ms) * ROWS as f64) as usize;
    let at = |row: usize| axis.at(row as f64 / ROWS as f64);
    // Of a thousand frames: 1, 2, 11, 31, 101, 302 and the rest; a share belongs to the next level from its bound on.
    let counts = [(80, 1), (160, 2), (240, 10), (320, 11), (400, 31), (480, 101), (560, 302), (640, 542)];
    let mut latency: [Coarse; Stage::ALL.len()] = Default::default();
    latency[END_TO_END] = coarse(&counts);
    latency[0] = coarse(&[(1000, 5)]);
    let cells = cells(&Slot { latency, ..Slot::default() }, &axis);
    let expected: Vec<Cell> = counts
        .iter()
        .zip([0, 1, 1, 2, 3, 4, 5, 5])
        .map(|(&(us, _), level)| {
            let row = row((us + 15) as f64 / 1000.0);
            Cell { bottom: at(row), top: at(row + 1), level }
        })
        .collect();
    assert_eq!(cells, expected);
}

#[test]
fn rows_of_equal_share_become_one_cell_and_what_lies_outside_is_at_the_edge() {
    let axis = Axis::linear(0.0, 0.5);
    let row = 0.5 / ROWS as f64;
    let mut latency: [Coarse; Stage::ALL.len()] = Default::default();
    // The first three values lie in neighbouring rows, 8.9 µs each; the last one beyond the axis.
    latency[END_TO_END] = coarse(&[(0, 1), (992, 1)]);
    let cells = cells(&Slot { latency, ..Slot::default() }, &axis);
    let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
    let [first, last] = cells[..] else { panic!("{cells:?}") };
    assert!(near(first.bottom, row) && near(first.top, 2.0 * row) && first.level == 5, "{first:?}");
    assert!(near(last.bottom, 55.0 * row) && near(last.top, 56.0 * row) && last.level == 5, "{last:?}");
    let axis = Axis::linear(0.0, 1.0);
    let mut latency: [Coarse; Stage::ALL.len()] = Default::default();
    latency[END_TO_END] = coarse(&[(496, 1), (512, 1), (528, 1)]);
    let cells = super::cells(&Slot { latency, ..Slot::default() }, &axis);
    let [cell] = cells[..] else { panic!("{cells:?}") };
    assert!(near(cell.bottom, 28.0 / 56.0) && near(cell.top, 31.0 / 56.0), "{cell:?}");
}

#[test]
fn the_axis_of_latency_has_room_at_both_ends() {
    let axis = around(12.0, 100.0);
    assert_eq!((axis.low(), axis.high()), (10.0, 120.0));
}

/// The columns of rows: `camera 10-20`.
fn columns(rows: &[(&str, Vec<bool>)]) -> Vec<String> {
    let ends =
        |flags: &[bool]| (flags.iter().position(|flag| *flag).unwrap(), flags.iter().rposition(|flag| *flag).unwrap());
    let words = |(name, flags): &(&str, Vec<bool>)| {
        let (from, to) = ends(flags);
        assert!(flags[from..=to].iter().all(|flag| *flag));
        format!("{name} {from}-{to}")
    };
    rows.iter().map(words).collect()
}

#[test]
fn an_outage_fills_its_columns() {
    let time = |column: f64| Timestamp::from_second(BEGIN + (10.0 * column) as i64).unwrap();
    let columns_of = |from: f64, to: Option<f64>, seconds: f64| {
        let outage = Outage { kind: Kind::Camera, from: time(from), to: to.map(time), seconds, text: String::new() };
        columns(&data(Vec::new()).outages(&[outage])).concat()
    };
    let last = COLUMNS as f64;
    for (from, to, seconds, expected) in [
        (10.5, Some(20.5), 100.0, "camera 10-20".to_owned()),
        (10.5, Some(10.5), 0.0, "camera 10-10".to_owned()),
        // What lasts is drawn as far as it is known.
        (10.5, None, 50.0, "camera 10-15".to_owned()),
        (-5.5, Some(3.5), 1.0, "camera 0-3".to_owned()),
        (last - 1.5, Some(last + 9.5), 1.0, format!("camera {}-{}", COLUMNS - 2, COLUMNS - 1)),
        (-5.5, Some(0.0), 1.0, "camera 0-0".to_owned()),
        (last, Some(last + 1.5), 1.0, format!("camera {0}-{0}", COLUMNS - 1)),
        (-5.5, Some(-0.5), 1.0, String::new()),
        (last + 0.5, Some(last + 1.5), 1.0, String::new()),
        // A clock that was set back.
        (20.5, Some(10.5), 1.0, "camera 20-20".to_owned()),
    ] {
        assert_eq!(columns_of(from, to, seconds), expected, "{from} {to:?}");
    }
}

#[test]
fn each_kind_of_outage_has_a_row_and_some_leave_no_frames() {
    let outages: Vec<Outage> = Kind::ALL
        .into_iter()
        .zip(0..)
        .map(|(kind, n)| {
            let time = |offset: i64| Timestamp::from_second(BEGIN + 100 * n + offset).unwrap();
            Outage { kind, from: time(5), to: Some(time(15)), seconds: 10.0, text: String::new() }
        })
        .collect();
    let mut data = data(Vec::new());
    let rows = data.outages(&outages);
    let expected = [
        "clock 60-61",
        "no record 50-51",
        "throttled 40-41",
        "engine 30-31",
        "paused 20-21",
        "camera 10-11",
        "daemon 0-1",
    ];
    assert_eq!(columns(&rows), expected);
    let shaded: Vec<usize> = (0..COLUMNS).filter(|column| data.shaded[*column]).collect();
    assert_eq!(shaded, [0, 1, 10, 11, 20, 21, 50, 51]);
}

#[test]
fn the_axis_of_time_reaches_from_the_first_slot_to_the_end_of_the_last() {
    let mut timeline = Timeline::default();
    assert!(Data::new(&timeline).is_none());
    let begin = BEGIN as f64 + 40.0;
    [-1e9, begin + 60.0, begin + 180.0].into_iter().for_each(|end| timeline.slot(end, 60.0).dropped += 1);
    let data = Data::new(&timeline).unwrap();
    assert_eq!((data.slots.len(), data.width, data.shaded), (2, 60.0, vec![false; COLUMNS]));
    assert_eq!((data.time.low(), data.time.high()), (begin, begin + 180.0));
}

#[test]
fn a_log_has_the_plots_that_it_has_values_for() {
    let titles = |lines: &[String]| {
        let report = read(lines, Range::default()).unwrap();
        let plots = all(&report.figures, &report.timeline).unwrap();
        plots.into_iter().map(|plot| plot.title).collect::<Vec<_>>()
    };
    let all = [
        "Outages",
        "End-to-end latency",
        "Distribution of end-to-end latency",
        "Median of each stage",
        "Frames",
        "Power",
        "Temperature",
    ];
    assert_eq!(titles(&example()), all);
    assert_eq!(titles(&[line("01:00", "a", &json!({"kind": "interval", "seconds": 60}))]), ["Frames"]);
    // What a clock says that nobody had set is drawn from 2020 on.
    for (time, expected) in [("2019-12-31T23:59:59.5Z", 0), ("2020-01-01T00:00:00.5Z", 1)] {
        let record = json!({"time": time, "run": "a", "kind": "interval", "seconds": 1});
        assert_eq!(titles(&[format!("{record}\n")]).len(), expected, "{time}");
    }
}
