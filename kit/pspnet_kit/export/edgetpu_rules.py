"""What edgetpu_compiler 16 (runtime 14) maps to the Edge TPU, operator by operator, as far as it is known.

Sources, named at each rule:
- docs: "TensorFlow models on the Edge TPU", https://coral.ai/docs/edgetpu/models-intro/ (model requirements and the
  table of supported operations with their known limitations);
- pairs: 41 models that Coral published with their compiled form (github.com/google-coral/test_data, /edgetpu,
  /coralmicro and /project-bodypix): what was mapped there does map, what was left to the CPU does not;
- issue N: github.com/google-coral/edgetpu/issues/N.

The compiler is closed: a limit that no source gives is not known here either. What depends on sizes nobody published is
called unsure, not refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .tflite_reader import Operator, Tensor

EIGHT_BITS = ("INT8", "UINT8")
FUSED = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


@dataclass(frozen=True)
class Finding:
    """One thing that speaks against mapping an operator."""

    reason: str
    remedy: str
    refused: bool = True
    """False: whether the compiler maps it depends on what is not documented."""


Check = Callable[[Operator], Iterator[Finding]]


def unsure(reason: str, remedy: str) -> Finding:
    return Finding(reason, remedy, refused=False)


def judge(operator: Operator) -> list[Finding]:
    """All that is known against mapping `operator`, looked at by itself; empty where nothing is."""
    rule = RULES.get(operator.name)
    if rule is None:
        remedy = REMEDIES.get(operator.name, "express it with supported operators, or let it be the last of the graph")
        return [Finding("is not among the supported operators (docs)", remedy)]
    newest, checks = rule
    findings = list(_tensors(operator))
    if operator.version > newest:
        findings.append(
            Finding(
                f"version {operator.version} is newer than the newest that is known to map, {newest}",
                f"write version {newest}: an older converter, or without the option that the newer version is for",
            )
        )
    for check in checks:
        findings.extend(check(operator))
    return findings


# For every operator: docs, "Model requirements".


def _tensors(operator: Operator) -> Iterator[Finding]:
    for tensor in [*operator.variables, *operator.outputs]:
        if tensor.state:
            continue  # An LSTM keeps its cells in 16 bits, and is mapped (pairs).
        what = f"tensor '{tensor.name}' {tensor}"
        if tensor.dtype not in EIGHT_BITS:
            yield Finding(f"{what}: only 8-bit tensors map (docs)", "quantise to full int8, inputs and outputs as well")
        elif tensor.scales == 0:
            yield Finding(f"{what} has no quantisation parameters (docs)", "quantise with a converter that stores them")
        if tensor.dynamic:
            yield Finding(f"{what} has no constant size (docs)", "export with a fixed input size and batch 1")
        elif any(extent != 1 for extent in tensor.shape[:-3]):
            yield Finding(
                f"{what}: only the three innermost dimensions may be larger than 1 (docs)", "export with batch 1"
            )
    for tensor in operator.constants:
        if tensor.dtype not in (*EIGHT_BITS, "INT32", "INT64"):
            yield Finding(f"constant '{tensor.name}' {tensor}: weights must be 8-bit (docs)", "quantise to full int8")


def fused(operator: Operator) -> Iterator[Finding]:
    """Which activations can be fused (pairs; docs name Relu, Relu6 and ReluN1To1 as operators)."""
    if operator.activation not in FUSED:
        yield Finding(f"fused activation {operator.activation}", f"use one of {', '.join(FUSED)}")


def unfused(operator: Operator) -> Iterator[Finding]:
    """docs: AveragePool2d, MaxPool2d, Concatenation: no fused activation function."""
    if operator.activation != "NONE":
        yield Finding(
            f"fused activation {operator.activation}: none may be fused with this operator (docs)",
            "apply the activation before or after it",
        )


def constant_parameters(operator: Operator) -> Iterator[Finding]:
    """docs: model parameters are constant at compile time."""
    for tensor in operator.inputs[1:]:
        if tensor is not None and tensor.data is None:
            yield Finding(f"parameter '{tensor.name}' is computed (docs)", "make weights and bias constants")


def same_dilation(operator: Operator) -> Iterator[Finding]:
    """docs: Conv2d and, from runtime 13 on, DepthwiseConv2d."""
    height, width = operator.option("dilationHFactor", 1), operator.option("dilationWFactor", 1)
    if height != width:
        yield Finding(f"dilation {height} in y and {width} in x: must be the same (docs)", "use the same dilation")


def zero_padding_only(operator: Operator) -> Iterator[Finding]:
    """docs: Concatenation with a constant is zero padding: two inputs, the constant all zeros."""
    for tensor in operator.constants:
        zero = tensor.data is not None and not tensor.data.any()
        if len(operator.inputs) != 2 or not zero:
            yield Finding(
                f"constant input '{tensor.name}': allowed only as zeros beside one other input (docs)",
                "compute it in the graph, or pad instead",
            )


def plain_weights(operator: Operator) -> Iterator[Finding]:
    """docs: FullyConnected: default weight format, one-dimensional output."""
    if operator.option("weightsFormat") != 0:
        yield Finding("weights are shuffled: only the default format maps (docs)", "write the default weight format")
    for tensor in operator.outputs:
        if any(extent != 1 for extent in tensor.shape[:-1]):
            yield Finding(f"output {tensor} is not one-dimensional (docs)", "use a 1x1 convolution")


def window(operator: Operator) -> Iterator[Finding]:
    """Averages over large areas: issue 461 (256x128 is not mapped, 64x128 is), issue 183 (256x256 aborts)."""
    if operator.name == "MEAN":
        source = operator.inputs[0].shape if operator.inputs[0] else ()
        area = 1
        for axis in reduced_axes(operator):
            area *= source[axis]
    else:
        area = operator.option("filterHeight") * operator.option("filterWidth")
    remedy = "average in two steps, or at a larger stride"
    if area >= 256 * 128:
        yield Finding(f"averages {area} values: 32768 were not mapped (issue 461), 65536 aborted (issue 183)", remedy)
    elif area > 64 * 128:
        yield unsure(f"averages {area} values: 8192 were mapped, 32768 were not (issue 461)", remedy)


def reduced_axes(operator: Operator) -> list[int]:
    source = operator.inputs[0]
    axes = operator.inputs[1].integers() if len(operator.inputs) > 1 and operator.inputs[1] else []
    return [axis % len(source.shape) for axis in axes] if source and source.shape else []


def no_batch_reduction(operator: Operator) -> Iterator[Finding]:
    """docs: Mean, Sum, ReduceMax, ReduceMin."""
    source = operator.inputs[0]
    if source is not None and len(source.shape) > 3 and 0 in reduced_axes(operator):
        yield Finding("reduces the batch dimension (docs)", "reduce y, x or channels only")


def mean_over_channels(operator: Operator) -> Iterator[Finding]:
    """docs: Mean: a reduction over z needs a multiple of 4 there."""
    source = operator.inputs[0]
    if source and source.shape and len(source.shape) - 1 in reduced_axes(operator) and source.shape[-1] % 4:
        yield Finding(f"averages {source.shape[-1]} channels: must be a multiple of 4 (docs)", "pad the channels")


def no_batch_padding(operator: Operator) -> Iterator[Finding]:
    """docs: Pad."""
    pads = operator.inputs[1].integers() if len(operator.inputs) > 1 and operator.inputs[1] else []
    if len(pads) > 6 and any(pads[:2]):
        yield Finding("pads the batch dimension (docs)", "pad y, x or channels only")


def no_batch_axis(operator: Operator) -> Iterator[Finding]:
    """docs: Pack and Split: not along the batch dimension. A split into one piece is mapped all the same (pairs)."""
    if operator.name == "PACK":
        axis, rank = operator.option("axis"), len(operator.outputs[0].shape)
    else:
        axes = operator.inputs[0].integers() if operator.inputs[0] else []
        source = operator.inputs[1]
        if not axes or source is None or len(operator.outputs) == 1:
            return
        axis, rank = axes[0], len(source.shape)
    if rank > 3 and axis % rank == 0:
        yield Finding("works along the batch dimension (docs)", "use another dimension")


def channel_alpha(operator: Operator) -> Iterator[Finding]:
    """docs: PReLU: alpha is one-dimensional."""
    alpha = operator.inputs[1]
    if alpha is not None and any(extent != 1 for extent in alpha.shape[:-1]):
        yield Finding(f"alpha {alpha} is not one value per channel (docs)", "share alpha over y and x")


def short_softmax(operator: Operator) -> Iterator[Finding]:
    """docs: Softmax: one-dimensional, at most 16,000 elements."""
    for tensor in operator.outputs:
        if any(extent != 1 for extent in tensor.shape[:-1]) or tensor.size > 16_000:
            yield Finding(
                f"{tensor}: only one-dimensional tensors of at most 16000 elements map (docs)",
                "leave it out: the argmax of the logits is the same",
            )


def unit_strides(operator: Operator) -> Iterator[Finding]:
    """docs: StridedSlice: strides 1, no ellipsis mask, no new axis."""
    strides = operator.inputs[3].integers() if len(operator.inputs) > 3 and operator.inputs[3] else []
    if any(stride != 1 for stride in strides) or operator.option("ellipsisMask") or operator.option("newAxisMask"):
        yield Finding("has strides, an ellipsis or a new axis (docs)", "slice with strides 1")


def large_reshape(operator: Operator) -> Iterator[Finding]:
    """docs: Reshape: certain reshapes might not be mapped for large tensor sizes."""
    size = max((tensor.size for tensor in operator.outputs), default=0)
    if size > 1 << 20:
        yield unsure(f"reshapes {size} bytes: large ones might not be mapped (docs)", "leave it to the program")


def resize(operator: Operator) -> Iterator[Finding]:
    """docs: ResizeBilinear, ResizeNearestNeighbor: three-dimensional; depends on the sizes, to avoid loss in precision.

    pairs: 1x1 to 33x33 is left to the CPU in every DeepLabv3, 33x33 to 513x513x19 (5 MB) as well; 12x12 to 24x24,
    version 3 with half-pixel centres, is mapped in MoveNet. issue 31: 512x512 is not mapped, 128x128 is. issues 187,
    396, 420: compilers up to 15 refuse half-pixel centres as "Operation version not supported".
    """
    source, result = operator.inputs[0], operator.outputs[0]
    if source is None or len(source.shape) != 4 or len(result.shape) != 4:
        yield Finding(f"{source} to {result} is no resize of a picture (docs)", "resize [1, height, width, channels]")
        return
    (height, width), (high, wide) = source.shape[1:3], result.shape[1:3]
    doubles = high == 2 * height and wide == 2 * width
    if operator.option("halfPixelCenters"):
        remedy = "train and export with align_corners=True, or with both options false (version 2)"
        what = "half_pixel_centers=True (version 3): compilers up to 15 refuse it (issues 187, 396)"
        if doubles and operator.name == "RESIZE_BILINEAR":
            yield unsure(f"{what}, 16 mapped it at this factor, 2 (pairs)", remedy)
        else:
            yield Finding(f"{what}, and 16 is known to map it at factor 2 only (pairs)", remedy)
    elif operator.version > 2:
        yield unsure(f"version {operator.version}: compilers up to 15 refuse it (issue 396)", "write version 2")
    if (high, wide) == (height, width):
        return
    if (height, width) == (1, 1):
        yield Finding(
            f"1x1 to {high}x{wide}: known compiled models leave it to the CPU (pairs: DeepLabv3)",
            "repeat the value by TILE, which did map (pairs), or leave bin 1 out of the pyramid",
        )
    elif result.size > 4 << 20:
        yield Finding(
            f"{high}x{wide} with {result.shape[3]} channels are too large (pairs, issue 31)",
            "let the model end at its own stride: pspnetd upsamples",
        )
    elif not doubles or result.size > 512 << 10:
        yield unsure(
            f"{height}x{width} to {high}x{wide}: depends on the sizes, to avoid loss in precision (docs)",
            "only the compiler can tell: kit/compile_edgetpu.sh",
        )


def undocumented_tile(operator: Operator) -> Iterator[Finding]:
    """pairs: TILE is mapped in deeplab_mobilenet_edgetpu_slim_cityscapes_quant, though docs do not list it."""
    yield unsure("TILE is not documented, but was mapped (pairs)", "only the compiler can tell")


# Newest version that is known to map (pairs), otherwise the first with int8; then what limits it.
RULES: dict[str, tuple[int, tuple[Check, ...]]] = {
    "ADD": (2, (fused,)),
    "AVERAGE_POOL_2D": (2, (unfused, window)),
    "CONCATENATION": (2, (unfused, zero_padding_only)),
    "CONV_2D": (3, (fused, constant_parameters, same_dilation)),
    "DEPTHWISE_CONV_2D": (3, (fused, constant_parameters, same_dilation)),
    "EXPAND_DIMS": (1, ()),
    "FULLY_CONNECTED": (4, (fused, constant_parameters, plain_weights)),
    "L2_NORMALIZATION": (2, (fused,)),
    "LOGISTIC": (2, ()),
    "MAXIMUM": (2, ()),
    "MAX_POOL_2D": (2, (unfused,)),
    "MEAN": (2, (no_batch_reduction, mean_over_channels, window)),
    "MINIMUM": (2, ()),
    "MUL": (2, (fused,)),
    "PACK": (2, (no_batch_axis,)),
    "PAD": (2, (no_batch_padding,)),
    "PRELU": (1, (channel_alpha,)),
    "QUANTIZE": (2, ()),
    "REDUCE_MAX": (2, (no_batch_reduction,)),
    "REDUCE_MIN": (2, (no_batch_reduction,)),
    "RELU": (2, ()),
    "RELU6": (2, ()),
    "RELU_N1_TO_1": (1, ()),
    "RESHAPE": (1, (large_reshape,)),
    "RESIZE_BILINEAR": (3, (resize,)),
    "RESIZE_NEAREST_NEIGHBOR": (3, (resize,)),
    "RSQRT": (2, ()),
    "SLICE": (2, ()),
    "SOFTMAX": (2, (short_softmax,)),
    "SPACE_TO_DEPTH": (2, ()),
    "SPLIT": (2, (no_batch_axis,)),
    "SQUARED_DIFFERENCE": (2, ()),
    "SQUEEZE": (1, ()),
    "STRIDED_SLICE": (2, (unit_strides,)),
    "SUB": (2, (fused,)),
    "SUM": (2, (no_batch_reduction,)),
    "TANH": (2, ()),
    "TILE": (1, (undocumented_tile,)),
    "TRANSPOSE": (2, ()),
    "TRANSPOSE_CONV": (3, ()),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, ()),
}

REMEDIES = {
    "ARG_MAX": "leave it out: pspnetd takes the argmax of the logits itself",
    "DEQUANTIZE": "leave the outputs int8 or uint8",
    "HARD_SWISH": "use ReLU6 (the EfficientNet-Lite form)",
    "LEAKY_RELU": "use ReLU6 or PReLU",
    "MIRROR_PAD": "use zero padding",
}


def parameters(operator: Operator) -> list[Tensor]:
    """The constants that go to the device: weights and biases, not shapes, axes and paddings."""
    if operator.name in WEIGHTED:
        return operator.constants
    return [tensor for tensor in operator.constants if tensor.dtype in EIGHT_BITS]


WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM")
