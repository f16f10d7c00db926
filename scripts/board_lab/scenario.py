"""A scenario: one shell script in tests/board/, whose head says what board it needs and what must be seen.

Lines that start with `#:` are TOML; docs/board-lab.md explains the keys. The rest runs in the guest.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .errors import LabError

MACHINES = ("raspi3b", "virt")
ROOTS = ("busybox", "debian")
CLOCKS = ("counted", "real")


@dataclass(frozen=True)
class Scenario:
    """What goes into the image, on which machine it boots, and what must be seen there."""

    name: str
    script: Path
    about: str
    machine: str
    # "busybox": a few programs in memory. "debian": Debian 12 with systemd on a disk (virt only).
    root: str = "busybox"
    # What drives the guest's clock: its own instructions, or the host's clock.
    clock: str = "counted"
    # Seconds after which the emulator is killed.
    limit: int = 300
    # Part of what continuous integration runs.
    quick: bool = False
    # Kernel modules with their options, loaded in this order.
    modules: tuple[str, ...] = ()
    # Modules that come along for the script to load.
    carried: tuple[str, ...] = ()
    # Path in the guest -> path in the repository, file or folder.
    files: dict[str, str] = field(default_factory=dict)
    # Regular expressions that some line of the console must match, and that none may.
    expect: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    # Needs the .deb of `scripts/build-deb arm64`.
    package: bool = False

    @staticmethod
    def read(script: Path) -> Scenario:
        """The scenario in `script`, with every key checked."""
        lines = script.read_text().splitlines()
        head = "\n".join(line.removeprefix("#:").strip() for line in lines if line.startswith("#:"))
        try:
            values = tomllib.loads(head)
        except tomllib.TOMLDecodeError as error:
            raise LabError(f"{script}: its head is no TOML: {error}") from None
        return Scenario(name=script.stem, script=script, **_checked(script, values))


def _checked(script: Path, values: dict[str, object]) -> dict[str, object]:
    kinds = {
        "about": str, "machine": str, "root": str, "clock": str, "limit": int, "quick": bool,
        "modules": list, "carried": list, "files": dict, "expect": list, "never": list, "package": bool,
    }
    for key, value in values.items():
        if key not in kinds:
            raise LabError(f"{script}: unknown key '{key}'; there are {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            raise LabError(f"{script}: {key} = {value!r} should be a {kinds[key].__name__}")
    for key in ("about", "machine"):
        if key not in values:
            raise LabError(f"{script}: no '{key}' in its head (lines that start with '#:')")
    for key, known in (("machine", MACHINES), ("root", ROOTS), ("clock", CLOCKS)):
        if values.get(key, known[0]) not in known:
            raise LabError(f"{script}: {key} = {values[key]!r}; there are {', '.join(known)}")
    if values.get("root") == "debian" and values["machine"] != "virt":
        raise LabError(f"{script}: root = 'debian' needs machine = 'virt': the emulated Pi has no disk that is fast enough")
    for pattern in [*values.get("expect", []), *values.get("never", [])]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise LabError(f"{script}: {pattern!r} is no regular expression: {error}") from None
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def find(folder: Path, names: list[str]) -> list[Scenario]:
    """The scenarios that `names` asks for: names, `quick` or `all`."""
    known = {path.stem: path for path in sorted(folder.glob("*.sh"))}
    every = {name: Scenario.read(path) for name, path in known.items()}
    found: dict[str, Scenario] = {}
    for name in names:
        if name == "all":
            found |= every
        elif name == "quick":
            found |= {name: scenario for name, scenario in every.items() if scenario.quick}
        elif name in every:
            found[name] = every[name]
        else:
            raise LabError(f"no scenario '{name}'; there are {', '.join(every)}, and 'quick' and 'all'")
    return list(found.values())
