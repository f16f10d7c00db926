"""Debian's arm64 packages: resolved, downloaded, checked and kept, without touching the machine's own package state.

apt does the work, with sources, index, archive folder and an (empty) list of installed packages of our own. It checks every
package against the archive's signed index.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import subprocess
import time
from pathlib import Path

from .errors import LabError

# The boards run this release, whatever the machine runs. The backports have the kernel of Raspberry Pi OS's age; it is also
# the first whose vivid offers 30 frames per second at 640x480.
RELEASE = "bookworm"
_BACKPORTS = f"{RELEASE}-backports"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_AR = b"!<arch>\n"
# An index older than this is fetched anew. Debian keeps the packages of a stable release's index for longer than that.
_INDEX_DAYS = 7


class Packages:
    """The packages that are kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lists = folder / "lists"
        self._debs = folder / "archives"
        for place in (self._lists, self._debs):
            (place / "partial").mkdir(parents=True, exist_ok=True)
        self._installed = folder / "installed-nothing"
        self._installed.touch()
        self._sources = folder / "sources.list"

    def debs(self, names: list[str]) -> list[Path]:
        """The packages `names` and all that they depend on, downloaded."""
        self._refresh()
        try:
            return self._downloaded(names)
        except LabError:
            # The index may name a version that has been replaced since.
            self._update()
            return self._downloaded(names)

    def kernel(self) -> Path:
        """The newest kernel that the release's backports have."""
        self._refresh()
        name = self._dependency("linux-image-arm64", r"linux-image-[0-9].*-arm64")
        version = self._field(name, "Version")
        path = self._debs / _file_name(name, version)
        if not path.exists():
            self._apt("apt-get", "download", f"{name}={version}", cwd=self._debs)
        return path

    def _downloaded(self, names: list[str]) -> list[Path]:
        arguments = ["--no-install-recommends", "install", *names]
        plan = self._apt("apt-get", "-s", *arguments)
        wanted = [
            self._debs / _file_name(match[1], match[2], match[3])
            for match in re.finditer(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", plan, re.MULTILINE)
        ]
        if not wanted:
            raise LabError(f"apt has no plan to install {' '.join(names)}:\n{plan}")
        if not all(path.exists() for path in wanted):
            self._apt("apt-get", "-y", "--download-only", *arguments)
        missing = [path.name for path in wanted if not path.exists()]
        if missing:
            raise LabError(f"apt did not download {', '.join(missing)}")
        return wanted

    def _dependency(self, name: str, pattern: str) -> str:
        for word in self._field(name, "Depends").replace(",", " ").split():
            if re.fullmatch(pattern, word):
                return word
        raise LabError(f"Debian's package {name} depends on nothing like '{pattern}': the lab doesn't know this release")

    def _field(self, name: str, field: str) -> str:
        # apt takes a backport only where it is asked for.
        shown = self._apt("apt-cache", "-t", _BACKPORTS, "--no-all-versions", "show", name)
        match = re.search(rf"^{field}: (.*)$", shown, re.MULTILINE)
        if match is None:
            raise LabError(f"Debian's package {name} has no {field}")
        return match[1]

    def _refresh(self) -> None:
        stamp = self._folder / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _INDEX_DAYS * 86400:
            self._update()

    def _update(self) -> None:
        self._sources.write_text(_sources())
        self._apt("apt-get", "update")
        (self._folder / "updated").touch()

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "APT::Architecture": "arm64",
            "APT::Architectures::": "arm64",
            "APT::Sandbox::User": "root",
            "Dir::Etc::SourceList": str(self._sources),
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": str(self._lists),
            "Dir::State::status": str(self._installed),
            "Dir::Cache::archives": str(self._debs),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Debug::NoLocking": "true",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return run([tool, "-qq", *words, *arguments], cwd)


def _sources() -> str:
    """The release and its backports, from where the machine's own apt gets its packages."""
    targets = run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Identifier: Packages"])
    sites = {release: site for site, release in (line.split() for line in targets.splitlines())}
    # Another release of Debian has the same archive.
    site = next((site for release, site in sites.items() if "security" not in release), None)
    if site is None:
        raise LabError("this machine's apt has no source of Debian packages")
    lines = [f"deb [signed-by={_KEYRING}] {site} {release} main\n" for release in (RELEASE, _BACKPORTS)]
    if security := sites.get(f"{RELEASE}-security"):
        lines.append(f"deb [signed-by={_KEYRING}] {security} {RELEASE}-security main\n")
    return "".join(lines)


def run(command: list[str], cwd: Path | None = None) -> str:
    """What `command` prints."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        words = " ".join(word for word in command if "=" not in word and word not in ("-o", "-qq"))
        raise LabError(f"{words} failed:\n{done.stderr.strip()}")
    return done.stdout


def _file_name(name: str, version: str, architecture: str = "arm64") -> str:
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"


def key(debs: list[Path], *more: str) -> str:
    """Names what was made of these packages, and of `more`."""
    text = "\n".join([*sorted(path.name for path in debs), *more])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def uncompressed(deb: Path, folder: Path) -> Path:
    """The same package with nothing in it compressed: an emulated processor takes minutes for what costs seconds here."""
    path = folder / deb.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    data = deb.read_bytes()
    out = bytearray(_AR)
    place = len(_AR)
    while place + 60 <= len(data):
        # An ar(5) member: name, date, owner, group, mode, size, two bytes of end.
        header = data[place : place + 60]
        size = int(header[48:58])
        content = data[place + 60 : place + 60 + size]
        name = header[:16].decode().rstrip().rstrip("/")
        if name.endswith(".xz"):
            name, content = name.removesuffix(".xz"), lzma.decompress(content)
        out += name.encode().ljust(16) + header[16:48] + str(len(content)).encode().ljust(10) + header[58:60]
        out += content + b"\n" * (len(content) % 2)
        place += 60 + size + size % 2
    partial = path.with_suffix(".partial")
    partial.write_bytes(out)
    partial.rename(path)
    return path


def extract(debs: list[Path], folder: Path) -> Path:
    """Unpacks `debs` into `folder`, whole or not at all; /bin, /sbin and /lib are links into /usr, as on any Debian 12."""
    if folder.exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("bin", "sbin", "lib"):
        (partial / "usr" / name).mkdir(parents=True)
        (partial / name).symlink_to(f"usr/{name}")
    for deb in debs:
        # dpkg-deb -x would replace the links by folders.
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as archive:
            unpacked = subprocess.run(
                ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", partial],
                stdin=archive.stdout, check=False,
            )
        if archive.returncode != 0 or unpacked.returncode != 0:
            raise LabError(f"{deb} can't be unpacked: delete it, so that it is downloaded again")
    partial.rename(folder)
    return folder
