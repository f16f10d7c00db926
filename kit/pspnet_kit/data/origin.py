"""Where weights come from: every data set that they, the weights before them or their teacher learned from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def join(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Name, licence and citation of all data sets, the first first; `sources` has each by itself, once.

    Args:
        parts: what this function gave for earlier weights, or a data set's own `name`, `licence` and `citation`.
    """
    sources: list[dict[str, Any]] = []
    for part in parts:
        for source in part.get("sources", [part] if part else []):
            if source not in sources:
                sources.append(source)
    if len(sources) == 1:
        return {**sources[0], "sources": sources}
    return {
        "name": ", ".join(dict.fromkeys(source.get("name", "unnamed") for source in sources)),
        "licence": "; ".join(
            f"{source.get('name', 'unnamed')}: {source.get('licence') or 'not stated'}" for source in sources
        ),
        "citation": " ".join(dict.fromkeys(source["citation"] for source in sources if source.get("citation"))),
        "sources": sources,
    }
