//! The tables of a TensorFlow Lite file, each field with its number, name, type and default. Only what this program reads is
//! here; [`tables`] says how to read a declaration.
//!
//! The source is tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3d. Numbers of a schema never change: it grows at the
//! end of a table, an enumeration or a union. Names are the schema's; `type`, a word of Rust, is `type_`, as flatc writes it.
//! What the numbers of an enumeration mean is in `names`.

use std::borrow::Cow;

use super::DEFAULT_WEIGHTS_FORMAT;
use crate::flatbuffer::{tables, Identifier, Table};

/// The mark of every TensorFlow Lite file.
pub(super) const IDENTIFIER: &Identifier = b"TFL3";

/// An extent in a tensor's `shape_signature` that is known only when the model runs.
pub(super) const UNKNOWN_EXTENT: i32 = -1;

/// Bytes that lie outside of all tables, as in files near 2 GiB, have an offset from the start of the file. Up to this it is
/// none, and the bytes lie in their table.
pub(super) const NO_OFFSET: u64 = 1;

tables! {
    /// The file.
    Model {
        1 operator_codes: Vec<OperatorCode<'r, 'a>>;
        2 subgraphs: Vec<SubGraph<'r, 'a>>;
        3 description: Cow<'a, str>;
        4 buffers: Vec<Buffer<'r, 'a>>;
    }

    /// Tensors and the operators between them. The first one is the model's, the others belong to its loops and branches.
    SubGraph {
        0 tensors: Vec<Tensor<'r, 'a>>;
        1 inputs: Vec<i32>;
        2 outputs: Vec<i32>;
        3 operators: Vec<Operator<'r, 'a>>;
    }

    /// A tensor. `type_` is a TensorType, `buffer` an index into the model's buffers.
    Tensor {
        0 shape: Vec<i32>;
        1 type_: i8;
        2 buffer: u32;
        3 name: Cow<'a, str>;
        4 quantization: Option<QuantizationParameters<'r, 'a>>;
        5 is_variable: bool;
        7 shape_signature: Vec<i32>;
    }

    /// real = scale * (value - zero_point), with one pair for the whole tensor or one for each place of the
    /// dimension `quantized_dimension`.
    QuantizationParameters {
        2 scale: Vec<f32>;
        3 zero_point: Vec<i64>;
        6 quantized_dimension: i32;
    }

    /// The values of a constant; empty where a tensor is computed.
    Buffer {
        0 data: &'a [u8];
        1 offset: u64;
        2 size: u64;
    }

    /// Which operator it is: a BuiltinOperator, in an older and in a wider field, or a custom one's name.
    OperatorCode {
        0 deprecated_builtin_code: i8;
        1 custom_code: Cow<'a, str>;
        2 version: i32 = 1;
        3 builtin_code: i32;
    }

    /// A place in the graph where an operator runs. `opcode_index` is an index into the model's operator codes; the inputs and
    /// outputs are indices into the subgraph's tensors, and an input below 0 is left out.
    Operator {
        0 opcode_index: u32;
        1 inputs: Vec<i32>;
        2 outputs: Vec<i32>;
        3 builtin_options_type: u8;
        4 builtin_options: Option<Table<'r, 'a>>;
        5 custom_options: &'a [u8];
        9 large_custom_options_offset: u64;
        10 large_custom_options_size: u64;
    }

    /// Of CONV_2D.
    Conv2DOptions {
        3 fused_activation_function: i8;
        4 dilation_w_factor: i32 = 1;
        5 dilation_h_factor: i32 = 1;
    }

    /// Of DEPTHWISE_CONV_2D.
    DepthwiseConv2DOptions {
        4 fused_activation_function: i8;
        5 dilation_w_factor: i32 = 1;
        6 dilation_h_factor: i32 = 1;
    }

    /// Of AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D.
    Pool2DOptions {
        3 filter_width: i32;
        4 filter_height: i32;
        5 fused_activation_function: i8;
    }

    /// Of FULLY_CONNECTED. `weights_format` is a FullyConnectedOptionsWeightsFormat.
    FullyConnectedOptions {
        0 fused_activation_function: i8;
        1 weights_format: i8 = DEFAULT_WEIGHTS_FORMAT;
    }

    /// Of CONCATENATION.
    ConcatenationOptions {
        0 axis: i32;
        1 fused_activation_function: i8;
    }

    /// Of ADD.
    AddOptions {
        0 fused_activation_function: i8;
    }

    /// Of L2_NORMALIZATION.
    L2NormOptions {
        0 fused_activation_function: i8;
    }

    /// Of RESIZE_BILINEAR.
    ResizeBilinearOptions {
        3 half_pixel_centers: bool;
    }

    /// Of MUL.
    MulOptions {
        0 fused_activation_function: i8;
    }

    /// Of SUB.
    SubOptions {
        0 fused_activation_function: i8;
    }

    /// Of DIV.
    DivOptions {
        0 fused_activation_function: i8;
    }

    /// Of STRIDED_SLICE.
    StridedSliceOptions {
        2 ellipsis_mask: i32;
        3 new_axis_mask: i32;
    }

    /// Of TRANSPOSE_CONV.
    TransposeConvOptions {
        3 fused_activation_function: i8;
    }

    /// Of PACK.
    PackOptions {
        1 axis: i32;
    }

    /// Of UNIDIRECTIONAL_SEQUENCE_LSTM.
    UnidirectionalSequenceLSTMOptions {
        0 fused_activation_function: i8;
    }

    /// Of RESIZE_NEAREST_NEIGHBOR.
    ResizeNearestNeighborOptions {
        1 half_pixel_centers: bool;
    }
}

/// The union of what a builtin operator's `builtin_options` can be.
#[derive(Clone, Copy)]
pub(super) enum BuiltinOptions<'r, 'a> {
    Conv2DOptions(Conv2DOptions<'r, 'a>),
    DepthwiseConv2DOptions(DepthwiseConv2DOptions<'r, 'a>),
    Pool2DOptions(Pool2DOptions<'r, 'a>),
    FullyConnectedOptions(FullyConnectedOptions<'r, 'a>),
    ConcatenationOptions(ConcatenationOptions<'r, 'a>),
    AddOptions(AddOptions<'r, 'a>),
    L2NormOptions(L2NormOptions<'r, 'a>),
    ResizeBilinearOptions(ResizeBilinearOptions<'r, 'a>),
    MulOptions(MulOptions<'r, 'a>),
    SubOptions(SubOptions<'r, 'a>),
    DivOptions(DivOptions<'r, 'a>),
    StridedSliceOptions(StridedSliceOptions<'r, 'a>),
    TransposeConvOptions(TransposeConvOptions<'r, 'a>),
    PackOptions(PackOptions<'r, 'a>),
    UnidirectionalSequenceLSTMOptions(UnidirectionalSequenceLSTMOptions<'r, 'a>),
    ResizeNearestNeighborOptions(ResizeNearestNeighborOptions<'r, 'a>),
    /// A table that nothing is read of, or that is newer than this program.
    Other,
}

impl<'r, 'a> BuiltinOptions<'r, 'a> {
    /// `table` as what `builtin_options_type` says it is.
    pub(super) fn new(builtin_options_type: u8, table: Table<'r, 'a>) -> Self {
        match builtin_options_type {
            1 => Self::Conv2DOptions(Conv2DOptions(table)),
            2 => Self::DepthwiseConv2DOptions(DepthwiseConv2DOptions(table)),
            5 => Self::Pool2DOptions(Pool2DOptions(table)),
            8 => Self::FullyConnectedOptions(FullyConnectedOptions(table)),
            10 => Self::ConcatenationOptions(ConcatenationOptions(table)),
            11 => Self::AddOptions(AddOptions(table)),
            12 => Self::L2NormOptions(L2NormOptions(table)),
            15 => Self::ResizeBilinearOptions(ResizeBilinearOptions(table)),
            21 => Self::MulOptions(MulOptions(table)),
            28 => Self::SubOptions(SubOptions(table)),
            29 => Self::DivOptions(DivOptions(table)),
            32 => Self::StridedSliceOptions(StridedSliceOptions(table)),
            49 => Self::TransposeConvOptions(TransposeConvOptions(table)),
            59 => Self::PackOptions(PackOptions(table)),
            71 => Self::UnidirectionalSequenceLSTMOptions(UnidirectionalSequenceLSTMOptions(table)),
            74 => Self::ResizeNearestNeighborOptions(ResizeNearestNeighborOptions(table)),
            _ => Self::Other,
        }
    }
}
