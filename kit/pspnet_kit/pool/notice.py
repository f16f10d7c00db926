"""The notice of a pool: every source with its licence, and whom it asks to be named."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..errors import plain
from .listing import LICENCES, PANORAMAS, Entry
from .make import WIDEST

NOTICE = "NOTICE"
"""The file that names every source of a pool's pictures with its authors."""


def notice(entries: Sequence[Entry]) -> str:
    """The text of the file NOTICE for these files."""
    parts = ["The pictures of this pool and what was made of them. Every licence here permits any use."]
    for source in dict.fromkeys(entry.source for entry in entries):
        own = [entry for entry in entries if entry.source == source]
        changes = [source.changes] if source.changes else []
        if any(entry.suffix in PANORAMAS for entry in own):
            changes.append("exposed and tone-mapped to 8 bits")
        if any(entry.frames for entry in own):
            changes.append("frames taken")
        if any(entry.crop for entry in own):
            changes.append("cropped")
        if any(entry.tiles for entry in own):
            changes.append("cut into tiles")
        if any(entry.suffix not in PANORAMAS for entry in own):
            changes.append(f"scaled to at most {WIDEST} pixels wide")
        text = LICENCES[source.licence]
        lines = [
            f"From: {source.origin}",
            f"Attribution: {source.attribution}",
            f"Licence: {source.licence}{f' ({text})' if text else ''}",
            f"Stated in: {source.stated}",
            f"Changes: {', '.join(changes)}",
            f"Files: {', '.join(dict.fromkeys(entry.path for entry in own))}",
        ]
        wrapped = (textwrap.fill(plain(line), 118, subsequent_indent="    ", break_on_hyphens=False) for line in lines)
        title = textwrap.wrap(plain(" ".join(source.title.split())), 118)
        parts.append("\n".join([*title, "-" * max(map(len, title)), *wrapped]))
    return "\n\n".join(parts) + "\n"
