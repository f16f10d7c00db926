"""A disk that has no space for whatever is written next."""

from __future__ import annotations

import errno
import os

import pytest


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
