"""A scenario's head is checked before anything boots."""

import tempfile
import unittest
from pathlib import Path

from board_lab.__main__ import DOUBLES
from board_lab.errors import LabError
from board_lab.scenario import Scenario, find

HEAD = '#: about = "x"\n#: machine = "virt"\n'


def read(text: str, name: str = "some") -> Scenario:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / f"{name}.sh"
        script.write_text(text)
        return Scenario.read(script)


class Head(unittest.TestCase):
    def test_its_keys_are_taken_and_the_rest_has_defaults(self) -> None:
        scenario = read(HEAD + '#: modules = ["vivid n_devs=1"]\n#: files = { "/a" = "b" }\necho hello\n')
        self.assertEqual((scenario.name, scenario.machine, scenario.root), ("some", "virt", "busybox"))
        self.assertEqual(scenario.modules, ("vivid n_devs=1",))
        self.assertEqual(scenario.files, {"/a": "b"})
        self.assertFalse(scenario.quick)

    def test_what_is_wrong_is_named(self) -> None:
        for line, words in [
            ("#: about =", "no TOML"),
            ("#: abuot = 'x'", "unknown key 'abuot'"),
            ("#: limit = '300'", "should be a int"),
            ("#: quick = 1", "should be a bool"),
            ("#: root = 'alpine'", "there are busybox, debian"),
            ("#: expect = ['(']", "no regular expression"),
        ]:
            with self.subTest(line), self.assertRaisesRegex(LabError, words):
                read(HEAD + line)

    def test_a_machine_is_needed_and_must_be_known(self) -> None:
        with self.assertRaisesRegex(LabError, "no 'machine'"):
            read('#: about = "x"')
        with self.assertRaisesRegex(LabError, "raspi3b, virt"):
            read('#: about = "x"\n#: machine = "pi5"')
        with self.assertRaisesRegex(LabError, "needs machine = 'virt'"):
            read('#: about = "x"\n#: machine = "raspi3b"\n#: root = "debian"')


class Repository(unittest.TestCase):
    def test_every_file_that_a_scenario_carries_is_there_or_built(self) -> None:
        root = Path(__file__).parents[3]
        carried = {source for scenario in find(root / "tests/board", ["all"]) for source in scenario.files.values()}
        self.assertLessEqual(set(DOUBLES), carried)
        for source in carried - set(DOUBLES):
            # Of a build that may not have been made yet, the source must be there.
            name = Path(source).name
            sources = [root / f"examples/{name}.rs", root / f"examples/{name}/main.rs"] if "/examples/" in source else []
            self.assertTrue(any(path.exists() for path in [root / source, *sources]), source)


class Find(unittest.TestCase):
    def test_names_quick_and_all(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "a.sh").write_text(HEAD + "#: quick = true\n")
            (folder / "b.sh").write_text(HEAD)
            self.assertEqual([found.name for found in find(folder, ["all"])], ["a", "b"])
            self.assertEqual([found.name for found in find(folder, ["quick"])], ["a"])
            self.assertEqual([found.name for found in find(folder, ["b", "b"])], ["b"])
            with self.assertRaisesRegex(LabError, "no scenario 'c'; there are a, b"):
                find(folder, ["c"])


class Shipped(unittest.TestCase):
    def test_every_scenario_can_be_read(self) -> None:
        folder = Path(__file__).resolve().parents[3] / "tests/board"
        self.assertGreater(len(find(folder, ["all"])), 5)


if __name__ == "__main__":
    unittest.main()
