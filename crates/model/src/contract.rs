//! What a model must look like to run here, told from its tensors alone.
//!
//! Accepted: one input NHWC `[1, h, w, 3]` of int8 or uint8; one output that is either logits `[1, h', w', classes]` of
//! int8 or uint8 at any stride, or class ids `[1, h', w']` (or `[1, h', w', 1]`, `[h', w']`) of uint8, int32 or int64.
//! Everything else is refused with what was found and what is expected.

use std::fmt;

use pixels::frame::Size;
use pixels::segment::{LabelType, OutputKind, OutputSpec, ScoreType, VOID};
use serde::{Deserialize, Serialize};

use crate::tflite::{self, Damage, Graph, Needs, Tensor, Unsound};
use crate::{ModelError, ModelFile};

/// The largest side of an input or output.
const LARGEST_SIDE: usize = 8192;

/// Channels of the input: R, G and B.
const CHANNELS: usize = 3;

/// Classes, at most. A mask has a byte for each pixel, and [`VOID`] is none of them.
pub(super) const MOST_CLASSES: usize = VOID as usize;

/// Element type of a tensor, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TensorType {
    /// Signed bytes.
    Int8,
    /// Unsigned bytes.
    Uint8,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// Any other, by its name.
    Other(String),
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int8 => f.write_str("int8"),
            Self::Uint8 => f.write_str("uint8"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// One tensor at an end of a model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub kind: TensorType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Scale and zero point, where it has them.
    pub quantisation: Option<(f32, i32)>,
    /// Its bytes lie in the file.
    pub is_constant: bool,
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.shape)
    }
}

/// Both ends of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelIo {
    /// The input tensor.
    pub input: InputSpec,
    /// The output tensor.
    pub output: OutputSpec,
}

/// The input tensor: NHWC `[1, height, width, 3]`, R G B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Width and height.
    pub size: Size,
    /// int8 rather than uint8.
    pub signed: bool,
    /// real = scale * (value - `zero_point`). Zero where the model doesn't say.
    pub scale: f32,
    /// The value that means 0.
    pub zero_point: i32,
}

impl InputSpec {
    /// Bytes of the whole tensor.
    pub const fn bytes(&self) -> usize {
        self.size.pixels() * CHANNELS
    }
}

/// What was found, and what is expected instead.
pub(super) type Refusal = (String, String);

/// Both ends of `file`, read from its bytes; nothing is run. They are what TensorFlow Lite says of the same file.
///
/// # Errors
/// When the file is damaged, or isn't a model that this program can use.
pub fn io(file: &ModelFile) -> Result<ModelIo, ModelError> {
    vet(file)?;
    let graph = Graph::read(&file.bytes).map_err(|damage| damaged(file, &damage))?;
    let inputs: Vec<TensorInfo> = graph.input_tensors().map(info).collect();
    let outputs: Vec<TensorInfo> = graph.output_tensors().map(info).collect();
    check(&inputs, &outputs).map_err(|(found, expected)| ModelError::unfit(&file.path, found, expected))
}

/// Checks every tensor of `file`, not only those at its ends. Returns what memory it needs.
///
/// # Errors
/// When the file is damaged, or a tensor has a scale, a zero point or a shape that it can't have.
pub fn vet(file: &ModelFile) -> Result<Needs, ModelError> {
    tflite::vet(&file.bytes).map_err(|unsound| match unsound {
        Unsound::Damage(damage) => damaged(file, &damage),
        Unsound::Tensor(found, expected) => ModelError::unfit(&file.path, found, expected),
    })
}

fn damaged(file: &ModelFile, damage: &Damage) -> ModelError {
    let found = format!("a damaged TensorFlow Lite file ({damage})");
    ModelError::unfit(&file.path, found, "a complete, valid .tflite file")
}

fn info(tensor: &Tensor<'_>) -> TensorInfo {
    let kind = match tensor.kind.as_ref() {
        "int8" => TensorType::Int8,
        "uint8" => TensorType::Uint8,
        "int32" => TensorType::Int32,
        "int64" => TensorType::Int64,
        other => TensorType::Other(other.to_owned()),
    };
    // As TensorFlow Lite counts: bytes have a scale, other integers don't, and a scale of 0 is none.
    let is_scaled = matches!(kind, TensorType::Int8 | TensorType::Uint8);
    let quantisation = tensor.quantisation.filter(|&(scale, _)| is_scaled && scale != 0.0);
    TensorInfo {
        name: tensor.name.clone().into_owned(),
        kind,
        shape: tensor.shape.iter().map(|&extent| usize::try_from(extent).unwrap_or(0)).collect(),
        // TensorFlow Lite keeps 32 bits of a zero point too.
        quantisation: quantisation.map(|(scale, zero_point)| (scale, zero_point as i32)),
        is_constant: tensor.data.is_some(),
    }
}

/// Accepts the model's ends or says what is wrong with them.
///
/// # Errors
/// What was found and what is expected, each as a phrase.
pub fn check(inputs: &[TensorInfo], outputs: &[TensorInfo]) -> Result<ModelIo, Refusal> {
    let input = input(one(inputs, "input")?)?;
    let output = output(one(outputs, "output")?, input.size)?;
    Ok(ModelIo { input, output })
}

fn one<'a>(tensors: &'a [TensorInfo], end: &str) -> Result<&'a TensorInfo, Refusal> {
    match tensors {
        [only] => Ok(only),
        _ => {
            let list: Vec<String> = tensors.iter().map(ToString::to_string).collect();
            Err((format!("{} {end}s ({})", tensors.len(), list.join(", ")), format!("one {end}")))
        }
    }
}

fn input(tensor: &TensorInfo) -> Result<InputSpec, Refusal> {
    const EXPECTED: &str = "int8 or uint8 NHWC [1, height, width, 3]";
    let refuse = |why: &str| Err((format!("input {tensor}{why}"), EXPECTED.to_owned()));
    let signed = match tensor.kind {
        TensorType::Int8 => true,
        TensorType::Uint8 => false,
        _ => return refuse(" (not an int8 model: quantise it with full-integer inputs and outputs)"),
    };
    let [batch, height, width, channels] = tensor.shape[..] else { return refuse("") };
    if tensor.is_constant {
        // Every picture would be written into the model, under the feet of everybody who has the same file.
        return refuse(" (a constant of the file: export it without values)");
    }
    if channels != CHANNELS && height == CHANNELS {
        return refuse(" (channels come first: export it as NHWC)");
    }
    if batch != 1 {
        return refuse(" (batch must be 1)");
    }
    if channels != CHANNELS {
        return refuse(&format!(" ({channels} channels, not {CHANNELS})"));
    }
    if height < 2 || width < 2 {
        return refuse(" (height and width must be fixed numbers: export it with a static shape)");
    }
    if height > LARGEST_SIDE || width > LARGEST_SIDE {
        return refuse(&format!(" (sides of at most {LARGEST_SIDE})"));
    }
    let (scale, zero_point) = tensor.quantisation.unwrap_or((0.0, 0));
    Ok(InputSpec { size: Size::new(width, height), signed, scale, zero_point })
}

const SINGLE_SCORE: &str = " (a single score per pixel: a model of 2 or more classes is needed)";

fn output(tensor: &TensorInfo, input: Size) -> Result<OutputSpec, Refusal> {
    const EXPECTED: &str =
        "int8 or uint8 logits [1, height, width, classes], or class ids [1, height, width] of uint8, \
                            int32 or int64";
    let refuse = |why: &str| Err((format!("output {tensor}{why}"), EXPECTED.to_owned()));
    let (height, width, depth) = match tensor.shape[..] {
        [1, _] => return refuse(" (one answer for the whole picture: a model that answers per pixel is needed)"),
        [height, width] => (height, width, 1),
        [1, height, width] => (height, width, 1),
        [1, height, width, depth] => (height, width, depth),
        _ => return refuse(""),
    };
    if height == 0 || width == 0 || depth == 0 || height > LARGEST_SIDE || width > LARGEST_SIDE {
        return refuse(&format!(" (sides of 1 to {LARGEST_SIDE})"));
    }
    // Class ids carry no scale; a byte per pixel that has one is a probability.
    let is_score = tensor.quantisation.is_some_and(|(scale, _)| scale != 1.0);
    let kind = match (&tensor.kind, depth) {
        (TensorType::Int8, 1) => return refuse(SINGLE_SCORE),
        (TensorType::Uint8, 1) if is_score => return refuse(SINGLE_SCORE),
        (TensorType::Uint8, 1) => OutputKind::Labels { label: LabelType::Uint8 },
        (TensorType::Int32, 1) => OutputKind::Labels { label: LabelType::Int32 },
        (TensorType::Int64, 1) => OutputKind::Labels { label: LabelType::Int64 },
        (_, classes) if classes > MOST_CLASSES => {
            return refuse(&format!(" (more than {MOST_CLASSES} classes)"));
        }
        (TensorType::Int8, classes) => logits(ScoreType::Int8, classes, tensor),
        (TensorType::Uint8, classes) => logits(ScoreType::Uint8, classes, tensor),
        (TensorType::Other(_), _) => return refuse(" (not an int8 model: quantise the output too)"),
        (_, _) => return refuse(""),
    };
    // Stride is the same both ways, up to what padding adds; anything else is another order of the axes.
    let (across, down) = (input.width as f64 / width as f64, input.height as f64 / height as f64);
    let slack = 1.0 + 1.5 / width.min(height).max(1) as f64;
    if across / down > slack || down / across > slack {
        return refuse(&format!(
            " (its shape doesn't match the input's {input}: {across:.1} input columns but {down:.1} rows per output \
             pixel; is it NHWC?)"
        ));
    }
    Ok(OutputSpec { height, width, kind })
}

fn logits(score: ScoreType, classes: usize, tensor: &TensorInfo) -> OutputKind {
    let (scale, zero_point) = tensor.quantisation.unwrap_or((1.0, 0));
    OutputKind::Logits { score, classes, scale, zero_point }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(kind: TensorType, shape: &[usize]) -> TensorInfo {
        TensorInfo {
            name: "t".to_owned(),
            kind,
            shape: shape.to_vec(),
            quantisation: Some((0.5, 3)),
            is_constant: false,
        }
    }

    fn labels(kind: TensorType, shape: &[usize]) -> TensorInfo {
        TensorInfo { quantisation: None, ..tensor(kind, shape) }
    }

    fn float() -> TensorType {
        TensorType::Other("float32".to_owned())
    }

    fn outcome(input: TensorInfo, output: TensorInfo) -> Result<ModelIo, Refusal> {
        check(&[input], &[output])
    }

    fn good_input() -> TensorInfo {
        tensor(TensorType::Int8, &[1, 288, 384, 3])
    }

    #[test]
    fn logits_at_any_stride_and_labels_of_any_kind_are_taken() {
        for (kind, shape) in [
            (TensorType::Int8, &[1, 36, 48, 11][..]),
            (TensorType::Uint8, &[1, 288, 384, 2]),
            (TensorType::Int8, &[1, 9, 12, 255]),
            (TensorType::Int64, &[1, 288, 384]),
            (TensorType::Int32, &[1, 36, 48, 1]),
            // 288 and 384 over 32 with one column of padding each.
            (TensorType::Int8, &[1, 10, 13, 19]),
        ] {
            outcome(good_input(), tensor(kind, shape)).unwrap();
        }
        outcome(good_input(), labels(TensorType::Uint8, &[288, 384])).unwrap();
        let io = outcome(good_input(), tensor(TensorType::Uint8, &[1, 36, 48, 11])).unwrap();
        assert_eq!(io.input.size, Size::new(384, 288));
        assert!(matches!(io.output.kind, OutputKind::Logits { classes: 11, zero_point: 3, .. }));
    }

    #[test]
    fn refusals_say_what_was_found() {
        let good = || tensor(TensorType::Int8, &[1, 36, 48, 11]);
        let found = |input, output| outcome(input, output).unwrap_err().0;
        let shape = |shape: &[usize]| tensor(TensorType::Int8, shape);
        assert!(found(tensor(float(), &[1, 288, 384, 3]), good()).contains("float32 [1, 288, 384, 3] (not an int8"));
        assert!(found(shape(&[1, 3, 288, 384]), good()).contains("channels come first"));
        assert!(found(shape(&[1, 288, 384, 4]), good()).contains("4 channels, not 3"));
        assert!(found(shape(&[2, 288, 384, 3]), good()).contains("batch must be 1"));
        assert!(found(shape(&[1, 1, 1, 3]), good()).contains("static shape"));
        assert!(found(good_input(), tensor(float(), &[1, 36, 48, 11])).contains("quantise the output too"));
        assert!(found(good_input(), shape(&[1, 36, 48, 1])).contains("single score"));
        assert!(found(good_input(), tensor(TensorType::Uint8, &[1, 36, 48, 1])).contains("single score"));
        assert!(found(good_input(), shape(&[1, 11, 36, 48])).contains("is it NHWC?"));
        assert!(found(good_input(), shape(&[1, 36, 48, 256])).contains("more than 255 classes"));
        assert!(
            found(good_input(), shape(&[1, 1000])).contains("output int8 [1, 1000] (one answer for the whole picture")
        );
        let (found, expected) = check(&[good_input(), good_input()], &[good()]).unwrap_err();
        assert!(found.starts_with("2 inputs (int8 [1, 288, 384, 3]"), "{found}");
        assert_eq!(expected, "one input");
        assert!(check(&[good_input()], &[]).unwrap_err().0.starts_with("0 outputs"));
    }
}
