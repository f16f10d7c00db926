"""A network that was given another size is the one that is built with that size, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from foreign import Q, noise, resized, run, segmenter, weights
from graph import Graph

from pspnet_kit.adopt.cut import compact, pack
from pspnet_kit.adopt.retarget import retarget
from pspnet_kit.errors import KitError
from pspnet_kit.export.tflite_reader import unpack

PATH = Path("foreign.tflite")
Build = Callable[[int, int], bytes]


def changed(content: bytes, size: tuple[int, int]) -> tuple[bytes, list[str], list[str]]:
    model = unpack(content, PATH)
    changes, notes = retarget(model, size, PATH)
    compact(model)
    return pack(model, PATH), changes, notes


def agree(build: Build, old: tuple[int, int], new: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Holds what `build(*old)` becomes at `new` to `build(*new)`."""
    content, changes, notes = changed(build(*old), new)
    picture = noise(*new)
    expected, found = run(build(*new), picture), run(content, picture)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    return changes, notes


@pytest.mark.parametrize("new", [(128, 96), (32, 48), (64, 160), (40, 72)])
def test_a_network_with_a_pyramid_is_the_one_built_at_the_size(new: tuple[int, int]) -> None:
    changes, _ = agree(segmenter, (64, 96), new)
    cells = f"{new[0] // 4}x{new[1] // 4}"
    assert changes[0] == f"AVERAGE_POOL_2D over the whole map has a window of {cells} instead of 16x24"
    assert changes[1].startswith("AVERAGE_POOL_2D of the pyramid has a window of")
    assert len(changes) == 2


def test_odd_sizes_follow_the_maps_and_not_the_ratio() -> None:
    """65 to 33 is no whole ratio; what the resizes go to is learnt from the other branch."""
    agree(lambda h, w: segmenter(h, w, resized, pyramid=False), (65, 97), (33, 161))


def test_a_size_and_back_is_the_file_itself() -> None:
    there, _, _ = changed(segmenter(64, 96), (128, 48))
    back, _, _ = changed(there, (64, 96))
    picture = noise(64, 96)
    np.testing.assert_array_equal(run(back, picture), run(segmenter(64, 96), picture))


def test_a_pyramid_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(
        KitError, match=r"AVERAGE_POOL_2D \('halves'\), pools windows of 8x12 on a map of 16x24 .* 17x25"
    ):
        changed(segmenter(64, 96), (68, 100))


def one(build: Callable[[Graph, int, int, int], int]) -> Build:
    """A network of a convolution of stride 2 and the operators of `build`, which gets its map, height and width."""

    def made(height: int, width: int) -> bytes:
        g = Graph("one")
        x = g.input("int8", [1, height, width, 3], Q)
        x = g.conv("stem", x, *weights(g, "stem", [8, 3, 3, 3], 1), "int8", Q, stride=(2, 2))
        return g.build([build(g, x, height // 2, width // 2)])

    return made


def test_a_window_that_stays_is_told_with_what_that_means() -> None:
    pool = one(lambda g, x, h, w: g.average_pool(x, 8, 8, "int8", Q, name="window"))
    _, notes = agree(pool, (64, 96), (128, 192))
    assert notes == [
        "AVERAGE_POOL_2D keeps its window of 8x8 cells, so at the new size it averages another share of the picture"
    ]


def op(g: Graph, name: str, inputs: list[int], shape: list[int], options: object = None, version: int = 2) -> int:
    return g.op(name, version, inputs, g.tensor(f"{name}{len(g.tensors)}", "int8", shape, Q), options)


def ints(g: Graph, values: object) -> int:
    return g.constant(f"constant{len(g.tensors)}", values, "int32")


def tokens(g: Graph, x: int, h: int, w: int) -> int:
    """Flattened to a row of cells and back, as networks with attention do."""
    return g.reshape(g.reshape(x, [1, h * w, 8], "int8", Q), [1, h, w, 8], "int8", Q)


def rows_as_channels(g: Graph, x: int, h: int, w: int) -> int:
    return g.transpose("back", g.transpose("turned", x, [0, 3, 1, 2], "int8", Q), [0, 2, 3, 1], "int8", Q)


def squeezed_mean(g: Graph, x: int, h: int, w: int) -> int:
    """A mean over the map, spread again by an addition."""
    options = schema.ReducerOptionsT()
    options.keepDims = True
    mean = op(g, "MEAN", [x, ints(g, [1, 2])], [1, 1, 1, 8], options)
    return g.add(x, mean, "int8", Q)


def tiled(g: Graph, x: int, h: int, w: int) -> int:
    return g.tile("tiled", g.average_pool(x, h, w, "int8", Q), h, w, "int8", Q)


def sliced(g: Graph, x: int, h: int, w: int) -> int:
    """The first four channels, with ends that are the map's own size."""
    options = schema.StridedSliceOptionsT()
    places = [ints(g, values) for values in ([0, 0, 0, 0], [1, h, w, 4], [1, 1, 1, 1])]
    x = op(g, "STRIDED_SLICE", [x, *places], [1, h, w, 4], options)
    return op(g, "SLICE", [x, ints(g, [0, 0, 0, 1]), ints(g, [1, h, w, 3])], [1, h, w, 3], schema.SliceOptionsT())


def halves(g: Graph, x: int, h: int, w: int) -> int:
    options = schema.SplitOptionsT()
    options.numSplits = 2
    first = op(g, "SPLIT", [ints(g, 3), x], [1, h, w, 4], options)
    second = g.tensor("second", "int8", [1, h, w, 4], Q)
    g.operators[-1].outputs = [first, second]
    return g.add(first, second, "int8", Q)


def deep_and_back(g: Graph, x: int, h: int, w: int) -> int:
    there, back = schema.SpaceToDepthOptionsT(), schema.DepthToSpaceOptionsT()
    there.blockSize = back.blockSize = 2
    x = op(g, "SPACE_TO_DEPTH", [x], [1, h // 2, w // 2, 32], there, 1)
    return op(g, "DEPTH_TO_SPACE", [x], [1, h, w, 8], back, 1)


def grown(g: Graph, x: int, h: int, w: int) -> int:
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 2, 2
    kernel, _ = weights(g, "kernel", [8, 2, 2, 8], 6)
    return op(g, "TRANSPOSE_CONV", [ints(g, [1, 2 * h, 2 * w, 8]), kernel, x], [1, 2 * h, 2 * w, 8], options)


def padded(g: Graph, x: int, h: int, w: int) -> int:
    x = g.pad("padded", x, "int8", Q, (1, 2, 3, 0))
    return g.max_pool("most", x, "int8", Q, kernel=(3, 3), stride=(1, 1), padding="VALID")


def batches(g: Graph, x: int, h: int, w: int) -> int:
    """A dilated convolution as older converters write it."""
    x = op(g, "SPACE_TO_BATCH_ND", [x, ints(g, [2, 2]), ints(g, [[2, 2], [2, 2]])], [4, h // 2 + 2, w // 2 + 2, 8])
    x = g.conv("dilated", x, *weights(g, "dilated", [8, 3, 3, 8], 7), "int8", Q, padding="VALID")
    return op(g, "BATCH_TO_SPACE_ND", [x, ints(g, [2, 2]), ints(g, [[0, 0], [0, 0]])], [1, h, w, 8])


def nearest(g: Graph, x: int, h: int, w: int) -> int:
    options = schema.ResizeNearestNeighborOptionsT()
    return op(g, "RESIZE_NEAREST_NEIGHBOR", [x, ints(g, [2 * h, 2 * w])], [1, 2 * h, 2 * w, 8], options)


FORMS = [
    tokens, rows_as_channels, squeezed_mean, tiled, sliced, halves, deep_and_back, grown, padded, batches, nearest,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("new", [(96, 32), (48, 80)])
def test_every_operator_is_the_one_built_at_the_size(
    form: Callable[[Graph, int, int, int], int], new: tuple[int, int]
) -> None:
    agree(one(form), (64, 96), new)


def flattened(g: Graph, x: int, h: int, w: int) -> int:
    """A layer that sees every pixel: it has a weight for each."""
    x = g.reshape(x, [1, h * w * 8], "int8", Q)
    kernel = g.constant("every", np.ones((8, h * w * 8)), "int8", Q)
    options = schema.FullyConnectedOptionsT()
    return g.reshape(op(g, "FULLY_CONNECTED", [x, kernel, -1], [1, 8], options, 4), [1, 1, 1, 8], "int8", Q)


def weighed(g: Graph, x: int, h: int, w: int) -> int:
    """A constant for every place of the map."""
    return g.add(x, g.constant("places", np.ones((1, h, w, 8)), "int8", Q), "int8", Q)


def cropped(g: Graph, x: int, h: int, w: int) -> int:
    return op(g, "SLICE", [x, ints(g, [0, 2, 2, 0]), ints(g, [1, h - 4, w - 4, 8])], [1, h - 4, w - 4, 8])


def unknown(g: Graph, x: int, h: int, w: int) -> int:
    return op(g, "REVERSE_V2", [x, ints(g, [1])], [1, h, w, 8])


def computed(g: Graph, x: int, h: int, w: int) -> int:
    """A target that is itself computed: exporters with an open batch write such."""
    shape = g.op("SHAPE", 1, [x], g.tensor("shape", "int32", [4]), schema.ShapeOptionsT())
    return op(g, "RESHAPE", [x, shape], [1, h, w, 8], None, 1)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (flattened, r"FULLY_CONNECTED .* reads every pixel of a map of fixed size"),
        (weighed, r"ADD .* would join \[1, 64, 48, 8\] with \[1, 32, 48, 8\]"),
        (cropped, r"SLICE .* cuts a part out of the picture's height or width"),
        (unknown, r"REVERSE_V2 .* is an operator whose shapes are not known here"),
        (computed, r"RESHAPE .* takes its sizes from a computed tensor"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_has_no_other_size_is_refused_by_name(form: Callable[[Graph, int, int, int], int], told: str) -> None:
    with pytest.raises(KitError, match=told):
        changed(one(form)(64, 96), (128, 96))


def test_a_file_whose_shapes_are_not_those_of_its_operators_is_refused() -> None:
    model = unpack(segmenter(64, 96), PATH)
    stem = model.subgraphs[0].operators[0]
    model.subgraphs[0].tensors[int(stem.outputs[0])].shape = [1, 31, 48, 8]
    with pytest.raises(
        KitError, match=r"CONV_2D \('stem'\), gives \[1, 31, 48, 8\], by the rules known here \[1, 32, 48, 8\]"
    ):
        retarget(model, (128, 96), PATH)
