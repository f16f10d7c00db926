"""Opens a data set by the way its folders are laid out: CamVid."""

from __future__ import annotations

from pathlib import Path

from ..errors import KitError
from .dataset import ClassInfo, Dataset, FolderPairs, Pair, Source
from .known_classes import CAMVID
from .labels import VOID, LabelFormat

__all__ = ["ClassInfo", "Dataset", "Pair", "open_dataset"]

_SPLITS = ("train", "val", "test")


def open_dataset(root: Path, layout: str = "auto") -> Dataset:
    """The data set in the folder `root`."""
    root = Path(root)
    if not root.is_dir():
        raise KitError(f"{root}: no such folder")
    dataset = _camvid(root)
    if dataset is None:
        raise KitError(f"{root}: no CamVid layout")
    return dataset


def _camvid(root: Path) -> Dataset | None:
    sources: dict[str, Source] = {}
    for split in _SPLITS:
        if (root / split / "images").is_dir():
            sources[split] = FolderPairs(root, split, f"{split}/images", f"{split}/labels")
        elif (root / f"{split}annot").is_dir():
            sources[split] = FolderPairs(root, split, split, f"{split}annot")
    if not sources:
        return None
    ids = {index: index for index in range(len(CAMVID))} | {len(CAMVID): VOID}
    return Dataset(
        name="CamVid",
        classes=CAMVID,
        licence="CC BY-NC 4.0, as its source states: research and non-commercial use only",
        citation="G. J. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video: A high-definition ground "
        "truth database. Pattern Recognition Letters 30(2), 2008.",
        root=root,
        format=LabelFormat("index", ids),
        sources=sources,
    )
