"""What a board boots: the common part of every initramfs, the scenario's own part, and the Debian disk."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from .errors import LabError
from .initramfs import Initramfs
from .kernel import Kernel
from .packages import Packages, extract, key, uncompressed
from .scenario import Scenario

GUEST = Path(__file__).parent / "guest"

# In memory: a shell with the usual small programs, what pspnetd links to, and the tool that sets vivid's controls.
_BUSYBOX_PACKAGES = ["busybox-static", "libc6", "libgcc-s1", "libstdc++6", "v4l-utils"]
# On the disk: what every Debian has, the service manager, and the same tool.
_DEBIAN_PACKAGES = [
    # Without apt, and without perl, which usrmerge would bring: thousands of files for an emulated processor to unpack.
    "?essential?not(?name(^apt$))", "usr-is-merged",
    "busybox-static", "dbus", "e2fsprogs", "kmod", "libgcc-s1", "libstdc++6", "procps", "strace", "systemd-sysv", "udev",
    "v4l-utils",
]
_BUILT = "target/aarch64-debian/aarch64-unknown-linux-gnu/release"
# In every guest, unless it gets them from the package.
_PROGRAM = {
    "/usr/bin/pspnetd": f"{_BUILT}/pspnetd",
    "/usr/lib/pspnetd/libtensorflowlite_c.so": f"{_BUILT}/libtensorflowlite_c.so",
    "/usr/bin/v4l2_probe": f"{_BUILT}/examples/v4l2_probe",
}
# ext4 asks for its checksum by an alias.
_DISK_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
_BULK = ("usr/share", "usr/include", "usr/lib/aarch64-linux-gnu/gconv")
_PAPER = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/include")
_DISK_BYTES = 1 << 30


class Images:
    """Makes images under `folder`, and keeps those that many scenarios share."""

    def __init__(self, folder: Path, root: Path, packages: Packages, kernel: Kernel) -> None:
        self._folder = folder
        self._root = root
        self._packages = packages
        self._kernel = kernel

    def initrd(self, scenario: Scenario) -> Path:
        """The initramfs of `scenario`: the common part, its modules, its files, its script."""
        image = Initramfs()
        self._add_common(image)
        names = [shlex.split(line)[0] for line in scenario.modules] + list(scenario.carried)
        if scenario.machine == "raspi3b":
            # Without the watchdog's driver the Pi can't power off.
            names.append("bcm2835_wdt")
        home = ""
        if scenario.root == "debian":
            home = "/payload"
            image.text("lab/disk", "")
            self._kernel.add_modules(image, _DISK_MODULES)
        # The disk has no modules of its own: a new kernel needs no new disk.
        self._kernel.add_modules(image, names, home)
        image.text(f"{home}/lab/modules", "".join(f"modprobe {line}\n" for line in scenario.modules))
        image.file(f"{home}/lab/scenario", scenario.script)
        for name in ("lib.sh", "edgetpu.sh"):
            image.file(f"{home}/lab/{name}", GUEST / name)
        image.file(f"{home}/lab/run", GUEST / "run")
        if scenario.package:
            image.file(f"{home}/lab/pspnetd.deb", self._package())
        else:
            for target, source in _PROGRAM.items():
                image.file(home + target, self._stripped(self._root / source))
        for target, source in scenario.files.items():
            self._add(image, home + target, self._root / source, scenario)
        path = self._folder / "runs" / scenario.name / "initrd"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            image.write(out)
        return path

    def _add(self, image: Initramfs, target: str, source: Path, scenario: Scenario) -> None:
        if source.is_dir():
            image.tree(target, source)
        elif source.is_file():
            image.file(target, self._stripped(source) if source.is_relative_to(self._root / _BUILT) else source)
        else:
            raise LabError(f"{scenario.script}: {source} is not there (programs are built unless --no-build is given)")

    def _package(self) -> Path:
        """The newest arm64 package, uncompressed for the emulated processor."""
        built = sorted((self._root / "target/debian").glob("pspnetd_*_arm64.deb"), key=lambda deb: deb.stat().st_mtime)
        if not built:
            raise LabError("there is no arm64 package in target/debian: run scripts/build-deb arm64")
        folder = self._folder / "package"
        shutil.rmtree(folder, ignore_errors=True)
        return uncompressed(built[-1], folder)

    def _stripped(self, program: Path) -> Path:
        """`program` without its debug information, half of an initramfs otherwise."""
        if not program.is_file():
            raise LabError(f"{program} is not there: run scripts/board-lab without --no-build")
        stripped = self._folder / "stripped" / program.name
        if not stripped.exists() or stripped.stat().st_mtime < program.stat().st_mtime:
            stripped.parent.mkdir(exist_ok=True)
            subprocess.run(["aarch64-linux-gnu-strip", "-o", stripped, program], check=True)
        return stripped

    def _add_common(self, image: Initramfs) -> None:
        debs = self._packages.debs(_BUSYBOX_PACKAGES)
        tree = extract(debs, self._folder / f"busybox-{key(debs)}")
        image.tree("", tree, without=_BULK)
        image.file("init", GUEST / "init")

    def disk(self) -> tuple[Path, list[Path]]:
        """Where the Debian disk is kept, and the packages that it is made of. Whether it is there is the caller's to see."""
        debs = self._packages.debs(_DEBIAN_PACKAGES)
        recipe = (GUEST / "first").read_text() + (GUEST / "board-lab.service").read_text()
        return self._folder / f"debian-{key(debs, recipe)}.img", debs

    def first_initrd(self, debs: list[Path]) -> Path:
        """The initramfs that fills the disk: every package twice, unpacked to run and packed to be installed."""
        image = Initramfs()
        image.tree("", extract(debs, self._folder / f"first-{key(debs)}"), without=_PAPER)
        image.file("init", GUEST / "init")
        image.text("lab/disk", "")
        image.text("lab/first", (GUEST / "first").read_text(), 0o755)
        image.file("lab/board-lab.service", GUEST / "board-lab.service")
        self._kernel.add_modules(image, _DISK_MODULES)
        for deb in debs:
            image.file(f"lab/debs/{deb.name}", uncompressed(deb, self._folder / "uncompressed"))
        path = self._folder / "first-initrd"
        with path.open("wb") as out:
            image.write(out)
        return path

    @staticmethod
    def empty_disk(path: Path) -> Path:
        """A file of the disk's size that takes no room yet."""
        with path.open("wb") as out:
            out.truncate(_DISK_BYTES)
        return path
