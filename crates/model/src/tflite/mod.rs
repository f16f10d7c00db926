//! Reads a TensorFlow Lite file into plain values: tensors, operators and the graph between them, without running anything.
//! Damaged bytes give an error, never a panic. What the values mean is left to others.

mod names;

use std::borrow::Cow;
use std::fmt;

pub use super::flatbuffer::Damage;
use super::flatbuffer::{Reader, Table};

/// What a file must be that this module reads, for messages.
pub const EXPECTED: &str = "an int8 model in a .tflite file";

/// The four bytes at offset 4 of every TensorFlow Lite flatbuffer.
const IDENTIFIER: &[u8; 4] = b"TFL3";

/// Whether `bytes` carry the mark of a TensorFlow Lite file; what they are instead.
///
/// # Errors
/// A phrase for a message.
pub fn check_mark(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes.get(4..8) {
        Some(mark) if mark == IDENTIFIER => Ok(()),
        _ if bytes.is_empty() => Err("an empty file"),
        _ => Err("not a TensorFlow Lite file (no TFL3 mark)"),
    }
}

/// The custom code of what the Edge TPU's compiler makes.
pub const EDGETPU_OPERATOR: &str = "edgetpu-custom-op";
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
    /// Weights of FULLY_CONNECTED: 0 is the default format.
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
            activation: names::activation(0),
            dilation: (1, 1),
            filter: (0, 0),
            weights_format: 0,
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
        let each = match self.kind.as_ref() {
            "int16" | "float16" => 2,
            "int32" | "float32" => 4,
            "int64" => 8,
            _ => 1,
        };
        self.elements().saturating_mul(each)
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
        let reader = Reader::new(bytes);
        let model = reader.root()?;
        let subgraphs = model.tables(2)?;
        let main = subgraphs.first().ok_or_else(|| Damage("it has no subgraph".to_owned()))?;
        let buffers = model.tables(4)?;
        let tensors: Vec<Tensor<'a>> =
            main.tables(0)?.iter().map(|table| tensor(table, &buffers)).collect::<Result<_, _>>()?;
        let codes = model.tables(1)?;
        let count = tensors.len();
        let operators = main.tables(3)?.iter().map(|table| operator(table, &codes, count)).collect::<Result<_, _>>()?;
        Ok(Self {
            description: model.text(3)?,
            operators,
            inputs: main.i32s(1)?.into_iter().map(|index| existing(index, count)).collect::<Result<_, _>>()?,
            outputs: main.i32s(2)?.into_iter().map(|index| existing(index, count)).collect::<Result<_, _>>()?,
            subgraphs: subgraphs.len(),
            tensors,
        })
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

fn tensor<'a>(table: &Table<'_, 'a>, buffers: &[Table<'_, 'a>]) -> Result<Tensor<'a>, Damage> {
    let shape = table.i32s(0)?;
    if shape.len() > MOST_DIMENSIONS {
        return Err(Damage(format!("a tensor of {} dimensions", shape.len())));
    }
    let number = table.u32(2, 0)?;
    let buffer = usize::try_from(number).ok().and_then(|number| buffers.get(number));
    let buffer = buffer.ok_or_else(|| Damage(format!("buffer {number} of {}", buffers.len())))?;
    let quantisation = table.table(4)?;
    let (scales, zero_points) = match &quantisation {
        Some(table) => (table.f32s(2)?, table.i64s(3)?),
        None => Default::default(),
    };
    Ok(Tensor {
        name: table.text(3)?,
        kind: names::tensor_type(table.i8(1, 0)?),
        is_dynamic: shape.iter().any(|&extent| extent <= 0) || table.i32s(7)?.contains(&-1),
        is_state: table.flag(5)?,
        shape,
        scales: scales.len(),
        quantisation: match (&scales[..], &zero_points[..]) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        },
        data: data(buffer)?,
    })
}

/// A buffer's bytes lie in its table, or, in files near 2 GiB, behind all tables.
fn data<'a>(buffer: &Table<'_, 'a>) -> Result<Option<&'a [u8]>, Damage> {
    let (offset, size) = (buffer.u64(1, 0)?, buffer.u64(2, 0)?);
    let data = if offset > 1 { Some(buffer.outside(offset, size)?) } else { buffer.bytes(0)? };
    Ok(data.filter(|data| !data.is_empty()))
}

fn operator<'a>(table: &Table<'_, 'a>, codes: &[Table<'_, 'a>], tensors: usize) -> Result<Operator<'a>, Damage> {
    const CUSTOM: &str = "CUSTOM";
    let number = table.u32(0, 0)?;
    let code = usize::try_from(number).ok().and_then(|number| codes.get(number));
    let code = code.ok_or_else(|| Damage(format!("operator code {number} of {}", codes.len())))?;
    // Files from before the field was widened only have the older one; the newer is then 0.
    let name = names::operator(code.i32(3, 0)?.max(code.i8(0, 0)?.into()));
    let (offset, size) = (table.u64(9, 0)?, table.u64(10, 0)?);
    let custom = if offset > 1 { table.outside(offset, size)? } else { table.bytes(5)?.unwrap_or_default() };
    let input = |index| if index < 0 { Ok(None) } else { existing(index, tensors).map(Some) };
    Ok(Operator {
        name: if name == CUSTOM { code.text(1)? } else { Cow::Borrowed(name) },
        version: code.i32(2, 1)?,
        inputs: table.i32s(1)?.into_iter().map(input).collect::<Result<_, _>>()?,
        outputs: table.i32s(2)?.into_iter().map(|index| existing(index, tensors)).collect::<Result<_, _>>()?,
        options: options(table)?,
        custom,
    })
}

fn existing(index: i32, count: usize) -> Result<usize, Damage> {
    let known = usize::try_from(index).ok().filter(|&index| index < count);
    known.ok_or_else(|| Damage(format!("tensor {index} of {count}")))
}

/// The union's numbers and its fields' are the schema's.
fn options(operator: &Table<'_, '_>) -> Result<Options, Damage> {
    let mut options = Options::default();
    let kind = operator.u8(3, 0)?;
    let Some(table) = operator.table(4)? else { return Ok(options) };
    let activation = match kind {
        1 => 3,                               // Conv2DOptions
        2 => 4,                               // DepthwiseConv2DOptions
        5 => 5,                               // Pool2DOptions
        10 => 1,                              // ConcatenationOptions
        49 => 3,                              // TransposeConvOptions
        8 | 11 | 12 | 21 | 28 | 29 | 71 => 0, // FullyConnected, Add, L2Norm, Mul, Sub, Div, UnidirectionalSequenceLSTM
        _ => u16::MAX,
    };
    if activation != u16::MAX {
        options.activation = names::activation(table.i8(activation, 0)?);
    }
    match kind {
        1 => options.dilation = (table.i32(5, 1)?, table.i32(4, 1)?),
        2 => options.dilation = (table.i32(6, 1)?, table.i32(5, 1)?),
        5 => options.filter = (table.i32(4, 0)?, table.i32(3, 0)?),
        8 => options.weights_format = table.i8(1, 0)?,
        10 => options.axis = table.i32(0, 0)?,
        15 => options.half_pixel_centers = table.flag(3)?,
        32 => (options.ellipsis_mask, options.new_axis_mask) = (table.i32(2, 0)?, table.i32(3, 0)?),
        59 => options.axis = table.i32(1, 0)?,
        74 => options.half_pixel_centers = table.flag(1)?,
        _ => {}
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flatbuffers::FlatBufferBuilder;
    use proptest::prelude::*;

    use super::*;

    fn repository(path: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
    }

    fn colours() -> Vec<u8> {
        repository("tests/models/colours/model.tflite")
    }

    #[test]
    fn a_model_reads_as_it_was_built() {
        let bytes = colours();
        let graph = Graph::read(&bytes).unwrap();
        let names: Vec<(&str, i32)> = graph.operators.iter().map(|each| (each.name.as_ref(), each.version)).collect();
        assert_eq!(names, [("AVERAGE_POOL_2D", 2), ("CONV_2D", 3)]);
        assert_eq!(graph.operators[0].options.filter, (8, 8));
        assert_eq!((graph.operators[1].options.dilation, graph.operators[1].options.activation), ((1, 1), "NONE"));
        let input = graph.input_tensors().next().unwrap();
        assert_eq!((input.name.as_ref(), input.to_string().as_str()), ("image", "int8 [1, 64, 96, 3]"));
        assert_eq!(input.quantisation, Some((1.0 / 255.0, -128)));
        let weights = &graph.tensors[graph.operators[1].inputs[1].unwrap()];
        assert_eq!((weights.scales, weights.quantisation, weights.data.unwrap().len()), (8, None, 24));
        assert_eq!((graph.subgraphs, graph.is_compiled()), (1, false));
    }

    #[test]
    fn a_compiled_model_is_told_by_its_operator() {
        let bytes = repository("kit/tests/data/split_concat_edgetpu.tflite");
        let graph = Graph::read(&bytes).unwrap();
        assert!(graph.is_compiled());
        assert_eq!(graph.operators.len(), 1);
        assert!(graph.operators[0].custom.windows(4).any(|four| four == b"DWN1"), "the package is in it");
    }

    /// What is read of an operator's options of `kind` with these fields: `small` have a byte, `large` four.
    fn read_options(kind: u8, small: &[(u16, i8)], large: &[(u16, i32)]) -> Options {
        let slot = |field: u16| 4 + 2 * field;
        let mut builder = FlatBufferBuilder::new();
        let start = builder.start_table();
        large.iter().for_each(|&(field, value)| builder.push_slot_always(slot(field), value));
        small.iter().for_each(|&(field, value)| builder.push_slot_always(slot(field), value));
        let table = builder.end_table(start);
        let start = builder.start_table();
        builder.push_slot_always(slot(4), table);
        builder.push_slot_always(slot(3), kind);
        let operator = builder.end_table(start);
        builder.finish_minimal(operator);
        options(&Reader::new(builder.finished_data()).root().unwrap()).unwrap()
    }

    #[test]
    fn options_lie_where_the_schema_says() {
        // Each field has a value of its own, in the order of schema.fbs: padding, strides, then what is read.
        const RELU: &str = "RELU";
        let plain = Options::default();
        let fused = Options { activation: RELU, ..plain };
        let strides = [(1, 11), (2, 12)];
        let with = |more: &[(u16, i32)]| [&strides, more].concat();
        for (name, read, expected) in [
            ("Conv2D", read_options(1, &[(3, 1)], &with(&[(4, 4), (5, 5)])), Options { dilation: (5, 4), ..fused }),
            (
                "DepthwiseConv2D",
                read_options(2, &[(4, 1)], &with(&[(3, 3), (5, 5), (6, 6)])),
                Options { dilation: (6, 5), ..fused },
            ),
            ("Pool2D", read_options(5, &[(5, 1)], &with(&[(3, 3), (4, 4)])), Options { filter: (4, 3), ..fused }),
            ("FullyConnected", read_options(8, &[(0, 1), (1, 2)], &[]), Options { weights_format: 2, ..fused }),
            ("Concatenation", read_options(10, &[(1, 1)], &[(0, 3)]), Options { axis: 3, ..fused }),
            ("ResizeBilinear", read_options(15, &[(2, 0), (3, 1)], &[]), Options { half_pixel_centers: true, ..plain }),
            ("ResizeBilinear, corners", read_options(15, &[(2, 1), (3, 0)], &[]), plain),
            ("TransposeConv", read_options(49, &[(3, 1)], &strides), fused),
            (
                "StridedSlice",
                read_options(32, &[], &[(0, 10), (1, 11), (2, 12), (3, 13), (4, 14)]),
                Options { ellipsis_mask: 12, new_axis_mask: 13, ..plain },
            ),
            ("Pack", read_options(59, &[], &[(0, 7), (1, 2)]), Options { axis: 2, ..plain }),
            ("ResizeNearest", read_options(74, &[(0, 0), (1, 1)], &[]), Options { half_pixel_centers: true, ..plain }),
            ("ResizeNearest, corners", read_options(74, &[(0, 1), (1, 0)], &[]), plain),
        ] {
            assert_eq!(read, expected, "{name}");
        }
        // Add, L2Norm, Mul, Sub, Div, UnidirectionalSequenceLSTM; others have no activation, whatever lies there.
        for kind in 0..=u8::MAX {
            let activation = read_options(kind, &[], &[(0, 1)]).activation;
            let is_fused = [8, 11, 12, 21, 28, 29, 71].contains(&kind);
            assert_eq!(activation, if is_fused { RELU } else { "NONE" }, "{kind}");
        }
        let dilation = |kind| read_options(kind, &[], &[]).dilation;
        assert_eq!((dilation(1), dilation(2)), ((1, 1), (1, 1)), "1 is the default");
    }

    #[test]
    fn sizes_and_lists_go_by_the_type() {
        let of = |kind: &'static str, data: &'static [u8]| Tensor {
            name: Cow::Borrowed("t"),
            kind: Cow::Borrowed(kind),
            shape: vec![2, -1, 3],
            is_dynamic: false,
            is_state: false,
            scales: 0,
            quantisation: None,
            data: Some(data),
        };
        let data = &[1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF, 3, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(of("int32", data).integers(), [1, -2, 3, 0]);
        assert_eq!(of("int64", &data[8..]).integers(), [3]);
        assert_eq!(of("int8", data).integers(), [0; 0]);
        for (kind, bytes) in
            [("int8", 6), ("bool", 6), ("int16", 12), ("float16", 12), ("int32", 24), ("float32", 24), ("int64", 48)]
        {
            assert_eq!((of(kind, &[]).elements(), of(kind, &[]).size()), (6, bytes), "{kind}");
        }
    }

    #[test]
    fn shipped_models_read() {
        for name in ["accurate", "bootstrap", "fast", "nano"] {
            let bytes = repository(&format!("models/street-{name}/model.tflite"));
            let graph = Graph::read(&bytes).unwrap();
            assert!(graph.operators.len() > 20 && graph.input_tensors().count() == 1, "{name}");
        }
    }

    /// Whatever is wrong with the bytes, reading ends with a graph whose numbers hold, or with an error.
    fn is_sound(bytes: &[u8]) -> bool {
        let Ok(graph) = Graph::read(bytes) else { return false };
        let count = graph.tensors.len();
        for operator in &graph.operators {
            assert!(operator.inputs.iter().flatten().chain(&operator.outputs).all(|&index| index < count));
        }
        for tensor in &graph.tensors {
            let _ = (tensor.size(), tensor.integers(), tensor.to_string());
        }
        true
    }

    #[test]
    fn every_flipped_bit_of_a_small_model_is_survived() {
        let whole = colours();
        assert!(is_sound(&whole));
        let mut flipped = whole.clone();
        let mut refused = 0;
        for bit in 0..whole.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(!is_sound(&flipped));
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused > 1000, "only {refused} of {} were noticed", whole.len() * 8);
    }

    #[test]
    fn a_model_cut_at_any_byte_is_refused_or_whole() {
        let whole = colours();
        assert_eq!((0..whole.len() / 2).filter(|&cut| is_sound(&whole[..cut])).count(), 0);
        for cut in 0..whole.len() {
            is_sound(&whole[..cut]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            is_sound(&bytes);
        }

        #[test]
        fn any_words_written_over_a_model_are_survived(
            words in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..8)
        ) {
            let mut bytes = colours();
            for (place, word) in words {
                let at = place.index(bytes.len() / 4) * 4;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            is_sound(&bytes);
        }
    }
}
