"""The emulator: starts it, streams its console, and ends it at its time limit."""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .kernel import Kernel

EMULATOR = "qemu-system-aarch64"
_COMMON = ["-display", "none", "-monitor", "none", "-no-reboot"]
# What drives the guest's clock. "counted": its own instructions, one a nanosecond, and idle time passes at once; a busy host
# makes the guest slow to look at, but nothing in it late. "real": the host's clock, with a thread for each processor.
_CLOCKS = {
    "counted": ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"],
    "real": ["-accel", "tcg,thread=multi"],
}
# A panic ends the machine instead of hanging it; loglevel 4 shows warnings and oopses.
_ARGUMENTS = "panic=-1 loglevel=4"
_PI_TREE = "broadcom/bcm2837-rpi-3-b.dtb"


@dataclass(frozen=True)
class Board:
    """One emulated machine and what it boots."""

    machine: str
    kernel: Kernel
    initrd: Path
    disk: Path | None = None
    # Changes to the disk are kept. Otherwise they go when the machine ends.
    keep_disk: bool = False
    memory_mb: int = 1536
    clock: str = "real"

    def command(self) -> list[str]:
        """The emulator's command line."""
        if self.machine == "raspi3b":
            # The Pi's console is its second serial port, the mini-UART. Without a GPIO driver of Raspberry Pi's own kernel
            # rppal goes by /dev/mem, which needs iomem=relaxed.
            own = ["-M", "raspi3b", "-dtb", str(self.kernel.device_tree(_PI_TREE)), "-serial", "null", "-serial", "stdio"]
            console = "console=ttyS1,115200 iomem=relaxed"
        else:
            own = ["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", str(self.memory_mb), "-serial", "stdio"]
            own += ["-nic", "none"]
            console = "console=ttyAMA0 systemd.show_status=false quiet"
        if self.disk is not None:
            snapshot = "off" if self.keep_disk else "on"
            own += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe,snapshot={snapshot}"]
        append = f"{console} {_ARGUMENTS}"
        files = ["-kernel", str(self.kernel.image), "-initrd", str(self.initrd), "-append", append]
        return [EMULATOR, *own, *_CLOCKS[self.clock], *_COMMON, *files]

    def run(self, limit: float, line_came: Callable[[float, str], None]) -> str:
        """Boots, and hands over each line of the console with its time. Returns how it ended: `off` (the guest powered
        off), `limit` (killed), or a sentence about the emulator's failure."""
        start = time.monotonic()
        try:
            emulator = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            raise LabError(f"there is no {EMULATOR}: scripts/board-lab installs the package qemu-system-arm") from None
        try:
            ended = _stream(emulator, start, limit, line_came)
            if not ended:
                return "limit"
            code = emulator.wait(10)
        finally:
            emulator.kill()
            emulator.wait()
        return "off" if code == 0 else f"the emulator ended with status {code}"


def _stream(emulator: subprocess.Popen[bytes], start: float, limit: float, line_came: Callable[[float, str], None]) -> bool:
    assert emulator.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(emulator.stdout, selectors.EVENT_READ)
        while (left := start + limit - time.monotonic()) > 0:
            if not selector.select(left):
                return False
            data = emulator.stdout.read1(65536)
            if not data:
                return True
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                line_came(time.monotonic() - start, line.decode(errors="replace").rstrip("\r"))
    return False
