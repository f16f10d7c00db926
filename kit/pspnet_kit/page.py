"""Tables in pages of the documentation: each stands between two comments, <!-- NAME --> and <!-- /NAME -->."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .errors import KitError
from .files import check_file, read_text, write_whole


def check_table(path: Path, name: str) -> None:
    """Whether `put_table` can do its work, told before the time for the table is spent.

    Raises:
        KitError: when the page can't be read or written, or has not exactly one place of that name.
    """
    check_file(path)
    insert(read_text(path), name, "", path)


def put_table(path: Path, name: str, table: str) -> None:
    """Puts the table where the page has a place of that name.

    The page is read at this moment: measuring a table takes long, and somebody may have written in the page meanwhile.

    Raises:
        KitError: as check_table.
    """
    write_whole(path, insert(read_text(path), name, table, path).encode("utf-8", "backslashreplace"))


def line(cells: Sequence[str]) -> str:
    """A line of a Markdown table. Line breaks in cells would end it, and become spaces."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def code(text: str) -> str:
    """The text in one line as Markdown's code, whatever backticks it has."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def insert(page: str, name: str, table: str, path: Path) -> str:
    """`page` with what stands between the comments of that name replaced by `table`, whose lines end as the page's.

    Comments in the table are shown as text: one could be a marker, and the next run would find too many of them.

    Raises:
        KitError: when there is not exactly one pair of them.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise KitError(f"{path}: expected one line {begin} and below it one line {end}")
    before, rest = page.split(begin)
    own = ["", *table.replace("<!--", "&lt;!--").splitlines(), ""]
    line_end = "\r\n" if 2 * page.count("\r\n") > page.count("\n") else "\n"
    return f"{before}{begin}{line_end.join(own)}{end}{rest.split(end)[1]}"
