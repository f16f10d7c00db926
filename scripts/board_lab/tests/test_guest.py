"""What scenarios share in the guest, tried here by the same kind of shell."""

import subprocess
import tempfile
import unittest
from pathlib import Path

LIB = (Path(__file__).parents[1] / "guest/lib.sh").read_text()
TABLE = "[12:00:03Z INFO ] stage              n     p50 ms     p90 ms     p99 ms     max ms"


def frames(corrupt: int, skipped: int) -> str:
    return f"[12:00:00Z INFO ] frames in=30 inferred=30 published=30 replaced=0 skipped={skipped} corrupt={corrupt} failed=0 fps=30.00"


def said(command: str, log: str) -> str:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(log)
        file.flush()
        script = LIB.replace("/tmp/pspnetd.log", file.name) + command
        run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.strip()


class Totals(unittest.TestCase):
    def test_intervals_are_added_while_the_daemon_runs(self) -> None:
        log = "\n".join([frames(1, 5), frames(0, 10), frames(2, 0)]) + "\n"
        self.assertEqual(said("total corrupt; total skipped; total failed", log), "3\n15\n0")

    def test_the_table_at_the_end_does_not_count_twice(self) -> None:
        log = "\n".join([frames(1, 5), frames(0, 10), TABLE, frames(2, 16)]) + "\n"
        self.assertEqual(said("total corrupt; total skipped", log), "2\n16")

    def test_without_a_line_there_is_nothing(self) -> None:
        self.assertEqual(said("total corrupt", ""), "0")


if __name__ == "__main__":
    unittest.main()
