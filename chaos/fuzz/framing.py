"""The fuzz below HTTP: sockets that say what no client's library would, and somebody beside them who is served well."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Literal

from chaos.fuzz.findings import Findings
from chaos.fuzz.frames import connection, conversation, statuses
from chaos.fuzz.tempo import Tempo
from chaos.fuzz.wire import Line, Request

PATIENCE = 15.0
"""Seconds after which a connection that said its last word, and was told nothing of an end, hangs."""
_SILENCE = 0.1
_LOOK_AROUND = 25
Protocol = Literal["WebSocket", "HTTP/2"]


class FrameFuzz:
    """Sends broken frames to a gateway."""

    def __init__(self, address: tuple[str, int], target: Callable[[], tuple[str, str]], findings: Findings) -> None:
        """`target` names an order's live events as they are now, and a token of whoever may see them."""
        self._address = address
        self._target = target
        self._findings = findings
        self._seed = 0

    def run(self, tempo: Tempo, seed: int) -> None:
        """Send until it is time."""
        self._seed = seed
        tempo.run(self._send_some)

    def _send_some(self, tempo: Tempo) -> None:
        with closing(Line(*self._address)) as neighbour:
            for number in tempo:
                self.send(number)
                if number % _LOOK_AROUND == 0:
                    self.look_around(neighbour)

    def send(self, number: int) -> None:
        """One case."""
        dice = random.Random(f"{self._seed} frames {number}")  # noqa: S311  cases that can be made again
        protocol: Protocol = dice.choice(["WebSocket", "HTTP/2"])
        said = connection(dice) if protocol == "HTTP/2" else conversation(dice, *self._target())
        heard, ended = self._ask(said)
        found = statuses(heard, protocol)
        for status in found or ["closed" if ended else "hang"]:
            self._findings.count("frames", protocol, status)
        line = f"seed {self._seed}, case {number}: {said[:600]!r}"
        # What asked for no socket after all may have got the stream of events: it goes on for whoever says no more.
        if not ended and "200" not in found:
            self._findings.add(protocol, "hang", line, repr(heard[-300:]))
        for status in found:
            if status.startswith("5"):
                self._findings.add(protocol, status, line, repr(heard[:300]))

    def look_around(self, neighbour: Line) -> None:
        """Ask what anybody may ask, on a connection that stays."""
        answer = neighbour.send(Request("GET", "/v1/products?pageSize=1"))
        self._findings.count("frames", "somebody else", str(answer.status or answer.trouble))
        if answer.status != 200:
            self._findings.add("somebody else", f"{answer.status} {answer.trouble}", "")

    def _ask(self, said: bytes) -> tuple[bytes, bool]:
        """What is heard until the end, and whether that came. When there is silence we say that we have finished."""
        heard, ends = b"", time.monotonic() + PATIENCE
        with socket.create_connection(self._address, PATIENCE) as line:
            with suppress(OSError):  # who has heard enough hangs up
                line.sendall(said)
            line.settimeout(_SILENCE)
            while time.monotonic() < ends:
                try:
                    part = line.recv(65_536)
                except TimeoutError:
                    with suppress(OSError):
                        line.shutdown(socket.SHUT_WR)
                    continue
                except OSError:
                    return heard, True
                if not part:
                    return heard, True
                heard = (heard + part)[:1_000_000]
        return heard, False
