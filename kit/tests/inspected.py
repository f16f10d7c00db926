"""Holds `pspnetd model inspect` to check_edgetpu.py: both say the same of a model, word for word."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from built import built

from pspnet_kit.export.edgetpu import Verdict, as_json, check


def inspect(program: Path, path: Path) -> dict[str, Any]:
    """What the program says of the model, whatever it finds wrong with what lies beside it."""
    run = subprocess.run([program, "model", "inspect", "--json", path], capture_output=True, text=True)
    assert run.returncode in (0, 78) and run.stdout, run.stderr
    return json.loads(run.stdout)


def agree(program: Path, path: Path) -> dict[str, Any]:
    """Fails unless the program has everything that the kit says of the model; returns what the program says."""
    ours, theirs = as_json(check(path)), inspect(program, path)
    for end in ("inputs", "outputs"):
        names = ("name", "type", "shape")
        theirs[end] = [{name: tensor[name] for name in names} for tensor in theirs[end]]
    assert {key: theirs.get(key) for key in ours} == ours
    return theirs


def judged(path: Path) -> Verdict:
    """The kit's verdict; where the program is built, its own must be the same."""
    if program := built():
        agree(program, path)
    return check(path)
