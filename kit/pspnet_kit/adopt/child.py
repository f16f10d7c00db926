"""Runs in a process of its own what a hostile file may end: reading a flatbuffer, and TensorFlow Lite itself.

`python -m pspnet_kit.adopt.child parse FILE` reads; `… run FILE FOLDER` runs every FOLDER/input_N.npy and writes
FOLDER/output_N_K.npy. Exit status 3: one line on standard error says why not.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import KitError
from ..files import read_bytes

REFUSED = 3
GIB = 1 << 30
PARSE_BYTES, PARSE_SECONDS = 4 * GIB, 60
RUN_BYTES, RUN_SECONDS = 8 * GIB, 120
"""Address space and time, at most; the time to run is for each picture."""


def parse(path: Path, name: Path) -> None:
    """Reads `path` in a child process, so that this one may do the same after it; errors name `name`.

    Raises:
        KitError: when the file is damaged, or so made that it takes all memory or time.
    """
    _child("parse", [path], name, PARSE_SECONDS)


def run(path: Path, folder: Path, pictures: int, name: Path) -> None:
    """Runs `path` in a child process on `pictures` inputs of `folder`; errors name `name`.

    Raises:
        KitError: when TensorFlow Lite refuses the file, or ends its process.
    """
    _child("run", [path, folder], name, RUN_SECONDS * (1 + pictures))


def _child(task: str, paths: Sequence[Path], name: Path, seconds: float) -> None:
    command = [sys.executable, "-m", __name__, task, *map(str, paths)]
    package = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        work = "reading it" if task == "parse" else "running it"
        raise KitError(f"{name}: {work} was stopped after {seconds:.0f} seconds; the file may be damaged") from None
    except OSError as error:
        raise KitError(f"{command[0]}: can't be run: {error.strerror or error}") from error
    if not done.returncode:
        return
    # TensorFlow Lite says on its way what it does.
    said = [line for line in done.stderr.strip().splitlines() if not line.startswith("INFO:")]
    last = (said or ["no message"])[-1]
    if done.returncode == REFUSED:
        raise KitError(f"{name}: {last}")
    how = f"exit status {done.returncode}"
    if done.returncode < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-done.returncode).name
    what = "reading it" if task == "parse" else "TensorFlow Lite"
    raise KitError(f"{name}: {what} ended with {how} ({last}); the file is damaged, or needs too much memory")


def _run(path: Path, folder: Path) -> None:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=os.fsencode(path), num_threads=1)
        interpreter.allocate_tensors()
        (source,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
        for number in range(len(list(folder.glob("input_*.npy")))):
            interpreter.set_tensor(source["index"], np.load(folder / f"input_{number}.npy"))
            interpreter.invoke()
            for place, output in enumerate(outputs):
                np.save(folder / f"output_{number}_{place}.npy", interpreter.get_tensor(output["index"]))
    except (RuntimeError, ValueError) as error:
        raise KitError(f"TensorFlow Lite refuses it: {(str(error).splitlines() or ['no message'])[0]}") from error
    except OSError as error:
        raise KitError(f"{folder}: can't be written: {error.strerror or error}") from error


def main(arguments: Sequence[str]) -> int:
    """What the child process does."""
    task, *paths = arguments
    limit = PARSE_BYTES if task == "parse" else RUN_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    # An abort of TensorFlow Lite is told to the parent; nobody wants its memory in a file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        if task == "run":
            _run(Path(paths[0]), Path(paths[1]))
        else:
            from .original import parse as parse_here

            parse_here(read_bytes(Path(paths[0])), Path(paths[0]))
    except KitError as error:
        print(str(error).removeprefix(f"{paths[0]}: "), file=sys.stderr)
        return REFUSED
    except MemoryError:
        print(f"needs more than {limit // GIB} GiB of memory", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
