//! Verdicts of numbers that are made up, and of logs that differ in one thing.

use serde_json::{json, Value};

use super::*;
use crate::report::tests::{latency, line, read};
use crate::report::Range;

fn change(values: [Option<f64>; 2], is_enough: bool, samples: &[Vec<f64>; 2], good: Good) -> Change {
    Change::new("x".to_owned(), "ms", good, values, is_enough, samples)
}

fn verdict(values: [f64; 2], samples: &[Vec<f64>; 2], good: Good) -> Verdict {
    change(values.map(Some), true, samples, good).verdict
}

fn around(middle: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| middle + (i * 7 % 10) as f64 / 10.0).collect()
}

#[test]
fn ranks_without_a_difference_are_chance_and_those_apart_are_not() {
    assert_eq!(rank_sum(&[1.0; 20], &[1.0; 20]), 0.0);
    assert!(rank_sum(&around(1.0, 20), &around(1.0, 20)).abs() < 0.5);
    // All of b above all of a: U = n * m, so z = (nm / 2) / sqrt(nm (n + m + 1) / 12), which is 5.41 for 20 and 20.
    let z = rank_sum(&(0..20).map(f64::from).collect::<Vec<_>>(), &(20..40).map(f64::from).collect::<Vec<_>>());
    assert!((z - 5.41).abs() < 0.01, "{z}");
    assert_eq!((rank_sum(&[], &[]), rank_sum(&[], &[1.0])), (0.0, 0.0));
}

#[test]
fn ranks_are_summed_as_mann_and_whitney_do_it() {
    for (a, b, expected) in [
        // The ranks of b are 2, 3 and 5: one more than the 9 of chance, whose variance is 3.
        (&[1.0, 4.0][..], &[2.0, 3.0, 5.0][..], 1.0 / 3_f64.sqrt()),
        (&[2.0, 3.0, 5.0], &[1.0, 4.0], -1.0 / 3_f64.sqrt()),
        // Three twos share the ranks 2, 3 and 4: b has 3 + 3 + 6 where chance has 10.5, and the tie makes the variance less.
        (&[1.0, 2.0, 3.0], &[2.0, 2.0, 4.0], 1.5 / 4.65_f64.sqrt()),
    ] {
        let z = rank_sum(a, b);
        assert!((z - expected).abs() < 1e-9, "{a:?} {b:?}: {z} is not {expected}");
    }
}

#[test]
fn a_verdict_needs_enough_samples_a_real_change_and_the_same_direction() {
    use Good::{High, Low};
    use Verdict::{Better, Same, TooFew, Worse};
    let of = |a: f64, b: f64| [around(a, 20), around(b, 20)];
    for (values, samples, good, expected) in [
        ([50.0, 40.0], of(50.0, 40.0), Low, Better),
        ([50.0, 40.0], of(50.0, 40.0), High, Worse),
        ([40.0, 50.0], of(40.0, 50.0), Low, Worse),
        ([40.0, 50.0], of(40.0, 50.0), High, Better),
        // The whole logs say one thing, and their slots the other.
        ([50.0, 40.0], of(40.0, 50.0), Low, Same),
        ([40.0, 50.0], of(50.0, 40.0), Low, Same),
        ([50.0, 40.0], of(40.0, 50.0), High, Same),
        ([40.0, 50.0], of(50.0, 40.0), High, Same),
        // A change of 2 % is none yet.
        ([50.0, 50.2], of(50.0, 51.0), Low, Same),
        ([50.0, 51.0], of(50.0, 51.0), Low, Same),
        ([50.0, 51.01], of(50.0, 51.0), Low, Worse),
        ([50.0, 48.99], of(50.0, 49.0), Low, Better),
        ([-50.0, -51.01], of(-50.0, -51.0), Low, Better),
        ([50.0, 60.0], of(50.0, 50.0), Low, Same),
        ([50.0, 40.0], [around(50.0, 8), around(40.0, 8)], Low, Better),
        ([50.0, 40.0], [around(50.0, 20), around(40.0, 7)], Low, TooFew),
        ([50.0, 40.0], [around(50.0, 7), around(40.0, 20)], Low, TooFew),
    ] {
        assert_eq!(verdict(values, &samples, good), expected, "{values:?} {samples:?}");
    }
    assert_eq!(change([50.0, 40.0].map(Some), false, &of(50.0, 40.0), Low).verdict, TooFew);
}

#[test]
fn a_difference_that_chance_makes_once_in_a_hundred_is_none() {
    // Of 64 pairs chance has b above a in 32, with a standard deviation of 9.52: 57 are 2.63 of them more, and 56 are 2.52.
    let a: Vec<f64> = (0..8).map(f64::from).collect();
    for (lowest, expected) in [(0.5, Verdict::Worse), (-1.0, Verdict::Same)] {
        let b: Vec<f64> = [lowest].into_iter().chain((8..15).map(f64::from)).collect();
        assert_eq!(verdict([1.0, 2.0], &[a.clone(), b.clone()], Good::Low), expected);
        assert_eq!(
            verdict([2.0, 1.0], &[b, a.clone()], Good::Low),
            if lowest > 0.0 { Verdict::Better } else { expected }
        );
    }
}

#[test]
fn a_change_is_a_share_of_the_first() {
    for (values, expected) in [
        ([Some(50.0), Some(40.0)], Some(-0.2)),
        ([Some(3.0), Some(4.0)], Some(0.3333)),
        ([Some(-50.0), Some(-40.0)], Some(0.2)),
        ([Some(0.0), Some(0.0)], Some(0.0)),
        ([Some(0.0), Some(4.0)], None),
        ([None, Some(0.0)], None),
        ([Some(4.0), None], None),
    ] {
        let change = change(values, true, &[Vec::new(), Vec::new()], Good::Low);
        assert_eq!((change.change, change.first, change.second), (expected, values[0], values[1]));
        let is_known = values[0].is_some() && values[1].is_some();
        assert_eq!(change.verdict, if is_known { Verdict::TooFew } else { Verdict::Unknown });
    }
}

/// Ten minutes of equal records, with what `more` has in place of these values.
fn log(more: &Value) -> Report {
    let mut record = json!({
        "kind": "interval", "seconds": 60, "celsius": {"soc": 50, "gpu": 50}, "power": {"joules": 240},
        "frames": {"frames_in": 10, "skipped": 11, "corrupt": 12, "replaced": 13, "inferred": 14, "failed": 15, "published": 16},
        "latency": latency(std::iter::repeat_n(1000, 1000)),
    });
    for (key, value) in more.as_object().unwrap() {
        match (record.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (old, _) => *old.unwrap() = value.clone(),
        }
    }
    let lines: Vec<String> = (1..=10).map(|minute| line(&format!("{minute:02}:00"), "a", &record)).collect();
    read(&lines, Range::default()).unwrap()
}

fn pair(before: &Report, after: &Report) -> Pair {
    Pair::new((&"one".to_owned(), before), (&"two".to_owned(), after))
}

/// The figures that are better or worse.
fn told(before: &Report, after: &Report) -> String {
    let pair = pair(before, after);
    let told = pair.figures.iter().filter(|figure| matches!(figure.verdict, Verdict::Better | Verdict::Worse));
    told.map(|figure| format!("{} {}", figure.figure, figure.verdict.words())).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_figure_compares_its_own_values_and_slots() {
    let before = log(&json!({}));
    for (more, expected) in [
        (json!({}), ""),
        (json!({"frames": {"published": 32}}), "fps better"),
        (json!({"frames": {"inferred": 28}}), "energy per frame better"),
        (json!({"frames": {"replaced": 26}}), "frames lost worse"),
        (json!({"frames": {"skipped": 22}}), "frames lost worse"),
        (json!({"frames": {"corrupt": 24}}), "frames lost worse"),
        (json!({"frames": {"failed": 30}}), "frames lost worse"),
        (json!({"frames": {"frames_in": 20}}), ""),
        (json!({"power": {"joules": 480}}), "energy per frame worse, mean power worse"),
        (json!({"celsius": {"soc": 60}}), "temperature soc worse"),
        (json!({"celsius": {"gpu": 60}}), ""),
        (json!({"seconds": 30}), "fps better, frames lost worse, mean power worse"),
    ] {
        assert_eq!(told(&before, &log(&more)), expected, "{more}");
        let opposite = expected.replace("better", "x").replace("worse", "better").replace('x', "worse");
        assert_eq!(told(&log(&more), &before), opposite, "{more}, the other way round");
    }
    for stage in Stage::ALL {
        let other = latency(std::iter::repeat_n(2000, 1000));
        let more = json!({"latency": {stage.name(): other[stage.name()]}});
        let expected = ["p50", "p99", "p99.9"].map(|figure| format!("{} {figure} worse", stage.name())).join(", ");
        assert_eq!(told(&before, &log(&more)), expected);
    }
    // A percentile changes, of the whole and of each slot, once more frames are slow than lie beyond it.
    for (slow, expected) in [
        (0, ""),
        (2, "infer p99.9 worse"),
        (11, "infer p99 worse, infer p99.9 worse"),
        (501, "infer p50 worse, infer p99 worse, infer p99.9 worse"),
    ] {
        let frames = std::iter::repeat_n(1000, 1000 - slow).chain(std::iter::repeat_n(2000, slow));
        let more = json!({"latency": {"infer": latency(frames)["infer"]}});
        assert_eq!(told(&before, &log(&more)), expected, "{slow} slow frames");
    }
}

#[test]
fn a_percentile_needs_ten_frames_beyond_it() {
    let too_few = |n: usize| {
        let report = log(&json!({"latency": {"infer": latency(std::iter::repeat_n(1000, n))["infer"]}}));
        let other = log(&json!({}));
        let of = |before: &Report, after: &Report| {
            let figures = pair(before, after).figures;
            let infer = figures.iter().filter(|figure| figure.figure.starts_with("infer "));
            infer.map(|figure| figure.verdict == Verdict::TooFew).collect::<Vec<_>>()
        };
        assert_eq!(of(&report, &other), of(&other, &report));
        of(&report, &other)
    };
    assert_eq!(too_few(1), [true, true, true], "10 frames");
    assert_eq!(too_few(2), [false, true, true], "20 frames");
    assert_eq!(too_few(99), [false, true, true], "990 frames");
    assert_eq!(too_few(100), [false, false, true], "1000 frames");
    assert_eq!(too_few(1000), [false, false, false], "10,000 frames");
}

#[test]
fn a_comparison_is_a_table_with_what_to_know_of_it() {
    let about = |model: &str| {
        let start = json!({"kind": "event", "what": "start", "version": "1.2.3", "host": "pi", "model": model});
        line("00:00", "a", &start)
    };
    let minute = |minute: u32| {
        let (frames, power) = (json!({"published": 600, "inferred": 600, "replaced": 6}), json!({"joules": 240}));
        line(
            &format!("{minute:02}:00"),
            "a",
            &json!({"kind": "interval", "seconds": 60, "frames": frames, "power": power}),
        )
    };
    let read = |lines: &[String]| read(lines, Range::default()).unwrap();
    let before = read(&[about("m"), minute(1), "{\n".to_owned(), minute(2)]);
    let after = read(&[about("n"), line("01:00", "a", &json!({"kind": "interval", "seconds": 60}))]);
    let expected = "\
first:  one
second: two

figure                unit       first      second    change  the second is
fps                    1/s      10.000       0.000  -100.0 %  too few samples to tell
frames lost            1/s       0.100       0.000  -100.0 %  too few samples to tell
energy per frame         J       0.400           -         -  unknown
mean power               W       4.000           -         -  unknown

note: a verdict needs slots of time that differ by more than chance (rank-sum test, 1 in 100) and a change of more than 2 %
note: the first log has 2 slots of 1 min 0 s (2 min 0 s)
note: fewer than 8 slots tell nothing: let it run longer, or choose a shorter interval
note: the first log: latency.jsonl: 1 damaged line is left out; the first, line 3: EOF while parsing an object at line 1 column 1
note: the second log has 1 slots of 1 min 0 s (1 min 0 s)
note: fewer than 8 slots tell nothing: let it run longer, or choose a shorter interval
note: first: board pi, model m, engine unknown, pspnetd 1.2.3; second: board pi, model n, engine unknown, pspnetd 1.2.3";
    assert_eq!(pair(&before, &after).lines(), expected.lines().collect::<Vec<_>>());
    // Nothing is said of what ran where it is the same, and nothing of slots where there are enough.
    let eight = read(&[&[about("m")][..], &(1..=8).map(minute).collect::<Vec<_>>()].concat());
    let caveats = pair(&eight, &eight).caveats;
    assert_eq!(
        caveats[1..],
        ["first", "second"].map(|it| format!("the {it} log has 8 slots of 1 min 0 s (8 min 0 s)"))
    );
    let unknown = read(&[minute(1)]);
    let words = "first: board pi, model m, engine unknown, pspnetd 1.2.3; second: unknown";
    assert_eq!(pair(&eight, &unknown).caveats.last().unwrap(), words);
}

#[test]
fn counts_that_no_program_reaches_are_added_up_to_the_largest() {
    let most = u64::MAX;
    let more = json!({"frames": {"frames_in": most, "skipped": most, "corrupt": most, "replaced": most, "inferred": most,
        "failed": most, "published": most}});
    assert_eq!(told(&log(&json!({})), &log(&more)), "fps better, frames lost worse, energy per frame better");
}
