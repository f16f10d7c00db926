"""The classes, colours and groups of the data sets whose layouts are known."""

from __future__ import annotations

from .dataset import ClassInfo

CAMVID = (
    ClassInfo("sky", "#009ffb", "sky"),
    ClassInfo("building", "#786970", "structure"),
    ClassInfo("pole", "#d7ffac", "structure"),
    ClassInfo("road", "#191e2c", "road"),
    ClassInfo("pavement", "#b9ade0", "pavement"),
    ClassInfo("tree", "#347e3d", "vegetation"),
    ClassInfo("sign", "#ffe312", "structure"),
    ClassInfo("fence", "#451f00", "structure"),
    ClassInfo("car", "#1e35a4", "vehicle"),
    ClassInfo("pedestrian", "#f86f1a", "person"),
    ClassInfo("bicyclist", "#ffa1ae", "person"),
)
"""In the order of Badrinarayanan et al. (SegNet). The colours stay apart for colour-blind readers, see the card of
models/street-bootstrap; they are not CamVid's own."""

CITYSCAPES = (
    ClassInfo("road", "#804080", "flat"),
    ClassInfo("sidewalk", "#f423e8", "flat"),
    ClassInfo("building", "#464646", "construction"),
    ClassInfo("wall", "#66669c", "construction"),
    ClassInfo("fence", "#be9999", "construction"),
    ClassInfo("pole", "#999999", "object"),
    ClassInfo("traffic light", "#faaa1e", "object"),
    ClassInfo("traffic sign", "#dcdc00", "object"),
    ClassInfo("vegetation", "#6b8e23", "nature"),
    ClassInfo("terrain", "#98fb98", "nature"),
    ClassInfo("sky", "#4682b4", "sky"),
    ClassInfo("person", "#dc143c", "human"),
    ClassInfo("rider", "#ff0000", "human"),
    ClassInfo("car", "#00008e", "vehicle"),
    ClassInfo("truck", "#000046", "vehicle"),
    ClassInfo("bus", "#003c64", "vehicle"),
    ClassInfo("train", "#005064", "vehicle"),
    ClassInfo("motorcycle", "#0000e6", "vehicle"),
    ClassInfo("bicycle", "#770b20", "vehicle"),
)
"""The 19 that Cordts et al. 2016 evaluate, in the order of the train ids, with the data set's own colours."""

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each of CITYSCAPES; the other ids up to 33 are void."""

_VOC_NAMES = {
    "background": "background",
    "aeroplane": "vehicle",
    "bicycle": "vehicle",
    "bird": "animal",
    "boat": "vehicle",
    "bottle": "indoor",
    "bus": "vehicle",
    "car": "vehicle",
    "cat": "animal",
    "chair": "indoor",
    "cow": "animal",
    "dining table": "indoor",
    "dog": "animal",
    "horse": "animal",
    "motorbike": "vehicle",
    "person": "person",
    "potted plant": "indoor",
    "sheep": "animal",
    "sofa": "indoor",
    "train": "vehicle",
    "tv monitor": "indoor",
}


def voc_color(index: int) -> str:
    """The colour of a class in Pascal VOC: the bits of the index are dealt in turn to red, green, blue from the top."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    red, green, blue = channels
    return f"#{red:02x}{green:02x}{blue:02x}"


VOC = tuple(ClassInfo(name, voc_color(index), group) for index, (name, group) in enumerate(_VOC_NAMES.items()))
"""The 20 of Everingham et al. 2010 and the background."""
