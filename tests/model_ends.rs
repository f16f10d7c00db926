//! What is read of a model file without running it is what TensorFlow Lite says of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use infer::{Engine as _, TfliteEngine};
use model::io;
use model::{ModelError, ModelFile};

use support::model;

fn models() -> Vec<PathBuf> {
    let folders = [Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), model("x").parent().unwrap().to_owned()];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let models = paths.map(|path| if path.is_dir() { path.join("model.tflite") } else { path });
    models.filter(|path| path.extension().is_some_and(|extension| extension == "tflite") && path.is_file()).collect()
}

#[test]
fn both_ends_of_every_model_are_those_that_the_engine_finds() {
    let (mut taken, mut refused) = (0, 0);
    for path in models() {
        // A compiled model has no engine here.
        let Ok(file) = ModelFile::load(&path) else { continue };
        match (TfliteEngine::new(&file, 1), io(&file)) {
            (Ok(engine), Ok(read)) => {
                assert_eq!(*engine.io(), read, "{}", path.display());
                taken += 1;
            }
            (Err(ModelError::Unfit { found, .. }), _)
                if found.contains("laid out") || found.contains("interpreter") => {}
            (Err(engine), Err(read)) => {
                assert_eq!(engine, read);
                refused += 1;
            }
            (engine, read) => panic!("{}: {:?} {read:?}", path.display(), engine.err()),
        }
    }
    assert!(taken >= 18 && refused >= 14, "{taken} taken, {refused} refused");
}
