//! Reads a TensorFlow Lite file into plain values: tensors, operators and the graph between them, without running anything.
//! Damaged bytes give an error, never a panic. What the values mean is left to others.
//!
//! The values are here. `schema` says where they lie in a file, `names` what the file's numbers stand for, and `read` gets the
//! values from there. `vet` looks for values that a runtime can't survive.

mod foreign;
mod names;
mod read;
mod schema;
mod vet;

use std::borrow::Cow;
use std::fmt;

pub use super::flatbuffer::Damage;
use super::flatbuffer::IDENTIFIER_AT;
pub use vet::{vet, Needs, Unsound, MOST_ELEMENTS};

/// What a file must be that this module reads, for messages.
pub const EXPECTED: &str = "an int8 model in a .tflite file";

/// Whether `bytes` carry the mark of a TensorFlow Lite file; what they are instead.
///
/// # Errors
/// A phrase for a message.
pub fn check_mark(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes.get(IDENTIFIER_AT..) {
        Some(rest) if rest.starts_with(schema::IDENTIFIER) => Ok(()),
        _ if bytes.is_empty() => Err("an empty file"),
        _ => Err(foreign::kind_of(bytes).unwrap_or("not a TensorFlow Lite file (no TFL3 mark)")),
    }
}

/// The custom code of what the Edge TPU's compiler makes.
pub const EDGETPU_OPERATOR: &str = "edgetpu-custom-op";

/// Weights of FULLY_CONNECTED as they are, not shuffled: the schema's FullyConnectedOptionsWeightsFormat.DEFAULT.
pub const DEFAULT_WEIGHTS_FORMAT: i8 = 0;

/// Dimensions of a tensor, at most; TensorFlow Lite's own operators know up to eight.
const MOST_DIMENSIONS: usize = 64;

/// Values of a constant that lists axes, strides or paddings, at most; more are no such list.
const MOST_VALUES: usize = 4 * MOST_DIMENSIONS;

/// The main subgraph of a file.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    /// Free text.
    pub description: Cow<'a, str>,
    /// By their numbers.
    pub tensors: Vec<Tensor<'a>>,
    /// In execution order.
    pub operators: Vec<Operator<'a>>,
    /// Tensors that come in.
    pub inputs: Vec<usize>,
    /// Tensors that go out.
    pub outputs: Vec<usize>,
    /// Subgraphs of the file; more than one where there are loops or branches.
    pub subgraphs: usize,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Element type: `int8`, `float32` and so on; `type 99` for one that is newer than this program.
    pub kind: Cow<'static, str>,
    /// Its shape. Extents that aren't fixed are 1, or below.
    pub shape: Vec<i32>,
    /// Its size is not fixed.
    pub is_dynamic: bool,
    /// It is kept from one run to the next, as an LSTM's cells.
    pub is_state: bool,
    /// How many quantisation scales: 0 none, 1 for the tensor, more for its channels.
    pub scales: usize,
    /// Scale and zero point of a tensor that has one of each.
    pub quantisation: Option<(f32, i64)>,
    /// The values of a constant.
    pub data: Option<&'a [u8]>,
}

/// One operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator<'a> {
    /// Of the schema, such as `CONV_2D`; the custom code of a custom operator.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: i32,
    /// Tensors; an optional one that is left out is None.
    pub inputs: Vec<Option<usize>>,
    /// Tensors.
    pub outputs: Vec<usize>,
    /// What decides whether it maps.
    pub options: Options,
    /// What only a custom operator's own code understands.
    pub custom: &'a [u8],
}

/// Options of operators, as far as they matter here. What an operator doesn't have is as in [`Options::default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The fused activation: `NONE`, `RELU6` and so on.
    pub activation: &'static str,
    /// Down and across.
    pub dilation: (i32, i32),
    /// Height and width of a pool.
    pub filter: (i32, i32),
    /// Of the weights of FULLY_CONNECTED: [`DEFAULT_WEIGHTS_FORMAT`], or another.
    pub weights_format: i8,
    /// Of PACK and CONCATENATION.
    pub axis: i32,
    /// Of STRIDED_SLICE.
    pub ellipsis_mask: i32,
    /// Of STRIDED_SLICE.
    pub new_axis_mask: i32,
    /// Of both resizes.
    pub half_pixel_centers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            activation: names::NO_ACTIVATION,
            dilation: (1, 1),
            filter: (0, 0),
            weights_format: DEFAULT_WEIGHTS_FORMAT,
            axis: 0,
            ellipsis_mask: 0,
            new_axis_mask: 0,
            half_pixel_centers: false,
        }
    }
}

impl Tensor<'_> {
    /// Its elements; an unknown extent counts as 1.
    pub fn elements(&self) -> u64 {
        let extents = self.shape.iter().map(|&extent| u64::try_from(extent).unwrap_or(1));
        extents.fold(1, u64::saturating_mul)
    }

    /// Its bytes; an element of a type that has no whole number of them counts as one.
    pub fn size(&self) -> u64 {
        self.elements().saturating_mul(names::element_bytes(&self.kind))
    }

    /// The first values of a constant of int32 or int64, such as a list of axes; empty where there are none.
    pub fn integers(&self) -> Vec<i64> {
        let data = self.data.unwrap_or_default();
        match self.kind.as_ref() {
            "int32" => words(data).map(i32::from_le_bytes).map(i64::from).collect(),
            "int64" => words(data).map(i64::from_le_bytes).collect(),
            _ => Vec::new(),
        }
    }
}

fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.chunks_exact(N).take(MOST_VALUES).filter_map(|word| word.try_into().ok())
}

impl fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.shape)
    }
}

impl<'a> Graph<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// Where its structure is broken.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        read::graph(bytes)
    }

    /// The input tensors.
    pub fn input_tensors(&self) -> impl Iterator<Item = &Tensor<'a>> {
        self.inputs.iter().filter_map(|&index| self.tensors.get(index))
    }

    /// The output tensors.
    pub fn output_tensors(&self) -> impl Iterator<Item = &Tensor<'a>> {
        self.outputs.iter().filter_map(|&index| self.tensors.get(index))
    }

    /// It has an operator that only an Edge TPU can run.
    pub fn is_compiled(&self) -> bool {
        self.operators.iter().any(|operator| operator.name == EDGETPU_OPERATOR)
    }
}

#[cfg(test)]
mod tests;
