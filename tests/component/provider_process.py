"""The payment provider as a process of its own, for tests: it can be frozen, killed and started again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from mercato.local.server import free_port, wrapped

KEY = "sk_test_of_a_test"


class ProviderProcess:
    """`python -m simulator` on a free port with a log in the folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Settings are MERCATO_SIMULATOR_*."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {"ADDRESS": f"127.0.0.1:{self.port}", "LOG": str(folder / "log.jsonl"), "KEY": KEY} | settings
        self._environment = os.environ | {f"MERCATO_SIMULATOR_{name}": value for name, value in own.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def set(self, **settings: str) -> None:
        """Further settings, for when it is started next."""
        self._environment |= {f"MERCATO_SIMULATOR_{name}": value for name, value in settings.items()}

    def steer(self, path: str, **form: str) -> None:
        """Let something happen that clients cannot ask for: `/_expire`, `/_faults`."""
        headers = {"Authorization": f"Bearer {KEY}"}
        httpx.post(f"{self.url}{path}", data=form, headers=headers, timeout=60).raise_for_status()

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._process = subprocess.Popen(
            wrapped([sys.executable, "-m", "simulator"]), env=self._environment, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        assert b"simulator.listening" in self._process.stdout.readline()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and return when it is gone."""
        assert self._process
        self._process.send_signal(how)
        self._process.communicate(timeout=60)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Within the block, nobody listens; it was killed."""
        self.end(signal.SIGKILL)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block, it takes connections and answers nothing; afterwards it does all that it was asked."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def log(self) -> list[dict[str, Any]]:
        """Everything that it did: the outside truth."""
        reply = httpx.get(f"{self.url}/_log", headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        return [json.loads(line) for line in reply.raise_for_status().text.splitlines()]

    def done_for(self, name: str) -> list[str]:
        """The operations whose key names a payment or a refund, in order; refused ones with an exclamation mark."""
        return [
            line["operation"].rpartition("/")[2] + ("!" if line["error"] else "")
            for line in self.log()
            if name in line["key"]
        ]


@contextmanager
def provider_running(folder: Path, **settings: str) -> Iterator[ProviderProcess]:
    """A provider, ended when the block is left."""
    provider = ProviderProcess(folder, **settings)
    provider.start()
    try:
        yield provider
    finally:
        provider.end()
