//! What each value takes, and how it is written.

use super::testing::{refused, taken};
use super::*;

#[test]
fn times_and_sizes_take_units() {
    assert_eq!("500ms".parse::<Seconds>().unwrap().0, Duration::from_millis(500));
    assert_eq!("2".parse::<Seconds>().unwrap().0, Duration::from_secs(2));
    assert_eq!("5min".parse::<Seconds>().unwrap().to_string(), "300s");
    assert!("5 fortnights".parse::<Seconds>().is_err());
    assert!("-1".parse::<Seconds>().is_err());
    assert_eq!("64MiB".parse::<Bytes>().unwrap(), Bytes(64 << 20));
    assert_eq!(Bytes(64 << 20).to_string(), "64MiB");
    assert!("99999999999GiB".parse::<Bytes>().is_err());
}

#[test]
fn every_range_has_its_ends() {
    taken::<Seconds>(&["0", "31536000", "8760h", "0.5 min"]);
    refused::<Seconds>(&["31536001", "8761h", "1d", "s", "inf", "nan"]);
    taken::<Bytes>(&["0", "1B", "17179869183GiB"]);
    refused::<Bytes>(&["17179869184GiB", "1kB", "-1", "1.5", ""]);
    taken::<Fraction>(&["1", "0.000001", "0.001"]);
    refused::<Fraction>(&["0", "-0.1", "-0.5", "1.0000001", "1.01", "", "nan", "10%", "inf"]);
    taken::<Auto<Seconds>>(&["auto", "1"]);
    refused::<Auto<Seconds>>(&["Auto", "-1"]);
    assert_eq!(["1", "0.001"].map(|text| text.parse::<Fraction>().unwrap().to_string()), ["1", "0.001"]);
}

#[test]
fn every_unit_has_its_factor() {
    for (text, milliseconds) in
        [("1", 1000), ("1ms", 1), ("1s", 1000), ("1min", 60_000), ("1h", 3_600_000), ("1.5 s", 1500)]
    {
        assert_eq!(text.parse::<Seconds>().unwrap().0, Duration::from_millis(milliseconds), "{text}");
    }
    for (text, bytes) in [("3", 3), ("3B", 3), ("3KiB", 3 << 10), ("3 MiB", 3 << 20), ("3GiB", 3 << 30)] {
        assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
    }
}

#[test]
fn what_is_printed_reads_back_as_itself() {
    for (bytes, text) in [
        (0, "0"),
        (1, "1"),
        (1023, "1023"),
        (1024, "1KiB"),
        (1025, "1025"),
        (3 << 10, "3KiB"),
        ((1 << 20) - 1, "1048575"),
        (1 << 20, "1MiB"),
        ((1 << 20) + 1024, "1025KiB"),
        (3 << 30, "3072MiB"),
    ] {
        assert_eq!(Bytes(bytes).to_string(), text);
        assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes));
    }
    for text in ["0s", "0.25s", "90s"] {
        assert_eq!(text.parse::<Seconds>().unwrap().to_string(), text);
    }
}
