"""Writes an initramfs: a cpio archive in the kernel's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).

Everything in it belongs to root, whoever runs the lab, and needs no staging folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO


class Initramfs:
    """The files of one archive, by their path in the guest. A later file of the same path replaces an earlier one."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes | Path]] = {}

    def folder(self, path: str) -> None:
        """A folder, and those above it."""
        parts = PurePosixPath(path.strip("/")).parts
        for count in range(1, len(parts) + 1):
            # What an extracted package has as a link (/bin in a merged system) stays one.
            self._entries.setdefault("/".join(parts[:count]), (stat.S_IFDIR | 0o755, b""))

    def text(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file with this text."""
        self.bytes(path, text.encode(), mode)

    def bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file with this content."""
        self._put(path, stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._put(path, stat.S_IFLNK | 0o777, target.encode())

    def file(self, path: str, source: Path) -> None:
        """A copy of `source`, which may be a link to a file."""
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self._put(path, stat.S_IFREG | mode, source.resolve())

    def tree(self, path: str, source: Path, without: tuple[str, ...] = ()) -> None:
        """Everything under `source`, links as links, but what lies in a folder of `without` (relative to `source`)."""
        for folder, folders, files in os.walk(source):
            here = Path(folder)
            inner = here.relative_to(source)
            folders[:] = sorted(name for name in folders if str(inner / name) not in without)
            self.folder(f"{path}/{inner}")
            for name in [*folders, *sorted(files)]:
                entry = here / name
                target = f"{path}/{inner / name}"
                if entry.is_symlink():
                    self.link(target, os.readlink(entry))
                elif entry.is_file():
                    self._put(target, entry.stat().st_mode, entry)

    def _put(self, path: str, mode: int, content: bytes | Path) -> None:
        name = str(PurePosixPath(path.strip("/")))
        self.folder(str(PurePosixPath(name).parent))
        self._entries[name] = (mode, content)

    def write(self, out: BinaryIO) -> None:
        """Appends the archive to `out`. The kernel unpacks several, one after the other."""
        for number, (name, (mode, content)) in enumerate(self._entries.items(), start=1):
            data = content.read_bytes() if isinstance(content, Path) else content
            links = 2 if stat.S_ISDIR(mode) else 1
            _record(out, number, name, mode, links, data)
        _record(out, 0, "TRAILER!!!", 0, 1, b"")


def _record(out: BinaryIO, number: int, name: str, mode: int, links: int, data: bytes) -> None:
    encoded = name.encode() + b"\0"
    fields = [number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    out.write(_padded(header + encoded))
    out.write(_padded(data))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
