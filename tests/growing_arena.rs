//! A model whose output tensor moves: TensorFlow Lite's arena grows in the middle of an inference, and what is read after it is
//! the tensor, not the freed memory where it lay before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use support::{area, finish, media, model, pspnetd, records, replay, run, with};

/// The same network in both sizes; in the large one the memory where the output lay before is unmapped.
const GROWS: [&str; 2] = ["colours_96x64_int8_grows", "colours_768x512_int8_grows"];

/// Vertical stripes of known colours.
fn stripes() -> PathBuf {
    media("colours").join("1_vertical.png")
}

#[test]
fn predict_gives_the_areas_of_the_same_network_that_does_not_move() {
    let predict = |name: &str| {
        let mut command = pspnetd(["predict", "--json", "--set", "model.threads=1"]);
        command.arg("--model").arg(model(name)).arg(stripes());
        records(&finish(command).expect(0).stdout).remove(0)["classes"].clone()
    };
    let expected = predict("colours_96x64_int8");
    assert_eq!(predict(GROWS[0]), expected);
    // Its grid is finer, so the stripes' edges lie elsewhere, by half a cell at most.
    let large = predict(GROWS[1]);
    for (class, area) in expected.as_object().unwrap() {
        let (expected, found) = (area.as_f64().unwrap(), large[class].as_f64().unwrap());
        assert!((found - expected).abs() < 0.05, "{class}: {found}, expected {expected}");
    }
}

#[test]
fn check_and_run_take_such_a_model() {
    let plain = finish(with(run(&model("colours_96x64_int8"), &replay("colours.mjpeg")), ["camera.rate=max"]));
    let plain = plain.expect(0).records();
    for name in GROWS {
        let mut check = pspnetd(["check", "--camera", "pattern:96x64", "--set", "model.threads=1"]);
        check.arg("--model").arg(model(name));
        finish(check).expect(0);
        let found = finish(with(run(&model(name), &replay("colours.mjpeg")), ["camera.rate=max"])).expect(0).records();
        assert_eq!(found.len(), plain.len());
        for (found, plain) in found.iter().zip(&plain) {
            for class in plain["classes"].as_object().unwrap().keys() {
                assert!((area(found, class) - area(plain, class)).abs() < 0.05, "{name}, {class}: {found}, {plain}");
            }
        }
    }
}
