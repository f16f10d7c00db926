//! Looks at every tensor of a file, in all of its subgraphs, for values that a runtime trusts and can't survive: scales and zero
//! points that no quantiser writes, and shapes that no network has. Also counts the memory that the tensors take.

use std::borrow::Cow;

use super::read::buffer_of;
use super::schema::{self, Buffer};
use super::{names, Damage, Graph, Operator};
use crate::flatbuffer::Reader;

/// Elements of one tensor, at most. The largest input that is accepted, 8192 x 8192 with three channels, has 201 million.
pub const MOST_ELEMENTS: u64 = 1 << 28;
/// Letters of a tensor's name in a message.
const LONGEST_NAME: usize = 100;

/// Types whose values are steps of a scale. Values of others mostly are plain numbers.
const SCALED: [&str; 7] = ["int2", "int4", "uint4", "int8", "uint8", "int16", "uint16"];

/// What was found, and what is expected instead.
type Refusal = (String, String);

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// Its structure is broken.
    Damage(Damage),
    /// A tensor has values that it can't have: what was found, and what is expected instead.
    Tensor(String, String),
}

impl From<Damage> for Unsound {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// The memory that a model needs, by its file's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of all tensors that are computed, each counted once.
    pub computed: u64,
    /// The size of some tensor is known only when the model runs, so the account is not whole.
    pub is_open: bool,
}

/// Checks every tensor of the file `bytes`. Returns what memory the model needs.
///
/// # Errors
/// The first tensor that has a scale, a zero point or a shape that it can't have, by its name; or where the structure is broken.
pub fn vet(bytes: &[u8]) -> Result<Needs, Unsound> {
    let reader = &Reader::new(bytes);
    let model: schema::Model<'_, '_> = reader.root()?;
    let buffers = model.buffers()?;
    let mut computed: u64 = 0;
    for subgraph in model.subgraphs()? {
        for table in subgraph.tensors()? {
            let tensor = Tensor::read(reader, &table, &buffers)?;
            if let Err((found, expected)) = tensor.check() {
                let name: String = tensor.name.chars().take(LONGEST_NAME).collect();
                return Err(Unsound::Tensor(format!("tensor {name:?} with {found}"), expected));
            }
            if tensor.data.is_empty() {
                computed =
                    computed.saturating_add(tensor.elements().saturating_mul(names::element_bytes(&tensor.kind)));
            }
        }
    }
    let graph = Graph::read(bytes)?;
    Ok(Needs {
        computed,
        is_open: graph.subgraphs > 1 || graph.operators.iter().any(|operator| is_open(operator, &graph)),
    })
}

/// Whether the size of what an operator makes may depend on values that are computed.
fn is_open(operator: &Operator<'_>, graph: &Graph<'_>) -> bool {
    let size = match operator.name.as_ref() {
        "FILL" | "TRANSPOSE_CONV" => 0,
        "RESHAPE"
        | "TILE"
        | "BROADCAST_TO"
        | "RESIZE_BILINEAR"
        | "RESIZE_NEAREST_NEIGHBOR"
        | "PAD"
        | "PADV2"
        | "MIRROR_PAD"
        | "ONE_HOT"
        | "EXPAND_DIMS" => 1,
        "SLICE" => 2,
        "RANGE" | "WHERE" | "UNIQUE" | "NON_MAX_SUPPRESSION_V4" | "NON_MAX_SUPPRESSION_V5" | "unknown" => return true,
        name => return !names::is_builtin(name),
    };
    let size = operator.inputs.get(size).copied().flatten().and_then(|tensor| graph.tensors.get(tensor));
    size.is_some_and(|size| size.data.is_none())
}

/// What is looked at of one tensor.
struct Tensor<'a> {
    name: Cow<'a, str>,
    kind: Cow<'static, str>,
    shape: Vec<i32>,
    scales: Vec<f32>,
    zero_points: Vec<i64>,
    /// The dimension that has a scale for each of its places.
    channel_dimension: usize,
    /// Empty where it is computed.
    data: &'a [u8],
}

impl<'a> Tensor<'a> {
    fn read(reader: &Reader<'a>, table: &schema::Tensor<'_, 'a>, buffers: &[Buffer<'_, 'a>]) -> Result<Self, Damage> {
        let quantisation = table.quantization()?;
        let (scales, zero_points, dimension) = match &quantisation {
            Some(table) => (table.scale()?, table.zero_point()?, table.quantized_dimension()?),
            None => Default::default(),
        };
        Ok(Self {
            name: table.name()?,
            kind: names::tensor_type(table.type_()?),
            shape: table.shape()?,
            scales,
            zero_points,
            channel_dimension: usize::try_from(dimension).unwrap_or(usize::MAX),
            data: buffer_of(reader, table.buffer()?, buffers)?.unwrap_or_default(),
        })
    }

    /// An extent that is not fixed counts as 1.
    fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |all: u64, &extent| all.saturating_mul(u64::try_from(extent).unwrap_or(1).max(1)))
    }

    fn check(&self) -> Result<(), Refusal> {
        if let Some(extent) = self.shape.iter().find(|&&extent| extent < schema::UNKNOWN_EXTENT) {
            return Err((
                format!("an extent of {extent}"),
                "extents of 1 and more, or -1 where one isn't fixed".to_owned(),
            ));
        }
        if self.elements() > MOST_ELEMENTS {
            return Err((
                format!("the shape {:?}", self.shape),
                format!("at most {MOST_ELEMENTS} elements in a tensor"),
            ));
        }
        for (channel, &scale) in self.scales.iter().enumerate() {
            // What isn't counted in steps has no use for a scale; some writers put a zero there.
            let is_unused = scale == 0.0 && (!SCALED.contains(&self.kind.as_ref()) || self.is_dead(channel));
            if !(is_unused || scale.is_finite() && scale > 0.0) {
                let place = if self.scales.len() > 1 { format!(" for channel {channel}") } else { String::new() };
                return Err((format!("a scale of {scale}{place}"), "scales that are finite and above 0".to_owned()));
            }
        }
        let Some((least, most)) = range(&self.kind).filter(|_| !self.scales.is_empty()) else { return Ok(()) };
        match self.zero_points.iter().find(|point| !(least..=most).contains(*point)) {
            Some(point) => {
                let expected = format!("zero points that {} can hold, {least} to {most}", self.kind);
                Err((format!("a zero point of {point}"), expected))
            }
            None => Ok(()),
        }
    }

    /// Whether all weights of one of several channels are its zero point. Older quantisers write a scale of 0 for those, which is
    /// right: 0 times anything is the value that was there.
    fn is_dead(&self, channel: usize) -> bool {
        let count = self.scales.len();
        let extent = self.shape.get(self.channel_dimension).copied();
        let is_by_channel = count > 1 && extent.and_then(|extent| usize::try_from(extent).ok()) == Some(count);
        if !is_by_channel || names::element_bytes(&self.kind) != 1 || self.data.is_empty() {
            return false;
        }
        let behind = &self.shape[self.channel_dimension + 1..];
        let Ok(stride) = usize::try_from(behind.iter().map(|&extent| i64::from(extent.max(1))).product::<i64>()) else {
            return false;
        };
        let zero = self.zero_points.get(channel).map_or(0, |&point| point as u8);
        let mut blocks = self.data.chunks(stride).skip(channel).step_by(count);
        blocks.all(|block| block.iter().all(|&value| value == zero))
    }
}

/// The values of a type of integers that can be quantised.
fn range(kind: &str) -> Option<(i64, i64)> {
    match kind {
        "int2" => Some((-2, 1)),
        "int4" => Some((-8, 7)),
        "uint4" => Some((0, 15)),
        "int8" => Some((i8::MIN.into(), i8::MAX.into())),
        "uint8" => Some((0, u8::MAX.into())),
        "int16" => Some((i16::MIN.into(), i16::MAX.into())),
        "uint16" => Some((0, u16::MAX.into())),
        "int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "uint32" => Some((0, u32::MAX.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatbuffer::testing::{Builder, Field};

    const FLOAT32: i8 = 0;
    const INT32: i8 = 2;
    const UINT8: i8 = 3;
    const INT8: i8 = 9;

    /// A file with a sound tensor in its main subgraph, and one of these in another. Without data the tensor is computed.
    struct Of<'a> {
        kind: i8,
        shape: &'a [i32],
        scales: &'a [f32],
        zero_points: &'a [i64],
        dimension: i32,
        data: &'a [u8],
    }

    impl Of<'_> {
        const SOUND: Of<'static> =
            Of { kind: INT8, shape: &[1, 2, 3], scales: &[0.5], zero_points: &[-128], dimension: 0, data: &[] };

        fn vet(&self) -> Result<u64, String> {
            use Field::Absent;
            let it = &Builder::default();
            let table = |of: &Of<'_>, buffer: u32| {
                let (scales, points) = (it.vector(of.scales), it.vector(of.zero_points));
                let quantisation = it.table(&[Absent, Absent, scales, points, Absent, Absent, of.dimension.into()]);
                it.table(&[it.vector(of.shape), of.kind.into(), buffer.into(), it.text("x/y"), quantisation])
            };
            let subgraph = |tensor: Field| it.table(&[it.offsets(&[tensor])]);
            let subgraphs = [subgraph(table(&Of::SOUND, 0)), subgraph(table(self, 1))];
            let buffers = [it.table(&[]), it.table(&[it.vector(self.data)])];
            let model = it.table(&[Absent, Absent, it.offsets(&subgraphs), Absent, it.offsets(&buffers)]);
            vet(&it.finish(model, None)).map(|needs| needs.computed).map_err(|unsound| match unsound {
                Unsound::Tensor(found, expected) => format!("{found}; expected {expected}"),
                Unsound::Damage(damage) => damage.to_string(),
            })
        }

        #[track_caller]
        fn is_refused(&self, words: &str) {
            let found = self.vet().unwrap_err();
            assert!(found.starts_with(&format!("tensor \"x/y\" with {words}")), "{found}");
        }
    }

    #[test]
    fn scales_are_finite_and_above_0() {
        for (scale, text) in [(0.0, "0"), (-0.0, "-0"), (-0.5, "-0.5"), (f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            Of { scales: &[scale], ..Of::SOUND }.is_refused(&format!("a scale of {text}; expected scales that"));
        }
        let scales = &[0.5, 0.25, -1.0];
        Of { scales, zero_points: &[0; 3], dimension: 2, ..Of::SOUND }.is_refused("a scale of -1 for channel 2");
        // The least that a float can be is above 0.
        Of { scales: &[f32::from_bits(1)], ..Of::SOUND }.vet().unwrap();
        // Numbers that are not counted in steps: a 0 stands for none there, and anything else is damage as well.
        for kind in [INT32, FLOAT32] {
            Of { kind, scales: &[0.0], zero_points: &[0], ..Of::SOUND }.vet().unwrap();
            Of { kind, scales: &[f32::NAN], ..Of::SOUND }.is_refused("a scale of NaN");
        }
    }

    #[test]
    fn a_channel_without_weights_may_have_a_scale_of_0() {
        // Two channels of three weights, along the first and along the last dimension.
        let of = |dimension, data| {
            let shape: &[i32] = if dimension == 0 { &[2, 3] } else { &[3, 2] };
            Of { shape, scales: &[0.5, 0.0], zero_points: &[0, 0], dimension, data, ..Of::SOUND }
        };
        of(0, &[1, 2, 3, 0, 0, 0]).vet().unwrap();
        of(0, &[1, 2, 3, 0, 0, 1]).is_refused("a scale of 0 for channel 1");
        of(1, &[1, 0, 2, 0, 3, 0]).vet().unwrap();
        of(1, &[1, 0, 2, 1, 3, 0]).is_refused("a scale of 0 for channel 1");
        of(0, &[]).is_refused("a scale of 0 for channel 1");
        // As many scales as the dimension has places, or they are nobody's.
        of(7, &[0; 6]).is_refused("a scale of 0");
        of(-1, &[0; 6]).is_refused("a scale of 0");
    }

    #[test]
    fn zero_points_lie_in_the_type() {
        for (kind, least, most) in [(INT8, -128, 127), (UINT8, 0, 255), (INT32, i32::MIN.into(), i32::MAX.into())] {
            for point in [least, most] {
                Of { kind, zero_points: &[point], ..Of::SOUND }.vet().unwrap();
            }
            for point in [least - 1, most + 1, i64::MIN, i64::MAX] {
                let words = format!("a zero point of {point}; expected zero points that");
                Of { kind, zero_points: &[point], ..Of::SOUND }.is_refused(&words);
            }
        }
        // A tensor without scales has no use for a zero point, and nobody reads it.
        Of { scales: &[], zero_points: &[1000], ..Of::SOUND }.vet().unwrap();
        Of { kind: FLOAT32, zero_points: &[1000], ..Of::SOUND }.vet().unwrap();
    }

    #[test]
    fn shapes_have_a_bound_and_sizes_are_added_up() {
        Of { shape: &[-2, 3], ..Of::SOUND }.is_refused("an extent of -2");
        Of { shape: &[1 << 14, 1 << 14, 2], ..Of::SOUND }
            .is_refused("the shape [16384, 16384, 2]; expected at most 268435456");
        Of { shape: &[i32::MAX; 8], ..Of::SOUND }.is_refused("the shape [2147483647");
        // The main subgraph's tensor has 6 bytes.
        assert_eq!(Of { shape: &[1 << 14, 1 << 14], ..Of::SOUND }.vet(), Ok((1 << 28) + 6));
        assert_eq!(Of { shape: &[-1, 0, 5], kind: INT32, ..Of::SOUND }.vet(), Ok(5 * 4 + 6));
        assert_eq!(Of { shape: &[], ..Of::SOUND }.vet(), Ok(1 + 6));
        assert_eq!(Of { data: &[1; 6], ..Of::SOUND }.vet(), Ok(6), "a constant is in the file");
    }

    #[test]
    fn a_size_that_is_computed_leaves_the_account_open() {
        let is_open = |model: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(model);
            vet(&std::fs::read(path).unwrap()).unwrap().is_open
        };
        assert!(is_open("tests/models/colours_96x64_int8_grows.tflite"), "FILL by computed dimensions");
        assert!(is_open("tests/models/colours_edgetpu.tflite"), "a custom operator");
        for model in ["tests/models/colours", "models/scene-fast", "models/street-accurate"] {
            assert!(!is_open(&format!("{model}/model.tflite")), "{model}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_control_characters_are_escaped() {
        let it = &Builder::default();
        let quantisation = it.table(&[Field::Absent, Field::Absent, it.vector(&[0.0_f32])]);
        let name = it.text(&format!("\u{1b}[31m{}", "x".repeat(5000)));
        let tensor = it.table(&[it.vector(&[1_i32]), INT8.into(), 0_u32.into(), name, quantisation]);
        let subgraph = it.table(&[it.offsets(&[tensor])]);
        let buffers = it.offsets(&[it.table(&[])]);
        let model = it.table(&[Field::Absent, Field::Absent, it.offsets(&[subgraph]), Field::Absent, buffers]);
        let Unsound::Tensor(found, _) = vet(&it.finish(model, None)).unwrap_err() else { panic!() };
        assert!(found.starts_with("tensor \"\\u{1b}[31mxxx") && found.len() < 150, "{found}");
    }
}
