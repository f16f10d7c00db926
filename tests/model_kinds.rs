//! Kinds of models that people have, through the real binary: each gives the masks of the colour model, and what is special about it
//! is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use support::clips::read_png;
use support::{colours, finish, media, model, pspnetd, Finished};

/// `predict` of a picture with eight colours, and the classes of its pixels.
#[track_caller]
fn predicted(model: &Path, settings: &[&str]) -> (Finished, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pspnetd(["predict", "--set", "model.threads=1", "--model"]);
    command.arg(model).arg(media("colours/1_vertical.png")).arg("-o").arg(folder.path());
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let finished = finish(command).expect(0);
    let (_, ids, _) = read_png(&folder.path().join("1_vertical_mask.png"));
    (finished, ids)
}

#[test]
fn a_model_that_xnnpack_can_not_prepare_runs_without_it_and_that_is_said_with_the_reason() {
    let expected = predicted(&colours(), &[]).1;
    for isolation in ["engine.isolation=process", "engine.isolation=none"] {
        let (finished, ids) = predicted(&model("colours_96x64_int8_beyond_xnnpack"), &[isolation]);
        assert_eq!(ids, expected, "{isolation}");
        finished.says(["without XNNPACK, so slower: failed to create XNNPACK runtime"]);
    }
}
