"""The package's own description agrees with what kit/setup installs and with the daemon's version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

KIT = Path(__file__).parents[1]


def described(folder: Path, name: str) -> dict[str, Any]:
    return tomllib.loads((folder / name).read_text(encoding="utf-8"))


def pinned(*lists: str) -> dict[str, str]:
    """The version of every package in these lists."""
    text = "\n".join((KIT / f"requirements-{name}.txt").read_text(encoding="utf-8") for name in lists)
    return dict(re.findall(r"^([\w-]+)==(\S+) --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))


def wanted() -> dict[str, tuple[str, str]]:
    """What the package asks for, extras as well: the comparison and the version by name."""
    project = described(KIT, "pyproject.toml")["project"]
    asked = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    parsed = [re.fullmatch(r"([\w-]+)((?:==|>=)?)(\S*)", item) for item in asked]
    assert all(parsed), asked
    return {found[1]: (found[2], found[3]) for found in parsed if found}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize("lists", [("gpu", "checks"), ("debian", "checks")])
def test_every_pin_is_the_one_of_the_lists(lists: tuple[str, ...]) -> None:
    here = pinned(*lists)
    exact = {name: version for name, (comparison, version) in wanted().items() if comparison == "=="}
    assert len(exact) >= 7
    assert {name: here.get(name) for name in exact} == exact


def test_all_that_it_asks_for_is_in_the_complete_lists_and_new_enough() -> None:
    here = pinned("gpu", "checks")
    assert sorted(set(wanted()) - set(here)) == []
    bounds = {name: version for name, (comparison, version) in wanted().items() if comparison == ">="}
    assert [name for name, least in bounds.items() if numbers(here[name]) < numbers(least)] == []


def test_kit_and_daemon_have_one_version() -> None:
    own = described(KIT, "pyproject.toml")["project"]["version"]
    assert own == described(KIT.parent, "Cargo.toml")["workspace"]["package"]["version"]
