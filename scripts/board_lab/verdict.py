"""Judges a scenario by the console's lines. Those that start with @@ are the guest's; guest/lib.sh writes them."""

from __future__ import annotations

import re

from .scenario import Scenario

# What no scenario may print: faults of the kernel and of the program.
_NEVER = (r"panicked at", r"\bBUG: ", r"Oops", r"Kernel panic", r"Out of memory", r"segfault", r"unhandled .*fault")


class Verdict:
    """What a scenario's guest has said so far, and what follows from it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._ok = 0
        self._faults: list[str] = []
        self._measured: list[tuple[str, str]] = []
        self._booted = ""
        self._end: str | None = None
        self._seen: set[str] = set()
        self._seconds = 0.0

    def line(self, line: str) -> None:
        """Takes one line of the console."""
        for pattern in self._scenario.expect:
            if re.search(pattern, line):
                self._seen.add(pattern)
        self._faults += [
            f"'{line.strip()}' was seen" for pattern in (*_NEVER, *self._scenario.never) if re.search(pattern, line)
        ]
        match = re.match(r"@@ (ok|FAILED|measured|booted|end) (.*)", line)
        if match is None:
            return
        kind, text = match.groups()
        if kind == "ok":
            self._ok += 1
        elif kind == "FAILED":
            self._faults.append(text)
        elif kind == "measured":
            name, value = text.split(" ", 1)
            self._measured.append((name, value))
        elif kind == "booted":
            self._booted = f"{text} s"
        else:
            self._end = text

    def ended(self, how: str, seconds: float) -> None:
        """Takes how the machine ended, and judges what only its whole output can tell."""
        self._seconds = seconds
        if how == "limit":
            self._faults.append(f"killed: it had not ended after its limit of {self._scenario.limit} s")
        elif how != "off":
            self._faults.append(how)
        elif self._end is None:
            self._faults.append("the machine powered off before the scenario's end")
        elif self._end != "0":
            self._faults.append(f"the script ended with status {self._end}")
        self._faults += [f"nothing matched '{pattern}'" for pattern in self._scenario.expect if pattern not in self._seen]
        if self._ok == 0:
            self._faults.append("no check was made")

    def passed(self) -> bool:
        """Whether all checks were good."""
        return not self._faults

    def words(self) -> str:
        """The outcome, with every fault."""
        if self.passed():
            return f"passed, {self._ok} checks, {self._seconds:.0f} s"
        return "FAILED" + "".join(f"\n   {fault}" for fault in self._faults)

    def row(self) -> str:
        """A line of the table."""
        result = "passed" if self.passed() else "FAILED"
        return (
            f"{self._scenario.name:22} {self._scenario.machine:8} {result:8} {self._ok:>7} {self._booted:>8} "
            f"{self._seconds:>6.0f} s"
        )

    def figures(self) -> list[str]:
        """What the guest measured."""
        return [f"{self._scenario.name:22} {name:30} {value}" for name, value in self._measured]
