"""Runs a program in a pseudo-terminal of 80 by 24 and takes it through steps, for tests/top.rs.

Usage: terminal.py STEP… -- PROGRAM ARGUMENTS…

    shows:WORDS   asks for a fresh screen (Ctrl-L) until it has the words
    hides:WORDS   the same until it has them no more
    send:KEYS     types
    signal:NAME   sends a signal
    resize:WxH    changes the size of the terminal
    say:WORDS     prints a line, for who watches this program
    hang-up       closes the terminal's other end

After the steps the program must end by itself within 30 s. One JSON line tells how: its exit status (minus a signal's number),
all that it wrote, and whether the terminal's modes are as before.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LIMIT = 60
steps, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]


def resize(width, height):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def read(seconds):
    """What comes within a time."""
    end, got = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0:
        if select.select([master], [], [], left)[0]:
            got += os.read(master, 65536)
    output.append(got)
    return got


def screen(seconds):
    """A fresh screen, as far as it comes within a time, each gap one space."""
    read(0.1)
    os.write(master, b"\x0c")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", read(seconds).decode(errors="replace"))
    return " ".join(text.split())


def until(what, is_met):
    end, patience = time.monotonic() + LIMIT, 0.5
    while not is_met(last := screen(patience)):
        if time.monotonic() > end or child.poll() is not None:
            child.kill()
            sys.exit(f"{what}: in vain; last:\n{last}\nstatus {child.poll()}")
        # On a busy machine a screen may take longer.
        patience = min(2 * patience, 8)


def modes():
    """Without what changes while typed text waits."""
    return termios.tcgetattr(slave)


master, slave = pty.openpty()
output = []
resize(80, 24)
before = modes()


def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own_terminal)
is_hung_up = False
for step in steps:
    kind, _, words = step.partition(":")
    if kind == "shows":
        until(step, lambda last: words in last)
    elif kind == "hides":
        until(step, lambda last: len(last) > 40 and words not in last)
    elif kind == "send":
        os.write(master, words.encode())
    elif kind == "signal":
        child.send_signal(getattr(signal, words))
    elif kind == "resize":
        resize(*map(int, words.split("x")))
        child.send_signal(signal.SIGWINCH)
    elif kind == "say":
        print(words, flush=True)
    elif kind == "hang-up":
        os.close(slave)
        os.close(master)
        is_hung_up = True
    else:
        sys.exit(f"what is {step}?")

end = time.monotonic() + 30
while child.poll() is None:
    if time.monotonic() > end:
        child.kill()
        sys.exit("it did not end by itself")
    if is_hung_up:
        time.sleep(0.05)
    else:
        read(0.1)
if not is_hung_up:
    read(0.2)
result = {
    "status": child.returncode,
    "output": b"".join(output).decode(errors="replace"),
    "same_modes": is_hung_up or modes() == before,
}
print(json.dumps(result), flush=True)
