"""The memory of processes, in MiB."""

import re
from pathlib import Path


def family(pid: int) -> list[int]:
    """The process and those that it started, such as the one that runs the model."""
    children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(int(child) for text in children for child in text.split())]


def pss_mib(*pids: int | str) -> float:
    """Their proportional set size: pages that several processes have count in parts. One that has ended counts nothing."""
    total = 0
    for pid in pids:
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += int(found[1]) if found else 0
    return total / 1024
