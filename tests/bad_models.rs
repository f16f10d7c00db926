//! Models that can't run here: refused at start with what was found and what is expected, exit code 78, no crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::path::Path;

use infer::TfliteEngine;
use model::{ModelError, ModelFile};

use support::{colours, colours_with, finish, media, model, pspnetd, Finished};

fn with_model(subcommand: &str, model: &Path) -> Finished {
    let mut command = pspnetd([subcommand, "--camera", "pattern:64x64", "--set", "model.threads=1"]);
    command.arg("--model").arg(model);
    finish(command)
}

/// `run` and `check` must refuse `model` with the same words, which are returned.
#[track_caller]
fn refusal(model: &Path) -> String {
    let last = |finished: Finished| finished.expect(78).stderr.lines().last().unwrap_or_default().to_owned();
    let words = last(with_model("run", model));
    assert_eq!(words, last(with_model("check", model)));
    words
}

#[test]
fn every_unfit_model_is_refused_with_what_was_found_and_expected() {
    let cases = [
        ("refused_float32", "input float32 [1, 64, 96, 3]"),
        ("refused_float32_out", "output float32 [1, 8, 12, 8]"),
        ("refused_int16", "input int16 [1, 64, 96, 3]"),
        ("refused_4_channels", "4 channels, not 3"),
        ("refused_1_channel", "1 channels, not 3"),
        ("refused_nchw", "channels come first"),
        ("refused_nchw_in", "channels come first"),
        ("refused_nchw_out", "is it NHWC?"),
        ("refused_batch2", "batch must be 1"),
        ("refused_two_inputs", "2 inputs (int8 [1, 64, 96, 3], int8 [1, 64, 96, 3]); expected one input"),
        ("refused_two_outputs", "2 outputs (int8 [1, 8, 12, 8], int32 [1, 8, 12]); expected one output"),
        ("refused_constant_input", "a constant of the file"),
        ("refused_dynamic", "static shape"),
        ("refused_dynamic_pool", "tensors can't be laid out"),
        ("refused_1_class", "2 or more classes"),
        ("refused_300_classes", "more than 255 classes"),
        ("refused_output_aspect", "4.0 input columns but 8.0 rows"),
        ("refused_picture_classifier", "one answer for the whole picture"),
        ("refused_edgetpu", "compiled for the Edge TPU"),
        (
            "refused_aborts",
            "a model that ends TensorFlow Lite's process while it is loaded: SIGABRT; expected one that TensorFlow",
        ),
    ];
    let folder = model("refused_float32").parent().unwrap().to_owned();
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("refused_"))
        .collect();
    let mut tried = cases.map(|(name, _)| name);
    tried.sort_unstable();
    there.sort();
    assert_eq!(there, tried);
    for (name, found) in cases {
        let words = refusal(&model(name));
        assert!(words.contains(found) && words.contains("; expected "), "{name}: {words}");
        assert!(words.contains(&format!("{name}.tflite")), "{words}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("not a file; expected a .tflite file"));
    assert!(refusal(&folder.path().join("none.tflite")).contains("No such file"));
    let path = folder.path().join("m.tflite");
    for (bytes, expected) in [
        (&b""[..], "an empty file"),
        (b"hello, this is no model", "no TFL3 mark"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "a Git LFS pointer, which only names the model",
        ),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model: onnx2tf -oiqt converts it"),
        (b"\x1c\0\0\0TFL3", "a damaged TensorFlow Lite file"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let words = refusal(&path);
        assert!(words.contains(expected) && words.contains("expected"), "{words}");
    }
    assert!(refusal(&media("colours.y4m")).contains("no TFL3 mark"));
}

#[test]
fn a_tensor_name_that_is_no_text_is_refused_without_a_panic() {
    let mut bytes = std::fs::read(colours()).unwrap();
    let name = b"image";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("the input's name");
    bytes[at] = 0xFF;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    std::fs::write(&path, bytes).unwrap();
    assert!(refusal(&path).contains("a file whose tensors can't be read; expected a valid .tflite file"));
}

/// The colour model with the bytes at `at` replaced.
fn edited(at: usize, was: &[u8], becomes: &[u8]) -> Vec<u8> {
    let mut bytes = std::fs::read(colours()).unwrap();
    assert_eq!(bytes[at..at + was.len()], *was, "the model was made anew: its scales lie elsewhere");
    bytes[at..at + becomes.len()].copy_from_slice(becomes);
    bytes
}

#[test]
fn scales_zero_points_and_shapes_that_no_tensor_has_are_refused_by_the_tensors_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    // Where input, output and the second channel of the weights have theirs.
    const INPUT: usize = 1076;
    const OUTPUT: usize = 532;
    const WEIGHTS: usize = 856;
    let scales = [0.0_f32, -0.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let places = [(INPUT, 1.0_f32 / 255.0, "image"), (OUTPUT, 0.023529412, ""), (WEIGHTS, 0.015748031, "")];
    for (at, was, name) in places {
        for scale in scales {
            std::fs::write(&path, edited(at, &was.to_le_bytes(), &scale.to_le_bytes())).unwrap();
            let words = refusal(&path);
            let of_channel = if at == WEIGHTS { " for channel 1" } else { "" };
            assert!(words.contains(&format!("m.tflite: tensor \"{name}")), "{words}");
            let rest = format!("\" with a scale of {scale}{of_channel}; expected scales that are finite and above 0");
            assert!(words.contains(&rest), "{words}");
        }
    }
    for point in [-129_i64, 128, i64::MIN, 1 << 40] {
        std::fs::write(&path, edited(1064, &(-128_i64).to_le_bytes(), &point.to_le_bytes())).unwrap();
        let words = refusal(&path);
        let rest = format!(
            "tensor \"image\" with a zero point of {point}; expected zero points that int8 can hold, -128 to 127"
        );
        assert!(words.contains(&rest), "{words}");
    }
    let shape = |shape: [i32; 4]| shape.map(i32::to_le_bytes).concat();
    for (large, found) in
        [([1, 1 << 14, 1 << 14, 3], "the shape [1, 16384, 16384, 3]"), ([1, -64, 96, 3], "an extent of -64")]
    {
        std::fs::write(&path, edited(1096, &shape([1, 64, 96, 3]), &shape(large))).unwrap();
        let words = refusal(&path);
        assert!(words.contains(&format!("tensor \"image\" with {found}; expected ")), "{words}");
    }
}

#[test]
fn a_manifest_that_disagrees_with_its_model_is_refused() {
    let folder = colours_with(str::to_owned);
    with_model("check", &folder.path().join("model.tflite")).expect(0);
    type Edit = fn(&str) -> String;
    let cases: [(Edit, &str); 9] = [
        (|text| text.replace("82cca278", "00000000"), "model.tflite is damaged or another version"),
        (|text| text.rsplit_once("[[classes]]").unwrap().0.to_owned(), "names 7 classes, the model's output has 8"),
        (|text| text.replace("\"cyan\"", "\"red\""), "\"red\" is there twice"),
        (|text| text.replace("#00ffff", "teal"), "expected #rrggbb"),
        (|text| text.replace("licence", "license"), "line 3: unknown field `license`"),
        (|text| text.replace("color = \"#00ffff\"", "groups = \"cold\""), "unknown field `groups`"),
        (|text| text.replace("color = \"#00ffff\"", "group = \"\""), "the group of \"cyan\" is empty"),
        (|text| format!("{text}[training]\nepochs = 3\n"), "unknown field `epochs`"),
        (|text| format!("{text}[metrics]\nmiou = nan\n"), "metrics: miou is NaN; expected a finite number"),
    ];
    for (edit, expected) in cases {
        let folder = colours_with(edit);
        let words = refusal(&folder.path().join("model.tflite"));
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn a_model_cut_at_any_byte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    let load = || -> Result<TfliteEngine, ModelError> { TfliteEngine::new(&ModelFile::load(&path)?, 1) };
    let street = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/street-bootstrap/model.tflite");
    for model in [model("colours_96x64_int8"), model("argmax_96x64_int64_full"), street] {
        let bytes = std::fs::read(&model).unwrap();
        let length = bytes.len();
        let between = (1..200).map(|n| 400 + n * (length - 600) / 200);
        for cut in (0..400).chain(between).chain(length - 200..length) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(load().is_err(), "{} cut to {cut} bytes was taken", model.display());
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(load().is_ok());
        for cut in [0, 7, 8, length / 3, length - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let words = refusal(&path);
            assert!(words.contains("m.tflite: ") && words.contains("; expected "), "{words}");
        }
    }
}

/// Bit flips that are the same in every run: a step through the file that no power of two divides.
fn flips(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..count).map(|n| {
        let mut flipped = bytes.to_vec();
        let bit = n * 7919 % (bytes.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn a_flipped_bit_under_a_manifest_never_reaches_tensorflow() {
    let folder = colours_with(str::to_owned);
    let path = folder.path().join("model.tflite");
    for flipped in flips(&std::fs::read(colours()).unwrap(), 100) {
        std::fs::write(&path, flipped).unwrap();
        let words = with_model("check", &path).expect(78).stderr;
        assert!(words.contains("the model's digest is") || words.contains("no TFL3 mark"), "{words}");
        assert!(!words.contains("TensorFlow Lite XNNPACK"), "{words}");
    }
}

#[test]
fn a_flipped_bit_without_a_manifest_is_refused_or_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    let (mut crashes, count) = (0, 300);
    for flipped in flips(&std::fs::read(colours()).unwrap(), count) {
        std::fs::write(&path, flipped).unwrap();
        let mut command = pspnetd(["predict", "--json", "--set", "model.threads=1", "--model"]);
        let finished = finish({
            command.arg(&path).arg(media("colours/1_vertical.png"));
            command
        });
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        // TensorFlow Lite trusts operator codes and tensor lists: a file that verifies can still make it read out of bounds. That
        // ends its own process.
        let words = finished.stderr.lines().last().unwrap_or_default();
        crashes += usize::from(words.contains("ends TensorFlow Lite's process while it is loaded: SIG"));
        assert!(matches!(finished.status.code(), Some(0 | 78)), "{:?}:\n{}", finished.status, finished.stderr);
    }
    println!("TensorFlow Lite crashed on {crashes} of {count} files");
    assert!(crashes * 50 <= count, "{crashes} of {count} crashed");
}
