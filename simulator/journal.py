"""The append-only log: one JSON line for each thing done, on the disk before anybody is told of it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson

from mercato import log
from simulator.record import Json

_log = log.get(__name__)


class LogInUse(RuntimeError):
    """Another process writes this log."""


class Journal:
    """Lines in, durable lines out, from any number of threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise LogInUse(f"another process writes {path}: stop it first") from None
        self.path = path
        self.appended = 0
        self._durable = 0
        self._waiting: list[bytes] = []
        self._queueing = threading.Lock()
        self._flushing = threading.Lock()

    def replay(self) -> Iterator[Json]:
        """Every line so far. A last line that was cut short by a crash was never answered: it is cut off."""
        self._file.seek(0)
        whole = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    _log.warning("journal.torn_line_cut", path=str(self.path), bytes=len(line))
                    break
                whole += len(line)
                yield orjson.loads(line)
        self._file.truncate(whole)

    def append(self, line: Json) -> int:
        """Queue a line; the number to wait for."""
        encoded = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        with self._queueing:
            self._waiting.append(encoded)
            self.appended += 1
            return self.appended

    def wait(self, number: int) -> None:
        """Return when the line is on the disk. Whoever comes first flushes for all that wait behind it."""
        with self._flushing:
            if self._durable >= number:
                return
            with self._queueing:
                lines, self._waiting = self._waiting, []
            try:
                self._write(b"".join(lines))
            except OSError as failure:
                # What memory says and what the disk holds now differ: only a fresh start is honest.
                _log.critical("journal.not_written", path=str(self.path), error=str(failure))
                os._exit(74)
            self._durable += len(lines)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file.fileno(), data) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush what waits, and let go of the log."""
        self.wait(self.appended)
        self._file.close()
