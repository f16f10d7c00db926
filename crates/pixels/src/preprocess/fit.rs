//! How a picture of another shape fits the model's input.

use serde::{Deserialize, Serialize};

/// How a picture of another shape fits the model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Over the whole input; the picture's proportions change.
    #[default]
    Stretch,
    /// As large as fits in its own proportions, in the middle, with bars beside it.
    Letterbox,
}
