"""Which single changes of the code does no test notice? Started by scripts/mutants, whose help says what it does."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mutation.schemata import RUNTIME, Mutant, instrument

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target/mutants"
TREE = WORK / "tree"
BASE = Path("crates/base/src")
# What one test may take: more than this many times what it takes without a mutant, and seconds on top, is a mutant that hangs.
SLACK, GRACE = 8, 30
# Without incremental compilation and debug information a build is small; the dependencies are built as for the tests.
PROFILE = {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0", "CARGO_TARGET_DIR": str(WORK / "build")}


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def listed(patterns: list[str]) -> list[Mutant]:
    """What cargo-mutants would change in these files."""
    files = [part for pattern in patterns for part in ("-f", pattern)]
    listing = subprocess.run(
        ["cargo", "mutants", "--workspace", "--list", "--json", "--diff", *files], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    # 0 is no mutant.
    return [Mutant.of(number, entry) for number, entry in enumerate(json.loads(listing.stdout), 1)]


def copy_tree() -> None:
    """The files of the repository as they are now, with the libraries that git ignores."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    shutil.rmtree(TREE, ignore_errors=True)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    for library in ROOT.glob("native/tflite/*/*.so"):
        target = TREE / library.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)


def crates() -> list[Path]:
    """The folders of sources that have a library, from the root."""
    return [Path("src"), *sorted(path.relative_to(ROOT) for path in ROOT.glob("crates/*/src"))]


def write(mutants: list[Mutant]) -> list[Mutant]:
    """Puts `mutants` into the copy; returns those that are in."""
    by_file = defaultdict(list)
    for mutant in mutants:
        by_file[mutant.file].append(mutant)
    inside = []
    # Also those that had some in an earlier round and have none now.
    sources = [path.relative_to(TREE) for folder in crates() for path in (TREE / folder).glob("**/*.rs")]
    for name in [str(path) for path in sources if (ROOT / path).exists()]:
        some = by_file[name]
        text, left = instrument(ROOT / name, some) if some else ((ROOT / name).read_text(), [])
        if (TREE / name).read_text() != text:
            (TREE / name).write_text(text)
        inside += [mutant for mutant in some if mutant not in left]
    # The lowest crate, on which all others stand, knows which mutant is on.
    for folder in crates():
        (TREE / folder / "mutant.rs").write_text(RUNTIME if folder == BASE else "pub use base::mutant::on;\n")
        library = (ROOT / folder / "lib.rs").read_text()
        (TREE / folder / "lib.rs").write_text(f"#![allow(warnings, missing_docs)]\n{library}\npub mod mutant;\n")
    return inside


def cargo(*arguments: str) -> tuple[int, list[dict]]:
    command = ["cargo", *arguments, "--locked", "--message-format=json"]
    done = subprocess.run(
        command, cwd=TREE, env={**os.environ, **PROFILE}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


def culprits(messages: list[dict]) -> set[int]:
    """The mutants that the compiler complains of: the last before the place on its line; else those of the line; else, where
    no error has any, those of the lines around."""
    switch = re.compile(r"mutant::on\((\d+)\)")
    guilty: set[int] = set()
    spans = []
    for message in (m["message"] for m in messages if m.get("reason") == "compiler-message"):
        if message["level"] == "error":
            children = [span for child in message["children"] for span in child["spans"]]
            spans += [span for span in message["spans"] if span["is_primary"]] or message["spans"] + children
    for more in (0, 3, 8):
        for span in spans:
            lines = (TREE / span["file_name"]).read_text().split("\n")
            if more == 0 and (before := switch.findall(lines[span["line_start"] - 1][: span["column_start"] - 1])):
                guilty.add(int(before[-1]))
            else:
                first, last = span["line_start"] - more, span["line_end"] + more
                guilty |= {int(number) for number in switch.findall("\n".join(lines[max(first - 1, 0) : last]))}
        if guilty:
            break
    return guilty


def build(mutants: list[Mutant]) -> tuple[list[Mutant], list[Mutant], list[dict]]:
    """Those that compile together, those that don't, and what was built."""
    copy_tree()
    unviable: list[Mutant] = []
    while True:
        inside = write(mutants)
        status, messages = cargo("check", "--workspace", "--lib")
        if status == 0:
            break
        guilty = culprits(messages)
        if not guilty:
            errors = [m["message"]["rendered"] for m in messages if m.get("reason") == "compiler-message"]
            sys.exit("the copy with its mutants doesn't compile:\n" + "\n".join(errors[:3]))
        say(f"{len(guilty)} mutants don't compile")
        unviable += [mutant for mutant in mutants if mutant.number in guilty]
        mutants = [mutant for mutant in mutants if mutant.number not in guilty]
    say(f"building {len(inside)} mutants in one program")
    status, messages = cargo("test", "--workspace", "--no-run", "--lib", "--bins", "--tests")
    if status != 0:
        errors = [m["message"]["rendered"] for m in messages if m.get("reason") == "compiler-message"]
        sys.exit("the tests don't build:\n" + "\n".join(errors[-3:]))
    built = [m for m in messages if m.get("reason") == "compiler-artifact" and m.get("executable")]
    return inside, unviable, [m for m in built if m["profile"]["test"] and m["target"]["kind"] != ["bin"]]


@dataclass
class Test:
    """One test function."""

    program: str
    group: str
    name: str
    seconds: float = 0.0
    reached: set[int] = field(default_factory=set)

    def __hash__(self) -> int:
        return hash((self.program, self.name))

    def run(self, limit: float, **variables: str) -> bool:
        """Whether it passes within `limit` seconds."""
        command = [self.program, "--exact", self.name, "--test-threads=1"]
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            # Everything that it leaves behind is in its own folder and its own session.
            environment = {**os.environ, "TMPDIR": folder, "RUST_BACKTRACE": "0", **variables}
            process = subprocess.Popen(
                command, cwd=TREE, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                return process.wait(limit) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()


def tests_of(built: list[dict], wanted: re.Pattern) -> list[Test]:
    tests = []
    for artifact in built:
        group = "lib" if "lib" in artifact["target"]["kind"] else artifact["target"]["name"]
        if not wanted.search(group):
            continue
        listing = subprocess.run(
            [artifact["executable"], "--list", "--format=terse"], cwd=TREE, check=True, stdout=subprocess.PIPE
        ).stdout.decode()
        ignored = subprocess.run(
            [artifact["executable"], "--list", "--format=terse", "--ignored"], cwd=TREE, check=True, stdout=subprocess.PIPE
        ).stdout.decode()
        names = {line.removesuffix(": test") for line in listing.splitlines() if line.endswith(": test")}
        names -= {line.removesuffix(": test") for line in ignored.splitlines()}
        tests += [Test(artifact["executable"], group, name) for name in sorted(names)]
    return tests


def measure(test: Test, count: int) -> bool:
    """Runs `test` without a mutant: its time, and what it reaches. Whether it passed."""
    with tempfile.NamedTemporaryFile(prefix="reached-") as reached:
        reached.truncate(count + 1)
        start = time.monotonic()
        passed = test.run(300, MUTANT_REACHED=reached.name)
        test.seconds = time.monotonic() - start
        data = Path(reached.name).read_bytes()
    test.reached = {number for number, byte in enumerate(data) if byte}
    return passed


def judge(mutant: Mutant, tests: list[Test], budget: float) -> tuple[str, str]:
    """What became of a mutant: "caught" with the test, or "missed" with what was tried."""
    near = re.sub(r"^(crates/\w+/)?src/", "", mutant.file).removesuffix(".rs").replace("/mod", "").replace("/", "::")
    # Nearest first: the file's own unit tests, other unit tests, then the quickest tests of the program.
    order = lambda test: (test.group != "lib", not test.name.startswith(near), test.seconds)  # noqa: E731
    spent, tried = 0.0, 0
    for test in sorted((test for test in tests if mutant.number in test.reached), key=order):
        if test.group != "lib" and spent + test.seconds > budget:
            continue
        spent += test.seconds if test.group != "lib" else 0
        tried += 1
        if not test.run(SLACK * test.seconds + GRACE, MUTANT=str(mutant.number)):
            return "caught", f"{test.group}: {test.name}"
    return "missed", f"{tried} tests that reach it pass"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants")
    parser.add_argument("files", nargs="+", help="glob patterns of source files, such as 'src/pipeline/**'")
    parser.add_argument("--sample", type=int, help="so many of them, by chance")
    parser.add_argument("--seed", type=int, default=1, help="which chance")
    parser.add_argument("--tests", default="", help="test programs to use: a regular expression; lib is the unit tests")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests of the program for one mutant")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time")
    parser.add_argument("--out", type=Path, default=WORK / "outcome.json")
    arguments = parser.parse_args()

    mutants = listed(arguments.files)
    if arguments.sample is not None and arguments.sample < len(mutants):
        mutants = sorted(random.Random(arguments.seed).sample(mutants, arguments.sample), key=lambda m: m.number)
    say(f"{len(mutants)} mutants")
    inside, unviable, built = build(mutants)
    tests = tests_of(built, re.compile(arguments.tests))
    count = max((mutant.number for mutant in inside), default=0)
    outcomes: dict[int, tuple[str, str]] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        say(f"{len(tests)} tests without a mutant")
        passed = dict(zip(tests, pool.map(lambda test: measure(test, count), tests)))
        for test in (test for test, ok in passed.items() if not ok):
            say(f"left out, since it fails without a mutant: {test.group}: {test.name}")
        tests = [test for test, ok in passed.items() if ok]
        say("every mutant")
        for mutant, outcome in zip(inside, pool.map(lambda m: judge(m, tests, arguments.budget), inside)):
            outcomes[mutant.number] = outcome
            if outcome[0] == "missed":
                print(f"missed  {mutant.name} ({outcome[1]})", flush=True)
    rows = [
        {"name": m.name, "file": m.file, "outcome": outcomes[m.number][0], "by": outcomes[m.number][1]} for m in inside
    ]
    rows += [{"name": m.name, "file": m.file, "outcome": "unviable", "by": "it doesn't compile"} for m in unviable]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    total = Counter(row["outcome"] for row in rows)
    viable = total["caught"] + total["missed"]
    share = 100 * total["caught"] / max(viable, 1)
    print(f"{viable} mutants: {total['caught']} caught ({share:.1f} %), {total['missed']} missed, {total['unviable']} unviable")
    return 0


if __name__ == "__main__":
    sys.exit(main())
