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
