"""Requests as bytes over plain sockets: no client's library puts right what is meant to be wrong."""

from __future__ import annotations

import gzip
import http.client
import json
import shlex
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SLOWEST = 30.0
"""Seconds after which an answer counts as none. Nothing here takes a tenth of that on a quiet machine."""
_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `raw` is sent in its place where it was changed byte by byte."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes = b""

    @property
    def text(self) -> bytes:
        """What goes over the wire."""
        if self.raw:
            return self.raw
        head = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: fuzz",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if self.body:
            head.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + self.body

    def line(self, note: str) -> str:
        """A shell line that sends it again; `$URL` and `$TOKEN` are the reader's."""
        if self.raw:
            return f"printf '{_octal(self.raw)}' | nc -q 2 $HOST $PORT   # {note}"
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers if name != "Authorization"]
        token = ['-H "Authorization: Bearer $TOKEN"'] if len(headers) < len(self.headers) else []
        body = [f"--data-binary $'{_escaped(self.body)}'"] if self.body else []
        parts = [
            "curl -sS -i --path-as-is -X",
            self.method,
            *token,
            *headers,
            *body,
            f'"$URL"{shlex.quote(self.target)}',
        ]
        return f"{' '.join(parts)}   # {note}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 with a `trouble` if nothing did that could be read."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trouble: str = ""
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """The media type."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """The reason of a problem."""
        problem = self.json if self.status >= 400 else None
        return str(problem.get("reason", "")) if isinstance(problem, dict) else ""


class Line:
    """A connection to the gateway, opened when needed, used again while it lasts."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Hang up."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def send(self, request: Request) -> Answer:
        """The answer to a request. One that was changed by the byte goes, and ends, on a connection of its own."""
        began = time.monotonic()
        if request.raw:
            self.close()
        used = self._socket is not None
        answer = self._ask(request, began)
        if answer.trouble == "closed" and used:
            # The server may have hung up on an idle connection, before this request came.
            answer = self._ask(request, began)
        return answer

    def _ask(self, request: Request, began: float) -> Answer:
        try:
            line = self._socket = self._socket or socket.create_connection(self._address, SLOWEST)
            with suppress(ConnectionError):  # whoever has heard enough answers and hangs up
                line.sendall(request.text)
            if request.raw:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_WR)
            return self._read(line, request, began)
        except TimeoutError:
            trouble = "hang"
        except ConnectionError:
            trouble = "closed"
        except http.client.HTTPException as garbled:
            trouble = f"garbled: {type(garbled).__name__}"
        self.close()
        return Answer(0, trouble=trouble, seconds=time.monotonic() - began)

    def _read(self, line: socket.socket, request: Request, began: float) -> Answer:
        response = http.client.HTTPResponse(line, method=request.text.split(b" ", 1)[0].decode("latin-1"))
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        streams = headers.get("content-type", "").startswith(_STREAM)
        body = b"" if streams else response.read()
        if headers.get("content-encoding") == "gzip" and _wants_gzip(request):
            body = gzip.decompress(body) if body else b""
        if request.raw or streams or response.will_close:
            self.close()
        return Answer(response.status, headers, body, seconds=time.monotonic() - began)


def _wants_gzip(request: Request) -> bool:
    return any(name == "Accept-Encoding" and value == "gzip" for name, value in request.headers)


def _octal(raw: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and chr(byte) not in "'%\\" else f"\\{byte:03o}" for byte in raw)


def _escaped(body: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}" for byte in body)
