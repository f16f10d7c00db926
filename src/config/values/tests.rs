//! What each value takes, and how it is written.

use super::*;

#[test]
fn sources_parse_and_print_the_same() {
    for text in ["auto", "v4l2:/dev/video0", "command:cam -o 'a b' -", "replay:/tmp/a:b.mjpeg", "pattern:640x480"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    assert_eq!("/dev/video3".parse::<Source>().unwrap(), Source::V4l2("/dev/video3".into()));
    for text in ["", "rtsp://x", "replay:", "command:", "command: ", "command:cam '", "pattern:640", "pattern:0x480"] {
        assert!(text.parse::<Source>().is_err(), "{text}");
    }
}

#[test]
fn rates_take_words_and_numbers() {
    assert_eq!("native".parse::<Rate>().unwrap(), Rate::Native);
    assert_eq!("12.5".parse::<Rate>().unwrap(), Rate::Fps(12.5));
    for text in ["0", "-1", "nan", "fast", "1e9"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

#[test]
fn pins_and_fractions_keep_to_their_range() {
    for text in ["off", "0", "27"] {
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
    }
    for text in ["28", "-1", "GPIO17", "", "2.5", "300"] {
        assert!(text.parse::<Pin>().unwrap_err().contains("BCM number, 0 to 27, or off"), "{text}");
    }
    for text in ["1", "0.001"] {
        assert_eq!(text.parse::<Fraction>().unwrap().to_string(), text);
    }
    for text in ["0", "1.01", "nan", "-0.5", "10%", "inf"] {
        assert!(text.parse::<Fraction>().is_err(), "{text}");
    }
}

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

/// Both ends of a range are taken, and what is just beyond is not.
#[track_caller]
fn taken<T: FromStr>(texts: &[&str]) {
    texts.iter().for_each(|text| assert!(text.parse::<T>().is_ok(), "{text} is refused"));
}

#[track_caller]
fn refused<T: FromStr>(texts: &[&str]) {
    texts.iter().for_each(|text| assert!(text.parse::<T>().is_err(), "{text} is taken"));
}

#[test]
fn every_range_has_its_ends() {
    taken::<Rate>(&["0.001", "1000", "native", "max"]);
    refused::<Rate>(&["0.0009", "1000.1", "", "Max"]);
    taken::<SizeText>(&["1x1", "16384x16384"]);
    refused::<SizeText>(&["0x1", "1x0", "16385x1", "1x16385", "1x", "x1", "1X1", "1x1x1"]);
    taken::<MaskSize>(&["picture", "1x1"]);
    refused::<MaskSize>(&["auto", "0x1"]);
    taken::<Threads>(&["1", "64"]);
    refused::<Threads>(&["0", "65", "-1", "1.5"]);
    taken::<FourCc>(&["YUYV", "mjpg", "Y16-"]);
    refused::<FourCc>(&["YUV", "YUYV2", "Y16 ", "Y\u{e9}Y"]);
    taken::<Seconds>(&["0", "31536000", "8760h", "0.5 min"]);
    refused::<Seconds>(&["31536001", "8761h", "1d", "s", "inf", "nan"]);
    taken::<Bytes>(&["0", "1B", "17179869183GiB"]);
    refused::<Bytes>(&["17179869184GiB", "1kB", "-1", "1.5", ""]);
    taken::<Pin>(&["off", "0", "27"]);
    refused::<Pin>(&["28", "Off", "256"]);
    taken::<Fraction>(&["1", "0.000001"]);
    refused::<Fraction>(&["0", "-0.1", "1.0000001", ""]);
    taken::<Auto<Threads>>(&["auto", "1"]);
    refused::<Auto<Threads>>(&["Auto", "0"]);
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
    for (text, printed) in [("yuyv", "YUYV"), ("MJPG", "MJPG"), ("a\"b.", "A\\\"B.")] {
        assert_eq!(text.parse::<FourCc>().unwrap().to_string(), printed);
    }
    assert_eq!(
        [FourCc(*b"Y16 "), FourCc([b'Y', b'1', b'6', b' ' | 0x80])].map(|code| code.to_string()),
        ["Y16", "Y16-BE"]
    );
}

#[test]
fn a_number_counts_as_its_text_and_nothing_else_does() {
    #[derive(Debug, Deserialize)]
    struct One {
        value: Rate,
    }
    let read = |text: &str| toml::from_str::<One>(&format!("value = {text}")).map(|one| one.value);
    for text in ["12", "12.0", "'12'"] {
        assert_eq!(read(text).unwrap(), Rate::Fps(12.0), "{text}");
    }
    for text in ["true", "[12]", "2026-11-22"] {
        let error = read(text).unwrap_err();
        assert!(error.message().contains("a string or a number"), "{error}");
    }
}
