//! The names that TensorFlow Lite's schema has for the numbers of its enumerations: BuiltinOperator, TensorType and
//! ActivationFunctionType. `schema` names the source. A name stands at the place of its number; newer ones are added at the end.

use std::borrow::Cow;

/// The name of an operator that has no number: its operator code says in words which it is.
pub(super) const CUSTOM: &str = "CUSTOM";

/// The name that stands for no fused activation.
pub(super) const NO_ACTIVATION: &str = "NONE";

/// The name of a builtin operator; `unknown` for one that is newer than this list.
pub(super) fn operator(code: i32) -> &'static str {
    usize::try_from(code).ok().and_then(|code| OPERATORS.get(code)).copied().unwrap_or("unknown")
}

/// Whether it is the name of a builtin operator, and not a custom one's own.
pub(super) fn is_builtin(name: &str) -> bool {
    name != CUSTOM && OPERATORS.contains(&name)
}

/// The name of a tensor's type, such as `int8`.
pub(super) fn tensor_type(code: i8) -> Cow<'static, str> {
    let known = usize::try_from(code).ok().and_then(|code| TYPES.get(code)).copied();
    known.map_or_else(|| Cow::Owned(format!("type {code}")), Cow::Borrowed)
}

/// Bytes of an element; one that has no whole number of them counts as one.
pub(super) fn element_bytes(kind: &str) -> u64 {
    match kind {
        "int16" | "uint16" | "float16" | "bfloat16" => 2,
        "int32" | "uint32" | "float32" => 4,
        "int64" | "uint64" | "float64" | "complex64" => 8,
        "complex128" => 16,
        _ => 1,
    }
}

/// The name of a fused activation.
pub(super) fn activation(code: i8) -> &'static str {
    usize::try_from(code).ok().and_then(|code| ACTIVATIONS.get(code)).copied().unwrap_or("unknown")
}

#[rustfmt::skip]
const ACTIVATIONS: [&str; 6] = [
    "NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT",
];

#[rustfmt::skip]
const TYPES: [&str; 23] = [
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
    "float8_e4m3fn", "float8_e5m2",
];

#[rustfmt::skip]
const OPERATORS: [&str; 210] = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU",
    "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH",
    "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB",
    "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2",
    "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX",
    "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN",
    "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT",
    "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT",
    "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL",
    "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS",
    "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU",
    "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM",
    "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D",
    "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "REDUCE_ALL",
    "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL",
    "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1",
    "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN",
    "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT", "STABLEHLO_LOGISTIC", "STABLEHLO_ADD", "STABLEHLO_DIVIDE",
    "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE", "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE",
    "STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_CONVOLUTION", "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND", "STABLEHLO_COSINE", "STABLEHLO_EXPONENTIAL",
    "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM", "STABLEHLO_NEGATE", "STABLEHLO_OR", "STABLEHLO_POWER",
    "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT", "STABLEHLO_SUBTRACT", "STABLEHLO_TANH",
    "STABLEHLO_SCATTER", "STABLEHLO_COMPARE", "STABLEHLO_CONVERT", "STABLEHLO_DYNAMIC_SLICE",
    "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA", "STABLEHLO_DOT_GENERAL",
    "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE", "STABLEHLO_GATHER", "STABLEHLO_TRANSPOSE",
    "DILATE", "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW", "STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT",
    "STABLEHLO_CBRT", "STABLEHLO_CASE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_the_numbers_of_the_schema() {
        for (code, name) in [
            (0, "ADD"),
            (9, "FULLY_CONNECTED"),
            (17, "MAX_POOL_2D"),
            (23, "RESIZE_BILINEAR"),
            (32, CUSTOM),
            (40, "MEAN"),
            (50, "LOG_SOFTMAX"),
            (61, "GREATER"),
            (67, "TRANSPOSE_CONV"),
            (74, "SUM"),
            (83, "PACK"),
            (97, "RESIZE_NEAREST_NEIGHBOR"),
            (105, "REVERSE_V2"),
            (114, "QUANTIZE"),
            (127, "PLACEHOLDER_FOR_GREATER_OP_CODES"),
            (140, "REDUCE_ALL"),
            (150, "GELU"),
            (161, "RIGHT_SHIFT"),
            (175, "STABLEHLO_ABS"),
            (190, "STABLEHLO_SCATTER"),
            (203, "DILATE"),
            (209, "STABLEHLO_CASE"),
            (210, "unknown"),
            (-1, "unknown"),
        ] {
            assert_eq!(operator(code), name);
        }
        for (code, name) in [
            (0, "float32"),
            (1, "float16"),
            (2, "int32"),
            (3, "uint8"),
            (4, "int64"),
            (6, "bool"),
            (7, "int16"),
            (9, "int8"),
            (15, "uint32"),
            (17, "int4"),
            (22, "float8_e5m2"),
            (23, "type 23"),
            (-1, "type -1"),
        ] {
            assert_eq!(tensor_type(code), name);
        }
        let activations = [0, 1, 2, 3, 4, 5, 6, -1].map(activation);
        let names = [NO_ACTIVATION, "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT", "unknown", "unknown"];
        assert_eq!(activations, names);
    }
}
