"""What is no file or no text that can be read, files that are written whole, and places that are tried before time is
spent."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import fill

from pspnet_kit.__main__ import main
from pspnet_kit.commands.judge import open_named
from pspnet_kit.data.pictures import read_image
from pspnet_kit.data.toml_table import Table
from pspnet_kit.errors import KitError, WriteError
from pspnet_kit.exam import clips
from pspnet_kit.files import (
    LARGEST,
    check_file,
    check_folder,
    digest,
    read_bytes,
    read_json,
    read_text,
    read_toml,
    sole_writer,
    write_whole,
)


def kinds(folder: Path) -> dict[str, Path]:
    """Names that lead to no file that could be read, with what is said of each."""
    os.mkfifo(folder / "pipe")
    (folder / "link to a pipe").symlink_to("pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "zeros").symlink_to("/dev/zero")
    (folder / "large").touch()
    os.truncate(folder / "large", LARGEST + 1)
    return {
        "is a pipe or device, expected a file": folder / "pipe",
        "is a pipe or device, expected": folder / "link to a pipe",
        "is a pipe or device": folder / "zeros",
        "can't be read: Too many levels of symbolic links": folder / "loop",
        "is a folder, expected a file": folder,
        "no such file": folder / "none",
        "can't be read: File name too long": folder / ("x" * 300),
        "can't be read: embedded null byte": folder / "x\0",
        f"has {LARGEST + 1} bytes, expected at most": folder / "large",
    }


READERS = [read_bytes, read_text, read_toml, read_json, digest, read_image, Table.of, clips.frames]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__qualname__)
def test_what_is_no_regular_file_is_refused_without_being_read(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    for message, path in kinds(tmp_path).items():
        with pytest.raises(KitError) as error:
            reader(path)
        # pytest prints a NUL as it is.
        assert str(error.value).startswith(f"{path}: {message}"), error.value


def test_a_file_that_tells_no_size_is_read_up_to_the_limit() -> None:
    with pytest.raises(KitError, match="/proc/self/maps: has more than 10 bytes"):
        read_bytes(Path("/proc/self/maps"), 10)


@pytest.mark.parametrize(("reader", "text", "value"), [(read_toml, "x = 1", {"x": 1}), (read_json, "[1]", [1])])
def test_the_mark_that_some_editors_write_is_passed_over(
    tmp_path: Path, reader: Callable[[Path], object], text: str, value: object
) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8-sig")
    assert reader(path) == value


@pytest.mark.parametrize("text", ["1" * 5000, "[" * 100_000, "\ud800", "{"])
@pytest.mark.parametrize(("reader", "form"), [(read_toml, "x = {}"), (read_json, "{}")])
def test_hostile_texts_are_one_error(tmp_path: Path, reader: Callable[[Path], object], form: str, text: str) -> None:
    (tmp_path / "x").write_bytes(form.format(text).encode("utf-8", "surrogatepass"))
    with pytest.raises(KitError, match=rf"^{tmp_path}/x: is no (TOML|JSON|text)"):
        reader(tmp_path / "x")


def test_names_that_can_not_be_written_are_told(tmp_path: Path) -> None:
    for name, message in (("x" * 300, "File name too long"), ("x\0", "embedded null byte")):
        for attempt in (check_file, check_folder, lambda path: write_whole(path, b"x")):
            with pytest.raises(KitError, match=f"can't be written: {message}"):
                attempt(tmp_path / name)


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pool", str(tmp_path / "x.toml"), "--out", str(tmp_path / "y"), "--from", "x" * 300]) == 1
    (tmp_path / "x.toml").write_text("")
    assert main(["label", "x" * 300, "--teacher", "x", "--out", str(tmp_path / "y")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_path_of_thousands_of_letters_is_not_told_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/".join(["deep"] * 1000)
    assert main(["pool", str(tmp_path / path), "--out", str(tmp_path / "y")]) == 1
    assert main(["label", path, "--teacher", "x", "--out", str(tmp_path / "y")]) == 1
    told = capsys.readouterr().err
    assert len(told) < 1000 and " … " in told and "no such" in told


def test_a_file_and_its_folder_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new/deep/x"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"former")
    fill(monkeypatch)
    with pytest.raises(KitError, match=f"{path}: can't be written: No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"former" and list(tmp_path.iterdir()) == [path]


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("\u00e4" * 127), b"x")
    assert (tmp_path / ("\u00e4" * 127)).read_bytes() == b"x"


def test_several_writers_of_one_file_write_it_whole(tmp_path: Path) -> None:
    def write(letter: bytes) -> None:
        for _ in range(30):
            write_whole(tmp_path / "x", letter * 100_000)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = (tmp_path / "x").read_bytes()
    assert content in (b"a" * 100_000, b"b" * 100_000, b"c" * 100_000) and list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_folder_has_one_writer_who_takes_away_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "deep/out"
    with sole_writer(folder):
        (folder / "inner").mkdir()
        (folder / "inner/.0123456789abcdef.part").touch()
        (folder / "inner/.others.part").touch()
        with pytest.raises(KitError, match="deep/out: another run writes to it"), sole_writer(folder):
            pass
    with sole_writer(folder):
        assert [path.name for path in (folder / "inner").iterdir()] == [".others.part"]


def test_a_folder_that_stays_empty_goes_only_if_the_run_made_it(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "new/deep"):
        pass
    assert not (tmp_path / "new/deep").exists()
    (tmp_path / "own").mkdir()
    with pytest.raises(KitError, match="failed"), sole_writer(tmp_path / "own"):
        raise KitError("failed")
    assert (tmp_path / "own").is_dir()


def test_other_runs_may_write_to_folders_inside(tmp_path: Path) -> None:
    part = tmp_path / "inner/.0123456789abcdef.part"
    part.parent.mkdir()
    part.touch()
    with sole_writer(tmp_path, below=False):
        assert part.exists()


def test_a_file_that_replaces_another_has_its_mode(tmp_path: Path) -> None:
    path, mask = tmp_path / "x", os.umask(0o022)
    try:
        write_whole(path, b"new")
        assert path.stat().st_mode & 0o7777 == 0o644
        for mode in (0o640, 0o600, 0o666):
            path.chmod(mode)
            write_whole(path, b"again")
            assert path.stat().st_mode & 0o7777 == mode
        if os.geteuid() == 0:
            os.chown(path, 1234, 5678)
            write_whole(path, b"again")
            assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)
    finally:
        os.umask(mask)


def test_links_in_a_circle_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    attempts: list[Callable[[Path], object]] = [check_file, check_folder, lambda path: write_whole(path, b"x")]
    for attempt in attempts:
        with pytest.raises(WriteError, match="a: can't be written: Too many levels of symbolic links"):
            attempt(tmp_path / "a")
    with pytest.raises(WriteError, match="Too many levels"):
        check_file(tmp_path / "a/x")
    (tmp_path / "away").symlink_to("none")
    with pytest.raises(WriteError, match="away: can't be written: No such file"):
        check_folder(tmp_path / "away")
    (tmp_path / "model.tflite").symlink_to("model.tflite")
    with pytest.raises(KitError, match=r"model\.tflite: no such file"):
        open_named([tmp_path / "model.tflite"], [""])


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


def test_a_bound_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "small", 1 << 34) == b"small"
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
