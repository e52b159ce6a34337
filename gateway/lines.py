"""Lines of a body that comes in pieces, and records of CSV (RFC 4180), which may be of several lines.

Neither holds more than one row at a time, and neither lets one that is wrong harm the next: what is too long is left
out, and where quotes do not fit, the first line alone is at fault.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.values import Refused

LONGEST = 64 * 1024
"""Bytes that a row may have, as the body of any other request."""
_BOM = b"\xef\xbb\xbf"
_CELL = re.compile(r'"((?:[^"]|"")*)"|([^",]*)')


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its number; what stands on it, or why that cannot be had."""

    number: int
    text: bytes
    refused: Refused | None = None


@dataclass(slots=True)
class Lines:
    """Cuts pieces of a body into lines. A mark of the byte order before the first is no part of it."""

    longest: int = LONGEST
    _held: bytearray = field(default_factory=bytearray)
    _number: int = 0
    _lost: bool = False

    def feed(self, piece: bytes) -> Iterator[Line]:
        """The lines that end in a piece."""
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._hold(piece[start:end])
            yield self._line()
            start = end + 1
        self._hold(piece[start:])

    def end(self) -> Iterator[Line]:
        """The last line, which may lack its end."""
        if self._held or self._lost:
            yield self._line()

    def _hold(self, part: bytes) -> None:
        if self._lost or len(self._held) + len(part) > self.longest + 1:  # one for the carriage return
            self._lost = True
            self._held.clear()
        else:
            self._held += part

    def _line(self) -> Line:
        self._number += 1
        text, lost = bytes(self._held), self._lost
        self._held.clear()
        self._lost = False
        if lost:
            return Line(self._number, b"", Refused("", "ROW_TOO_LARGE", f"is longer than {self.longest} bytes"))
        return Line(self._number, (text.removeprefix(_BOM) if self._number == 1 else text).removesuffix(b"\r"))


@dataclass(slots=True)
class Records:
    """Joins lines into records: within quotes a line may end without ending the record."""

    longest: int = LONGEST
    _coming: deque[Line] = field(default_factory=deque)
    _open: list[Line] = field(default_factory=list)
    _size: int = 0
    _quoted: bool = False

    def feed(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The records that are complete with these lines, each numbered by its first."""
        for line in lines:
            self._coming.append(line)
            while self._coming:
                yield from self._take(self._coming.popleft())

    def end(self) -> Iterator[Line]:
        """What is left, of which the quotes do not fit."""
        while self._open:
            yield self._give_up()
            yield from self.feed(())
            while self._coming:
                yield from self._take(self._coming.popleft())

    def _take(self, line: Line) -> Iterator[Line]:
        self._open.append(line)
        self._size += len(line.text) + 1
        self._quoted ^= bool(line.text.count(b'"') % 2)
        if len(self._open) == 1 and line.refused:
            self._reset()
            yield line
        elif line.refused or (self._quoted and self._size > self.longest):
            yield self._give_up()
        elif not self._quoted:
            record = Line(self._open[0].number, b"\n".join(each.text for each in self._open))
            if len(self._open) > 1 and _misfit(record.text):
                yield self._give_up()
            else:
                self._reset()
                yield record

    def _give_up(self) -> Line:
        """Take the first line for wrong, and the others for what they are without it."""
        first, *rest = self._open
        self._reset()
        self._coming.extendleft(reversed(rest))
        return Line(first.number, first.text, Refused("", "QUOTES", "opens a quote that does not close where it may"))

    def _reset(self) -> None:
        self._open.clear()
        self._size, self._quoted = 0, False


def _misfit(record: bytes) -> bool:
    try:
        cells(record.decode(errors="replace"))
    except Refused:
        return True
    return False


def cells(record: str) -> list[str]:
    """The cells of a record; Refused where a quote stands that neither opens nor closes one."""
    if '"' not in record:
        return record.split(",")
    found: list[str] = []
    at = 0
    while True:
        match = _CELL.match(record, at)
        assert match  # the second form takes nothing, too
        found.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = match.end()
        if at == len(record):
            return found
        if record[at] != ",":
            raise Refused("", "QUOTES", f"has a quote where none may be, in cell {len(found)}")
        at += 1
