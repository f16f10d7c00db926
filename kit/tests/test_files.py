"""Files that are written whole, and places that are tried before time is spent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pspnet_kit.errors import KitError
from pspnet_kit.files import check_file, check_folder, write_whole


def test_a_file_and_its_folder_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new/deep/x"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"former")
    (tmp_path / "x.part").symlink_to("/dev/full")
    with pytest.raises(KitError, match=f"{path}: can't be written: No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"former" and list(tmp_path.iterdir()) == [path]


def test_a_try_leaves_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "runs/a")
    check_file(tmp_path / "runs/a/x.pt")
    (tmp_path / "kept").write_text("content")
    check_file(tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "content"
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]


def test_places_that_can_not_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/deeper", Path("/proc/none")):
        with pytest.raises(KitError, match=f"^{folder}: can't be written: "):
            check_folder(folder)
    with pytest.raises(KitError, match=f"^{tmp_path}/file/x: can't be written: "):
        check_file(tmp_path / "file/x")
    with pytest.raises(KitError, match=f"^{tmp_path}: can't be written: is a folder"):
        check_file(tmp_path)


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "x"
    link.symlink_to("far/x")
    check_file(link)
    for content in (b"one", b"two"):
        write_whole(link, content)
        assert link.is_symlink() and (tmp_path / "far/x").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "x"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_file(pipe)
    write_whole(pipe, b"content")
    assert os.read(reader, 100) == b"content" and pipe.is_fifo()
    os.close(reader)
