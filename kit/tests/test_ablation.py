"""The list of models, the table in Markdown, and where it goes in a document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pspnet_kit.data import ClassInfo
from pspnet_kit.errors import KitError
from pspnet_kit.judge.ablation import anchor, markdown, points, read_plan
from pspnet_kit.judge.boundary import Boundary
from pspnet_kit.judge.calibration import Calibration
from pspnet_kit.judge.cost import Cost
from pspnet_kit.judge.judgement import Judgement
from pspnet_kit.judge.metrics import Confusion
from pspnet_kit.judge.report import as_dict, tables
from pspnet_kit.judge.speed import Speed
from pspnet_kit.page import check_table, put_table

LIST = """
reference = "small"
[[row]]
name = "teacher"
model = "teacher.pt"
note = "float | large"
plot = false
[[row]]
name = "small"
model = "small.tflite"
command = "kit train small.toml"
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "teacher.pt").touch()
    # What looks like noise cannot be compressed.
    (tmp_path / "small.tflite").write_bytes(np.random.default_rng(0).bytes(1_500_000))
    path = tmp_path / "list.toml"
    path.write_text(LIST)
    return path


def judgement(name: str, model: str, speed: tuple[float, ...], ratios: tuple[float, ...]) -> Judgement:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 1, 0]], np.uint8))
    boundary = Boundary(2)
    label = np.zeros((6, 6), np.uint8)
    label[:, 3:] = 1
    boundary.add(label, label)
    classes = (ClassInfo("road", "#000000", "ground"), ClassInfo("path", "#000000", "ground"))
    found = Judgement(name, model, classes, confusion, boundary, Calibration())
    found.cost = Cost(1_234_000, 2_500_000_000, 4_940_000)
    found.speed = Speed(name, "PyTorch" if model.endswith(".pt") else "LiteRT", speed, ratios)
    return found


@pytest.fixture
def judged() -> list[Judgement]:
    return [
        judgement("teacher", "teacher.pt", (40.0, 50.0, 44.0), (0.1, 0.1, 0.1)),
        judgement("small", "small.tflite", (4.0, 5.0, 4.4), (1.0, 1.0, 1.0)),
    ]


def test_the_list_is_read(listed: Path) -> None:
    plan = read_plan(listed)
    assert [row.name for row in plan.rows] == ["teacher", "small"]
    assert plan.reference == 1
    assert plan.rows[0].model == listed.parent / "teacher.pt"
    assert [row.plot for row in plan.rows] == [False, True]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"small.tflite"', '"gone.tflite"', "row 2: .*gone.tflite: no such file"),
        ('name = "small"', 'name = "teacher"', "the name 'teacher' is there twice"),
        ('reference = "small"', 'reference = "large"', "reference 'large': expected the name of a row"),
        ('"small"\n[[', '"small"\nreference_published = "61.6"\n[[', "reference_published '61.6': expected a number"),
        ('"small"\n[[', '"small"\nreference_published = 0.0\n[[', "reference_published 0.0: expected more than 0"),
        ('"small"\n[[', '"small"\nmark = "Scene <!--"\n[[', "mark 'Scene <!--': expected words of small letters"),
        ("note =", "notes =", "row 1: unknown notes"),
        ("plot = false", "plot = 0", "plot: expected true or false"),
        ('model = "teacher.pt"', "", "row 1: has no model"),
        ("[[row]]", "[[row", "list.toml"),
    ],
)
def test_mistakes_in_the_list_are_named(listed: Path, before: str, after: str, message: str) -> None:
    listed.write_text(LIST.replace(before, after, 1))
    with pytest.raises(KitError, match=message):
        read_plan(listed)


def test_the_plot_is_told_from_the_reference_where_the_list_says_how(listed: Path, judged: list[Judgement]) -> None:
    assert anchor(read_plan(listed), judged) is None
    listed.write_text("reference_published = 61.6" + LIST)
    # mIoU by hand: 2 of 3 and 1 of 2.
    found = anchor(read_plan(listed), judged)
    assert found is not None and (found.name, found.published) == ("small", 61.6)
    assert found.ours == pytest.approx(58.3333, abs=1e-4)


def test_an_empty_or_missing_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text("")
    with pytest.raises(KitError, match=r"has no \[\[row\]\]"):
        read_plan(tmp_path / "list.toml")
    with pytest.raises(KitError, match="no such file"):
        read_plan(tmp_path / "gone.toml")


def test_the_table(listed: Path, judged: list[Judgement]) -> None:
    text = markdown(read_plan(listed), judged, "kit ablation list.toml", "CamVid val, 2 pictures")
    assert "Measured in one run by `kit ablation list.toml`: CamVid val, 2 pictures." in text
    # mIoU by hand: 2 of 3 and 1 of 2.
    assert (
        "| teacher | 58.33 | 100.00 | 1.234 M | 2.500 | 4.94 |  | 44.0 * | 0.10 (0.10 to 0.10) | float \\| large |"
        in text
    )
    assert "| small | 58.33 | 100.00 | 1.234 M | 2.500 | 4.94 | 1.50 | 4.40 | 1.00 (1.00 to 1.00) |  |" in text
    assert "| small | `kit train small.toml` |" in text
    assert "times as fast as small" in text and "medians of 3 rounds" in text


def test_a_row_without_speed_is_refused(listed: Path, judged: list[Judgement]) -> None:
    judged[1].speed = None
    with pytest.raises(KitError, match=r"small\.tflite: was not costed and timed"):
        markdown(read_plan(listed), judged, "", "")


def test_only_what_is_between_the_comments_changes(tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    begin, end = "<!-- two -->", "<!-- /two -->"
    others = "<!-- one -->\nfirst\n<!-- /one -->\n"
    page.write_text(f"{others}{begin}\nold\n{end}\nafter\n")
    check_table(page, "two")
    page.write_text(page.read_text() + "written while the table was measured\n")
    put_table(page, "two", "new")
    assert page.read_text() == f"{others}{begin}\nnew\n{end}\nafter\nwritten while the table was measured\n"
    for broken in ("no comments", f"{end}{begin}", f"{begin}{end}{begin}{end}"):
        page.write_text(broken)
        with pytest.raises(KitError, match=r"models\.md: expected one line <!-- two -->"):
            check_table(page, "two")
        with pytest.raises(KitError, match=r"models\.md: expected one line <!-- two -->"):
            put_table(page, "two", "new")
        assert page.read_text() == broken


def test_line_breaks_and_markers_in_a_list_break_no_table(
    listed: Path, judged: list[Judgement], tmp_path: Path
) -> None:
    listed.write_text(
        LIST.replace('"float | large"', '"""two\nlines <!-- /two -->"""')
        .replace('"kit train', '"""kit `a` \\\n  \n--train')
        .replace('small.toml"', 'small.toml"""')
    )
    text = markdown(read_plan(listed), judged, "kit '<!-- two -->\n'", "Cam\nVid")
    assert "by `kit '<!-- two --> '`: Cam Vid." in text
    assert "| two lines <!-- /two --> |" in text
    assert "| small | ``kit `a` --train small.toml`` |" in text
    page = tmp_path / "models.md"
    page.write_text("<!-- two -->\n<!-- /two -->\n")
    for _ in range(2):
        put_table(page, "two", text)
    assert page.read_text().count("<!--") == 2 and "| two lines &lt;!-- /two --> |" in page.read_text()


def test_a_table_has_the_line_ends_of_its_page(tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    for end in ("\r\n", "\n"):
        lines = ["# Models", "<!-- one -->", "old", "<!-- /one -->", "after", ""]
        page.write_bytes(end.join(lines).encode())
        put_table(page, "one", "new\ntable")
        assert page.read_bytes() == end.join([*lines[:2], "new", "table", *lines[3:]]).encode()


def test_a_list_may_name_its_place_in_the_document(listed: Path) -> None:
    assert read_plan(listed).mark == "ablation"
    listed.write_text('mark = "ablation-scene"' + LIST)
    assert read_plan(listed).mark == "ablation-scene"


def test_the_plot_has_the_rows_that_ask_for_it(listed: Path, judged: list[Judgement]) -> None:
    (point,) = points(read_plan(listed), judged)
    assert (point.name, point.milliseconds, point.low, point.high) == ("small", 4.4, 4.2, 4.7)
    assert point.mean_iou == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


def test_tables_stand_side_by_side(judged: list[Judgement]) -> None:
    lines = tables(judged).splitlines()
    assert lines[0] == "IoU %  teacher  small"
    assert lines[1] == "road     66.67  66.67"
    assert lines[3] == "mIoU     58.33  58.33"
    cells = [line.rsplit(maxsplit=2) for line in lines]
    assert ["ground", "100.00", "100.00"] in cells
    assert ["ms, one thread", "44.00", "4.40"] in cells
    assert ["calibration error %", "-", "-"] in cells


def test_json_has_none_for_what_is_no_number(judged: list[Judgement]) -> None:
    found = as_dict(judged[1])
    assert found["calibration_error"] is None
    assert found["iou"] == {"road": pytest.approx(2 / 3), "path": 0.5}
    assert found["groups"] == {"miou": 1.0, "iou": {"ground": 1.0}}
    assert found["confusion"] == [[2, 0, 0], [1, 1, 0]]
    assert (found["macs"], found["speed"]["engine"]) == (2_500_000_000, "LiteRT")
