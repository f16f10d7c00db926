"""Light networks whose mIoU on CamVid's test drives is published: 11 classes, 367 pictures to train, 233 to test.

Their latency was measured by others on other machines, so only the mIoU can stand beside ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A figure and where it stands."""

    name: str
    mean_iou: float
    """Percent."""
    source: str


CAMVID_TEST = (
    Published("ENet", 51.3, "Paszke et al. 2016, arXiv:1606.02147, CamVid table"),
    Published("ESPNet", 57.8, "Liu et al. 2019, arXiv:1903.04197, and its repository structure_knowledge_distillation"),
    Published("ESPNet, distilled", 61.4, "Liu et al. 2019, as above"),
    Published("ESPNet, distilled, more pictures", 65.1, "Liu et al. 2019, with 2000 unlabelled pictures more"),
    Published("DABNet", 66.4, "Li et al. 2019, arXiv:1907.11357, CamVid table"),
    Published("PSPNet-R18", 66.73, "Yang et al. 2022 (CIRKD), arXiv:2204.06986, and its repository CIRKD"),
    Published("PSPNet-R18, distilled", 68.65, "Yang et al. 2022 (CIRKD), as above"),
)
