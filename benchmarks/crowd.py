"""A crowd of HTTP clients: connections that ask, wait for the answer and ask again. A process of its own.

    echo '{"port": 8080, "requests": […], "connections": 64, "warm_up": 1, "seconds": 3}' | python -m benchmarks.crowd

It costs some 10 µs of CPU a request, for it does no more with an answer than find its end. It says `begin` when the
warm-up is over and what is done from then on counts, and then what came of it, as one line of JSON.
"""

import json
import re
import select
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

MARK = b"{number}"
"""Stands in a request for a number that no other one has: for keys of repeats."""
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What to ask, of whom, how often at once, and for how long (seconds)."""

    port: int
    requests: list[str]
    connections: int
    warm_up: float
    seconds: float


@dataclass(slots=True)
class Result:
    """What came of it: statuses with how often they came, and how long each answer took, in seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Crowd:
    """The connections of one task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._requests = [each.encode() for each in task.requests]
        self._numbers = count()
        self._asked: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self._result = Result()
        self._metering = False

    def run(self) -> Result:
        """Ask until the time is over."""
        poll, lines = select.epoll(), {line.fileno(): line for line in map(self._line, range(self._task.connections))}
        for number, line in lines.items():
            poll.register(number, select.EPOLLIN)
            self._ask(line)
        begin = time.perf_counter() + self._task.warm_up
        while (now := time.perf_counter()) < begin + self._task.seconds:
            if now >= begin and not self._metering:
                self._metering = True
                print("begin", flush=True)
            for number, _ in poll.poll(0.05):
                self._hear(lines[number])
        self._result.seconds = time.perf_counter() - begin
        return self._result

    def _line(self, _: int) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self._task.port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def _ask(self, line: socket.socket) -> None:
        number = next(self._numbers)
        request = self._requests[number % len(self._requests)]
        self._asked[line.fileno()] = time.perf_counter()
        line.sendall(request.replace(MARK, str(number).encode()) if MARK in request else request)

    def _hear(self, line: socket.socket) -> None:
        came = line.recv(_AT_ONCE)
        if not came:
            raise SystemExit("the server has hung up")
        answer = self._parts.pop(line.fileno(), b"") + came
        if not _whole(answer):
            self._parts[line.fileno()] = answer
            return
        if self._metering:
            self._result.statuses[answer[9:12].decode()] += 1
            self._result.latencies.append(time.perf_counter() - self._asked[line.fileno()])
        self._ask(line)


def _whole(answer: bytes) -> bool:
    """Whether an answer is there to its end."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = _LENGTH.search(answer, 0, head)
    return len(answer) >= head + 4 + (int(length[1]) if length else 0)


def main() -> None:
    """Do the task that comes in."""
    result = Crowd(Task(**json.loads(sys.stdin.readline()))).run()
    latencies = sorted(result.latencies)
    print(json.dumps({"statuses": result.statuses, "latencies": latencies, "seconds": result.seconds}), flush=True)


if __name__ == "__main__":
    main()
