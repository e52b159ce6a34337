"""The control of a running process's failpoints: a socket in a folder, one question and one answer, lines of JSON.

    {"arm": "order.PlaceOrder.before_commit=raise"}    {"arm": ""}    {"record": true}    {}

Every answer tells which armed places were reached, and how often each place was passed since recording began.
There is no control unless MERCATO_FAILPOINT_FOLDER names the folder; in production a process with it does not start.
"""

import contextlib
import json
import os
import socketserver
import threading
from pathlib import Path
from typing import Any

from mercato.failpoint import BadFailpoint, arm, passed, record, struck

Json = dict[str, Any]


class _Answering(socketserver.StreamRequestHandler):
    """Answers one question."""

    def handle(self) -> None:
        """Do what is asked, and tell."""
        try:
            answer = obey(json.loads(self.rfile.readline()))
        except (ValueError, BadFailpoint) as problem:
            answer = {"refused": str(problem)}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def obey(question: Json) -> Json:
    """Do what a question asks for. BadFailpoint."""
    if "arm" in question:
        arm(question["arm"], development=True)
    if "record" in question:
        record(on=bool(question["record"]), development=True)
    return {"struck": struck(), "passed": passed()}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class FailpointControl:
    """Listens as `<name>-<pid>` in a folder that only its owner may enter."""

    def __init__(self, folder: Path, name: str, *, development: bool) -> None:
        if not development:
            raise BadFailpoint("failpoints are for development: unset MERCATO_FAILPOINT_FOLDER")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{name}-{os.getpid()}"
        self._path.unlink(missing_ok=True)
        self._server = _Server(str(self._path), _Answering)
        threading.Thread(target=self._server.serve_forever, name="failpoints", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
