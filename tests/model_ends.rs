//! What is read of a model file without running it is what TensorFlow Lite says of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use infer::{Engine as _, TfliteEngine};
use model::io;
use model::{ModelError, ModelFile};

use support::{models, models_below};

#[test]
fn both_ends_of_every_model_are_those_that_the_engine_finds() {
    let (mut taken, mut refused) = (0, 0);
    for path in models_below("models").into_iter().chain(models()) {
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
