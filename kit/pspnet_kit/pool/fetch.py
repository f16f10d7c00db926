"""Downloads a file from a server that may be slow, silent or hostile, and goes on with what an earlier try left."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import KitError, WriteError, reason

TIMEOUT = 30
"""Seconds without a byte after which a download is given up."""
PATIENCE = 60
"""Seconds that headers and redirections may take together, and by which a download may fall behind LEAST_RATE."""
LEAST_RATE = 8192
"""Bytes per second on average."""
LARGEST = 1 << 30
"""Bytes that no file of a list has."""
_CHUNK = 1 << 20


class UnreachableError(KitError):
    """The server gave no answer, or one that is none."""


def fetch(address: str, part: Path, where: str) -> None:
    """Goes on with the file `part` until it is whole; `where` is what messages call the wanted file.

    Raises:
        UnreachableError: when the server can't be reached, breaks the protocol, or is too slow.
        WriteError: when `part` can't be written.
        KitError: when it refuses, or gives something else than was asked for.
    """
    here = part.stat().st_size if part.is_file() else 0
    try:
        with _Watch() as watch:
            request = urllib.request.Request(address, headers={"Range": f"bytes={here}-"} if here else {})
            try:
                with watch.opener().open(request, timeout=TIMEOUT) as answer:
                    _receive(answer, part, here, watch, f"{where}: {address}")
            except (KitError, urllib.error.HTTPError):
                raise
            # Also addresses that are none: a server may redirect to anything.
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = getattr(error, "reason", None) or reason(error)
                told = f"took more than {PATIENCE} s to answer" if watch.late else why
                raise UnreachableError(f"{where}: can't be downloaded from {address}: {told}") from error
    except urllib.error.HTTPError as error:
        # A range past the end: the whole file is here, or a wrong one.
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not here:
            raise KitError(f"{where}: {address} answers {error.code} {error.reason}") from error


def _receive(answer: http.client.HTTPResponse, part: Path, here: int, watch: _Watch, where: str) -> None:
    # A server that knows no ranges sends everything again.
    goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
    told = re.match(r"bytes (\d{1,18})-", answer.headers.get("Content-Range", ""))
    if goes_on and told and int(told[1]) != here:
        part.unlink(missing_ok=True)
        raise KitError(f"{where} gives another part than was asked for; run the command again to begin anew")
    size, left = here if goes_on else 0, answer.length
    try:
        with part.open("ab" if goes_on else "wb") as file:
            # Whatever is there, so that a server that sends byte by byte is noticed.
            while left != 0 and (chunk := _chunk(answer, left)):
                left = None if left is None else left - len(chunk)
                size += len(chunk)
                if size > LARGEST:
                    part.unlink(missing_ok=True)
                    raise KitError(f"{where} gives more than {LARGEST >> 20} MiB")
                file.write(chunk)
                if watch.is_behind(len(chunk)):
                    raise KitError(
                        f"{where} gives less than {LEAST_RATE >> 10} KiB a second; run the command again to go on"
                    )
    except OSError as error:
        raise WriteError(part, error) from error
    if left:
        raise KitError(f"{where} broke off; run the command again to go on")


def _chunk(answer: http.client.HTTPResponse, left: int | None) -> bytes:
    try:
        return answer.read1(_CHUNK if left is None else min(_CHUNK, left))
    except OSError as error:
        # As another kind, so that it is told from one of the file that it is written to.
        raise http.client.HTTPException(reason(error)) from error


class _Watch:
    """Ends connections whose headers don't come to an end: a timeout of the socket begins anew with every byte."""

    def __init__(self) -> None:
        self.late = False
        self._begin = time.monotonic()
        self._received = 0
        self._connections: list[socket.socket] = []
        self._timer = threading.Timer(PATIENCE, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._timer.cancel()
        for connection in self._connections:
            connection.close()

    def opener(self) -> urllib.request.OpenerDirector:
        """Opens http and https alone, also after redirections."""
        watched = self._watched

        class Http(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(watched(http.client.HTTPConnection), req)

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(watched(http.client.HTTPSConnection), req)

        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.UnknownHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPRedirectHandler,
            urllib.request.HTTPErrorProcessor,
            Http,
            Https,
        ):
            opener.add_handler(handler())
        return opener

    def is_behind(self, more: int) -> bool:
        """Whether the content, of which `more` bytes came, comes too slowly. With it, the wait for headers is over."""
        self._timer.cancel()
        self._received += more
        return time.monotonic() - self._begin > PATIENCE + self._received / LEAST_RATE

    def _watched(self, kind: Callable[..., Any]) -> Any:
        def connect(*arguments: Any, **options: Any) -> socket.socket:
            connection = socket.create_connection(*arguments, **options)
            # The connection itself may go on inside of TLS.
            self._connections.append(socket.socket(fileno=os.dup(connection.fileno())))
            if self.late:
                self._end()
            return connection

        def connected(host: str, **options: Any) -> Any:
            made = kind(host, **options)
            made._create_connection = connect
            return made

        return connected

    def _end(self) -> None:
        self.late = True
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
