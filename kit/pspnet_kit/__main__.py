"""`kit/kit COMMAND`: finds the command, reports what the user can mend in one line."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import logging
import os
import pkgutil
import sys

from . import commands
from .errors import KitError, brief, plain

_NOT_TAKEN = (errno.ENOSPC, errno.EPIPE, errno.EIO)
_UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)


def main(arguments: list[str]) -> int:
    """Runs one command; the exit status is 1 for what the user can mend, 2 for wrong arguments."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__).setLevel(logging.INFO)
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    parser = argparse.ArgumentParser(prog="kit", description="Trains, compresses and judges models for pspnetd.")
    table = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f"{commands.__name__}.{name}")
        sub = table.add_parser(name, help=module.HELP, description=module.__doc__)
        module.configure(sub)
        sub.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be UTF-8, nor a terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args.run(args)
        # While a full disk behind it can still be told.
        sys.stdout.flush()
    except KitError as error:
        print(plain(brief(f"kit {args.command}: {error}")), file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None and error.errno in _NOT_TAKEN:
            return _no_output(args.command, error)
        # Even looking whether a file is there fails for such names.
        if error.filename is None or error.errno not in _UNUSABLE:
            raise
        print(plain(brief(f"kit {args.command}: {error.filename}: {error.strerror}")), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _no_output(command: str, error: OSError) -> int:
    """What was printed, such as into a file on a full disk, didn't get there."""
    print(f"kit {command}: the output can't be written: {error.strerror}", file=sys.stderr)
    # The interpreter would try again when it ends.
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def console() -> int:
    """The same for the arguments of the process: what the package's command runs."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(console())
