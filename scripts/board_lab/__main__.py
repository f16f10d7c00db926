"""The command: which scenarios, one after the other, and the table at the end. scripts/board-lab starts it."""

from __future__ import annotations

import argparse
import fcntl
import subprocess
import sys
import time
from pathlib import Path

from .errors import LabError
from .images import Images
from .kernel import Kernel
from .machine import Board
from .packages import Packages
from .scenario import Scenario, find
from .verdict import Verdict

# Filling the Debian disk takes two minutes on a quiet machine.
_FIRST_LIMIT = 1200

_CC = "aarch64-linux-gnu-gcc"
_UNRULY = "tests/support/unruly/unruly.c"
# Test doubles, by the name under which scenarios have them in their `files`: what builds each, with {out} for its path.
DOUBLES = {
    "target/aarch64-debian/doubles/libedgetpu.so.1": ["tests/support/fake-edgetpu/build", "{out}", _CC],
    "target/aarch64-debian/doubles/unruly.so": [_CC, "-shared", "-fPIC", "-Wall", "-Werror", "-O1", _UNRULY, "-o", "{out}"],
}


class Lab:
    """The boards and what they boot, kept under `.board/`."""

    def __init__(self, root: Path, quiet: bool) -> None:
        self._folder = root / ".board"
        self._folder.mkdir(exist_ok=True)
        self._quiet = quiet
        # Held until the program ends: two runs would take each other's files away.
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another run is under way in {self._folder}: wait for its end") from None
        packages = Packages(self._folder / "apt")
        self._kernel = Kernel(packages, self._folder)
        self._images = Images(self._folder, root, packages, self._kernel)

    def run(self, scenario: Scenario) -> Verdict:
        """Boots the scenario's board and judges what it prints. The console is kept in .board/runs/<name>/console."""
        disk = self._disk() if scenario.root == "debian" else None
        verdict = Verdict(scenario)
        initrd = self._images.initrd(scenario)
        board = Board(machine=scenario.machine, kernel=self._kernel, initrd=initrd, disk=disk, clock=scenario.clock)
        with (initrd.parent / "console").open("w", buffering=1) as console:

            def line_came(at: float, line: str) -> None:
                console.write(f"{at:8.2f} {line}\n")
                verdict.line(line)
                if not self._quiet or line.startswith("@@ FAILED"):
                    print(f"{at:8.2f} {line}", flush=True)

            start = time.monotonic()
            verdict.ended(board.run(scenario.limit, line_came), time.monotonic() - start)
        initrd.unlink()
        return verdict

    def _disk(self) -> Path:
        disk, debs = self._images.disk()
        if disk.exists():
            return disk
        print("== filling the Debian disk, once", file=sys.stderr)
        partial = self._images.empty_disk(disk.with_suffix(".partial"))
        initrd = self._images.first_initrd(debs)
        board = Board(machine="virt", kernel=self._kernel, initrd=initrd, disk=partial, keep_disk=True, memory_mb=2048)
        lines: list[str] = []

        def line_came(at: float, line: str) -> None:
            lines.append(line)
            if line.startswith("@@ say"):
                print(f"{at:8.2f} {line}", file=sys.stderr, flush=True)

        how = board.run(_FIRST_LIMIT, line_came)
        if how != "off" or "@@ end 0" not in lines:
            last = "\n".join(lines[-40:])
            raise LabError(f"the Debian disk could not be filled ({how}):\n{last}")
        initrd.unlink()
        partial.rename(disk)
        return disk


def _build(root: Path, scenarios: list[Scenario]) -> None:
    """Builds what the scenarios put into their images; where nothing has changed, that costs a second."""
    steps = [["scripts/build-aarch64", "--bins", "--example", "v4l2_probe", "--example", "usb_camera", "--example", "usb_i2c"]]
    if any(scenario.package for scenario in scenarios):
        steps.append(["scripts/build-deb", "arm64"])
    wanted = {source for scenario in scenarios for source in scenario.files.values()}
    for out, command in DOUBLES.items():
        if out in wanted:
            (root / out).parent.mkdir(parents=True, exist_ok=True)
            steps.append([part.format(out=out) for part in command])
    for step in steps:
        if subprocess.run(step, cwd=root, check=False).returncode != 0:
            raise LabError(f"{' '.join(step)} failed, see above")


def main() -> int:
    """Runs what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/board-lab", add_help=False)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    scenarios = find(root / "tests/board", arguments.names or ["all"])
    if arguments.list:
        for scenario in scenarios:
            print(f"{scenario.name:22} {scenario.machine:8} {'quick' if scenario.quick else '':6} {scenario.about}")
        return 0
    lab = Lab(root, arguments.quiet)
    if not arguments.no_build:
        _build(root, scenarios)
    verdicts = []
    for scenario in scenarios:
        print(f"== {scenario.name} on {scenario.machine}: {scenario.about}", file=sys.stderr, flush=True)
        verdicts.append(lab.run(scenario))
        print(f"== {scenario.name}: {verdicts[-1].words()}", file=sys.stderr, flush=True)
    print(f"\n{'scenario':22} {'board':8} {'result':8} {'checks':>7} {'booted':>8} {'in all':>8}")
    for verdict in verdicts:
        print(verdict.row())
    figures = [line for verdict in verdicts for line in verdict.figures()]
    if figures:
        print("\nmeasured in the guests")
        print("\n".join(figures))
    failed = sum(not verdict.passed() for verdict in verdicts)
    print(f"\n{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"board-lab: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
