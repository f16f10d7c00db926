"""A pool has the pictures of its list and no others, made as the list says, with whom to name; what fails is named."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import http.server
import json
import os
import resource
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from needs import needs
from PIL import Image
from radiance_files import rgbe

from pspnet_kit.__main__ import main
from pspnet_kit.data.pictures import read_image
from pspnet_kit.errors import KitError, WriteError
from pspnet_kit.files import sole_writer
from pspnet_kit.pool import fetch, listing, locate
from pspnet_kit.pool.make import OUTPUT, outputs

KIT = Path(__file__).parents[1]
SOURCE = """
[[source]]
name = "yard"
title = "Clips of a yard"
repository = "github:owner/clips"
commit = "0123"
licence = "CC-BY-4.0"
stated = "README.md"
attribution = "Jane Doe"
"""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A picture, a panorama and a GIF of four frames, in folders below."""
    folder = tmp_path / "files" / "deep"
    folder.mkdir(parents=True)
    Image.new("RGB", (1280, 720), (200, 30, 30)).save(folder / "wide.png")
    (folder / "hall_1k.hdr").write_bytes(rgbe(np.full((16, 32, 3), 0.5)))
    grey = [Image.new("RGB", (64, 48), (60 * index,) * 3) for index in range(4)]
    grey[0].save(folder / "clip.gif", save_all=True, append_images=grey[1:])
    return tmp_path / "files"


def write_list(tmp_path: Path, files: Path, *rows: str, source: str = SOURCE) -> Path:
    """A list of the rows, with `SHA(name)` replaced."""
    text = source + "files = [\n" + "".join(f"    {{ {row} }},\n" for row in rows) + "]\n"
    for path in files.rglob("*.*"):
        text = text.replace(f"SHA({path.name})", sha256(path))
    (tmp_path / "list.toml").write_text(text)
    return tmp_path / "list.toml"


WIDE = 'path = "wide.png", sha256 = "SHA(wide.png)", place = "yard"'
HALL = 'path = "x/hall_1k.hdr", sha256 = "SHA(hall_1k.hdr)", place = "hall", exposures = [1, 0, -2]'
CLIP = 'path = "clip.gif", sha256 = "SHA(clip.gif)", place = "car park", frames = [0, 2, 2]'
HELD = 'path = "clip.gif", sha256 = "SHA(clip.gif)", place = "car park", frames = [3, 3, 1], held = true'


def pool(tmp_path: Path, listed: Path, *options: str) -> int:
    return main(["pool", str(listed), "--out", str(tmp_path / "pool"), "--from", str(tmp_path / "files"), *options])


def made(tmp_path: Path) -> set[str]:
    folder = tmp_path / "pool"
    return {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")}


def test_a_pool_has_what_its_list_says(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(tmp_path, files, WIDE, HALL, CLIP, HELD)
    assert pool(tmp_path, listed, "--offline") == 0
    assert made(tmp_path) == {
        "pictures/yard_wide.jpg",
        *(f"panoramas/hall_{name}.jpg" for name in ("bright", "mid", "dark")),
        "pictures/yard_clip_00000.jpg",
        "pictures/yard_clip_00002.jpg",
        "held/pictures/yard_clip_00003.jpg",
    }
    out = capsys.readouterr().out
    assert "4 of 4 entries" in out and "car park (pictures)" in out and "held back" in out
    wide = read_image(tmp_path / "pool/pictures/yard_wide.jpg")
    assert wide.shape == (360, 640, 3) and np.abs(wide.reshape(-1, 3).mean(axis=0) - (200, 30, 30)).max() < 3
    assert read_image(tmp_path / "pool/pictures/yard_clip_00002.jpg").mean() == pytest.approx(120, abs=2)
    bright, mid, dark = (
        read_image(tmp_path / f"pool/panoramas/hall_{name}.jpg").mean() for name in ("bright", "mid", "dark")
    )
    assert bright > mid > dark and read_image(tmp_path / "pool/panoramas/hall_mid.jpg").shape == (16, 32, 3)
    notice = (tmp_path / "pool/NOTICE").read_text()
    for words in (
        "Clips of a yard",
        "github:owner/clips@0123",
        "Jane Doe",
        "licenses/by/4.0",
        "frames taken",
        "tone-mapped",
    ):
        assert words in notice
    rows = json.loads((tmp_path / "pool/pool.json").read_text())["pictures"]
    assert {row["file"] for row in rows} == made(tmp_path)
    assert next(row for row in rows if row["held"])["frames"] == [3, 3, 1]


def test_a_second_run_makes_only_what_is_missing_or_changed(tmp_path: Path, files: Path) -> None:
    listed = write_list(tmp_path, files, WIDE, CLIP)
    assert pool(tmp_path, listed) == 0
    kept, gone = tmp_path / "pool/pictures/yard_wide.jpg", tmp_path / "pool/pictures/yard_clip_00000.jpg"
    kept.write_bytes(b"untouched")
    gone.unlink()
    assert pool(tmp_path, listed) == 0
    assert kept.read_bytes() == b"untouched" and gone.is_file()
    assert pool(tmp_path, write_list(tmp_path, files, WIDE + ", crop = [0, 0, 20, 10]", CLIP)) == 0
    assert read_image(kept).shape == (10, 20, 3)


def rows(tmp_path: Path) -> dict[str, dict[str, object]]:
    return {row["file"]: row for row in json.loads((tmp_path / "pool/pool.json").read_text())["pictures"]}


def test_what_the_list_says_anew_of_a_picture_needs_no_source(tmp_path: Path, files: Path) -> None:
    assert pool(tmp_path, write_list(tmp_path, files, WIDE, CLIP)) == 0
    listed = write_list(tmp_path, files, WIDE.replace("yard", "lawn"), source=SOURCE.replace("CC-BY-4.0", "CC0-1.0"))
    shutil.rmtree(files)
    files.mkdir()
    assert pool(tmp_path, listed, "--offline") == 0
    assert made(tmp_path) == {"pictures/yard_wide.jpg"} == set(rows(tmp_path))
    assert {rows(tmp_path)["pictures/yard_wide.jpg"][key] for key in ("place", "licence")} == {"lawn", "CC0-1.0"}
    assert "CC0-1.0" in (tmp_path / "pool/NOTICE").read_text()


def test_pictures_stay_until_new_ones_are_made(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pool(tmp_path, write_list(tmp_path, files, WIDE, HALL, CLIP)) == 0
    former = {name: (tmp_path / "pool" / name).read_bytes() for name in made(tmp_path)}
    changed = WIDE + ", crop = [0, 0, 20, 10]", HALL.replace("-2]", "-3]"), CLIP
    listed = write_list(tmp_path, files, *changed)
    (files / "deep").rename(tmp_path / "away")
    assert pool(tmp_path, listed, "--offline") == 1
    assert {name: (tmp_path / "pool" / name).read_bytes() for name in made(tmp_path)} == former
    assert "crop" not in rows(tmp_path)["pictures/yard_wide.jpg"]
    said = capsys.readouterr()
    assert said.out.count("is in none of the --from folders; its former pictures stay") == 2 and "1 of 3" in said.err
    assert all(name in (tmp_path / "pool/NOTICE").read_text() for name in ("wide.png", "hall_1k.hdr", "clip.gif"))
    (tmp_path / "away").rename(files / "deep")
    assert pool(tmp_path, listed, "--offline") == 0
    assert read_image(tmp_path / "pool/pictures/yard_wide.jpg").shape == (10, 20, 3)


def test_a_large_picture_is_cut_into_tiles(tmp_path: Path, files: Path) -> None:
    whole = read_image(files / "deep/wide.png")
    assert pool(tmp_path, write_list(tmp_path, files, WIDE + ", crop = [0, 0, 60, 30], tiles = [3, 2]")) == 0
    assert made(tmp_path) == {f"pictures/yard_wide_tile{number}.jpg" for number in range(1, 7)}
    for number in range(6):
        tile = read_image(tmp_path / f"pool/pictures/yard_wide_tile{number + 1}.jpg").astype(int)
        top, left = number // 3 * 15, number % 3 * 20
        assert tile.shape == (15, 20, 3)
        assert abs(tile - whole[top : top + 15, left : left + 20]).mean() < 6
    assert "cut into tiles" in (tmp_path / "pool/NOTICE").read_text()


def test_what_leaves_the_list_leaves_the_pool_and_its_notice(tmp_path: Path, files: Path) -> None:
    assert pool(tmp_path, write_list(tmp_path, files, WIDE, CLIP)) == 0
    assert pool(tmp_path, write_list(tmp_path, files, CLIP + ", held = true")) == 0
    assert made(tmp_path) == {"held/pictures/yard_clip_00000.jpg", "held/pictures/yard_clip_00002.jpg"}
    assert "wide.png" not in (tmp_path / "pool/NOTICE").read_text()


def test_files_are_found_by_digest_whatever_their_name(tmp_path: Path, files: Path) -> None:
    listed = write_list(tmp_path, files, WIDE)
    (files / "deep/wide.png").rename(files / "other.png")
    Image.new("RGB", (8, 8)).save(files / "deep/wide.png")
    assert pool(tmp_path, listed, "--offline") == 0
    assert read_image(tmp_path / "pool/pictures/yard_wide.jpg").shape == (360, 640, 3)


def test_what_can_not_be_had_is_named_and_the_rest_is_made(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE + 'get = "apt-get download clips"\n'
    missing = 'path = "none.jpg", sha256 = "' + "0" * 64 + '", place = "yard"'
    broken = 'path = "broken.png", sha256 = "SHA(broken.png)", place = "yard"'
    short = CLIP.replace("[0, 2, 2]", "[0, 9, 3]") + ', name = "long"'
    (files / "broken.png").write_bytes((files / "deep/wide.png").read_bytes()[:100])
    listed = write_list(tmp_path, files, missing, broken, short, WIDE, source=source)
    assert pool(tmp_path, listed) == 1
    said = capsys.readouterr()
    assert "missing: none.jpg of github:owner/clips@0123" in said.out and "apt-get download clips" in said.out
    assert "broken.png: can't read this picture" in said.out
    assert "clip.gif: has 2 of the frames 0 to 9 in steps of 3, expected 4" in said.out
    assert "1 of 4 entries of the list are here" in said.err
    assert made(tmp_path) == {"pictures/yard_wide.jpg"}
    assert pool(tmp_path, listed, "--partial") == 0


def test_what_can_not_be_a_jpeg_file_is_its_entry_s_fault_alone(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (2, 66_000)).save(files / "tall.png")
    tall = 'path = "tall.png", sha256 = "SHA(tall.png)", place = "yard"'
    assert pool(tmp_path, write_list(tmp_path, files, tall, WIDE)) == 1
    assert "tall.png: a picture of 2x66000 that is made of it can't be a JPEG file" in capsys.readouterr().out
    assert made(tmp_path) == {"pictures/yard_wide.jpg"}


def test_a_panorama_that_is_none_is_refused(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "deep/hall_1k.hdr").write_bytes(rgbe(np.full((16, 30, 3), 0.5)))
    assert pool(tmp_path, write_list(tmp_path, files, HALL)) == 1
    assert "is 30x16, expected a panorama that is exactly twice as wide" in capsys.readouterr().out


def test_a_place_that_can_not_be_written_is_told_before_anything_is_made(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pool").touch()
    assert pool(tmp_path, write_list(tmp_path, files, WIDE)) == 1
    assert f"{tmp_path}/pool: can't be written" in capsys.readouterr().err


def test_two_runs_do_not_write_one_pool(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(tmp_path, files, WIDE)
    with sole_writer(tmp_path / "pool"):
        assert pool(tmp_path, listed) == 1
    assert "another run writes to it" in capsys.readouterr().err and not made(tmp_path)
    assert pool(tmp_path, listed) == 0


def test_a_damaged_index_is_told(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(tmp_path, files, WIDE)
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/pool.json").write_text("{")
    assert pool(tmp_path, listed) == 1
    assert "pool.json: is no JSON that can be read" in capsys.readouterr().err


def test_pictures_of_a_deleted_index_are_refused_and_stay(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pool(tmp_path, write_list(tmp_path, files, WIDE, CLIP, HALL, HELD)) == 0
    before = made(tmp_path)
    (tmp_path / "pool/pool.json").unlink()
    (tmp_path / "pool/pictures/Own Picture.jpg").write_text("not of a pool's form")
    assert pool(tmp_path, write_list(tmp_path, files, WIDE)) == 1
    told = capsys.readouterr().err
    assert "has 6 pictures that neither the list nor pool.json names" in told
    assert "held/pictures/yard_clip_00003.jpg, panoramas/hall_bright.jpg, panoramas/hall_dark.jpg, …; delete" in told
    assert made(tmp_path) - {"pictures/Own Picture.jpg"} == before
    for name in before - {"pictures/yard_wide.jpg"}:
        (tmp_path / "pool" / name).unlink()
    assert pool(tmp_path, write_list(tmp_path, files, WIDE)) == 0


def test_a_picture_that_lost_its_index_stays_in_the_notice(tmp_path: Path, files: Path) -> None:
    listed = write_list(tmp_path, files, WIDE, CLIP)
    assert pool(tmp_path, listed) == 0
    (tmp_path / "pool/pool.json").unlink()
    (files / "deep/clip.gif").unlink()
    assert pool(tmp_path, listed, "--offline", "--partial") == 0
    assert "clip.gif" in (tmp_path / "pool/NOTICE").read_text()
    assert "pictures/yard_clip_00000.jpg" in made(tmp_path)


def test_a_partial_pool_has_something(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(tmp_path, files, WIDE, CLIP)
    shutil.rmtree(files)
    files.mkdir()
    assert pool(tmp_path, listed, "--offline", "--partial") == 1
    assert "none of the 2 entries of the list can be had; the reasons are above" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["{}", "../{}", "pictures/../../{}", "pictures/{}", "", "pictures/a\0.jpg", "a" * 300])
def test_an_index_that_names_other_files_than_a_pool_has_deletes_nothing(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    listed = write_list(tmp_path, files, WIDE)
    (tmp_path / "pool/pictures").mkdir(parents=True)
    for own in (tmp_path / "own.txt", tmp_path / "pool/own.txt", tmp_path / "pool/pictures/own.txt"):
        own.write_text("mine")
    row = {"file": name.replace("{}", str(tmp_path / "own.txt") if name == "{}" else "own.txt")}
    (tmp_path / "pool/pool.json").write_text(json.dumps({"pictures": [row]}))
    assert pool(tmp_path, listed) == 1
    assert "pool.json: names the file" in capsys.readouterr().err
    assert len(list(tmp_path.rglob("own.txt"))) == 3


@pytest.fixture
def server(files: Path) -> Iterator[tuple[str, list[str]]]:
    """An address that gives the files, by ranges too, and the requests so far; `/cut` ends half way."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
            found = files / "deep" / self.path.rsplit("/", 1)[1]
            if not found.is_file():
                self.send_error(404)
                return
            content = found.read_bytes()
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = len(content) // 2 if self.path.startswith("/cut") and not start else len(content)
            self.wfile.write(content[start:cut])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def download(tmp_path: Path, listed: Path) -> int:
    return main(["pool", str(listed), "--out", str(tmp_path / "pool")])


def test_downloads_are_checked_kept_and_gone_on_with(
    tmp_path: Path, files: Path, server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    address, asked = server
    source = SOURCE + f'raw = "{address}/cut/{{path}}"\n'
    listed = write_list(
        tmp_path, files, WIDE, 'path = "no such.jpg", sha256 = "' + "1" * 64 + '", place = "yard"', source=source
    )
    assert download(tmp_path, listed) == 1
    out = capsys.readouterr().out
    assert "answers 404" in out and "/cut/no%20such.jpg" in out
    assert "/cut/wide.png broke off; run the command again" in out and "0 of 2" in out
    assert download(tmp_path, listed) == 1
    half = (files / "deep/wide.png").stat().st_size // 2
    assert f"/cut/wide.png bytes={half}-" in asked
    assert made(tmp_path) == {"pictures/yard_wide.jpg"}
    shutil.rmtree(tmp_path / "pool/pictures")
    asked.clear()
    assert download(tmp_path, listed) == 1
    assert not any("wide" in request for request in asked), "the download is still here"
    assert made(tmp_path) == {"pictures/yard_wide.jpg"}


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "range": (b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n", "answers 416"),
    "part": (b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-7/9\r\nContent-Length: 3\r\n\r\nabc", "another part"),
    "address": (b"HTTP/1.1 302 F\r\nLocation: http://[::1/x\r\nContent-Length: 0\r\n\r\n", "can't be downloaded"),
    "port": (b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:abc/x\r\nContent-Length: 0\r\n\r\n", "can't be downloaded"),
    "name": (b"HTTP/1.1 302 F\r\nLocation: //\x00\xff/\r\nContent-Length: 0\r\n\r\n", "can't be downloaded"),
    "file": (b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "answers 302"),
    "ftp": (b"HTTP/1.1 302 F\r\nLocation: ftp://127.0.0.1:9/x\r\nContent-Length: 0\r\n\r\n", "can't be downloaded"),
    "length": (OK + b"Content-Length: -5\r\n\r\nabc", "gives another file"),
    "large": (OK + b"Content-Length: 5\r\n\r\n12345", "gives more than 0 MiB"),
    "cut": (OK + b"Content-Length: 500\r\n\r\n1", "broke off"),
    "chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nZZZZ\r\n", "can't be downloaded"),
    "status": (b"HTTP/1.1 999999 x\r\n\r\n", "can't be downloaded"),
    "garbage": (b"\x00\xff\xfe garbage\r\n\r\n", "can't be downloaded"),
    "empty": (b"HTTP/1.1 204 No\r\n\r\n", "gives another file"),
    "words": (b"HTTP/1.1 404 \x1b[31mred\x07\r\nContent-Length: 0\r\n\r\n", "answers 404"),
    "flood": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "took more than 0.5 s to answer"),
    "slow headers": (b"H", "took more than 0.5 s to answer"),
    "slow content": (OK + b"Content-Length: 9999\r\n\r\n" + b"1", "gives less than 1024 KiB a second"),
}
ENDLESS = {"flood": ANSWERS["flood"][0], "slow headers": b"x", "slow content": b"1"}


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address that gives the answer of ANSWERS whatever it is asked, and then what ENDLESS has for ever."""
    done = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with contextlib.suppress(OSError):
                self.request.sendall(ANSWERS[request.param][0])
                while request.param in ENDLESS and not done.wait(0.01):
                    self.request.sendall(ENDLESS[request.param])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        done.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("answering", ANSWERS, indirect=True)
def test_a_server_that_answers_anything_is_told_in_one_line(
    tmp_path: Path,
    files: Path,
    answering: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = request.node.callspec.params["answering"]
    monkeypatch.setattr(fetch, "LARGEST", 4 if kind == "large" else 1 << 20)
    if kind in ENDLESS:
        monkeypatch.setattr(fetch, "PATIENCE", 0.5)
        monkeypatch.setattr(fetch, "LEAST_RATE", 1 << 20)
    part = tmp_path / f"pool/downloads/{sha256(files / 'deep/wide.png')}.download"
    part.parent.mkdir(parents=True)
    if kind == "part":
        part.write_bytes(b"begun")
        part.write_bytes(b"beg")
    listed = write_list(tmp_path, files, WIDE, source=SOURCE + f'raw = "{answering}/{{path}}"\n')
    assert download(tmp_path, listed) == 1
    said = capsys.readouterr()
    told, *others = said.out.splitlines()
    assert told.startswith("missing: wide.png of ") and ANSWERS[kind][1] in told and len(others) == 1
    assert not any(ord(letter) < 32 for letter in told)
    # Only what can be gone on with stays.
    assert part.exists() == (kind in ("cut", "chunk", "slow content"))


def test_another_file_than_the_list_says_is_refused(
    tmp_path: Path, files: Path, server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE + f'raw = "{server[0]}/{{path}}"\n'
    listed = write_list(tmp_path, files, WIDE.replace("SHA(wide.png)", "2" * 64), source=source)
    assert download(tmp_path, listed) == 1
    assert "gives another file than the list says" in capsys.readouterr().out
    assert not list((tmp_path / "pool/downloads").iterdir())


def test_a_host_that_can_not_be_reached_is_told_and_soon_left_alone(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOURCE + 'raw = "http://127.0.0.1:9/{path}"\n'
    rows = [f'path = "{name}.png", sha256 = "{name * 64}", place = "yard"' for name in "abcde"]
    assert download(tmp_path, write_list(tmp_path, files, *rows, source=source)) == 1
    out = capsys.readouterr().out
    assert "can't be downloaded from http://127.0.0.1:9/a.png" in out
    assert out.count("can't be downloaded") == 3
    assert out.count("was not tried, since 127.0.0.1:9 could not be reached 3 times") == 2


@pytest.mark.parametrize("at", ["download", "its end", "copy"])
def test_a_disk_that_is_full_ends_the_run_at_once_with_its_reason(
    tmp_path: Path,
    files: Path,
    server: tuple[str, list[str]],
    at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, asked = server
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    Image.fromarray(noise).save(files / "deep/wide.png")
    other = WIDE.replace("wide", "other")
    shutil.copy(files / "deep/wide.png", files / "deep/other.png")
    with (files / "deep/other.png").open("ab") as file:
        file.write(b"another digest")
    listed = write_list(tmp_path, files, WIDE, other, source=SOURCE + f'raw = "{address}/{{path}}"\n')
    if at == "copy":

        def full(path: Path, content: bytes) -> None:
            raise WriteError(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

        monkeypatch.setattr("pspnet_kit.pool.locate.write_whole", full)
        reason = "No space left on device"
    else:
        reason = "File too large"
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        monkeypatch.setattr("pspnet_kit.pool.fetch._CHUNK", 4096)
        # The last bytes of a file are written when it is closed.
        size = 16384 if at == "download" else (files / "deep/wide.png").stat().st_size - 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        assert download(tmp_path, listed) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    said = capsys.readouterr().err
    assert f"can't be written: {reason}" in said and f"{tmp_path}/pool/downloads/" in said
    assert len(asked) == 1, "no other file is tried"


def test_a_connection_that_breaks_is_not_taken_for_the_disk(
    tmp_path: Path, files: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: http.client.HTTPResponse, size: int = -1) -> bytes:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    listed = write_list(tmp_path, files, WIDE, source=SOURCE + f'raw = "{server[0]}/{{path}}"\n')
    (entry,) = listing.read(listed)
    monkeypatch.setattr(http.client.HTTPResponse, "read1", broken)
    with pytest.raises(KitError, match=r"can't be downloaded from .*: Connection reset by peer") as caught:
        locate.Downloads(tmp_path / "downloads").get(entry)
    assert not isinstance(caught.value, WriteError)


def test_a_file_that_only_looks_like_the_wanted_one_is_told(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = write_list(tmp_path, files, WIDE)
    wide = files / "deep/wide.png"
    digest = sha256(wide)

    def said() -> str:
        assert pool(tmp_path, listed, "--offline") == 1
        return capsys.readouterr().out

    Image.new("RGB", (4, 4)).save(wide)
    assert f"; {wide} has its name, but is another file of the SHA-256 {sha256(wide)}: expected" in said()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"
    wide.write_text(pointer.format("0" * 64))
    assert f"; {wide} has its name, but is a Git LFS pointer to another file: expected" in said()
    # A pointer to the file itself is known whatever it is called.
    wide.write_text(pointer.format(digest))
    wide.rename(files / "renamed.png")
    assert f"; {files}/renamed.png is a Git LFS pointer to it: `git lfs pull`" in said()


def test_a_full_temporary_folder_ends_the_run_too(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = tmp_path / "bin/ffmpeg"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "av_interleaved_write_frame(): No space left on device" >&2\nexit 1\n')
    fake.chmod(0o755)
    for name in "ab":
        (files / f"{name}.avi").write_bytes(f"RIFF {name}".encode())
    rows = [f'path = "{n}.avi", sha256 = "SHA({n}.avi)", place = "yard", frames = [0, 1, 1]' for n in "ab"]
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    assert pool(tmp_path, write_list(tmp_path, files, *rows)) == 1
    assert f"{tempfile.gettempdir()}: can't be written: No space left on device" in capsys.readouterr().err


def test_frames_of_a_video(tmp_path: Path, files: Path) -> None:
    program = shutil.which("ffmpeg")
    needs(program is not None, "ffmpeg is not installed: apt-get install ffmpeg")
    for number in range(6):
        Image.new("RGB", (64, 48), (40 * number,) * 3).save(files / f"{number}.png")
    command = ["ffmpeg", "-v", "error", "-framerate", "10", "-i", str(files / "%d.png"), "-c:v", "mjpeg", "-q:v", "2"]
    subprocess.run([*command, str(files / "walk.avi")], check=True)
    row = 'path = "walk.avi", sha256 = "SHA(walk.avi)", place = "walkway", frames = [1, 5, 2]'
    assert pool(tmp_path, write_list(tmp_path, files, row), "--offline") == 0
    names = sorted(made(tmp_path))
    assert names == [f"pictures/yard_walk_{number:05d}.jpg" for number in (1, 3, 5)]
    levels = [read_image(tmp_path / "pool" / name).mean() for name in names]
    assert levels == pytest.approx([40, 120, 200], abs=4)


def test_panoramas_of_both_kinds_are_made_alike(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(shutil.which("ffmpeg") is not None, "ffmpeg is not installed: apt-get install ffmpeg")
    linear = np.random.default_rng(0).uniform(0.1, 2, (16, 32, 3))
    (files / "a.hdr").write_bytes(rgbe(linear))
    (files / "b.raw").write_bytes(linear[..., [1, 2, 0]].transpose(2, 0, 1).astype("<f4").tobytes())
    raw = ["-f", "rawvideo", "-pixel_format", "gbrpf32le", "-video_size", "32x16", "-i", str(files / "b.raw")]
    subprocess.run(["ffmpeg", "-v", "error", *raw, str(files / "b.exr")], check=True)
    (files / "c.exr").write_bytes((files / "b.exr").read_bytes()[:300])
    rows = [
        f'path = "{name}", sha256 = "SHA({name})", place = "hall", exposures = [1, 0, -1]'
        for name in ("a.hdr", "b.exr", "c.exr")
    ]
    assert pool(tmp_path, write_list(tmp_path, files, *rows), "--offline") == 1
    assert made(tmp_path) == {f"panoramas/{name}_{light}.jpg" for name in "ab" for light in listing.EXPOSURES}
    assert "c.exr: " in (out := capsys.readouterr().out) and "2 of 3" in out
    for light in listing.EXPOSURES:
        one, other = (read_image(tmp_path / f"pool/panoramas/{name}_{light}.jpg").astype(int) for name in "ab")
        assert abs(one - other).mean() < 3


@pytest.mark.parametrize(("width", "height"), [(16, 32), (64, 8), (8, 64), (30, 16)])
def test_an_exr_picture_that_is_no_panorama_is_refused(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str], width: int, height: int
) -> None:
    needs(shutil.which("ffmpeg") is not None, "ffmpeg is not installed: apt-get install ffmpeg")
    source = ["-f", "lavfi", "-i", f"testsrc=size={width}x{height}:rate=1", "-frames:v", "1", "-pix_fmt", "gbrpf32le"]
    subprocess.run(["ffmpeg", "-v", "error", *source, str(files / "a.exr")], check=True)
    row = 'path = "a.exr", sha256 = "SHA(a.exr)", place = "hall", exposures = [1, 0, -1]'
    assert pool(tmp_path, write_list(tmp_path, files, row), "--offline") == 1
    assert f"a.exr: is {width}x{height}, expected a panorama that is exactly twice as wide" in capsys.readouterr().out


def test_videos_need_ffmpeg(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "walk.avi").write_bytes(b"RIFF")
    row = 'path = "walk.avi", sha256 = "SHA(walk.avi)", place = "walkway", frames = [0, 1, 1]'
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pool(tmp_path, write_list(tmp_path, files, row)) == 1
    assert "needs the program ffmpeg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (WIDE + ", colour = 1", "colour is unknown"),
        (WIDE.replace("wide.png", "../wide.png", 1), "expected a path inside the source"),
        (WIDE.replace("wide.png", "wide.txt", 1), "expected a file that ends in one of"),
        (WIDE.replace("SHA(wide.png)", "12"), "expected 64 digits"),
        (CLIP.replace("[0, 2, 2]", "[2, 0, 1]"), "the first not after the last"),
        (CLIP.replace("[0, 2, 2]", "[0, 2]"), "expected a list of first, last and step"),
        (HALL.replace("[1, 0, -2]", '"bright"'), "exposures is 'bright'"),
        (WIDE + ", crop = [0, 0, 0, 4]", "inside the picture"),
        (WIDE + ", frames = [0, 1, 1]", "frames is unknown"),
        (WIDE + ", tiles = [0, 2]", "expected columns and rows, at least 1 each"),
        (CLIP + ", tiles = [2, 2]", "tiles is unknown"),
        (CLIP.replace("[0, 2, 2]", "[0, 100000, 1]"), "which are 100001, expected at most 100000"),
        (CLIP.replace("[0, 2, 2]", f"[0, {10**30}, {10**29}]"), "the first not after the last"),
        (CLIP.replace("[0, 2, 2]", f"[0, 5, {10**30}]"), "the first not after the last"),
        (HALL.replace("[1, 0, -2]", "[20.5, 0, -2]"), "expected stops from -20 to 20"),
        (HALL.replace("[1, 0, -2]", "[1, nan, -2]"), "expected stops from -20 to 20"),
        (HALL.replace("[1, 0, -2]", "[1, 0, -inf]"), "expected stops from -20 to 20"),
        (WIDE + f", crop = [0, 0, 1, {10**30}]", "inside the picture"),
        (WIDE + ", tiles = [1001, 1]", "at most 1000 tiles"),
        (WIDE + f', name = "{"x" * 101}"', "expected at most 100 letters"),
    ],
)
def test_mistakes_in_a_list_are_told_with_their_place(tmp_path: Path, files: Path, row: str, message: str) -> None:
    with pytest.raises(KitError, match=r"list\.toml: source\[0\].*" + message.replace("[", r"\[").replace("(", r"\(")):
        listing.read(write_list(tmp_path, files, row))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        *(
            ('stated = "README.md"', f'stated = "README.md"\nraw = "{raw}/{{path}}"', "expected a web address")
            for raw in (
                "http://[::1",
                "http://127.0.0.1:99999",
                "http://127.0.0.1:x",
                "http://",
                "http://ex\u00e4mple.org",
            )
        ),
        ('licence = "CC-BY-4.0"', 'licence = "CC-BY-NC-4.0"', "expected one that permits any use"),
        ('licence = "CC-BY-4.0"', "", "licence is missing"),
        ('attribution = "Jane Doe"', "", "attribution is missing"),
        ('name = "yard"', 'name = "A yard"', "expected small letters"),
        ('stated = "README.md"', 'stated = "README.md"\nraw = "ftp://x/{path}"', "expected a web address"),
    ],
)
def test_a_source_says_its_licence_and_whom_to_name(
    tmp_path: Path, files: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(KitError, match=message):
        listing.read(write_list(tmp_path, files, WIDE, source=SOURCE.replace(before, after)))


def test_no_text_of_a_list_gets_out_of_its_line(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "T\\u007f\\u001b[31m\\u202e\\nLicence: CC0-1.0" + " long" * 60
    source = SOURCE.replace("Clips of a yard", hostile).replace("Jane Doe", hostile).replace("github:owner", hostile)
    listed = write_list(tmp_path, files, WIDE.replace('"yard"', f'"{hostile}"'), source=source)
    assert pool(tmp_path, listed) == 0
    for text in ((tmp_path / "pool/NOTICE").read_text(), capsys.readouterr().out):
        assert (
            not any(letter in text for letter in "\x1b\x7f\u202e")
            and "\\x7f" in text
            and "\\x1b" in text
            and "\\u202e" in text
        )
    lines = (tmp_path / "pool/NOTICE").read_text().splitlines()
    assert max(map(len, lines)) <= 118
    assert [line for line in lines if line.startswith("Licence:")] == [
        "Licence: CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/)"
    ]


def test_two_files_of_one_name_are_refused(tmp_path: Path, files: Path) -> None:
    other = 'path = "a/wide.jpg", sha256 = "' + "3" * 64 + '", place = "yard"'
    with pytest.raises(KitError, match=r"wide\.jpg of .* has the name 'yard_wide' of wide\.png .*give it a `name`"):
        listing.read(write_list(tmp_path, files, WIDE, other))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((WIDE, WIDE + ', name = "b"'), r"wide\.png of .* is there twice, also as that of wide\.png"),
        ((CLIP, HELD.replace("[3, 3, 1]", "[2, 3, 1]")), r"frame 2 of clip\.gif of .* is there twice"),
    ],
)
def test_nothing_is_learned_twice_or_though_it_is_held_back(
    tmp_path: Path, files: Path, rows: tuple[str, ...], message: str
) -> None:
    with pytest.raises(KitError, match=message):
        listing.read(write_list(tmp_path, files, *rows))


def test_the_list_of_the_scene_models_is_right() -> None:
    entries = listing.read(KIT / "scene/pictures.toml")
    assert len(entries) > 200 and {entry.held for entry in entries} == {True, False}
    assert all(OUTPUT.fullmatch(name) for entry in entries for name in outputs(entry))
    held = {(entry.path, entry.sha256) for entry in entries if entry.held}
    both = {path for path, digest in held if any(e.sha256 == digest and not e.held for e in entries)}
    assert both == {"usr/share/doc/opencv-doc/examples/data/vtest.avi"}, "of other files all or nothing is held back"
