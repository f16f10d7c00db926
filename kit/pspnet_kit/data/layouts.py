"""Opens a data set by the way its folders are laid out: dataset.toml, CamVid, Cityscapes or Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import KitError
from . import dataset_toml
from .dataset import ClassInfo, Dataset, Pair, Source
from .known_classes import CAMVID, CITYSCAPES, CITYSCAPES_LABEL_IDS, VOC
from .labels import VOID, LabelFormat
from .sources import FolderPairs, ListedPairs

__all__ = ["LAYOUTS", "ClassInfo", "Dataset", "Pair", "open_dataset"]

_ORDER = ("train", "val", "test")


def open_dataset(root: Path, layout: str = "auto") -> Dataset:
    """The data set in the folder `root`; pictures are looked for when a split's pairs are asked for.

    "auto" takes the first of LAYOUTS that fits. Folders of images and labels are CamVid to it only where one is called
    train, val or test: a folder above somebody's own pictures would be taken for it.

    Raises:
        KitError: when the folder is missing, has no such layout, or its dataset.toml is wrong.
    """
    root = Path(root)
    if not root.is_dir():
        raise KitError(f"{root}: no such folder, expected a data set")
    if layout != "auto" and layout not in LAYOUTS:
        raise KitError(f"there is no layout {layout!r}; expected auto, {', '.join(LAYOUTS)}")
    tried = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}
    for name, (open_layout, _) in tried.items():
        dataset = open_layout(root)
        if dataset and (layout == name or name != "camvid" or not set(_ORDER).isdisjoint(dataset.sources)):
            return dataset
    looked_for = "; ".join(f"{name}: {what}" for name, (_, what) in tried.items())
    raise KitError(f"{root}: no data set that is known here. Looked for {looked_for}")


def _toml(root: Path) -> Dataset | None:
    path = root / dataset_toml.FILE
    return dataset_toml.read(path) if path.exists() else None


def _camvid(root: Path) -> Dataset | None:
    """Splits of images/ and labels/, or as in the SegNet tutorial: train/ and trainannot/."""
    sources: dict[str, Source] = {}
    for split in _ordered(root):
        if (root / split / "images").is_dir() and (root / split / "labels").is_dir():
            sources[split] = FolderPairs(root, split, f"{split}/images", f"{split}/labels")
        elif (root / f"{split}annot").is_dir():
            sources[split] = FolderPairs(root, split, split, f"{split}annot")
    if not sources:
        return None
    return Dataset(
        name="CamVid",
        classes=CAMVID,
        licence="CC BY-NC 4.0, as CamVid's source states: research and non-commercial use only",
        citation="G. J. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video: A high-definition ground "
        "truth database. Pattern Recognition Letters 30(2), 2008.",
        root=root,
        format=LabelFormat("index", {**_in_order(CAMVID), len(CAMVID): VOID}),
        sources=sources,
    )


def _cityscapes(root: Path) -> Dataset | None:
    """Label ids where there are any, else train ids."""
    pictures, truth = root / "leftImg8bit", root / "gtFine"
    if not (pictures.is_dir() and truth.is_dir()):
        return None
    by_kind = {
        "labelIds": {
            **dict.fromkeys((*range(34), 255), VOID),
            **{label_id: train_id for train_id, label_id in enumerate(CITYSCAPES_LABEL_IDS)},
        },
        "labelTrainIds": {**_in_order(CITYSCAPES), 255: VOID},
    }
    kind = next((kind for kind in by_kind if any(truth.glob(f"*/*/*_gtFine_{kind}.png"))), None)
    if kind is None:
        expected = "<split>/<city>/*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png"
        raise KitError(f"{truth}: no labels, expected {expected}")
    sources: dict[str, Source] = {
        split: FolderPairs(
            root, split, f"leftImg8bit/{split}/*/*_leftImg8bit.png", f"gtFine/{split}/*/*_gtFine_{kind}.png"
        )
        for split in _ordered(pictures)
        if (truth / split).is_dir()
    }
    if not sources:
        raise KitError(f"{truth}: has none of the splits in {pictures}")
    return Dataset(
        name="Cityscapes",
        classes=CITYSCAPES,
        licence="Cityscapes licence (cityscapes-dataset.com/license): non-commercial use such as research and teaching",
        citation="M. Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016.",
        root=root,
        format=LabelFormat("index", by_kind[kind]),
        sources=sources,
    )


def _voc(root: Path) -> Dataset | None:
    lists = root / "ImageSets" / "Segmentation"
    if not all(folder.is_dir() for folder in (root / "JPEGImages", root / "SegmentationClass", lists)):
        return None
    names = _by_use(path.stem for path in lists.glob("*.txt"))
    if not names:
        raise KitError(f"{lists}: has no list of pictures, expected train.txt, val.txt")
    if "train" in names and "val" in names:
        # The two joined: as a split of its own it would look like leaked pictures.
        names = [name for name in names if name != "trainval"]
    return Dataset(
        name="Pascal VOC",
        classes=VOC,
        licence="Pascal VOC: the pictures come from flickr and are under flickr's terms of use",
        citation="M. Everingham et al.: The Pascal Visual Object Classes (VOC) Challenge. International Journal of "
        "Computer Vision 88(2), 2010.",
        root=root,
        format=LabelFormat("index", {**_in_order(VOC), 255: VOID}),
        sources={
            name: ListedPairs(lists / f"{name}.txt", root / "JPEGImages", root / "SegmentationClass") for name in names
        },
    )


def _in_order(classes: tuple[ClassInfo, ...]) -> dict[int, int]:
    return {index: index for index in range(len(classes))}


def _ordered(folder: Path) -> list[str]:
    """The names of the folders in `folder`, train, val and test first."""
    return _by_use(path.name for path in folder.iterdir() if path.is_dir())


def _by_use(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


LAYOUTS: dict[str, tuple[Callable[[Path], Dataset | None], str]] = {
    "toml": (_toml, dataset_toml.FILE),
    "camvid": (_camvid, "<split>/images and <split>/labels, or <split> and <split>annot"),
    "cityscapes": (_cityscapes, "leftImg8bit and gtFine"),
    "voc": (_voc, "JPEGImages, SegmentationClass and ImageSets/Segmentation"),
}
"""By name: what opens the layout, or returns None where it does not fit, and what it looks for."""
