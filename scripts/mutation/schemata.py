"""Puts many mutants into one copy of the sources, each behind a switch that is set while the program runs.

The mutants are those that `cargo mutants --list --json` names. A mutant with the number 7 becomes, for example,
`(if crate::mutant::on(7) { a <= b } else { a < b })`. So one build serves them all, where cargo-mutants builds for each.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

RUST = Language(tree_sitter_rust.language())

# What `crate::mutant` is: which mutant is on, and which were reached.
RUNTIME = """//! Made by scripts/mutation: which mutant is on (the variable MUTANT), and which were reached (the file that MUTANT_REACHED names).
#![allow(missing_docs, unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::OnceLock;

struct Setting {
    on: u32,
    reached: Option<&'static [AtomicU8]>,
}

fn setting() -> &'static Setting {
    static SETTING: OnceLock<Setting> = OnceLock::new();
    SETTING.get_or_init(|| {
        let on = std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let reached = std::env::var_os("MUTANT_REACHED").and_then(|path| {
            use std::os::fd::AsRawFd as _;
            let file = std::fs::OpenOptions::new().read(true).write(true).open(path).ok()?;
            let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, file.as_raw_fd(), 0) };
            (start != libc::MAP_FAILED).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
        });
        Setting { on, reached }
    })
}

pub fn on(number: u32) -> bool {
    let setting = setting();
    if let Some(reached) = setting.reached.and_then(|reached| reached.get(number as usize)) {
        reached.store(1, Ordering::Relaxed);
    }
    setting.on == number
}
"""


@dataclass(frozen=True)
class Mutant:
    """One line of cargo-mutants' list."""

    number: int
    file: str
    name: str
    genre: str
    replacement: str
    # Line and column, from 1, as cargo-mutants counts: characters.
    start: tuple[int, int]
    end: tuple[int, int]
    function: tuple[int, int] | None

    @classmethod
    def of(cls, number: int, entry: dict) -> Mutant:
        place = lambda at: (at["line"], at["column"])  # noqa: E731
        function = entry.get("function")
        return cls(
            number,
            entry["file"],
            entry["name"],
            entry["genre"],
            entry["replacement"],
            place(entry["span"]["start"]),
            place(entry["span"]["end"]),
            place(function["span"]["start"]) if function else None,
        )


class Source:
    """One file: its syntax tree, and edits that are applied from the inside out."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_bytes()
        self.root = Parser(RUST).parse(self.text).root_node
        self.lines = [0]
        for at, byte in enumerate(self.text):
            if byte == 0x0A:
                self.lines.append(at + 1)

    def at(self, place: tuple[int, int]) -> int:
        """The byte at a line and a column of characters."""
        line, column = place
        start = self.lines[line - 1]
        end = self.lines[line] if line < len(self.lines) else len(self.text)
        return start + len(self.text[start:end].decode()[: column - 1].encode())

    def line(self, byte: int) -> int:
        return bisect.bisect_right(self.lines, byte)

    def around(self, start: int, end: int, kinds: tuple[str, ...]) -> Node | None:
        """The smallest node of one of these kinds that has these bytes in it."""
        node = self.root.descendant_for_byte_range(start, max(start, end - 1))
        while node is not None and node.type not in kinds:
            node = node.parent
        return node

    def raw(self, node: Node) -> str:
        return self.text[node.start_byte : node.end_byte].decode()


def on(mutant: Mutant) -> str:
    return f"crate::mutant::on({mutant.number})"


def instrument(path: Path, mutants: list[Mutant]) -> tuple[str, list[Mutant]]:
    """The file's text with all `mutants` in it, and those that have no place here."""
    source = Source(path)
    left: list[Mutant] = []
    # For expressions: node -> alternatives; for insertions: byte -> text.
    expressions: dict[tuple[int, int], tuple[Node, list[tuple[Mutant, str]]]] = {}
    insertions: dict[int, list[str]] = defaultdict(list)
    guards: dict[tuple[int, int], tuple[Node, list[Mutant]]] = {}
    arms: dict[int, tuple[Node, list[Mutant]]] = {}
    constant: set[int] = set()

    def alternative(node: Node, mutant: Mutant, text: str) -> None:
        key = (node.start_byte, node.end_byte)
        expressions.setdefault(key, (node, []))[1].append((mutant, text))
        leave_const(node)

    def leave_const(node: Node) -> None:
        """A function that asks for a mutant can't be const."""
        while node is not None and node.type != "function_item":
            node = node.parent
        if node is not None:
            constant.add(node.start_byte)

    for mutant in mutants:
        start, end = source.at(mutant.start), source.at(mutant.end)
        if mutant.genre == "FnValue":
            node = source.around(start, end, ("function_item",))
            if node is None or (body := node.child_by_field_name("body")) is None:
                left.append(mutant)
                continue
            insertions[body.start_byte + 1].append(f" if {on(mutant)} {{ return {mutant.replacement}; }}")
            leave_const(node)
        elif mutant.genre == "BinaryOperator":
            node = source.around(start, end, ("binary_expression", "compound_assignment_expr"))
            operator = node and next((c for c in node.children if c.start_byte == start and c.end_byte == end), None)
            if node is None or operator is None:
                left.append(mutant)
                continue
            a, b = node.child_by_field_name("left"), node.child_by_field_name("right")
            alternative(node, mutant, f"{source.raw(a)} {mutant.replacement} {source.raw(b)}")
        elif mutant.genre == "UnaryOperator":
            node = source.around(start, end, ("unary_expression",))
            if node is None or node.start_byte != start:
                left.append(mutant)
                continue
            alternative(node, mutant, source.text[end : node.end_byte].decode())
        elif mutant.genre == "MatchArmGuard":
            guards.setdefault((start, end), (None, []))[1].append(mutant)
            leave_const(source.around(start, end, ("function_item",)))
        elif mutant.genre == "MatchArm":
            node = source.around(start, end, ("match_arm",))
            pattern = node and node.child_by_field_name("pattern")
            if node is None or pattern is None:
                left.append(mutant)
                continue
            arms.setdefault(pattern.start_byte, (pattern, []))[1].append(mutant)
            leave_const(node)
        else:
            left.append(mutant)

    # Everything is an edit of a range; ranges nest, so text is made recursively.
    edits: list[tuple[int, int, object]] = []
    for (start, end), (_, alternatives) in expressions.items():
        edits.append((start, end, ("expression", alternatives)))
    for (start, end), (_, list_) in guards.items():
        edits.append((start, end, ("guard", list_)))
    for pattern, list_ in arms.values():
        condition = pattern.child_by_field_name("condition")
        switch = " && ".join(f"!{on(m)}" for m in list_)
        if condition is None:
            insertions[pattern.end_byte].append(f" if {switch}")
        else:
            insertions[condition.start_byte].append(f"{switch} && ")
            edits.append((condition.start_byte, condition.end_byte, ("parentheses", None)))
    for at, texts in insertions.items():
        edits.append((at, at, ("insert", "".join(texts))))
    for start in constant:
        node = source.around(start, start + 1, ("function_item",))
        for child in node.children if node else []:
            if child.type == "function_modifiers":
                for word in child.children:
                    if source.raw(word) == "const":
                        edits.append((word.start_byte, word.end_byte, ("drop", None)))
    # Outer before inner; an insertion before what begins at the same byte.
    rank = ["insert", "drop", "parentheses", "guard", "expression"].index
    edits.sort(key=lambda edit: (edit[0], edit[2][0] != "insert", -edit[1], rank(edit[2][0])))

    def render(start: int, end: int, inside: list[tuple[int, int, object]]) -> str:
        out, at, place = [], start, 0
        while place < len(inside):
            begin, stop, (kind, data) = inside[place]
            nested = []
            place += 1
            while place < len(inside) and kind != "insert" and inside[place][0] < max(stop, begin + 1):
                nested.append(inside[place])
                place += 1
            out.append(source.text[at:begin].decode())
            if kind == "insert":
                out.append(data)
            elif kind == "drop":
                pass
            else:
                inner = render(begin, stop, nested)
                if kind == "expression":
                    branches = "".join(f"if {on(m)} {{ {text} }} else " for m, text in data)
                    out.append(f"({branches}{{ {inner} }})")
                elif kind == "guard":
                    terms = {m.replacement.strip(): m for m in data}
                    whole = f"({inner})"
                    if "false" in terms:
                        whole = f"(!{on(terms['false'])} && {whole})"
                    if "true" in terms:
                        whole = f"({on(terms['true'])} || {whole})"
                    out.append(whole)
                else:
                    out.append(f"({inner})")
            at = stop
        out.append(source.text[at:end].decode())
        return "".join(out)

    return render(0, len(source.text), edits), left
