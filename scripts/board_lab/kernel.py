"""Debian's arm64 kernel: its image, its device tree for the Raspberry Pi 3, and the modules that a guest loads."""

from __future__ import annotations

import lzma
from pathlib import Path

from .initramfs import Initramfs
from .packages import Packages, extract, run


class Kernel:
    """The kernel that `packages` has, unpacked under `folder`."""

    def __init__(self, packages: Packages, folder: Path) -> None:
        deb = packages.kernel()
        self.version = deb.name.split("_")[0].removeprefix("linux-image-")
        # The package's version too: a kernel of the same name is replaced by security updates.
        self._root = extract([deb], folder / f"kernel-{deb.stem}")
        self._index = self._root / "usr/lib/modules" / self.version / "modules.dep"
        if not self._index.exists():
            run(["depmod", "-b", str(self._root), self.version])

    @property
    def image(self) -> Path:
        """What the emulator boots."""
        return self._root / f"boot/vmlinuz-{self.version}"

    def device_tree(self, name: str) -> Path:
        """The device tree `name`, such as `broadcom/bcm2837-rpi-3-b.dtb`."""
        return self._root / f"usr/lib/linux-image-{self.version}/{name}"

    def add_modules(self, image: Initramfs, names: list[str], root: str = "") -> None:
        """Puts `names`, what they need, and an index of them under `root` into `image`, for modprobe."""
        home = f"{root}/usr/lib/modules/{self.version}"
        kept: dict[str, None] = {}
        for name in names:
            # "builtin NAME" needs no file.
            shown = run(["modprobe", "-d", str(self._root), "-S", self.version, "--show-depends", name])
            kept |= dict.fromkeys(line.split()[1] for line in shown.splitlines() if line.startswith("insmod "))
        base = self._root / "usr/lib/modules" / self.version
        paths = {str(Path(path).resolve().relative_to(base)) for path in kept}
        for path in sorted(paths):
            if path.endswith(".xz"):
                # busybox's modprobe is not sure to read compressed modules, and memory is cheaper than time here.
                image.bytes(f"{home}/{path.removesuffix('.xz')}", lzma.decompress((base / path).read_bytes()))
            else:
                image.file(f"{home}/{path}", base / path)
        image.text(f"{home}/modules.dep", _index_of(self._index, paths))
        for name in ("modules.builtin", "modules.order"):
            image.file(f"{home}/{name}", base / name)


def _index_of(index: Path, paths: set[str]) -> str:
    lines = (line for line in index.read_text().splitlines() if line.split(":")[0] in paths)
    return "".join(f"{line.replace('.ko.xz', '.ko')}\n" for line in lines)
