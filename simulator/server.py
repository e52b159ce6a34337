"""The provider on a port: HTTP/1.1 with a thread for each connection.

Threads, because the work is a wait for the disk; the standard library's server, because it is ready at once and
brings no event loop that a flush would block.
"""

from __future__ import annotations

import secrets
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

import orjson

from mercato import log
from simulator.config import SimulatorConfig
from simulator.form import Form
from simulator.journal import Journal
from simulator.provider import Provider, Reply, Request

_log = log.get(__name__)


class Server(ThreadingHTTPServer):
    """The listening socket, and the provider behind it."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, config: SimulatorConfig) -> None:
        host, _, port = config.address.rpartition(":")
        self.config = config
        self.journal = Journal(config.log)
        self.provider = Provider(config, self.journal)
        super().__init__((host, int(port)), Handler)

    def run(self) -> None:
        """Answer calls until `shutdown`; then end those that hang, and close the log."""
        self.serve_forever(poll_interval=0.1)
        self.provider.stopping.set()
        self.server_close()
        self.journal.close()

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
        if path == "/healthz":
            self._send(200, b'{"status":"ok"}')
        elif path == "/_log":
            self._send_log()
        else:
            self._reply(self.server.provider.answer(self._request(path, query)))

    def do_POST(self) -> None:
        """Changes."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        self._reply(self.server.provider.answer(self._request(self.path, body, body)))

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

    def _send_log(self) -> None:
        """The log as it stands, to whoever holds the key."""
        if self.headers.get("Authorization") != f"Bearer {self.server.config.key.reveal()}":
            self._send(401, b'{"error":{"type":"invalid_request_error"}}')
            return
        self.server.journal.wait(self.server.journal.appended)
        self._send(200, self.server.journal.path.read_bytes(), {"Content-Type": "application/jsonl"})

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
