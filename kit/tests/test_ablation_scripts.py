"""kit/ablation-*.sh: what they call, how a run that was ended goes on, and what they refuse.

Their `kit` only notes its calls."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """#!/usr/bin/env bash
# Notes its call and makes what the command would. In a folder of the name FAIL, training ends before its last epoch.
set -euo pipefail
printf '%s\\n' "$*" >> "$CALLS"
command=$1
while [ $# -gt 0 ]; do
    [ "$1" != --out ] || out=$2
    shift
done
case $command in
train | qat)
    mkdir -p "$out"
    touch "$out/last.pt"
    [ "${out##*/}" != "${FAIL-}" ] || exit 1
    touch "$out/final.pt"
    ;;
label)
    mkdir -p "$out/images"
    touch "$out/dataset.toml" "$out/images/hall_view000.jpg" "$out/images/hall_view001.jpg" "$out/images/s_view_1.jpg"
    ;;
*) touch "$out" ;;
esac
"""


class Copy:
    """A copy of the scripts, in a folder whose name has a space, and what they work on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kit = folder / "kit"
        self.calls = folder / "calls"
        for name in ("kit/ablation-lib.sh", "kit/ablation-scene.sh", "kit/ablation-distil.sh", "scripts/lib.sh"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (self.kit / "kit").write_text(STUB)
        (self.kit / "kit").chmod(0o755)
        self.data = folder / "data"
        self.pool = folder / "pool"
        self.teachers = folder / "teachers"
        pictures = ("panoramas/hall_mid.jpg", "panoramas/hall_dark.jpg", "pictures/s_view_1.jpg")
        for path in (
            self.data / "dataset.toml",
            *(self.teachers / f"mosaic-512x{height}/model.tflite" for height in (384, 512)),
            *(self.pool / picture for picture in pictures),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        listed = {"pictures": [{"file": picture, "licence": "CC0-1.0"} for picture in pictures]}
        (self.pool / "pool.json").write_text(json.dumps(listed))

    def run(self, script: str, *arguments: Path | str, fail: str = "") -> tuple[int, str, list[str]]:
        """Exit status, messages and calls."""
        self.calls.write_text("")
        environment = {**os.environ, "CALLS": str(self.calls), "FAIL": fail, "GIT_DIR": str(self.folder / "no.git")}
        done = subprocess.run(
            [self.kit / script, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr, self.calls.read_text().splitlines()

    def scene(self, fail: str = "") -> tuple[int, str, list[str]]:
        return self.run("ablation-scene.sh", self.data, fail=fail)

    def distil(self, fail: str = "") -> tuple[int, str, list[str]]:
        return self.run("ablation-distil.sh", self.pool, self.teachers, self.data, fail=fail)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "a copy")


@pytest.fixture
def started(copy: Copy) -> Copy:
    """With the checkpoint that a clone has in its history."""
    runs = copy.kit / "runs/scene-ablation"
    runs.mkdir(parents=True)
    (runs / "float.pt").touch()
    return copy


def test_every_file_of_the_lists_is_made_and_kept(started: Copy) -> None:
    for run, folder, name in ((started.scene, "scene-ablation", "scene"), (started.distil, "distil", "distil")):
        status, said, calls = run()
        assert status == 0 and calls, said
        listed = (ROOT / f"kit/ablation-{name}.toml").read_text()
        made = {path.name for path in (started.kit / "runs" / folder).iterdir()}
        wanted = {line.split("/")[-1].rstrip('"') for line in listed.splitlines() if line.startswith("model = ")}
        assert wanted and wanted <= made
        status, said, calls = run()
        assert status == 0 and all(call.startswith("label ") for call in calls), said


def test_a_training_that_was_ended_goes_on_from_where_it_was(started: Copy) -> None:
    for row in ("longer", "qat", "pruned-trained", "tucker-trained"):
        shutil.rmtree(started.kit / "runs/scene-ablation" / row, ignore_errors=True)
        assert started.scene(fail=row)[0] == 1
        status, said, calls = started.scene()
        assert status == 0, said
        (again,) = [call for call in calls if call.split()[0] in ("train", "qat") and f"/{row} " in call]
        assert again.endswith(" --resume") and " --from " in again
    assert started.distil(fail="soft")[0] == 1
    status, said, calls = started.distil()
    assert status == 0 and next(call for call in calls if "/soft " in call).endswith(" --resume"), said


def test_views_that_were_half_separated_are_separated_anew(copy: Copy) -> None:
    part = copy.kit / "runs/distil/views.part/pictures"
    part.mkdir(parents=True)
    (part / "hall_view000.jpg").symlink_to("nowhere")
    status, said, _ = copy.distil()
    assert status == 0, said
    views = copy.kit / "runs/distil/views"
    files = [row["file"] for row in json.loads((views / "pool.json").read_text())["pictures"]]
    assert files == ["pictures/hall_view000.jpg", "pictures/hall_view001.jpg", "pictures/s_view_1.jpg"]
    assert all((views / file).is_file() for file in files)


def test_labels_of_another_pool_are_told(copy: Copy) -> None:
    (copy.pool / "pool.json").write_text('{"pictures": []}')
    status, said, _ = copy.distil()
    assert status == 1 and "images/hall_view000.jpg: is of no picture of" in said and "Traceback" not in said


def test_arguments_are_tried_before_anything_is_made(copy: Copy) -> None:
    for script, arguments, message in (
        ("ablation-scene.sh", ("nowhere",), "nowhere: No such file"),
        ("ablation-scene.sh", (copy.pool,), "pool: has no dataset.toml"),
        ("ablation-distil.sh", ("nowhere", copy.teachers, copy.data), "nowhere: No such file"),
        ("ablation-distil.sh", (copy.data, copy.teachers, copy.data), "data: has no pool.json"),
        ("ablation-distil.sh", (copy.pool, copy.pool, copy.data), "pool: has no mosaic-512x384/model.tflite"),
        ("ablation-distil.sh", (copy.pool, copy.teachers, copy.pool), "pool: has no dataset.toml"),
    ):
        status, said, calls = copy.run(script, *arguments)
        assert status == 1 and message in said and not calls
    for script in ("ablation-scene.sh", "ablation-distil.sh"):
        assert copy.run(script)[0] == 64
        assert copy.run(script, "--help")[::2] == (0, [])
    assert not (copy.kit / "runs").exists()


def test_without_the_history_the_checkpoint_is_said_to_be_missing(copy: Copy) -> None:
    for _ in range(2):
        status, said, calls = copy.scene()
        assert status == 1 and "float.pt: can't be made" in said and "git fetch --unshallow" in said and not calls


def test_other_data_and_a_second_run_are_refused(started: Copy) -> None:
    assert started.scene()[0] == 0
    other = started.folder / "other"
    shutil.copytree(started.data, other)
    status, said, calls = started.run("ablation-scene.sh", other)
    assert status == 1 and "was begun with" in said and "delete it" in said and not calls
    folder = os.open(started.kit / "runs/scene-ablation", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        status, said, calls = started.scene()
        assert status == 1 and "another run writes to it" in said and not calls
    finally:
        os.close(folder)
