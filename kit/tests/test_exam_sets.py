"""The list of sets: its keys, where pictures are found, and what is told of those that are not here."""

from __future__ import annotations

import hashlib
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import bands
from exam_files import HEIGHT, WIDTH, drawing, jpeg, picture, rows
from PIL import Image

from pspnet_kit.data import VOID
from pspnet_kit.errors import KitError
from pspnet_kit.exam.gather import Gathered, gather
from pspnet_kit.exam.groups import GROUPS
from pspnet_kit.exam.hold import check
from pspnet_kit.exam.pictures import Frame, View
from pspnet_kit.exam.sets import ExamSet, read
from pspnet_kit.exam.shelf import Shelf
from pspnet_kit.pool import listing
from pspnet_kit.pool.make import outputs

SHIPPED = Path(__file__).parents[1] / "exam/sets.toml"
SOURCE = '[set.source]\nrepository = "github:owner/name"\nlicence = "CC0"\n'
ORIGIN = r"from github:owner/name, CC0"


def listed(folder: Path, keys: str) -> ExamSet:
    """The one set of a list with these keys."""
    folder.mkdir(exist_ok=True)
    (folder / "sets.toml").write_text(f'[[set]]\nname = "yard"\nplace = "yard"\n{keys}')
    (found,) = read(folder / "sets.toml").sets
    return found


def gathered(folder: Path, keys: str, *shelf: Path) -> Gathered:
    return gather(listed(folder, keys), Shelf(shelf))


def names(found: Gathered) -> list[str]:
    return [Path(item.picture.name).name for item in found.items]


def label_of(found: Gathered) -> np.ndarray:
    """The label of its first picture."""
    label = found.items[0].read()[1]
    assert label is not None
    return label


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("labels", ["", 'labels = "labelme"\n'])
def test_a_picture_s_name_that_leads_nowhere_is_told(tmp_path: Path, labels: str) -> None:
    picture(tmp_path / "hall/a.png")
    drawing(tmp_path / "hall/a.json", [rows("sky", 0, 3)])
    name = "b.json" if labels else "b.png"
    (tmp_path / "hall" / name).symlink_to("away")
    with pytest.raises(KitError, match=rf"hall/{name}: no such file"):
        check(gathered(tmp_path, f'pictures = "hall"\n{labels}').items)


def test_the_shipped_list_is_read() -> None:
    exam = read(SHIPPED)
    by_name = {each.name: each for each in exam.sets}
    assert {"walkway", "car park", "indoor", "night"} <= set(by_name)
    assert by_name["indoor"].impossible == ("sky", "plant", "soil", "vehicle", "water")
    assert by_name["LabelMeFacade"].every == 10 and by_name["LabelMeFacade"].source["licence"]
    assert len(gather(by_name["walkway clip"], Shelf([])).items) == 150
    # Sets of other people say where they are from, so that a machine without them leaves them out.
    away = [each for each in exam.sets if each.source]
    assert [gather(each, Shelf([])).missing_pictures for each in away] == [35, 43, 0]
    assert all(gather(each, Shelf([])).missing for each in away)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "pictures or .* expected one of the three, found none of them"),
        ('pictures = "a"\nclip = "b.mjpeg"\n', "found pictures and clip"),
        ('pictures = "a"\ncolour = 1\n', "colour is unknown; known here: .*sequence"),
        ("pictures = 3\n", "pictures is 3, expected a text or a list of texts"),
        ('pictures = ["a", ""]\n', "expected a text or a list of texts"),
        ('pictures = "a"\nimpossible = ["sky", "lawn"]\n', "impossible: 'lawn' is no group; known are sky"),
        ('pictures = "a"\nlabels = "b"\n', "mapping is missing, expected a group for every id"),
        ('pictures = "a"\n[set.mapping]\n0 = "sky"\n', "mapping says what labels mean, but the set has no labels"),
        ('pictures = "a"\nlabels = "b"\n[set.mapping]\n0 = "lawn"\n', r"mapping\.0: 'lawn' is no group; .*, void"),
        ('pictures = "a"\nlabels = "b"\n[set.mapping]\n256 = "sky"\n', "has the id 256, expected 0 to 255"),
        ('pictures = "a"\nlabels = "b"\n[set.mapping]\nlawn = "sky"\n', "has the key 'lawn', expected ids"),
        ('pictures = "a"\nlabels = "b"\n[set.mapping]\n"#12" = "sky"\n', "has the key '#12', expected ids"),
        ('clip = "a.mjpeg"\nlabels = "labelme"\n', '"labelme", which goes with pictures, not with clip'),
        ('clip = "a.mjpeg"\nlabels = "b"\n[set.mapping]\n0 = "sky"\n', "labels can't be given for a clip"),
        ('pictures = "a"\nsequence = "yes"\n', "sequence is 'yes', expected true or false"),
        ('pictures = "a"\nevery = 0\n', "every is 0, expected at least 1"),
        ('pictures = "a"\ncount = "all"\n', "count is 'all', expected a whole number"),
        ('pictures = "a"\nsure = 1.5\n', "sure is 1.5, expected more than 0 and less than 1"),
        ('[[set.picture]]\nfile = "a.png"\n', "sha256 is missing"),
        ('[[set.picture]]\nfile = "a.png"\nsha256 = "12"\n', "sha256 is '12', expected 64 hexadecimal digits"),
        ('pictures = "a"\n[set.source]\nframe = 3\n', r"source\.frame is 3, expected a text"),
        (
            'pictures = "a"\n[[set]]\nname = "yard"\nplace = "b"\npictures = "c"\n',
            "name is 'yard', as that of an earlier",
        ),
        ('pictures = "a"\n[classes]\nlawn = "green"\n', r"classes\.lawn: 'green' is no group"),
        ('pictures = "a"\n[classes]\nlawn = "void"\n', r"classes\.lawn: 'void' is no group"),
        ("pictures =\n", "sets.toml: "),
    ],
)
def test_mistakes_in_the_list_are_named(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(KitError, match=rf"sets\.toml: .*{message}" if "sets.toml" not in message else message):
        listed(tmp_path, keys)


def test_a_list_without_sets_and_a_missing_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "sets.toml").write_text("set = []\n")
    with pytest.raises(KitError, match=r"set is empty, expected tables \[\[set\]\]"):
        read(tmp_path / "sets.toml")
    with pytest.raises(KitError, match=r"gone\.toml: no such file"):
        read(tmp_path / "gone.toml")


def test_pictures_are_found_here_first_and_then_in_the_folders(tmp_path: Path) -> None:
    for place in ("list/a_1.png", "other/deep/a_2.png", "other/deep/a_3.png", "other/deep/b.png", "last/a_9.png"):
        picture(tmp_path / place)
    folders = (tmp_path / "other", tmp_path / "last")
    assert names(gathered(tmp_path / "list", 'pictures = "a_*.png"\n', *folders)) == ["a_1.png"]
    (tmp_path / "list/a_1.png").unlink()
    assert names(gathered(tmp_path / "list", 'pictures = "a_*.png"\n', *folders)) == ["a_2.png", "a_3.png"]
    assert names(gathered(tmp_path / "list", 'pictures = "deep"\n', *folders)) == ["a_2.png", "a_3.png", "b.png"]
    assert names(gathered(tmp_path / "list", 'pictures = "deep"\nevery = 2\n', *folders)) == ["a_2.png", "b.png"]


def test_pictures_that_are_away_are_counted_where_a_source_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "shelf/a_1.png")
    found = gathered(tmp_path, f'pictures = ["a_*.png", "b_*.png"]\ncount = 6\n{SOURCE}', tmp_path / "shelf")
    assert names(found) == ["a_1.png"]
    assert (found.missing_pictures, found.missing) == (5, [f"5 of 6 pictures ({ORIGIN})"])
    found = gathered(tmp_path, f'pictures = ["a_*.png", "b_*.png"]\n{SOURCE}', tmp_path / "shelf")
    assert (found.missing_pictures, found.missing) == (0, [f"b_*.png ({ORIGIN})"])
    found = gathered(tmp_path, f'clip = "c.mjpeg"\n{SOURCE}')
    assert (found.items, found.missing) == ([], [f"c.mjpeg ({ORIGIN})"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('pictures = "none"\n', "none: the set yard has no pictures or labels here"),
        ('pictures = "/none"\n', "'/none' is no path from here"),
        ('pictures = "empty"\n', "empty: the set yard has no pictures or labels here"),
        ('pictures = "texts"\n', r"the set yard is empty; expected pictures \(\.jpg"),
        ('pictures = "texts"\nlabels = "labelme"\n', "the set yard is empty"),
        ('clip = "c.mjpeg"\n', r"c\.mjpeg: the set yard has no pictures"),
        (f'[[set.picture]]\nfile = "a.png"\nsha256 = "{"0" * 64}"\n', r"a\.png: no such file, and no source"),
    ],
)
def test_what_must_be_here_is_named_where_it_is_not(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/readme.txt").touch()
    with pytest.raises(KitError, match=message):
        gathered(tmp_path, keys)
    with pytest.raises(KitError, match=r"--pictures .*gone: no such folder"):
        Shelf([tmp_path / "gone"])


def test_named_pictures_are_known_by_their_digest(tmp_path: Path) -> None:
    one = picture(tmp_path / "shelf/a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "shelf/b.png")
    (tmp_path / "shelf/deep").mkdir()
    shutil.copy(tmp_path / "shelf/b.png", tmp_path / "shelf/deep/renamed.png")
    entry = '[[set.picture]]\nfile = "{}"\nsha256 = "{}"\nsource = {{ repository = "r", licence = "MIT" }}\n'
    keys = entry.format("deep/a.png", digest(one)) + entry.format("c.png", "0" * 64)
    found = gathered(tmp_path, keys + entry.format("x.png", digest(tmp_path / "shelf/b.png")), tmp_path / "shelf")
    assert names(found) == ["a.png", "b.png"]
    assert (found.missing_pictures, found.missing) == (1, ["c.png (from r, MIT)"])
    # A file of this name beside the list must be the one that is listed.
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    with pytest.raises(KitError, match=r"c\.png: is another picture than the listed one: its SHA-256 is"):
        gathered(tmp_path, keys, tmp_path / "shelf")


def test_label_pictures_are_mapped_to_groups(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    ids = bands()[1]
    Image.fromarray(ids).save(tmp_path / "labels/a.png")
    keys = 'pictures = "images"\nlabels = "labels"\n[set.mapping]\n0 = "plant"\n1 = "void"\n2 = "sky"\n'
    expected = np.array([GROUPS.index("plant"), VOID, 0], np.uint8)[ids]
    assert (label_of(gathered(tmp_path, keys)) == expected).all()
    Image.fromarray(bands()[0]).save(tmp_path / "labels/a.png")
    colours = '[set.mapping]\n"#fa0a0a" = "plant"\n"#0afa0a" = "void"\n"#0a0afa" = "sky"\n'
    keys = f'pictures = "images"\nlabels = "labels/*.png"\n{colours}'
    assert (label_of(gathered(tmp_path, keys)) == expected).all()
    with pytest.raises(KitError, match=r"labels/a\.png: unknown colour #fa0a0a"):
        gathered(tmp_path, keys.replace("#fa0a0a", "#000000")).items[0].read()
    picture(tmp_path / "images/b.png")
    with pytest.raises(KitError, match=r"images/b\.png: has no label in labels"):
        gathered(tmp_path, keys)


def test_a_path_with_brackets_is_taken_as_it_is_written_first(tmp_path: Path) -> None:
    for file in ("yard [day]/a[1].png", "yard [day]/a1.png", "yard d/a1.png"):
        picture(tmp_path / "here" / file)
        picture(tmp_path / "shelf/deep" / file)
    (tmp_path / "here/labels [day]").mkdir()
    for keys, expected in (
        ('pictures = "yard [day]"', ["yard [day]/a1.png", "yard [day]/a[1].png"]),
        ('pictures = "yard [day]/a[1].png"', ["yard [day]/a[1].png"]),
        ('pictures = "yard [day]/*1.png"', ["yard [day]/a1.png"]),
        ('pictures = "yard [a-d]/a[1].png"', ["yard d/a1.png"]),
        ('clip = "yard [day]/a[1].png"', []),
    ):
        for root, shelf in ((tmp_path / "here", ()), (tmp_path / "away", (tmp_path / "shelf",))):
            exam_set = listed(root, f"{keys}\n{SOURCE}")
            found = Shelf(shelf).below(exam_set.root, (exam_set.clip or exam_set.patterns[0]))
            base = tmp_path / "shelf/deep" if shelf else root
            assert [str(path.relative_to(base)) for path in found] == (expected or ["yard [day]/a[1].png"])


def test_frames_that_follow_one_another_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    order = ["frame_2.png", "frame_9.png", "frame_10.png", "frame_10a.png", "frame_0100.png"]
    for name in order:
        picture(tmp_path / "clip" / name)
        drawing(tmp_path / "drawn" / name.replace(".png", ".json"), [], imagePath=f"../clip/{name}")
    for keys in ('pictures = "clip"\n', 'pictures = "drawn"\nlabels = "labelme"\n'):
        assert names(gathered(tmp_path, f"{keys}sequence = true\n")) == order
        # Which pictures `every` takes of others stays as it was.
        assert names(gathered(tmp_path, keys)) == sorted(order)


def test_pictures_and_labels_are_paired_one_to_one(tmp_path: Path) -> None:
    keys = 'pictures = ["day/*.png", "night", "day"]\nlabels = "labels"\nevery = 2\n[set.mapping]\n0 = "sky"\n'
    for file in ("day/a.png", "day/b.png", "labels/a.png"):
        picture(tmp_path / file)
    # What is no picture is nobody's label.
    (tmp_path / "labels/a.txt").write_text("drawn on a Monday")
    found = gathered(tmp_path, keys.replace(', "night"', ""))
    assert names(found) == ["a.png"] and found.items[0].drawn is not None
    assert found.items[0].drawn.path == tmp_path / "labels/a.png"
    picture(tmp_path / "night/b.png")
    with pytest.raises(KitError, match=r"night/b\.png: has the same name as .*day/b\.png, so their counterparts"):
        gathered(tmp_path, keys)
    (tmp_path / "night/b.png").rename(tmp_path / "night/c.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "labels/a.bmp")
    with pytest.raises(KitError, match=r"labels/a\.png: has the same name as .*labels/a\.bmp"):
        gathered(tmp_path, keys)


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_a_picture_with_a_label_picture_is_read_as_stored(tmp_path: Path, orientation: int) -> None:
    image, ids = bands()
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file, pixels in (("images/a.png", image), ("labels/a.png", ids)):
        (tmp_path / file).parent.mkdir()
        Image.fromarray(pixels).save(tmp_path / file, exif=exif)
    keys = 'pictures = "images"\nlabels = "labels"\n[set.mapping]\n0 = "sky"\n1 = "plant"\n2 = "water"\n'
    (item,) = gathered(tmp_path, keys).items
    shown, label = item.read()
    assert (shown == image).all() and label is not None and (label[0] == 0).all()
    with Image.open(item.picture.store(tmp_path, "stored")) as given:
        # The daemon would turn a picture that says so.
        assert given.getexif().get(0x0112, 1) == 1 and (np.array(given) == image).all()
    if orientation == 6:
        Image.fromarray(np.rot90(ids, -1)).save(tmp_path / "labels/a.png")
        with pytest.raises(KitError, match=r"is for 12x16, but .* is 16x12\. They fit only after the turn"):
            item.read()
    # LabelMe shows pictures turned, and so are its drawings; so are pictures without labels.
    drawing(tmp_path / "images/a.json", [])
    for way in ('pictures = "images"\nlabels = "labelme"\n', 'pictures = "images"\n'):
        upright = gathered(tmp_path, way).items[0].picture
        assert upright.read()[0, 0].tolist() != image[0, 0].tolist() or orientation == 2
        assert upright.store(tmp_path, f"turned{len(way)}").samefile(tmp_path / "images/a.png")


def test_a_label_of_another_size_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "yard/a.png")
    # The second would take 4 GB.
    for width, height in ((WIDTH + 1, HEIGHT), (65536, 65536)):
        drawing(tmp_path / "yard/a.json", [rows("sky", 0, 3)], imageWidth=width, imageHeight=height)
        (item,) = gathered(tmp_path, 'pictures = "yard"\nlabels = "labelme"\n').items
        with pytest.raises(KitError, match=rf"a\.json: is for {width}x{height}, but its picture .*a\.png is 16x12"):
            item.read()
    (tmp_path / "labels").mkdir()
    Image.new("L", (3, 4)).save(tmp_path / "labels/a.png")
    keys = 'pictures = "yard"\nlabels = "labels"\n[set.mapping]\n0 = "sky"\n'
    with pytest.raises(KitError, match=r"labels/a\.png: is for 3x4, but its picture"):
        gathered(tmp_path, keys).items[0].read()


def test_drawn_pictures_lie_beside_or_are_found_by_digest(tmp_path: Path) -> None:
    keys = 'pictures = "yard"\nlabels = "labelme"\n[set.mapping]\nroad = "paved"\n'
    others: dict[str, Any] = {"source": {"repository": "github:owner/name", "licence": "CC0"}}
    here, away = picture(tmp_path / "yard/a.png"), picture(tmp_path / "shelf/deep/b.png")
    drawing(tmp_path / "yard/a.json", [rows("road", 4, 7)], sha256=digest(here))
    drawing(tmp_path / "yard/b.json", [], sha256=digest(away), **others)
    drawing(tmp_path / "yard/c.json", [], sha256="0" * 64, **others)
    found = gathered(tmp_path, keys, tmp_path / "shelf")
    assert names(found) == ["a.png", "b.png"]
    assert (found.missing_pictures, found.missing) == (1, [f"c.png ({ORIGIN})"])
    _, label = found.items[0].read()
    assert label is not None and (label[4:8] == GROUPS.index("paved")).all() and (label[:4] == VOID).all()

    drawing(tmp_path / "yard/a.json", [], sha256="0" * 64)
    with pytest.raises(KitError, match=r"yard/a\.png: is another picture than the listed one"):
        gathered(tmp_path, keys)
    (tmp_path / "yard/a.json").unlink()
    with pytest.raises(KitError, match=r"yard/a\.png: has no LabelMe file; expected .*yard/a\.json"):
        gathered(tmp_path, keys)
    here.unlink()
    drawing(tmp_path / "yard/a.json", [])
    with pytest.raises(KitError, match=r"a\.json: its picture .*a\.png is not there, and no source of it is said"):
        gathered(tmp_path, keys)


def test_a_view_is_cut_where_its_panorama_is_here(tmp_path: Path) -> None:
    sphere = np.zeros((32, 64, 3), np.uint8)
    sphere[:16] = (10, 20, 250)
    (tmp_path / "shelf").mkdir()
    Image.fromarray(sphere).save(tmp_path / "shelf/hall.png")
    recipe = {"yaw": 40, "pitch": 0, "fov": 60, "width": WIDTH, "height": HEIGHT}
    others = {"source": {"path": "hdri/hall.png", "licence": "CC0"}, "panorama": recipe}
    drawing(tmp_path / "yard/a.json", [], **others)
    keys = 'pictures = "yard"\nlabels = "labelme"\n'
    (item,) = gathered(tmp_path, keys, tmp_path / "shelf").items
    assert isinstance(item.picture, View)
    image, _ = item.read()
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image[:5] == (10, 20, 250)).all() and not image[7:].any()
    with Image.open(item.picture.store(tmp_path, "stored")) as stored:
        np.testing.assert_array_equal(np.array(stored), image)
    # The view itself, cut once and kept, is taken as it is.
    picture(tmp_path / "yard/a.png")
    assert names(gathered(tmp_path, keys)) == ["a.png"]
    (tmp_path / "yard/a.png").unlink()
    Image.fromarray(sphere[:30]).save(tmp_path / "shelf/hall.png")
    (item,) = gathered(tmp_path, keys, tmp_path / "shelf").items
    with pytest.raises(KitError, match=r"hall\.png: is 64x30, expected a panorama"):
        item.read()


def test_frames_of_a_clip_are_pictures(tmp_path: Path) -> None:
    frame = jpeg(bands()[0])
    (tmp_path / "c.mjpeg").write_bytes(frame * 3 + b"\xff\xd8\xff\xd9")
    found = gathered(tmp_path, 'clip = "c.mjpeg"\n')
    assert len(found.items) == 4 and found.of.sequence
    third, broken = (item.picture for item in found.items[2:])
    assert isinstance(third, Frame) and third.name.endswith("c.mjpeg, frame 2")
    assert np.abs(third.read().astype(int) - bands()[0]).max() < 8
    assert third.store(tmp_path, "stored").read_bytes() == frame
    with pytest.raises(KitError, match=r"c\.mjpeg, frame 3: this is no picture that can be read"):
        broken.read()


def test_frames_that_the_shipped_exam_takes_from_the_pool_are_never_trained_on() -> None:
    entries = listing.read(SHIPPED.parents[1] / "scene/pictures.toml")
    of_pool = [found for found in read(SHIPPED).sets if found.source and found.count and not found.labels]
    assert [found.name for found in of_pool] == ["hall, shop, classroom", "car park from above"]
    for found in of_pool:
        files = [
            (Path(name), entry.held)
            for entry in entries
            for name in outputs(entry)
            if any(fnmatch(Path(name).name, pattern) for pattern in found.patterns)
        ]
        assert len(files) == found.count, found.name
        assert all(held and file.parts[0] == "held" for file, held in files), found.name
