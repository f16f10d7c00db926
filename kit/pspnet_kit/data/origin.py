"""Where weights and labels come from: every data set that they, the weights before them or their teacher learned
from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

KEYS = ("name", "licence", "citation")
"""Of one source, each a text; the last two may be empty."""


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


def of_manifest(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a model's manifest says of its weights and of the data that they learned from, as a part for `join`.

    Args:
        name: of a model whose manifest names none.
    """
    trained = manifest.get("training", {})
    weights = {"name": manifest.get("name", "").strip() or name, "licence": manifest.get("licence", ""), "citation": ""}
    data = {key: trained.get("data" if key == "name" else key, "") for key in KEYS}
    named = {**data, "name": data["name"] or f"data of {weights['name']}"}
    return {"sources": [weights, named] if any(data.values()) else [weights]}


def of_checkpoint(meta: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same of what a checkpoint says."""
    data: dict[str, Any] = meta.get("data", {})
    return data or {"name": name, "licence": "", "citation": ""}
