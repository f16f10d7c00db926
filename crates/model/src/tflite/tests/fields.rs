//! Files in which no two fields of a table have the same value, read back. A table is written as the list of all its fields in
//! the order of schema.fbs, also of those that nobody reads, so a wrong number in `schema` shows a neighbour's value.

use super::*;
use crate::flatbuffer::testing::{Builder, Field};

/// The members of the union BuiltinOptions in the schema's order, without their ending "Options", up to the last that is read.
/// The first has the number 1: 0 is no table at all.
#[rustfmt::skip]
const BUILTIN_OPTIONS: [&str; 74] = [
    "Conv2D", "DepthwiseConv2D", "ConcatEmbeddings", "LSHProjection", "Pool2D", "SVDF", "RNN", "FullyConnected", "Softmax",
    "Concatenation", "Add", "L2Norm", "LocalResponseNormalization", "LSTM", "ResizeBilinear", "Call", "Reshape", "SkipGram",
    "SpaceToDepth", "EmbeddingLookupSparse", "Mul", "Pad", "Gather", "BatchToSpaceND", "SpaceToBatchND", "Transpose",
    "Reducer", "Sub", "Div", "Squeeze", "SequenceRNN", "StridedSlice", "Exp", "TopKV2", "Split", "LogSoftmax", "Cast",
    "Dequantize", "MaximumMinimum", "ArgMax", "Less", "Neg", "PadV2", "Greater", "GreaterEqual", "LessEqual", "Select",
    "Slice", "TransposeConv", "SparseToDense", "Tile", "ExpandDims", "Equal", "NotEqual", "Shape", "Pow", "ArgMin",
    "FakeQuant", "Pack", "LogicalOr", "OneHot", "LogicalAnd", "LogicalNot", "Unpack", "FloorDiv", "Square", "ZerosLike",
    "Fill", "BidirectionalSequenceLSTM", "BidirectionalSequenceRNN", "UnidirectionalSequenceLSTM", "FloorMod", "Range",
    "ResizeNearestNeighbor",
];

fn number(name: &str) -> u8 {
    (1..).zip(BUILTIN_OPTIONS).find(|(_, member)| *member == name).unwrap().0
}

/// What is read of an operator whose `builtin_options` are of this type and have these fields.
fn read_options(number: u8, fields: &[Field]) -> Options {
    use Field::Absent;
    let builder = Builder::default();
    let options = builder.table(fields);
    let inputs = builder.vector::<i32>(&[]);
    let operator = builder.table(&[Absent, inputs, inputs, number.into(), options]);
    let code = builder.table(&[]);
    let main = builder.table(&[builder.offsets(&[]), inputs, inputs, builder.offsets(&[operator])]);
    let model = builder.table(&[Absent, builder.offsets(&[code]), builder.offsets(&[main])]);
    Graph::read(&builder.finish(model, None)).unwrap().operators[0].options
}

/// As [`read_options`], with the type's name and with what is expected of them.
#[track_caller]
fn check(name: &str, fields: &[Field], expected: Options) {
    assert_eq!(read_options(number(name), fields), expected, "{name}");
}

const PLAIN: Options = Options {
    activation: "NONE",
    dilation: (1, 1),
    filter: (0, 0),
    weights_format: 0,
    axis: 0,
    ellipsis_mask: 0,
    new_axis_mask: 0,
    half_pixel_centers: false,
};

/// With the activation 3, which no other field of the tables below is.
const FUSED: Options = Options { activation: "RELU6", ..PLAIN };

/// A field of one byte, of a type of the schema's own.
const fn enumerated(value: i8) -> Field {
    Field::I8(value)
}

const ACTIVATION: Field = enumerated(3);
const PADDING: Field = enumerated(1);

#[test]
fn options_of_pictures_lie_where_the_schema_says() {
    let int = Field::I32;
    let dilated = Options { dilation: (15, 14), ..FUSED };
    let conv = [PADDING, int(11), int(12), ACTIVATION, int(14), int(15), enumerated(2)];
    check("Conv2D", &conv, dilated);
    let depthwise = [PADDING, int(11), int(12), int(13), ACTIVATION, int(14), int(15)];
    check("DepthwiseConv2D", &depthwise, dilated);
    check("TransposeConv", &[PADDING, int(11), int(12), ACTIVATION, enumerated(2)], FUSED);
    let pool = [PADDING, int(11), int(12), int(13), int(14), ACTIVATION];
    check("Pool2D", &pool, Options { filter: (14, 13), ..FUSED });
    for name in ["Conv2D", "DepthwiseConv2D"] {
        check(name, &[], PLAIN);
    }
    let centred = Options { half_pixel_centers: true, ..PLAIN };
    for (align_corners, expected) in [(false, centred), (true, PLAIN)] {
        let (corners, centers) = (align_corners.into(), (!align_corners).into());
        check("ResizeBilinear", &[int(10), int(11), corners, centers], expected);
        check("ResizeNearestNeighbor", &[corners, centers], expected);
    }
}

#[test]
fn options_of_vectors_lie_where_the_schema_says() {
    let int = Field::I32;
    let dense = [ACTIVATION, enumerated(4), true.into(), true.into(), enumerated(2)];
    check("FullyConnected", &dense, Options { weights_format: 4, ..FUSED });
    check("Concatenation", &[int(10), ACTIVATION], Options { axis: 10, ..FUSED });
    check("Pack", &[int(10), int(11)], Options { axis: 11, ..PLAIN });
    let slice = [int(10), int(11), int(12), int(13), int(14), true.into()];
    check("StridedSlice", &slice, Options { ellipsis_mask: 12, new_axis_mask: 13, ..PLAIN });
    for name in ["Add", "Sub"] {
        check(name, &[ACTIVATION, true.into()], FUSED);
    }
    for name in ["Mul", "L2Norm", "Div"] {
        check(name, &[ACTIVATION], FUSED);
    }
    let lstm = [ACTIVATION, Field::F32(1.0), Field::F32(2.0), true.into(), true.into(), true.into()];
    check("UnidirectionalSequenceLSTM", &lstm, FUSED);
}

#[test]
fn options_that_nothing_is_read_of_change_nothing() {
    #[rustfmt::skip]
    const READ: [&str; 16] = [
        "Conv2D", "DepthwiseConv2D", "Pool2D", "FullyConnected", "Concatenation", "Add", "L2Norm", "ResizeBilinear", "Mul",
        "Sub", "Div", "StridedSlice", "TransposeConv", "Pack", "UnidirectionalSequenceLSTM", "ResizeNearestNeighbor",
    ];
    let read = READ.map(number);
    for number in (0..=u8::MAX).filter(|number| !read.contains(number)) {
        assert_eq!(read_options(number, &[Field::I32(3); 8]), PLAIN, "{number}");
    }
}

/// A table whose fields have their names of the schema beside them, for the reader.
fn named(it: &Builder, fields: &[(&str, Field)]) -> Field {
    let fields: Vec<Field> = fields.iter().map(|&(_, field)| field).collect();
    it.table(&fields)
}

/// A custom operator's code, one of a builtin operator that the narrow field is too small for, and one of an old file.
fn operator_codes(it: &Builder) -> Field {
    let code = |deprecated_builtin_code, custom_code, version, builtin_code| {
        named(
            it,
            &[
                ("deprecated_builtin_code", Field::I8(deprecated_builtin_code)),
                ("custom_code", it.text(custom_code)),
                ("version", Field::I32(version)),
                ("builtin_code", Field::I32(builtin_code)),
            ],
        )
    };
    let old = named(it, &[("deprecated_builtin_code", Field::I8(3))]);
    it.offsets(&[code(32, "own operator", 5, 32), code(127, "not this one", 6, 128), old])
}

/// A constant that is a state as well, and one whose values lie outside and whose extent is unknown.
fn tensors(it: &Builder) -> Field {
    let nothing = it.table(&[]);
    let quantization = |scales: &[f32], zero_points: &[i64]| {
        named(
            it,
            &[
                ("min", it.vector(&[1.5_f32, 1.25, 1.125])),
                ("max", it.vector(&[2.5_f32, 2.25, 2.125, 2.0625])),
                ("scale", it.vector(scales)),
                ("zero_point", it.vector(zero_points)),
                ("details_type", Field::U8(1)),
                ("details", nothing),
                ("quantized_dimension", Field::I32(3)),
            ],
        )
    };
    let tensor = |name, shape, kind, buffer, quantization, is_variable: bool, shape_signature| {
        named(
            it,
            &[
                ("shape", shape),
                ("type", Field::I8(kind)),
                ("buffer", Field::U32(buffer)),
                ("name", name),
                ("quantization", quantization),
                ("is_variable", Field::Bool(is_variable)),
                ("sparsity", nothing),
                ("shape_signature", shape_signature),
                ("has_rank", Field::Bool(!is_variable)),
                ("variant_tensors", it.offsets(&[])),
                ("external_buffer", Field::U32(0)),
            ],
        )
    };
    let (name, extents) = (it.text("constant"), it.vector(&[2, 3]));
    let constant = tensor(name, extents, 9, 1, quantization(&[0.5], &[7]), true, extents);
    let (name, extents, signature) = (it.text("outside"), it.vector(&[4]), it.vector(&[-1]));
    let outside = tensor(name, extents, 7, 2, quantization(&[0.5, 0.25], &[7, 8]), false, signature);
    it.offsets(&[constant, outside])
}

/// One operator of each code. Custom options lie outside where their offset is larger than 1.
fn operators(it: &Builder) -> Field {
    let nothing = it.table(&[]);
    let operator = |opcode_index, inputs, outputs, offset| {
        named(
            it,
            &[
                ("opcode_index", Field::U32(opcode_index)),
                ("inputs", inputs),
                ("outputs", outputs),
                ("builtin_options_type", Field::U8(0)),
                ("builtin_options", nothing),
                ("custom_options", it.vector(b"options")),
                ("custom_options_format", Field::I8(0)),
                ("mutating_variable_inputs", it.vector(b"\x01\x00")),
                ("intermediates", it.vector(&[1, 0, 1])),
                ("large_custom_options_offset", Field::U64(offset)),
                ("large_custom_options_size", Field::U64(2)),
                ("builtin_options_2_type", Field::U8(2)),
                ("builtin_options_2", nothing),
                ("debug_metadata_index", Field::I32(4)),
            ],
        )
    };
    let own = operator(0, it.vector(&[1, 1, 0]), it.vector(&[0, 1]), 4);
    let builtin = operator(1, it.vector(&[0, -1]), it.vector(&[1]), 1);
    it.offsets(&[own, builtin, named(it, &[("opcode_index", Field::U32(2))])])
}

/// A whole file.
fn built() -> Vec<u8> {
    let it = &Builder::default();
    let nothing = it.table(&[]);
    let main = [
        ("tensors", tensors(it)),
        ("inputs", it.vector(&[0])),
        ("outputs", it.vector(&[1, 0])),
        ("operators", operators(it)),
        ("name", it.text("main")),
        ("debug_metadata_index", Field::I32(4)),
    ];
    let buffer = |offset, size| {
        let data = it.vector(b"inside");
        named(it, &[("data", data), ("offset", Field::U64(offset)), ("size", Field::U64(size))])
    };
    let model = [
        ("version", Field::U32(3)),
        ("operator_codes", operator_codes(it)),
        ("subgraphs", it.offsets(&[named(it, &main), nothing, nothing])),
        ("description", it.text("a description")),
        ("buffers", it.offsets(&[nothing, buffer(1, 8), buffer(4, 3)])),
        ("metadata_buffer", it.vector::<i32>(&[])),
        ("metadata", it.offsets(&[nothing])),
        ("signature_defs", it.offsets(&[nothing])),
        ("external_buffer_groups", it.offsets(&[nothing])),
        ("external_buffers", it.offsets(&[nothing])),
    ];
    it.finish(named(it, &model), Some("TFL3"))
}

#[test]
fn fields_of_a_file_lie_where_the_schema_says() {
    let bytes = built();
    check_mark(&bytes).unwrap();
    let graph = Graph::read(&bytes).unwrap();
    assert_eq!((graph.description.as_ref(), graph.subgraphs), ("a description", 3));
    assert_eq!((&graph.inputs[..], &graph.outputs[..]), (&[0][..], &[1, 0][..]));
    let constant = Tensor {
        name: "constant".into(),
        kind: "int8".into(),
        shape: vec![2, 3],
        is_dynamic: false,
        is_state: true,
        scales: 1,
        quantisation: Some((0.5, 7)),
        data: Some(b"inside"),
    };
    let outside = Tensor {
        name: "outside".into(),
        kind: "int16".into(),
        shape: vec![4],
        is_dynamic: true,
        is_state: false,
        scales: 2,
        quantisation: None,
        data: Some(b"TFL"),
    };
    assert_eq!(graph.tensors, [constant, outside]);
    let own = Operator {
        name: "own operator".into(),
        version: 5,
        inputs: vec![Some(1), Some(1), Some(0)],
        outputs: vec![0, 1],
        options: PLAIN,
        custom: b"TF",
    };
    let builtin = Operator {
        name: "CUMSUM".into(),
        version: 6,
        inputs: vec![Some(0), None],
        outputs: vec![1],
        options: PLAIN,
        custom: b"options",
    };
    let old =
        Operator { name: "CONV_2D".into(), version: 1, inputs: vec![], outputs: vec![], options: PLAIN, custom: b"" };
    assert_eq!(graph.operators, [own, builtin, old]);
}
