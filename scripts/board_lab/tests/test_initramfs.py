"""The archive is one that cpio, and so the kernel, reads."""

import io
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from board_lab.initramfs import Initramfs
from board_lab.tests.needs import needs


class Archive(unittest.TestCase):
    def setUp(self) -> None:
        needs(self, shutil.which("cpio"), "no cpio here (apt-get install cpio)")

    def test_files_links_and_modes_come_out_as_they_went_in(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "tree/inner").mkdir(parents=True)
            (folder / "tree/skipped").mkdir()
            (folder / "tree/inner/program").write_bytes(b"\0" * 1001)
            (folder / "tree/inner/program").chmod(0o755)
            (folder / "tree/skipped/file").touch()
            (folder / "tree/link").symlink_to("inner/program")
            image = Initramfs()
            image.tree("", folder / "tree", without=("skipped",))
            image.text("etc/deep/odd", "x\n")
            image.text("etc/deep/odd", "odd\n")
            image.link("bin", "usr/bin")
            out = io.BytesIO()
            image.write(out)
            (folder / "out").mkdir()
            subprocess.run(
                ["cpio", "--extract", "--quiet", "--no-preserve-owner"], cwd=folder / "out", input=out.getvalue(), check=True
            )
            self.assertEqual((folder / "out/inner/program").read_bytes(), b"\0" * 1001)
            self.assertTrue(os.access(folder / "out/inner/program", os.X_OK))
            self.assertEqual(os.readlink(folder / "out/link"), "inner/program")
            self.assertEqual(os.readlink(folder / "out/bin"), "usr/bin")
            self.assertEqual((folder / "out/etc/deep/odd").read_text(), "odd\n")
            self.assertFalse((folder / "out/skipped").exists())


if __name__ == "__main__":
    unittest.main()
