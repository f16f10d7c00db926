"""The pages about training say all that there is, every command and every key of a recipe, and nothing that is gone."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pspnet_kit import commands, recipe
from pspnet_kit.data.augment import Augmentation
from pspnet_kit.model import Architecture

KIT = Path(__file__).parents[1]
DOCS = KIT.parent / "docs"
REFERENCE = (DOCS / "training-reference.md").read_text(encoding="utf-8")
COMMANDS = [module.name for module in pkgutil.iter_modules(commands.__path__)]
TABLES = {
    "model": Architecture,
    "data": recipe.Data,
    "train": recipe.Train,
    "augment": Augmentation,
    "distil": recipe.Distil,
}


def rows(section: str) -> list[str]:
    """First cells of the tables below a heading."""
    _, text = REFERENCE.split(f"\n{section}\n", 1)
    text = re.split(r"\n##+ ", text, maxsplit=1)[0]
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]


def parser(name: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"kit {name}", exit_on_error=False)
    importlib.import_module(f"{commands.__name__}.{name}").configure(made)
    return made


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_recipe_is_there_and_no_other(table: str) -> None:
    told = [key for cell in rows(f"### [{table}]") for key in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted({field.name for field in dataclasses.fields(TABLES[table])} - {"classes"})


def test_every_table_of_a_recipe_is_there() -> None:
    plain = {"weights"}
    assert {field.name for field in dataclasses.fields(recipe.Recipe)} == {*TABLES, *plain}
    assert [cell.strip() for cell in rows("## Recipes")] == ["`weights`"]
    assert {field.name for field in dataclasses.fields(recipe.Phase)} == {"epochs", "crop"}
    assert "`{ epochs = N, crop = [height, width] }`" in REFERENCE


def test_every_command_is_there_and_no_other() -> None:
    assert sorted(re.findall(r"^\| `kit (\w+)", REFERENCE, re.MULTILINE)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_a_row_exist(name: str) -> None:
    line = next(line for line in REFERENCE.splitlines() if line.startswith(f"| `kit {name} "))
    known = {text for action in parser(name)._actions for text in action.option_strings}
    assert set(re.findall(r"(?<![\w-])(--[a-z-]+)", line)) <= known


def lines(page: str) -> Iterator[str]:
    """The kit's command lines of a page, joined where they were broken."""
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    yield from re.findall(r"^    (?:kit/kit|.*-m pspnet_kit) (.*?)(?: {2,}#.*)?$", text, re.MULTILINE)


@pytest.mark.parametrize("page", ["training.md", "training-cloud.md"])
def test_every_command_line_is_understood(page: str) -> None:
    found = list(lines(page))
    assert len(found) >= 4
    for line in found:
        name, *arguments = shlex.split(line)
        parser(name).parse_args(arguments)


def test_the_recipe_for_few_pictures_fits_the_checkpoint_that_it_may_start_from() -> None:
    own, shipped = (recipe.read(KIT / f"recipes/{name}.toml", []) for name in ("own", "street-fast"))
    assert own.model == shipped.model
    assert own.train.size == shipped.train.size
