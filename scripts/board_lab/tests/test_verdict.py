"""A scenario passes only if it made checks, all were good, and it came to its end."""

import unittest
from pathlib import Path

from board_lab.scenario import Scenario
from board_lab.verdict import Verdict

GOOD = ["@@ booted 4.20", "@@ ok one", "@@ measured reopen 0.31 s", "@@ end 0"]


def judged(lines: list[str], how: str = "off", **head: tuple[str, ...]) -> Verdict:
    verdict = Verdict(Scenario(name="some", script=Path("some.sh"), about="x", machine="virt", **head))
    for line in lines:
        verdict.line(line)
    verdict.ended(how, 12.3)
    return verdict


class Passes(unittest.TestCase):
    def test_good_checks_and_a_good_end(self) -> None:
        verdict = judged(GOOD)
        self.assertTrue(verdict.passed(), verdict.words())
        self.assertRegex(verdict.row(), r"some +virt +passed +1 +4.20 s +12 s")
        self.assertIn("0.31 s", verdict.figures()[0])

    def test_what_is_expected_and_seen(self) -> None:
        self.assertTrue(judged(["camera: waiting: gone", *GOOD], expect=("waiting: .*gone",)).passed())


class Fails(unittest.TestCase):
    def fails(self, verdict: Verdict, words: str) -> None:
        self.assertFalse(verdict.passed())
        self.assertRegex(verdict.words(), words)

    def test_a_check_that_failed(self) -> None:
        self.fails(judged(["@@ FAILED two (status 1 of: false)", *GOOD]), "two")

    def test_no_check_at_all(self) -> None:
        self.fails(judged(["@@ end 0"]), "no check was made")

    def test_an_end_that_did_not_come(self) -> None:
        self.fails(judged(GOOD[:-1]), "powered off before the scenario's end")
        self.fails(judged(GOOD[:-1], "limit"), "killed: .*limit of 300 s")
        self.fails(judged(GOOD, "the emulator ended with status 1"), "status 1")

    def test_a_script_that_ended_badly(self) -> None:
        self.fails(judged([*GOOD[:-1], "@@ end 2"]), "status 2")

    def test_a_panic_or_an_oops(self) -> None:
        self.fails(judged(["thread 'infer' panicked at src/x.rs", *GOOD]), "panicked")
        self.fails(judged(["[ 4.2] Internal error: Oops: 96000004", *GOOD]), "Oops")

    def test_what_was_expected_and_not_seen_and_the_reverse(self) -> None:
        self.fails(judged(GOOD, expect=("waiting",)), "nothing matched 'waiting'")
        self.fails(judged(["[ 4.2] WARNING: x", *GOOD], never=("WARNING: ",)), "was seen")


if __name__ == "__main__":
    unittest.main()
