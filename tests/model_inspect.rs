//! `pspnetd model inspect`: what it says of models for the CPU, of compiled ones, of pairs, and of damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;

use support::{colours, finish, model, pspnetd, Finished};

fn inspect(path: &Path, flags: &[&str]) -> Finished {
    let mut command = pspnetd(["model", "inspect"]);
    command.args(flags).arg(path);
    finish(command)
}

#[track_caller]
fn text(path: &Path) -> String {
    inspect(path, &[]).expect(0).stdout
}

#[track_caller]
fn json(path: &Path) -> Value {
    serde_json::from_str(&inspect(path, &["--json"]).expect(0).stdout).unwrap()
}

fn coral(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kit/tests/data").join(format!("{name}.tflite"))
}

/// A folder with the colour model and a compiled one of the same ends, as `model.tflite` and `model_edgetpu.tflite`.
fn pair() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(colours(), folder.path().join("model.tflite")).unwrap();
    std::fs::copy(model("refused_edgetpu"), folder.path().join("model_edgetpu.tflite")).unwrap();
    folder
}

#[track_caller]
fn has(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn a_model_for_the_cpu_is_told_with_its_ends_and_operators() {
    let said = text(&colours());
    has(
        &said,
        &[
            "1168 bytes, SHA-256 82cca278",
            "input   int8 [1, 64, 96, 3] 'image', scale 0.003921569, zero point -128",
            "output  int8 [1, 8, 12, 8] 'logits', scale 0.023529412, zero point 0",
            "\n  pspnetd can use it\n",
            "manifest: colours 1.0.0",
            "AVERAGE_POOL_2D v2",
            "2 of 2 operators, 0 on the CPU",
            "Everything maps.",
        ],
    );
    let value = json(&colours());
    assert_eq!((&value["compiled"], &value["usable"], &value["passes"]), (&false.into(), &true.into(), &true.into()));
    assert_eq!(value["inputs"][0]["zero_point"], -128);
    assert_eq!(value["manifest"]["name"], "colours");
    assert_eq!((&value["parameter_bytes"], &value["parameters_fit"]), (&56.into(), &true.into()));
    assert_eq!(value["operators"][1]["name"], "CONV_2D");
}

#[test]
fn what_does_not_map_is_told_with_reason_and_remedy() {
    let said = text(&model("argmax_96x64_int64_full"));
    has(
        &said,
        &[
            "2 of 4 operators, 2 on the CPU",
            "Does not map:\n  RESIZE_BILINEAR v3, operator 2\n    half_pixel_centers=True",
            "to do: train and export with align_corners=True",
            "ARG_MAX v2, operator 3\n    is not among the supported operators (docs)",
            "Not everything maps.",
        ],
    );
    let value = json(&model("argmax_96x64_int64_full"));
    assert_eq!((&value["first_refused"], &value["operators_on_cpu"]), (&2.into(), &2.into()));
    assert_eq!(value["operators"][2]["findings"][0]["refused"], true);
}

#[test]
fn what_is_split_off_is_told_with_what_splits_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/street-bootstrap/model.tflite");
    let value = json(&path);
    let operators = value["operators"].as_array().unwrap();
    let behind = operators.iter().filter(|operator| operator["status"] == "split off").count();
    let first = value["first_refused"].as_u64().unwrap();
    let name = operators[first as usize]["name"].as_str().unwrap();
    let words =
        format!("{behind} that would map are split off: one subgraph is compiled, and the graph splits at operator");
    has(&text(&path), &[&format!("{words} {first}, {name}")]);
    assert!(behind > 0);
}

#[test]
fn a_model_that_can_not_run_here_is_told_why() {
    let said = text(&model("refused_float32"));
    has(&said, &["only 8-bit tensors map (docs)", "pspnetd can't use it: input float32 [1, 64, 96, 3]"]);
    assert!(json(&model("refused_nchw"))["unusable_because"].as_str().unwrap().contains("channels come first"));
}

#[test]
fn every_operator_of_the_shipped_models_maps_as_far_as_is_known() {
    for name in ["accurate", "bootstrap", "fast", "nano"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/street-{name}/model.tflite"));
        let value = json(&path);
        assert_eq!(value["usable"], true, "{name}");
        assert_eq!(value["parameters_fit"], true, "{name}");
        // The first one upsamples from a 1x1 map, which no compiler is known to map.
        assert_eq!(value["passes"], name != "bootstrap", "{name}: {}", value["first_refused"]);
    }
}

#[test]
fn a_compiled_model_is_told_with_its_package() {
    let path = coral("split_concat_edgetpu");
    has(
        &text(&path),
        &[
            "split_concat.tflite, which agrees",
            "Compiled operators: 1, on the CPU: 0",
            "needs runtime version 13; made by compiler 'cl/343520747'",
            "parameters: 192 bytes stay on the chip, 0 are streamed on every run",
            "program that loads parameters: chip 'beagle', batch 1, 1232 bytes of instructions, 192 of parameters",
        ],
    );
    let value = json(&path);
    let package = &value["packages"][0];
    assert_eq!((&package["min_runtime_version"], &package["parameter_bytes_on_chip"]), (&13.into(), &192.into()));
    assert_eq!(package["executables"][0]["kind"], "execution_only");
    assert_eq!((&value["compiled"], &value["parameter_bytes"]), (&true.into(), &Value::Null));
    assert!(text(&model("refused_edgetpu")).contains("an operator without a DarwiNN package"));
}

#[test]
fn halves_of_a_pair_find_each_other() {
    let folder = pair();
    let (cpu, compiled) = (folder.path().join("model.tflite"), folder.path().join("model_edgetpu.tflite"));
    has(&text(&cpu), &["the half for the Edge TPU: ", "model_edgetpu.tflite, which agrees"]);
    has(&text(&compiled), &["the half for the CPU: ", "model.tflite, which agrees", "can use it, on an Edge TPU"]);
    assert_eq!(json(&cpu)["other_half"]["sha256"], json(&compiled)["sha256"]);
    std::fs::remove_file(&compiled).unwrap();
    assert!(text(&cpu).contains("the half for the Edge TPU: none beside it"));
}

/// Inspecting `file` of `folder` must tell it all, and then end with a problem that has `words`.
#[track_caller]
fn problem(folder: &tempfile::TempDir, file: &str, words: &str) {
    let path = folder.path().join(file);
    let said = inspect(&path, &[]).expect(78).says([words]);
    has(&said.stdout, &["  input   int8 [1, 64, 96, 3] 'image'", &format!("problem: {}", "m"), words]);
    let value: Value = serde_json::from_str(&inspect(&path, &["--json"]).expect(78).stdout).unwrap();
    assert!(value["problems"][0].as_str().unwrap().contains(words), "{value}");
}

#[test]
fn halves_that_do_not_belong_together_are_a_problem() {
    let folder = pair();
    let half = |name: &str| folder.path().join(name);
    std::fs::write(half("manifest.toml"), "name = 'm'\n[edgetpu]\nsha256 = '00'\n").unwrap();
    problem(&folder, "model.tflite", "edgetpu: the compiled model's digest is 032c0abe");
    problem(&folder, "model_edgetpu.tflite", "edgetpu: the compiled model's digest is 032c0abe");
    std::fs::write(half("manifest.toml"), "name = 'm'\n[edgetpu]\npath = 'gone.tflite'\n").unwrap();
    problem(&folder, "model.tflite", "gone.tflite is not there; put it beside the model, or take the section out");
    std::fs::remove_file(half("manifest.toml")).unwrap();
    std::fs::copy(model("colours_320x240_int8"), half("model.tflite")).unwrap();
    problem(&folder, "model_edgetpu.tflite", "its input is int8 [1, 64, 96, 3] with scale 0.003921569");
    std::fs::copy(colours(), half("model.tflite")).unwrap();
    std::fs::copy(colours(), half("model_edgetpu.tflite")).unwrap();
    problem(
        &folder,
        "model.tflite",
        "a model that is not compiled for the Edge TPU; expected what edgetpu_compiler made",
    );
    std::fs::write(half("model_edgetpu.tflite"), "nothing").unwrap();
    problem(&folder, "model.tflite", "not a TensorFlow Lite file");
}

#[test]
fn a_compiled_half_is_refused_on_the_cpu_with_the_name_of_the_right_file() {
    let folder = pair();
    for subcommand in ["run", "check"] {
        let mut command = pspnetd([subcommand, "--set", "engine.kind=cpu", "--camera", "pattern:64x64", "--model"]);
        command.arg(folder.path().join("model_edgetpu.tflite"));
        let words = ["compiled for the Edge TPU, which the CPU can't run; expected the CPU model", "/model.tflite)"];
        finish(command).expect(78).says(words);
    }
    // The pair is no burden to those who only have a CPU.
    std::fs::write(folder.path().join("model_edgetpu.tflite"), "nothing").unwrap();
    let check = |kind: &str| {
        let kind = format!("engine.kind={kind}");
        let mut command = pspnetd(["check", "--set", &kind, "--camera", "pattern:64x64", "--model"]);
        command.arg(folder.path().join("model.tflite"));
        finish(command)
    };
    check("cpu").expect(0);
    check("auto").expect(78).says(["model_edgetpu.tflite", "no TFL3 mark"]);
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    inspect(&path, &[]).expect(78).says(["m.tflite: No such file"]);
    inspect(folder.path(), &[]).expect(78).says(["not a file"]);
    for (bytes, words) in
        [(&b""[..], "an empty file"), (b"\x1c\0\0\0TFL3", "a damaged TensorFlow Lite file (its structure")]
    {
        std::fs::write(&path, bytes).unwrap();
        let said = inspect(&path, &[]).expect(78).says([words, "; expected "]);
        assert_eq!(said.stdout, "");
    }
    finish(pspnetd(["model"])).expect(2);
    finish(pspnetd(["model", "inspect"])).expect(2);
}

#[test]
fn damaged_files_are_told_or_refused_without_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tflite");
    for whole in [colours(), coral("split_concat_edgetpu")] {
        let whole = std::fs::read(whole).unwrap();
        for n in 0..40 {
            let mut bytes = whole.clone();
            let bit = n * 7919 % (whole.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let finished = inspect(&path, if n % 2 == 0 { &[] } else { &["--json"] });
            assert!(
                matches!(finished.status.code(), Some(0 | 78)),
                "bit {bit}: {:?}\n{}",
                finished.status,
                finished.stderr
            );
            assert!(!finished.stderr.contains("panicked"), "bit {bit}: {}", finished.stderr);
        }
        std::fs::write(&path, &whole[..whole.len() / 3]).unwrap();
        inspect(&path, &[]).expect(78);
    }
}

#[test]
fn a_damaged_package_is_a_problem_and_the_rest_is_told() {
    let mut bytes = std::fs::read(coral("split_concat_edgetpu")).unwrap();
    let mark = bytes.windows(4).position(|four| four == b"DWN1").unwrap();
    bytes[mark - 4..mark].fill(0xff);
    let (_folder, path) = support::file("m.tflite", &bytes);
    let said = inspect(&path, &[]).expect(78).says(["a damaged package for the Edge TPU (its structure"]);
    has(&said.stdout, &["Compiled operators: 1", "problem: model "]);
}

#[test]
fn names_from_a_file_can_not_steer_the_terminal() {
    let mut bytes = std::fs::read(colours()).unwrap();
    let name = b"image";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at] = 0x1b;
    let (_folder, path) = support::file("m.tflite", &bytes);
    assert!(text(&path).contains("'\\u{1b}mage'"));
    bytes[at] = 0xff;
    std::fs::write(&path, bytes).unwrap();
    assert!(text(&path).contains("'\u{fffd}mage'"));
}
