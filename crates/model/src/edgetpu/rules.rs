//! What edgetpu_compiler 16 (runtime 14) maps to the Edge TPU, operator by operator, as far as it is known.
//!
//! These are the rules of the training kit, kit/pspnet_kit/export/edgetpu_rules.py, with its words; that file names
//! the source of each, kit/tests/test_inspect.py holds the two together, and `tests` has every limit. "docs" is
//! <https://coral.ai/docs/edgetpu/models-intro/>, "issue" one of github.com/google-coral/edgetpu, "pairs" are models that
//! Coral published with their compiled form. The compiler is closed: what depends on what nobody published is unsure.

use serde::Serialize;

use crate::tflite::{Graph, Operator, Tensor, DEFAULT_WEIGHTS_FORMAT};

/// One thing that speaks against mapping an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub reason: String,
    /// What to do.
    pub remedy: String,
    /// False: whether the compiler maps it depends on what is not documented.
    pub refused: bool,
}

fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { reason: reason.into(), remedy: remedy.into(), refused: true }
}

fn unsure(reason: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { refused: false, ..refused(reason, remedy) }
}

/// An operator with its tensors.
#[derive(Clone, Copy)]
pub(super) struct View<'g, 'a> {
    graph: &'g Graph<'a>,
    pub(super) operator: &'g Operator<'a>,
}

impl<'g, 'a> View<'g, 'a> {
    pub(super) const fn new(graph: &'g Graph<'a>, operator: &'g Operator<'a>) -> Self {
        Self { graph, operator }
    }

    fn input(&self, place: usize) -> Option<&'g Tensor<'a>> {
        self.graph.tensors.get((*self.operator.inputs.get(place)?)?)
    }

    fn inputs(self) -> impl Iterator<Item = (usize, &'g Tensor<'a>)> {
        let indices = self.operator.inputs.iter().flatten();
        indices.filter_map(move |&index| Some((index, self.graph.tensors.get(index)?)))
    }

    /// The inputs that are computed, with their numbers.
    pub(super) fn variables(self) -> impl Iterator<Item = (usize, &'g Tensor<'a>)> {
        self.inputs().filter(|(_, tensor)| tensor.data.is_none())
    }

    fn constants(self) -> impl Iterator<Item = (usize, &'g Tensor<'a>)> {
        self.inputs().filter(|(_, tensor)| tensor.data.is_some())
    }

    fn outputs(self) -> impl Iterator<Item = &'g Tensor<'a>> {
        self.operator.outputs.iter().filter_map(move |&index| self.graph.tensors.get(index))
    }

    /// The constants that go to the device, with their numbers: weights and biases, not shapes, axes and paddings.
    pub(super) fn parameters(self) -> impl Iterator<Item = (usize, &'g Tensor<'a>)> {
        const WEIGHTED: [&str; 5] =
            ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM"];
        let all = WEIGHTED.contains(&self.operator.name.as_ref());
        self.constants().filter(move |(_, tensor)| all || is_8_bit(tensor))
    }
}

/// The innermost dimensions of a tensor, which may be larger than 1: y, x and channels. One before them is the batch.
const INNERMOST: usize = 3;

fn is_8_bit(tensor: &Tensor<'_>) -> bool {
    matches!(tensor.kind.as_ref(), "int8" | "uint8")
}

/// One of `extents` is larger than 1.
fn any_wide(extents: &[i32]) -> bool {
    extents.iter().any(|&extent| extent != 1)
}

fn all_but_last(shape: &[i32]) -> &[i32] {
    shape.split_last().map_or(&[], |(_, rest)| rest)
}

type Check = fn(View<'_, '_>) -> Vec<Finding>;

/// All that is known against mapping an operator, looked at by itself; empty where nothing is.
pub(super) fn judge(view: View<'_, '_>) -> Vec<Finding> {
    let (name, version) = (view.operator.name.as_ref(), view.operator.version);
    let Some((newest, checks)) = rule(name) else {
        return vec![refused("is not among the supported operators (docs)", remedy(name))];
    };
    let mut findings = tensors(view);
    if version > newest {
        findings.push(refused(
            format!("version {version} is newer than the newest that is known to map, {newest}"),
            format!("write version {newest}: an older converter, or without the option that the newer version is for"),
        ));
    }
    findings.extend(checks.iter().flat_map(|check| check(view)));
    findings
}

/// The newest version that is known to map, and what limits the operator.
fn rule(name: &str) -> Option<(i32, &'static [Check])> {
    Some(match name {
        "ADD" | "L2_NORMALIZATION" | "MUL" | "SUB" => (2, &[fused]),
        "AVERAGE_POOL_2D" => (2, &[unfused, window]),
        "CONCATENATION" => (2, &[unfused, zero_padding_only]),
        "CONV_2D" | "DEPTHWISE_CONV_2D" => (3, &[fused, constant_parameters, same_dilation]),
        "EXPAND_DIMS" | "RELU_N1_TO_1" | "SQUEEZE" | "UNIDIRECTIONAL_SEQUENCE_LSTM" => (1, &[]),
        "FULLY_CONNECTED" => (4, &[fused, constant_parameters, plain_weights]),
        "LOGISTIC" | "MAXIMUM" | "MINIMUM" | "QUANTIZE" | "RELU" | "RELU6" | "RSQRT" | "SLICE" | "SPACE_TO_DEPTH"
        | "SQUARED_DIFFERENCE" | "TANH" | "TRANSPOSE" => (2, &[]),
        "MAX_POOL_2D" => (2, &[unfused]),
        "MEAN" => (2, &[no_batch_reduction, mean_over_channels, window]),
        "PACK" | "SPLIT" => (2, &[no_batch_axis]),
        "PAD" => (2, &[no_batch_padding]),
        "PRELU" => (1, &[channel_alpha]),
        "REDUCE_MAX" | "REDUCE_MIN" | "SUM" => (2, &[no_batch_reduction]),
        "RESHAPE" => (1, &[large_reshape]),
        "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR" => (3, &[resize]),
        "SOFTMAX" => (2, &[short_softmax]),
        "STRIDED_SLICE" => (2, &[unit_strides]),
        "TILE" => (1, &[undocumented_tile]),
        "TRANSPOSE_CONV" => (3, &[]),
        _ => return None,
    })
}

fn remedy(name: &str) -> &'static str {
    match name {
        "ARG_MAX" => "leave it out: pspnetd takes the argmax of the logits itself",
        "DEQUANTIZE" => "leave the outputs int8 or uint8",
        "HARD_SWISH" => "use ReLU6 (the EfficientNet-Lite form)",
        "LEAKY_RELU" => "use ReLU6 or PReLU",
        "MIRROR_PAD" => "use zero padding",
        _ => "express it with supported operators, or let it be the last of the graph",
    }
}

/// For every operator: docs, "Model requirements".
fn tensors(view: View<'_, '_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // An LSTM keeps its cells in 16 bits, and is mapped (pairs).
    let computed = view.variables().map(|(_, tensor)| tensor).chain(view.outputs());
    for tensor in computed.filter(|tensor| !tensor.is_state) {
        let what = format!("tensor '{}' {tensor}", tensor.name);
        if !is_8_bit(tensor) {
            let remedy = "quantise to full int8, inputs and outputs as well";
            findings.push(refused(format!("{what}: only 8-bit tensors map (docs)"), remedy));
        } else if tensor.scales == 0 {
            let remedy = "quantise with a converter that stores them";
            findings.push(refused(format!("{what} has no quantisation parameters (docs)"), remedy));
        }
        if tensor.is_dynamic {
            let remedy = "export with a fixed input size and batch 1";
            findings.push(refused(format!("{what} has no constant size (docs)"), remedy));
        } else if any_wide(&tensor.shape[..tensor.shape.len().saturating_sub(INNERMOST)]) {
            let reason = format!("{what}: only the three innermost dimensions may be larger than 1 (docs)");
            findings.push(refused(reason, "export with batch 1"));
        }
    }
    for (_, tensor) in view.constants() {
        if !is_8_bit(tensor) && !matches!(tensor.kind.as_ref(), "int32" | "int64") {
            let reason = format!("constant '{}' {tensor}: weights must be 8-bit (docs)", tensor.name);
            findings.push(refused(reason, "quantise to full int8"));
        }
    }
    findings
}

fn fused(view: View<'_, '_>) -> Vec<Finding> {
    const FUSED: [&str; 4] = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"];
    let activation = view.operator.options.activation;
    let wrong = !FUSED.contains(&activation);
    let finding = || refused(format!("fused activation {activation}"), format!("use one of {}", FUSED.join(", ")));
    wrong.then(finding).into_iter().collect()
}

fn unfused(view: View<'_, '_>) -> Vec<Finding> {
    let activation = view.operator.options.activation;
    let reason = || format!("fused activation {activation}: none may be fused with this operator (docs)");
    (activation != "NONE").then(|| refused(reason(), "apply the activation before or after it")).into_iter().collect()
}

fn constant_parameters(view: View<'_, '_>) -> Vec<Finding> {
    let parameters = (1..view.operator.inputs.len()).filter_map(|place| view.input(place));
    let computed = parameters.filter(|tensor| tensor.data.is_none());
    let finding = |tensor: &Tensor<'_>| {
        refused(format!("parameter '{}' is computed (docs)", tensor.name), "make weights and bias constants")
    };
    computed.map(finding).collect()
}

fn same_dilation(view: View<'_, '_>) -> Vec<Finding> {
    let (height, width) = view.operator.options.dilation;
    let reason = || format!("dilation {height} in y and {width} in x: must be the same (docs)");
    (height != width).then(|| refused(reason(), "use the same dilation")).into_iter().collect()
}

/// Concatenation with a constant is zero padding: two inputs, the constant all zeros.
fn zero_padding_only(view: View<'_, '_>) -> Vec<Finding> {
    let is_zero = |tensor: &Tensor<'_>| tensor.data.is_some_and(|data| data.iter().all(|&byte| byte == 0));
    let wrong = view.constants().filter(|(_, tensor)| view.operator.inputs.len() != 2 || !is_zero(tensor));
    let reason = |name: &str| format!("constant input '{name}': allowed only as zeros beside one other input (docs)");
    wrong.map(|(_, tensor)| refused(reason(&tensor.name), "compute it in the graph, or pad instead")).collect()
}

fn plain_weights(view: View<'_, '_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if view.operator.options.weights_format != DEFAULT_WEIGHTS_FORMAT {
        let reason = "weights are shuffled: only the default format maps (docs)";
        findings.push(refused(reason, "write the default weight format"));
    }
    for tensor in view.outputs().filter(|tensor| any_wide(all_but_last(&tensor.shape))) {
        findings.push(refused(format!("output {tensor} is not one-dimensional (docs)"), "use a 1x1 convolution"));
    }
    findings
}

/// Averages over large areas: issue 461 (256x128 is not mapped, 64x128 is), issue 183 (256x256 aborts).
fn window(view: View<'_, '_>) -> Vec<Finding> {
    let area = if view.operator.name == "MEAN" {
        let shape = view.input(0).map_or(&[][..], |source| &source.shape);
        let extents = reduced_axes(view).into_iter().filter_map(|axis| shape.get(axis));
        extents.fold(1, |area: i64, &extent| area.saturating_mul(extent.into()))
    } else {
        let (height, width) = view.operator.options.filter;
        i64::from(height) * i64::from(width)
    };
    let remedy = "average in two steps, or at a larger stride";
    if area >= 256 * 128 {
        let reason = format!("averages {area} values: 32768 were not mapped (issue 461), 65536 aborted (issue 183)");
        return vec![refused(reason, remedy)];
    }
    if area > 64 * 128 {
        let reason = format!("averages {area} values: 8192 were mapped, 32768 were not (issue 461)");
        return vec![unsure(reason, remedy)];
    }
    Vec::new()
}

/// The axes that an operator with a constant list of them reduces, from 0.
fn reduced_axes(view: View<'_, '_>) -> Vec<usize> {
    let rank = view.input(0).map_or(0, |source| source.shape.len());
    let axes = view.input(1).map(Tensor::integers).unwrap_or_default();
    axes.into_iter().filter_map(|axis| wrapped(axis, rank)).collect()
}

/// An axis that may count from the end.
fn wrapped(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok().filter(|&rank| rank > 0)?;
    usize::try_from(axis.rem_euclid(rank)).ok()
}

fn no_batch_reduction(view: View<'_, '_>) -> Vec<Finding> {
    let has_batch = view.input(0).is_some_and(|source| source.shape.len() > INNERMOST);
    let wrong = has_batch && reduced_axes(view).contains(&0);
    let finding = || refused("reduces the batch dimension (docs)", "reduce y, x or channels only");
    wrong.then(finding).into_iter().collect()
}

fn mean_over_channels(view: View<'_, '_>) -> Vec<Finding> {
    let Some((channels, rest)) = view.input(0).and_then(|source| source.shape.split_last()) else { return Vec::new() };
    let wrong = reduced_axes(view).contains(&rest.len()) && channels % 4 != 0;
    let reason = || format!("averages {channels} channels: must be a multiple of 4 (docs)");
    wrong.then(|| refused(reason(), "pad the channels")).into_iter().collect()
}

fn no_batch_padding(view: View<'_, '_>) -> Vec<Finding> {
    let pads = view.input(1).map(Tensor::integers).unwrap_or_default();
    // A pair for each dimension, before it and behind it.
    let wrong = pads.len() > 2 * INNERMOST && pads[..2].iter().any(|&pad| pad != 0);
    let finding = || refused("pads the batch dimension (docs)", "pad y, x or channels only");
    wrong.then(finding).into_iter().collect()
}

/// A split into one piece is mapped all the same (pairs).
fn no_batch_axis(view: View<'_, '_>) -> Vec<Finding> {
    let (axis, rank) = if view.operator.name == "PACK" {
        (Some(view.operator.options.axis.into()), view.outputs().next().map(|output| output.shape.len()))
    } else {
        let axes = view.input(0).map(Tensor::integers).unwrap_or_default();
        let source = view.input(1).filter(|_| view.operator.outputs.len() != 1);
        (axes.first().copied(), source.map(|source| source.shape.len()))
    };
    let wrong = axis.zip(rank).is_some_and(|(axis, rank)| rank > INNERMOST && wrapped(axis, rank) == Some(0));
    let finding = || refused("works along the batch dimension (docs)", "use another dimension");
    wrong.then(finding).into_iter().collect()
}

fn channel_alpha(view: View<'_, '_>) -> Vec<Finding> {
    let alpha = view.input(1).filter(|alpha| any_wide(all_but_last(&alpha.shape)));
    let reason = |alpha: &Tensor<'_>| format!("alpha {alpha} is not one value per channel (docs)");
    alpha.map(|alpha| refused(reason(alpha), "share alpha over y and x")).into_iter().collect()
}

fn short_softmax(view: View<'_, '_>) -> Vec<Finding> {
    let long = |tensor: &&Tensor<'_>| any_wide(all_but_last(&tensor.shape)) || tensor.size() > 16_000;
    let reason =
        |tensor: &Tensor<'_>| format!("{tensor}: only one-dimensional tensors of at most 16000 elements map (docs)");
    let remedy = "leave it out: the argmax of the logits is the same";
    view.outputs().filter(long).map(|tensor| refused(reason(tensor), remedy)).collect()
}

fn unit_strides(view: View<'_, '_>) -> Vec<Finding> {
    let strides = view.input(3).map(Tensor::integers).unwrap_or_default();
    let options = &view.operator.options;
    let wrong = strides.iter().any(|&stride| stride != 1) || options.ellipsis_mask != 0 || options.new_axis_mask != 0;
    let finding = || refused("has strides, an ellipsis or a new axis (docs)", "slice with strides 1");
    wrong.then(finding).into_iter().collect()
}

fn large_reshape(view: View<'_, '_>) -> Vec<Finding> {
    let size = view.outputs().map(Tensor::size).max().unwrap_or(0);
    let reason = || format!("reshapes {size} bytes: large ones might not be mapped (docs)");
    (size > 1 << 20).then(|| unsure(reason(), "leave it to the program")).into_iter().collect()
}

/// 1x1 to 33x33 is left to the CPU in every DeepLabv3, 33x33 to 513x513x19 as well; 12x12 to 24x24, version 3 with half-pixel
/// centres, is mapped in MoveNet.
fn resize(view: View<'_, '_>) -> Vec<Finding> {
    let (source, result) = (view.input(0), view.outputs().next());
    let told = |tensor: Option<&Tensor<'_>>| tensor.map_or_else(|| "None".to_owned(), ToString::to_string);
    let shape = |tensor: Option<&Tensor<'_>>| -> Option<[i32; 4]> { tensor?.shape[..].try_into().ok() };
    let (Some([_, height, width, _]), Some([_, high, wide, channels])) = (shape(source), shape(result)) else {
        let reason = format!("{} to {} is no resize of a picture (docs)", told(source), told(result));
        return vec![refused(reason, "resize [1, height, width, channels]")];
    };
    let size = result.map_or(0, Tensor::size);
    let version = view.operator.version;
    let is_double = |to: i32, from: i32| i64::from(to) == 2 * i64::from(from);
    let doubles = is_double(high, height) && is_double(wide, width);
    let mut findings = Vec::new();
    if view.operator.options.half_pixel_centers {
        let remedy = "train and export with align_corners=True, or with both options false (version 2)";
        let what = "half_pixel_centers=True (version 3): compilers up to 15 refuse it (issues 187, 396)";
        findings.push(if doubles && view.operator.name == "RESIZE_BILINEAR" {
            unsure(format!("{what}, 16 mapped it at this factor, 2 (pairs)"), remedy)
        } else {
            refused(format!("{what}, and 16 is known to map it at factor 2 only (pairs)"), remedy)
        });
    } else if version > 2 {
        let reason = format!("version {version}: compilers up to 15 refuse it (issue 396)");
        findings.push(unsure(reason, "write version 2"));
    }
    if (high, wide) == (height, width) {
        return findings;
    }
    if (height, width) == (1, 1) {
        findings.push(refused(
            format!("1x1 to {high}x{wide}: known compiled models leave it to the CPU (pairs: DeepLabv3)"),
            "repeat the value by TILE, which did map (pairs), or leave bin 1 out of the pyramid",
        ));
    } else if size > 4 << 20 {
        findings.push(refused(
            format!("{high}x{wide} with {channels} channels are too large (pairs, issue 31)"),
            "let the model end at its own stride: pspnetd upsamples",
        ));
    } else if !doubles || size > 512 << 10 {
        findings.push(unsure(
            format!("{height}x{width} to {high}x{wide}: depends on the sizes, to avoid loss in precision (docs)"),
            "only the compiler can tell: kit/compile_edgetpu.sh",
        ));
    }
    findings
}

/// TILE is mapped in deeplab_mobilenet_edgetpu_slim_cityscapes_quant, though docs do not list it.
fn undocumented_tile(_: View<'_, '_>) -> Vec<Finding> {
    vec![unsure("TILE is not documented, but was mapped (pairs)", "only the compiler can tell")]
}

#[cfg(test)]
mod tests;
