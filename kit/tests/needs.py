"""What a test needs and a machine may lack: the only way in which a test leaves itself out (docs/testing.md)."""

from __future__ import annotations

import importlib.util
import os

import pytest


def needs(is_there: bool, what: str) -> None:
    """Leaves the test out unless `is_there`; fails where MISSING_TOOLS=fail. `what` is missing and how to get it."""
    if not is_there and os.environ.get("MISSING_TOOLS") == "fail":
        pytest.fail(f"{what} (MISSING_TOOLS=fail: no test may be left out)", pytrace=False)
    suits(is_there, what)


def suits(does: bool, why_not: str) -> None:
    """The same for a machine or an environment that can't be made to suit the test: never fails."""
    if not does:
        pytest.skip(why_not, allow_module_level=True)


def has(*modules: str) -> bool:
    """These Python packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in modules)
