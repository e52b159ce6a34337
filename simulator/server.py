"""The provider on a port: HTTP/1.1 with a thread for each connection.

Threads, because the work is a wait for the disk; the standard library's server, because it is ready at once and
brings no event loop that a flush would block.
"""

from __future__ import annotations

import secrets
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import FrameType
from typing import Any

import orjson

from mercato import log
from simulator.audit import read
from simulator.config import SimulatorConfig
from simulator.faults import Dice, Faults
from simulator.form import Form
from simulator.journal import Journal
from simulator.postman import Postman, Taken
from simulator.problem import InvalidRequest, Problem, Unauthorized
from simulator.provider import Provider, Reply, Request

_CONTROLS = frozenset({"/_log", "/_audit", "/_faults", "/_expire"})
_SWEEP = 1.0  # seconds between two looks for authorizations that have stood too long
_log = log.get(__name__)


class Server(ThreadingHTTPServer):
    """The listening socket, and the provider behind it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, config: SimulatorConfig) -> None:
        host, _, port = config.address.rpartition(":")
        self.config = config
        self.journal = Journal(config.log)
        self.dice = Dice(config.faults, config.seed)
        self.postman = self._postman() if config.webhook_url else None
        self.provider = Provider(config, self.journal, self.dice, self.postman.send if self.postman else None)
        super().__init__((host, int(port)), Handler)

    def _postman(self) -> Postman:
        """Whoever carries webhooks, with those that an earlier process left behind."""
        return Postman(
            self.config, self.dice, Taken(self.config.log.with_suffix(".taken"), list(self.journal.replay()))
        )

    def run(self) -> None:
        """Answer calls until `shutdown`; then end those that hang, and close the log."""
        sweeper = threading.Thread(target=self._sweep)
        sweeper.start()
        self.serve_forever(poll_interval=0.1)
        self.provider.stopping.set()
        sweeper.join()
        self.server_close()
        if self.postman:
            self.postman.close()
        self.journal.close()

    def _sweep(self) -> None:
        while not self.provider.stopping.wait(_SWEEP):
            self.provider.expire_due()

    def handle_error(self, _request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is a defect of ours."""
        failure = sys.exception()
        if isinstance(failure, ConnectionError):
            _log.info("connection.lost", client=str(client_address))
        else:
            _log.error("call.failed", client=str(client_address), exc_info=failure)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server_version = "simulator"

    def do_GET(self) -> None:
        """Reads, beside health and the log."""
        path, _, query = self.path.partition("?")
        request = self._request(path, query)
        if path == "/healthz":
            self._send(200, b'{"status":"ok"}')
        elif path in _CONTROLS:
            self._control(request)
        else:
            self._reply(self.server.provider.answer(request))

    def do_POST(self) -> None:
        """Changes."""
        body = self._body()
        request = self._request(self.path, body, body)
        if self.path in _CONTROLS:
            self._control(request)
        else:
            self._reply(self.server.provider.answer(request))

    def _body(self) -> str:
        """The body, whole. ConnectionAbortedError: whoever died in the midst of it has asked for nothing."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError(f"{len(body)} of {length} bytes came")
        return body.decode(errors="replace")

    def _request(self, path: str, form: str, body: str = "") -> Request:
        return Request(
            method=self.command,
            path=path,
            form=Form.parse(form),
            body=body,
            key=self.headers.get("Idempotency-Key") or "",
            authorization=self.headers.get("Authorization") or "",
        )

    def _reply(self, reply: Reply) -> None:
        if reply.lost:
            self.server.provider.stopping.wait(self.server.config.hang.total_seconds())
            self.close_connection = True
            return
        headers = {"Request-Id": f"req_{secrets.token_hex(7)}"}
        if key := self.headers.get("Idempotency-Key"):
            headers["Idempotency-Key"] = key
        if reply.replayed:
            headers["Idempotent-Replayed"] = "true"
        self._send(reply.status, orjson.dumps(reply.body), headers)

    def _control(self, request: Request) -> None:
        """What only whoever runs the provider asks of it."""
        try:
            self.server.provider.authenticate(request)
            match request.method, request.path:
                case "GET", "/_log":
                    with self.server.journal.path.open("rb") as lines:
                        self._stream(lines)
                case "GET", "/_audit":
                    self._stream(read(self.server.journal.path, request.form.number("after") or 0))
                case _:
                    self._send(200, orjson.dumps(self._steer(request)))
        except Problem as problem:
            self._send(problem.status, orjson.dumps({"error": problem.error}))

    def _steer(self, request: Request) -> Mapping[str, Any]:
        """Let things happen that a provider's clients cannot ask for."""
        if not ip_address(self.client_address[0]).is_loopback:
            raise Unauthorized("Only from this machine.")
        match request.method, request.path:
            case "POST", "/_expire":
                self.server.provider.expire(request.form.required("payment_intent"))
            case "POST", "/_faults":
                try:
                    self.server.dice.faults = Faults.of(request.form.plain)
                except ValueError as wrong:
                    raise InvalidRequest(str(wrong)) from None
        return self.server.dice.faults.rates()

    def _stream(self, lines: Iterable[bytes]) -> None:
        """JSON lines as they stand on the disk, however many."""
        self.server.journal.wait(self.server.journal.appended)
        self.send_response_only(200)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Connection", "close")
        self.end_headers()
        for line in lines:
            self.wfile.write(line)
        self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(config: SimulatorConfig) -> None:
    """Listen until SIGTERM or SIGINT."""
    server = Server(config)

    def stop(_number: int, _frame: FrameType | None) -> None:
        # `shutdown` waits for the loop that this thread runs, so another one has to ask for it.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _log.info("simulator.listening", address=config.address, log=str(config.log))
    server.run()
