//! Every rule on both sides of its limits, and which operators each of them is asked for.

mod averages;
mod resize;

use std::borrow::Cow;

use super::*;
use crate::tflite::Options;

/// The operators that have a rule, by the newest version that is known to map.
const KNOWN: [(i32, &[&str]); 4] = [
    (1, &["EXPAND_DIMS", "PRELU", "RELU_N1_TO_1", "RESHAPE", "SQUEEZE", "TILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"]),
    (
        2,
        &[
            "ADD",
            "AVERAGE_POOL_2D",
            "CONCATENATION",
            "L2_NORMALIZATION",
            "LOGISTIC",
            "MAXIMUM",
            "MAX_POOL_2D",
            "MEAN",
            "MINIMUM",
            "MUL",
            "PACK",
            "PAD",
            "QUANTIZE",
            "REDUCE_MAX",
            "REDUCE_MIN",
            "RELU",
            "RELU6",
            "RSQRT",
            "SLICE",
            "SOFTMAX",
            "SPACE_TO_DEPTH",
            "SPLIT",
            "SQUARED_DIFFERENCE",
            "STRIDED_SLICE",
            "SUB",
            "SUM",
            "TANH",
            "TRANSPOSE",
        ],
    ),
    (3, &["CONV_2D", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE_CONV"]),
    (4, &["FULLY_CONNECTED"]),
];

fn known() -> Vec<(&'static str, i32)> {
    let mut known: Vec<_> =
        KNOWN.iter().flat_map(|(newest, names)| names.iter().map(|name| (*name, *newest))).collect();
    known.sort_unstable();
    known
}

/// A graph of one operator.
#[derive(Clone)]
struct One(Graph<'static>);

impl One {
    /// `name`, version 1, from one int8 picture of 8x8x4 to another.
    fn new(name: &'static str) -> Self {
        let operator = Operator {
            name: Cow::Borrowed(name),
            version: 1,
            inputs: Vec::new(),
            outputs: Vec::new(),
            options: Options::default(),
            custom: &[],
        };
        let graph = Graph {
            description: Cow::Borrowed(""),
            tensors: Vec::new(),
            operators: vec![operator],
            inputs: Vec::new(),
            outputs: Vec::new(),
            subgraphs: 1,
        };
        Self(graph).input("int8", &[1, 8, 8, 4], None).output(&[1, 8, 8, 4])
    }

    /// The same without inputs.
    fn bare(mut self) -> Self {
        self.0.operators[0].inputs.clear();
        self
    }

    fn tensor(&mut self, kind: &'static str, shape: &[i32], data: Option<Vec<u8>>) -> usize {
        let index = self.0.tensors.len();
        self.0.tensors.push(Tensor {
            name: Cow::Owned(format!("t{index}")),
            kind: Cow::Borrowed(kind),
            shape: shape.to_vec(),
            is_dynamic: false,
            is_state: false,
            scales: 1,
            quantisation: Some((0.5, 0)),
            data: data.map(|data| &*data.leak()),
        });
        index
    }

    fn input(mut self, kind: &'static str, shape: &[i32], data: Option<Vec<u8>>) -> Self {
        let index = self.tensor(kind, shape, data);
        self.0.operators[0].inputs.push(Some(index));
        self
    }

    /// One more computed input.
    fn variable(self, shape: &[i32]) -> Self {
        self.input("int8", shape, None)
    }

    /// One more constant input, of one byte per element.
    fn weights(self, data: &[u8]) -> Self {
        self.input("int8", &[data.len() as i32], Some(data.to_vec()))
    }

    /// One more constant input: a list of axes, strides or paddings.
    fn list(self, values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.input("int32", &[values.len() as i32], Some(bytes))
    }

    fn output(mut self, shape: &[i32]) -> Self {
        let index = self.tensor("int8", shape, None);
        self.0.operators[0].outputs.push(index);
        self
    }

    /// From pictures of `from` to those of `to`.
    fn shapes(self, from: &[i32], to: &[i32]) -> Self {
        self.with(|graph| {
            graph.tensors[0].shape = from.to_vec();
            graph.tensors[1].shape = to.to_vec();
        })
    }

    fn with(mut self, edit: impl FnOnce(&mut Graph<'static>)) -> Self {
        edit(&mut self.0);
        self
    }

    fn options(self, edit: impl FnOnce(&mut Options)) -> Self {
        self.with(|graph| edit(&mut graph.operators[0].options))
    }

    fn version(self, version: i32) -> Self {
        self.with(|graph| graph.operators[0].version = version)
    }

    fn view(&self) -> View<'_, 'static> {
        View::new(&self.0, &self.0.operators[0])
    }

    /// What speaks against it.
    fn said(&self) -> Vec<String> {
        let findings = judge(self.view());
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()), "{findings:?}");
        let word = |finding: &Finding| if finding.refused { "refused" } else { "unsure" };
        findings.iter().map(|finding| format!("{}: {}", word(finding), finding.reason)).collect()
    }

    /// `refused`, `unsure` or `maps`.
    fn word(&self) -> &'static str {
        let said = self.said();
        let has = |word: &str| said.iter().any(|each| each.starts_with(word));
        match (has("refused"), has("unsure")) {
            (true, _) => "refused",
            (false, true) => "unsure",
            (false, false) => "maps",
        }
    }
}

/// The known operators against which `words` speak, once `spoil` had them.
fn complaining(words: &str, spoil: impl Fn(One) -> One) -> Vec<&'static str> {
    let speaks = |name: &&'static str| spoil(One::new(name)).said().iter().any(|reason| reason.contains(words));
    known().into_iter().map(|(name, _)| name).filter(speaks).collect()
}

#[test]
fn versions_map_up_to_the_newest_that_is_known() {
    for (name, newest) in known() {
        let of = |version: i32| -> Vec<String> {
            let said = One::new(name).version(version).said();
            said.into_iter().filter(|reason| reason.contains("newer")).collect()
        };
        let expected =
            format!("refused: version {} is newer than the newest that is known to map, {newest}", newest + 1);
        assert_eq!((of(newest), of(newest + 1)), (vec![], vec![expected]), "{name}");
    }
}

#[test]
fn what_has_no_rule_is_refused_with_what_to_do_instead() {
    for (name, words) in [
        ("ARG_MAX", "pspnetd takes the argmax"),
        ("DEQUANTIZE", "leave the outputs int8 or uint8"),
        ("HARD_SWISH", "use ReLU6 (the EfficientNet-Lite form)"),
        ("LEAKY_RELU", "use ReLU6 or PReLU"),
        ("MIRROR_PAD", "use zero padding"),
        ("CAST", "supported operators"),
        ("add", "supported operators"),
        ("", "supported operators"),
    ] {
        let findings = judge(One::new(name).view());
        assert_eq!(findings.len(), 1, "{name}: {findings:?}");
        assert!(findings[0].refused && findings[0].remedy.contains(words), "{name}: {findings:?}");
        assert_eq!(findings[0].reason, "is not among the supported operators (docs)");
    }
}

#[test]
fn tensors_are_8_bit_quantised_fixed_and_of_three_wide_dimensions() {
    // The input, then the output: both are asked.
    for index in [0, 1] {
        let said = |edit: &dyn Fn(&mut Tensor<'static>)| {
            One::new("RELU").with(|graph| edit(&mut graph.tensors[index])).said().join("; ")
        };
        for kind in ["int8", "uint8"] {
            assert_eq!(said(&|tensor| tensor.kind = Cow::Borrowed(kind)), "");
        }
        for kind in ["int16", "int32", "int64", "float32", "bool"] {
            let expected = format!("refused: tensor 't{index}' {kind} [1, 8, 8, 4]: only 8-bit tensors map (docs)");
            assert_eq!(said(&|tensor| tensor.kind = Cow::Borrowed(kind)), expected);
        }
        let bare = |tensor: &mut Tensor<'static>| tensor.scales = 0;
        assert!(said(&bare).ends_with("int8 [1, 8, 8, 4] has no quantisation parameters (docs)"));
        assert_eq!(said(&|tensor| tensor.scales = 4), "");
        assert!(said(&|tensor| tensor.is_dynamic = true).ends_with("has no constant size (docs)"));
        for shape in [&[][..], &[9], &[9, 9], &[9, 9, 9], &[1, 9, 9, 9], &[1, 1, 9, 9, 9]] {
            assert_eq!(said(&|tensor| tensor.shape = shape.to_vec()), "", "{shape:?}");
        }
        for shape in [&[2, 9, 9, 9][..], &[2, 1, 1, 1], &[2, 1, 9, 9, 9], &[1, 2, 9, 9, 9], &[0, 9, 9, 9]] {
            let said = said(&|tensor| tensor.shape = shape.to_vec());
            assert!(said.ends_with("only the three innermost dimensions may be larger than 1 (docs)"), "{shape:?}");
        }
        // The cells of an LSTM.
        let state = |tensor: &mut Tensor<'static>| {
            (tensor.is_state, tensor.kind, tensor.scales) = (true, Cow::Borrowed("int16"), 0);
        };
        assert_eq!(said(&state), "");
    }
}

#[test]
fn constants_are_8_bit_or_whole_numbers_and_need_no_scales() {
    for (kind, is_good) in [
        ("int8", true),
        ("uint8", true),
        ("int32", true),
        ("int64", true),
        ("int16", false),
        ("float32", false),
        ("float16", false),
        ("bool", false),
    ] {
        let one =
            One::new("MUL").input(kind, &[2, 9, 9, 9], Some(vec![0; 8])).with(|graph| graph.tensors[2].scales = 0);
        let expected = format!("refused: constant 't2' {kind} [2, 9, 9, 9]: weights must be 8-bit (docs)");
        assert_eq!(one.said(), if is_good { vec![] } else { vec![expected] });
    }
}

#[test]
fn activations_are_fused_with_arithmetic_only_and_not_all_of_them() {
    let arithmetic = ["ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "L2_NORMALIZATION", "MUL", "SUB"];
    let alone = ["AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D"];
    for activation in ["NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT"] {
        let spoil = |one: One| one.options(|options| options.activation = activation);
        let of = |words: &str| complaining(words, spoil);
        let none = format!("refused: fused activation {activation}: none may be fused with this operator (docs)");
        assert_eq!(of(&none), if activation == "NONE" { vec![] } else { alone.to_vec() }, "{activation}");
        let is_fused = !matches!(activation, "TANH" | "SIGN_BIT");
        let mut expected = if is_fused { vec![] } else { arithmetic.to_vec() };
        expected.extend(if activation == "NONE" { vec![] } else { alone.to_vec() });
        expected.sort_unstable();
        assert_eq!(of("fused activation "), expected, "{activation}");
    }
}

#[test]
fn weights_and_bias_are_constants_or_left_out() {
    let computed = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"];
    assert_eq!(complaining("refused: parameter 't2' is computed (docs)", |one| one.variable(&[4])), computed);
    let bias = |one: One| one.weights(&[1; 4]).variable(&[4]);
    assert_eq!(complaining("refused: parameter 't3' is computed (docs)", bias), computed);
    for name in ["CONV_2D", "DEPTHWISE_CONV_2D"] {
        let one = One::new(name).weights(&[1; 4]);
        assert_eq!(one.word(), "maps", "{name}");
        let left_out = one.clone().with(|graph| graph.operators[0].inputs.push(None));
        assert_eq!(left_out.word(), "maps", "{name}");
        assert_eq!(one.list(&[1; 4]).word(), "maps", "{name}");
    }
}

#[test]
fn convolutions_are_dilated_alike_in_y_and_x() {
    for (dilation, is_good) in [((1, 1), true), ((2, 2), true), ((6, 6), true), ((2, 1), false), ((1, 2), false)] {
        let (y, x) = dilation;
        let words = format!("refused: dilation {y} in y and {x} in x: must be the same (docs)");
        let spoiled = complaining(&words, |one| one.options(|options| options.dilation = dilation));
        assert_eq!(spoiled, if is_good { vec![] } else { vec!["CONV_2D", "DEPTHWISE_CONV_2D"] }, "{dilation:?}");
    }
}

#[test]
fn a_constant_is_concatenated_only_as_zeros_beside_one_other_input() {
    let words = "allowed only as zeros beside one other input (docs)";
    assert_eq!(complaining(words, |one| one.weights(&[0, 1])), ["CONCATENATION"]);
    let one = || One::new("CONCATENATION");
    assert_eq!(one().weights(&[0, 0]).word(), "maps");
    assert_eq!(one().weights(&[0, 1]).said(), [format!("refused: constant input 't2': {words}")]);
    assert_eq!(one().weights(&[1, 0]).word(), "refused");
    assert_eq!(
        one().variable(&[1, 8, 8, 4]).weights(&[0, 0]).said(),
        [format!("refused: constant input 't3': {words}")]
    );
    assert_eq!(one().variable(&[1, 8, 8, 4]).variable(&[1, 8, 8, 4]).word(), "maps");
    assert_eq!(one().bare().weights(&[0, 0]).word(), "refused", "one input alone");
}

#[test]
fn fully_connected_is_plain_and_gives_one_dimension() {
    let shuffled = |one: One| one.options(|options| options.weights_format = 1);
    assert_eq!(complaining("refused: weights are shuffled", shuffled), ["FULLY_CONNECTED"]);
    let words = "refused: output int8 [1, 8, 8, 4] is not one-dimensional (docs)";
    assert_eq!(complaining(words, |one| one), ["FULLY_CONNECTED"]);
    for (shape, word) in [
        (&[10][..], "maps"),
        (&[1, 10], "maps"),
        (&[1, 1, 1, 10], "maps"),
        (&[2, 10], "refused"),
        (&[1, 2, 10], "refused"),
        (&[2, 1], "refused"),
    ] {
        let one = One::new("FULLY_CONNECTED").weights(&[1; 4]).shapes(&[1, 8], shape);
        assert_eq!(one.word(), word, "{shape:?}");
    }
}

#[test]
fn nothing_is_reduced_along_the_batch() {
    let words = "refused: reduces the batch dimension (docs)";
    let reducing = ["MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"];
    for axes in [&[0][..], &[1, 0], &[-4]] {
        assert_eq!(complaining(words, |one| one.list(axes)), reducing, "{axes:?}");
    }
    for axes in [&[][..], &[1, 2], &[-1, -2, -3], &[3]] {
        assert!(complaining(words, |one| one.list(axes)).is_empty(), "{axes:?}");
    }
    // Without a batch the first dimension is one like the others; a fifth one has it in front again.
    let of = |shape: &[i32]| One::new("SUM").list(&[0]).shapes(shape, &[8, 4]).word();
    assert_eq!((of(&[8, 8, 4]), of(&[1, 8, 8, 4]), of(&[1, 1, 8, 8, 4])), ("maps", "refused", "refused"));
}

#[test]
fn nothing_is_padded_along_the_batch() {
    let words = "refused: pads the batch dimension (docs)";
    for pads in [[1, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(complaining(words, |one| one.list(&pads)), ["PAD"], "{pads:?}");
    }
    for pads in [&[0, 0, 1, 2, 3, 4, 5, 6][..], &[1, 1, 1, 1, 1, 1], &[0, 0, 1], &[]] {
        assert_eq!(One::new("PAD").list(pads).word(), "maps", "{pads:?}");
    }
    assert_eq!(One::new("PAD").list(&[1, 0, 0, 0, 0, 0, 0]).word(), "refused");
}

#[test]
fn nothing_is_packed_or_split_along_the_batch() {
    let words = ["refused: works along the batch dimension (docs)"];
    let pack = |axis, rank: usize| {
        let shape = [&[1; 8][..rank.saturating_sub(3)], &[4, 4, 4]].concat();
        One::new("PACK").options(|options| options.axis = axis).shapes(&[1, 8, 8, 4], &shape)
    };
    assert_eq!(pack(0, 4).said(), words);
    assert_eq!(pack(-4, 4).said(), words);
    assert_eq!(pack(0, 5).said(), words);
    for (axis, rank) in [(1, 4), (-1, 4), (-3, 4), (0, 3), (-3, 3)] {
        assert_eq!(pack(axis, rank).word(), "maps", "{axis} of {rank}");
    }
    // The axis comes first, and one piece only is none.
    let split = |axis, source: &[i32], pieces: usize| {
        let one = One::new("SPLIT").bare().list(&[axis]).variable(source);
        (1..pieces).fold(one, |one, _| one.output(&[1, 8, 8, 2]))
    };
    assert_eq!(split(0, &[1, 8, 8, 4], 2).said(), words);
    assert_eq!(split(-4, &[1, 8, 8, 4], 3).said(), words);
    for (axis, source, pieces) in [
        (0, &[1, 8, 8, 4][..], 1),
        (3, &[1, 8, 8, 4], 2),
        (-1, &[1, 8, 8, 4], 2),
        (1, &[1, 8, 8, 4], 2),
        (0, &[8, 8, 4], 2),
    ] {
        assert_eq!(split(axis, source, pieces).word(), "maps", "{axis} of {source:?} in {pieces}");
    }
}

#[test]
fn prelu_has_one_value_per_channel() {
    let wide = |one: One| one.variable(&[8, 8, 4]);
    assert_eq!(complaining("refused: alpha int8 [8, 8, 4] is not one value per channel (docs)", wide), ["PRELU"]);
    for (shape, word) in [
        (&[4][..], "maps"),
        (&[1, 1, 4], "maps"),
        (&[1, 8, 4], "refused"),
        (&[8, 1, 4], "refused"),
        (&[2, 1], "refused"),
    ] {
        assert_eq!(One::new("PRELU").variable(shape).word(), word, "{shape:?}");
    }
    assert_eq!(One::new("PRELU").word(), "maps");
}

#[test]
fn softmax_is_over_at_most_16000_elements_in_one_dimension() {
    let words = ": only one-dimensional tensors of at most 16000 elements map (docs)";
    assert_eq!(complaining(words, |one| one), ["SOFTMAX"]);
    for (shape, word) in [
        (&[16_000][..], "maps"),
        (&[1, 16_000], "maps"),
        (&[1, 1, 1, 16_000], "maps"),
        (&[16_001], "refused"),
        (&[1, 16_001], "refused"),
        (&[2, 10], "refused"),
        (&[1, 2, 1], "refused"),
    ] {
        let one = One::new("SOFTMAX").shapes(&[1, 10], shape);
        assert_eq!(one.word(), word, "{shape:?}");
        assert!(word == "maps" || one.said() == [format!("refused: int8 {shape:?}{words}")], "{:?}", one.said());
    }
}

#[test]
fn slices_have_strides_of_one_no_ellipsis_and_no_new_axis() {
    let slice = |strides: &[i32]| One::new("STRIDED_SLICE").list(&[2, 0]).list(&[3, 0]).list(strides);
    let words = "refused: has strides, an ellipsis or a new axis (docs)";
    assert_eq!(slice(&[1, 1, 1, 1]).word(), "maps");
    for strides in [[2, 1, 1, 1], [1, 1, 1, 2], [1, 1, -1, 1], [1, 0, 1, 1]] {
        assert_eq!(slice(&strides).said(), [words], "{strides:?}");
    }
    assert_eq!(slice(&[1, 1]).options(|options| options.ellipsis_mask = 1).said(), [words]);
    assert_eq!(slice(&[1, 1]).options(|options| options.new_axis_mask = 1).said(), [words]);
    let strided = |one: One| one.list(&[0]).list(&[9]).list(&[2]);
    assert_eq!(complaining(words, strided), ["STRIDED_SLICE"]);
}

#[test]
fn large_reshapes_and_tiles_are_unsure() {
    let huge = |one: One| one.shapes(&[1, 8, 8, 4], &[1, 1024, 1025]);
    let words = "unsure: reshapes 1049600 bytes: large ones might not be mapped (docs)";
    assert_eq!(complaining(words, huge), ["RESHAPE"]);
    let reshape = |last| One::new("RESHAPE").shapes(&[1, 8, 8, 4], &[1, last]);
    assert_eq!((reshape(1 << 20).word(), reshape((1 << 20) + 1).word()), ("maps", "unsure"));
    assert_eq!(complaining("unsure: TILE is not documented, but was mapped (pairs)", |one| one), ["TILE"]);
}

#[test]
fn weighted_operators_send_all_their_constants_to_the_device_the_others_bytes_only() {
    let weighted =
        ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM"];
    for (name, _) in known() {
        let one = One::new(name).variable(&[4]).weights(&[1; 4]).list(&[1; 4]).input("uint8", &[1], Some(vec![1]));
        let found: Vec<usize> = one.view().parameters().map(|(index, _)| index).collect();
        assert_eq!(found, if weighted.contains(&name) { vec![3, 4, 5] } else { vec![3, 5] }, "{name}");
        let computed: Vec<usize> = one.view().variables().map(|(index, _)| index).collect();
        assert_eq!(computed, [0, 2], "{name}");
    }
}
