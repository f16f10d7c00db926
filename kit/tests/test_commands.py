"""The commands' common shell: help is quick and needs nothing optional, and mistakes are one line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pspnet_kit.__main__ import main
from pspnet_kit.training.command import start_overrides

KIT = Path(__file__).parents[1]


def python(code: str, *missing: str) -> str:
    """What the code printed, in a Python where the modules `missing` can't be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    done = subprocess.run([sys.executable, "-c", hidden + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_loads_nothing_heavy_or_optional() -> None:
    code = "from pspnet_kit.__main__ import main\ntry: main(['-h'])\nexcept SystemExit as end: assert not end.code"
    printed = python(code, "torch", "ai_edge_litert", "flatbuffers", "matplotlib", "onnx", "tensorboard")
    named = {line.split()[0] for line in printed.splitlines() if line.startswith("    ")}
    assert {"train", "distil", "prune", "factorise", "qat", "quantise", "rebalance", "export", "judge"} <= named


def test_training_needs_no_tflite_and_no_plots() -> None:
    python("import pspnet_kit.training.loop", "ai_edge_litert", "flatbuffers", "matplotlib", "onnx", "tensorboard")


@pytest.mark.parametrize("taken", [False, True])
def test_an_output_that_can_not_be_written_is_one_line(tmp_path: Path, taken: bool) -> None:
    (tmp_path / "list.toml").write_text("")
    code = "import sys; from pspnet_kit.__main__ import main; import pspnet_kit.commands.pool as pool\n"
    code += "pool.run = lambda args: print('x' * 100)\nsys.exit(main(['pool', 'list.toml', '--out', 'x']))"
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    with Path("/dev/null" if taken else "/dev/full").open("w") as place:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=place, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    said = [] if taken else ["kit pool: the output can't be written: No space left on device"]
    assert (done.returncode, done.stderr.splitlines()) == (0 if taken else 1, said)


def test_what_can_be_mended_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["factorise", str(tmp_path / "none.pt"), "--out", str(tmp_path / "x.pt"), "--ratio", "0.5"]) == 1
    assert capsys.readouterr().err == f"kit factorise: {tmp_path}/none.pt: no such checkpoint\n"


def test_wrong_arguments_are_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["factorise"])
    assert end.value.code == 2 and "checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "distil", "qat", "prune", "factorise", "quantise"])
def test_every_step_can_be_compared(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--compare DATASET" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["train"], ["distil", "--teacher", "t.pt"]])
def test_a_run_starts_from_one_checkpoint(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "x.toml", "--out", "o", "--from", "a.pt", "--backbone", "b.pt"])
    assert end.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_what_a_run_starts_from_goes_into_its_recipe() -> None:
    starts = [("a.pt", None), (None, "b.pt"), (None, None)]
    overrides = [start_overrides(argparse.Namespace(start=start, backbone=backbone)) for start, backbone in starts]
    assert overrides == [['weights="a.pt"'], ['weights="backbone:b.pt"'], []]


@pytest.mark.parametrize(
    "arguments", [["prune", "--ratio", "0.5"], ["factorise", "--ratio", "0.5"], ["rebalance", "--data", "none"]]
)
def test_places_are_tried_before_anything_is_read(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    command, *options = arguments
    assert main([command, "none.pt", "--out", f"{tmp_path}/file/x.pt", *options]) == 1
    assert capsys.readouterr().err.startswith(f"kit {command}: {tmp_path}/file/x.pt: can't be written: ")
