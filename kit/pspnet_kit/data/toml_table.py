"""Reads a table of a TOML file key by key: wrong types, missing keys and unknown keys are errors with file and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import KitError, shown
from ..files import read_toml


class Table:
    """A table of a TOML file that knows its place in the file, and which of its keys were asked for."""

    def __init__(self, path: Path, place: str, content: dict[str, Any]) -> None:
        self.path, self.place, self.content = path, place, content
        self._known: set[str] = set()

    @classmethod
    def of(cls, path: Path) -> Table:
        """The whole file.

        Raises:
            KitError: when it is missing, can't be read or is no TOML.
        """
        return cls(path, "", read_toml(path))

    def wrong(self, key: str, problem: str) -> KitError:
        return KitError(f"{self.path}: {self._name(key)} {problem}")

    def take(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any = None) -> Any:
        self._known.add(key)
        value = self.content.get(key, default)
        if value is None:
            raise self.wrong(key, f"is missing, expected {expected}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, f"is {shown(value)}, expected {expected}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value: str = self.take(key, str, "a text", default)
        if not value.strip() and default is None:
            raise self.wrong(key, "is empty")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        return int(self.take(key, int, "a whole number", default))

    def number(self, key: str, default: float | None = None) -> float:
        return float(self.take(key, (int, float), "a number", default))

    def table(self, key: str) -> Table:
        return Table(self.path, self._name(key), self.take(key, dict, "a table"))

    def tables(self, key: str) -> Sequence[Table]:
        entries = self.take(key, list, f"tables [[{key}]]")
        for entry in entries:
            if not isinstance(entry, dict):
                raise self.wrong(key, f"has {shown(entry)}, expected tables [[{key}]]")
        return [Table(self.path, f"{self._name(key)}[{index}]", entry) for index, entry in enumerate(entries)]

    def texts(self, key: str, default: Sequence[str] | None = None) -> list[str]:
        """A list of texts, or one text as a list of one."""
        value = self.take(key, (str, list), "a text or a list of texts", None if default is None else list(default))
        entries = [value] if isinstance(value, str) else value
        if not all(isinstance(entry, str) and entry.strip() for entry in entries):
            raise self.wrong(key, f"is {shown(value)}, expected a text or a list of texts")
        return list(entries)

    def flag(self, key: str) -> bool:
        """True or false; false where it is not said."""
        self._known.add(key)
        value = self.content.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, f"is {shown(value)}, expected true or false")
        return value

    def refuse_others(self) -> None:
        if unknown := sorted(set(self.content) - self._known):
            raise self.wrong(unknown[0], f"is unknown; known here: {', '.join(sorted(self._known))}")

    def _name(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key
