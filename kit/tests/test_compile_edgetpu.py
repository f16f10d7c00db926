"""compile_edgetpu.sh with a stand-in for edgetpu_compiler.

The compiler itself is closed and in no package index, so it does not run here: the stand-in prints reports of the form
that its documentation and published logs show (github.com/google-coral/edgetpu/issues/60 and 358).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from built import pspnetd

SCRIPT = Path(__file__).resolve().parents[1] / "compile_edgetpu.sh"
DATA = Path(__file__).parent / "data"
MODELS = SCRIPT.parents[1] / "tests/models"

HEAD = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 2653 ms.

Input model: model.tflite
Input size: 7.31MiB
Output model: {folder}/model_edgetpu.tflite
Output size: 8.14MiB
On-chip memory used for caching model parameters: 6.86MiB
On-chip memory remaining for caching model parameters: 7.75KiB
Off-chip memory used for streaming uncached model parameters: 1.22MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 93
Operation log: {folder}/model_edgetpu.log
"""
PARTLY = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by \
the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 83
Number of operations that will run on CPU: 10
"""
TABLE = """
Operator                       Count      Status

RESIZE_BILINEAR                4          Operation version not supported
CONV_2D                        6          More than one subgraph is not supported
CONV_2D                        60         Mapped to Edge TPU
ADD                            23         Mapped to Edge TPU
"""
END = "Compilation child process completed within timeout period.\n"


def compile_with(tmp_path: Path, text: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the script with a compiler that notes its arguments, prints `text` and exits with `status`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "report").write_text(text)
    compiler = programs / "edgetpu_compiler"
    compiler.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >"{tmp_path}/arguments"\ncat "{tmp_path}/report"\nexit {status}\n'
    )
    compiler.chmod(0o755)
    return run({"PATH": f"{programs}:{os.environ['PATH']}"}, *arguments)


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable, **environment}
    return subprocess.run([SCRIPT, *arguments], env=env, capture_output=True, text=True)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.tflite"
    path.write_bytes((DATA / "split_concat.tflite").read_bytes())
    return str(path)


def test_everything_mapped(tmp_path: Path, model: str) -> None:
    done = compile_with(tmp_path, HEAD.format(folder=tmp_path) + END, model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{tmp_path}/model_edgetpu.tflite: 93 of 93 operators on the Edge TPU (subgraphs: 1)\n"
        "  parameters: 6.86MiB on the chip, 7.75KiB left there, 1.22MiB streamed on every run\n"
    )


MANIFEST = """\
name = "street"

[file]
path = "model.tflite"

[edgetpu]
path = "old.tflite"
sha256 = "00"

[[classes]]
name = "sky"
"""


INDENTED = "\n".join(f"  {line}" if line else line for line in MANIFEST.splitlines())


def compiled_beside(tmp_path: Path, model: str, manifest: str | None, name: str = "manifest.toml") -> str:
    """Compiles with a manifest beside the model; returns what the script said after its first two lines."""
    (tmp_path / "model_edgetpu.tflite").write_bytes(b"compiled")
    if manifest is not None:
        (tmp_path / name).write_text(manifest)
    done = compile_with(tmp_path, HEAD.format(folder=tmp_path) + END, model)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.glob("*.new")) == []
    return "\n".join(done.stdout.splitlines()[2:])


@pytest.mark.parametrize(
    "manifest", [MANIFEST, MANIFEST.replace('"model.tflite"', "'model.tflite'"), 'name = "m"\n', INDENTED]
)
def test_what_was_compiled_is_named_in_the_manifest(tmp_path: Path, model: str, manifest: str) -> None:
    assert compiled_beside(tmp_path, model, manifest) == f"  named in {tmp_path}/manifest.toml"
    before, after = tomllib.loads(manifest), tomllib.loads((tmp_path / "manifest.toml").read_text())
    digest = hashlib.sha256(b"compiled").hexdigest()
    assert after.pop("edgetpu") == {"path": "model_edgetpu.tflite", "sha256": digest}
    before.pop("edgetpu", None)
    assert after == before


def test_pspnetd_takes_the_pair_that_the_script_leaves(tmp_path: Path, model: str) -> None:
    program = pspnetd()
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    compiled = tmp_path / "model_edgetpu.tflite"
    compiled.write_bytes((DATA / "split_concat_edgetpu.tflite").read_bytes())
    compile_with(tmp_path, HEAD.format(folder=tmp_path), model)
    for path in (model, compiled):
        done = subprocess.run([program, "model", "inspect", path], capture_output=True, text=True)
        assert done.returncode == 0 and ", which agrees" in done.stdout, done
        assert "manifest: street" in done.stdout
    with compiled.open("ab") as file:
        file.write(b" ")
    done = subprocess.run([program, "model", "inspect", model], capture_output=True, text=True)
    assert done.returncode == 78 and "edgetpu: the compiled model's digest is" in done.stderr


def test_compiling_again_changes_nothing_more(tmp_path: Path, model: str) -> None:
    compiled_beside(tmp_path, model, MANIFEST, "model.toml")
    once = (tmp_path / "model.toml").read_text()
    (tmp_path / "bin/edgetpu_compiler").unlink()
    (tmp_path / "bin").rmdir()
    compiled_beside(tmp_path, model, None)
    assert (tmp_path / "model.toml").read_text() == once


def test_the_manifest_of_another_model_is_left_alone(tmp_path: Path, model: str) -> None:
    other = MANIFEST.replace("model.tflite", "other.tflite")
    assert "describes another model" in compiled_beside(tmp_path, model, other)
    assert (tmp_path / "manifest.toml").read_text() == other


def test_what_was_compiled_elsewhere_is_told_where_to_go(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model_edgetpu.tflite").write_bytes(b"compiled")
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    done = compile_with(tmp_path, HEAD.format(folder=folder) + END, model)
    assert f"pspnetd looks for it beside the model: {tmp_path}/" in done.stdout
    assert (tmp_path / "manifest.toml").read_text() == MANIFEST


def test_partly_mapped_says_what_is_left_and_why(tmp_path: Path, model: str) -> None:
    done = compile_with(tmp_path, HEAD.format(folder=tmp_path) + PARTLY + TABLE + END, model)
    assert done.returncode == 1
    assert "83 of 93 operators on the Edge TPU" in done.stdout
    assert done.stdout.splitlines()[2:] == [
        "  on the CPU: 10 operators",
        "    CONV_2D x6: More than one subgraph is not supported",
        "    RESIZE_BILINEAR x4: Operation version not supported",
    ]


def test_the_operation_log_is_read_where_the_report_has_no_table(tmp_path: Path, model: str) -> None:
    (tmp_path / "model_edgetpu.log").write_text("Edge TPU Compiler version 16.0.384591198\n" + TABLE)
    done = compile_with(tmp_path, HEAD.format(folder=tmp_path) + PARTLY, model)
    assert done.returncode == 1
    assert "RESIZE_BILINEAR x4: Operation version not supported" in done.stdout


def test_options_are_passed_on(tmp_path: Path, model: str) -> None:
    compile_with(tmp_path, HEAD.format(folder=tmp_path), "--out_dir", "a folder", "-m", "14", model)
    assert (tmp_path / "arguments").read_text().splitlines() == ["-s", "--out_dir", "a folder", "-m", "14", model]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Internal compiler error. Aborting!\n", 1),
        ("Compilation failed: Compilation failed due to large activation tensors in model.\nCompilation failed!\n", 0),
    ],
)
def test_a_compiler_that_fails(tmp_path: Path, model: str, text: str, status: int) -> None:
    done = compile_with(tmp_path, text, model, status=status)
    assert done.returncode == 3
    assert text.strip() in done.stderr and "edgetpu_compiler failed" in done.stderr


def without_compiler(tmp_path: Path) -> dict[str, str]:
    """The rest of PATH must have no edgetpu_compiler either."""
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if not (Path(f) / "edgetpu_compiler").exists()]
    return {"PATH": os.pathsep.join(folders)}


def test_without_a_compiler_the_rules_judge(tmp_path: Path, model: str) -> None:
    done = run(without_compiler(tmp_path), model)
    assert done.returncode == 3, "it passes, but nothing was compiled"
    assert "https://coral.ai/docs/edgetpu/compiler/" in done.stderr
    assert "nothing was compiled" in done.stderr and "Everything maps." in done.stdout


def test_without_a_compiler_a_model_that_does_not_map(tmp_path: Path) -> None:
    done = run(without_compiler(tmp_path), str(MODELS / "argmax_96x64_int64.tflite"))
    assert done.returncode == 1
    assert "ARG_MAX" in done.stdout


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path in ("", "/nowhere.tflite"):
        done = run({}, "--out_dir", "x", path)
        assert done.returncode == 2 and "is no file" in done.stderr


def test_help() -> None:
    done = run({}, "--help")
    assert done.returncode == 0 and "Usage: kit/compile_edgetpu.sh" in done.stdout
