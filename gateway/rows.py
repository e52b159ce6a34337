"""Rows of an upload, as messages: from NDJSON, an object on each line, or from CSV, whose columns are named by fields.

A column is a field in lowerCamelCase or as the contract writes it, with dots into nested messages (`price.units`) and
into maps (`attributes.colour`). A cell of a list holds its values with `|` between them; an empty cell leaves its field
unset. What cannot be a row is told with the number of its line, and the next one is read.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.contract import ERRORS, FAILED, LINE, REQUEST_ID, Binding, Operation
from gateway.json_text import MalformedJson, loads
from gateway.lines import Line, Lines, Records, cells
from gateway.problems import Problem
from gateway.query import named, reader_of_text
from gateway.reader import MessageReader
from gateway.schema import rules_of
from gateway.values import Refused, shown, single
from mercato.errors import FieldViolation

NDJSON, CSV = "application/x-ndjson", "text/csv"
LIST = "|"
_MOST_TOLD, _MOST_ROWS = 20, 1000
Put = Callable[[Any, str], None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be one, and what its cells or keys held as far as they could be read."""

    line: int
    refused: Refused
    held: Mapping[str, Any]


class Rows(Protocol):
    """Reads rows of one body."""

    def feed(self, piece: bytes) -> "Iterator[tuple[int, Message] | BadRow]":
        """The rows that end in a piece, with the numbers of their lines."""

    def end(self) -> "Iterator[tuple[int, Message] | BadRow]":
        """Those that end with the body."""


class NdjsonRows:
    """Rows as JSON objects, one on each line; empty lines are none."""

    def __init__(self, kind: type[Message], hidden: frozenset[str]) -> None:
        self._kind = kind
        self._reader = MessageReader(kind.DESCRIPTOR, hidden)  # type: ignore[arg-type]
        self._lines = Lines()

    def feed(self, piece: bytes) -> "Iterator[tuple[int, Message] | BadRow]":
        """The rows that end in a piece."""
        return self._rows(self._lines.feed(piece))

    def end(self) -> "Iterator[tuple[int, Message] | BadRow]":
        """The last row."""
        return self._rows(self._lines.end())

    def _rows(self, lines: Iterable[Line]) -> "Iterator[tuple[int, Message] | BadRow]":
        for line in lines:
            if line.refused or line.text.strip():
                yield self._row(line)

    def _row(self, line: Line) -> "tuple[int, Message] | BadRow":
        value: Any = None
        row = self._kind()
        try:
            if line.refused:
                raise line.refused
            value = loads(line.text)
            self._reader.merge(row, value)
        except MalformedJson as malformed:
            return BadRow(line.number, Refused("", "MALFORMED_JSON", _on_a_line(malformed)), {})
        except Refused as refused:
            return BadRow(line.number, refused, value if isinstance(value, dict) else {})
        return line.number, row


def _on_a_line(malformed: MalformedJson) -> str:
    """What is wrong with a line that is no JSON, without the line: that is told beside."""
    return str(malformed).replace("the body", "the line").replace(" at line 1, column", " at column")


@dataclass(slots=True)
class CsvRows:
    """Rows as records, whose first one names the columns. Problem if those cannot be had: no row could be read."""

    kind: type[Message]
    hidden: frozenset[str]
    _lines: Lines = dataclasses.field(default_factory=Lines)
    _records: Records = dataclasses.field(default_factory=Records)
    _columns: list[tuple[str, Put]] | None = None

    def feed(self, piece: bytes) -> "Iterator[tuple[int, Message] | BadRow]":
        """The rows that end in a piece."""
        return self._rows(self._records.feed(self._lines.feed(piece)))

    def end(self) -> "Iterator[tuple[int, Message] | BadRow]":
        """The last rows."""
        yield from self._rows(self._records.feed(self._lines.end()))
        yield from self._rows(self._records.end())
        if self._columns is None:
            raise _headless(FieldViolation("", "MISSING_HEADER", "the first line must name the columns"))

    def _rows(self, records: Iterable[Line]) -> "Iterator[tuple[int, Message] | BadRow]":
        for record in records:
            if not record.refused and not record.text.strip():
                continue
            if self._columns is None:
                self._columns = self._header(record)
            else:
                yield self._row(record, self._columns)

    def _row(self, record: Line, columns: list[tuple[str, Put]]) -> "tuple[int, Message] | BadRow":
        row, found = self.kind(), list[str]()
        try:
            found += cells(_text(record))
            _fill(row, columns, found)
        except Refused as refused:
            return BadRow(record.number, refused, dict(zip((name for name, _ in columns), found, strict=False)))
        return record.number, row

    def _header(self, record: Line) -> list[tuple[str, Put]]:
        try:
            names = [name.strip() for name in cells(_text(record))]
        except Refused as refused:
            raise _headless(FieldViolation("", refused.reason, f"the line of the columns {refused.message}")) from None
        columns = {name: column(self.kind.DESCRIPTOR, name, self.hidden) for name in names}  # type: ignore[arg-type]
        unknown = [name for name in names if columns[name] is None]
        twice = sorted({name for name in names if names.count(name) > 1})
        if unknown or twice:
            raise _headless(
                *(FieldViolation(shown(each), "UNKNOWN_COLUMN", "is not a column of this upload") for each in unknown),
                *(FieldViolation(shown(each), "DUPLICATE_COLUMN", "is there twice") for each in twice),
            )
        return [(name, put) for name in names if (put := columns[name])]


def _headless(*violations: FieldViolation) -> Problem:
    return Problem.invalid(*violations[:_MOST_TOLD])


def _text(record: Line) -> str:
    if record.refused:
        raise record.refused
    try:
        return record.text.decode()
    except UnicodeDecodeError:
        raise Refused("", "MALFORMED", "is not UTF-8") from None


def _fill(row: Message, columns: list[tuple[str, Put]], found: list[str]) -> None:
    if len(found) != len(columns):
        raise Refused("", "CELLS", f"has {len(found)} cells for {len(columns)} columns")
    for (name, put), cell in zip(columns, found, strict=True):
        try:
            if cell:
                put(row, cell)
        except Refused as refused:
            raise refused.within(name) from None


def column(message: Descriptor, name: str, hidden: frozenset[str] = frozenset()) -> Put | None:
    """What puts a cell where a column's name says; None if that is nowhere."""
    head, _, rest = name.partition(".")
    field = named(message, head)
    if field is None or field.name in hidden:
        return None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _entry(field, rest)
    if rest:
        below = column(field.message_type, rest) if field.message_type and not field.is_repeated else None
        return _below(field.name, below) if below else None
    return _value(field) if single(field) else None


def _below(name: str, put: Put) -> Put:
    return lambda message, cell: put(getattr(message, name), cell)


def _entry(field: FieldDescriptor, key: str) -> Put | None:
    """Puts a map's value under a key that is the column's."""
    assert field.message_type
    value, name = field.message_type.fields_by_name["value"], field.name
    if not key or single(value) is None or value.message_type is not None:
        return None
    read = reader_of_text(value)
    try:
        of = reader_of_text(field.message_type.fields_by_name["key"])(key)
    except Refused:
        return None

    def put(message: Any, cell: str) -> None:
        getattr(message, name)[of] = read(cell)

    return put


def _value(field: FieldDescriptor) -> Put:
    read, name = reader_of_text(field), field.name
    if field.is_repeated:
        return lambda message, cell: getattr(message, name).extend(read(each) for each in cell.split(LIST) if each)
    if field.message_type is not None:
        return lambda message, cell: getattr(message, name).CopyFrom(read(cell))
    choice = field.containing_oneof.name if field.containing_oneof else ""

    def put(message: Any, cell: str) -> None:
        if choice and message.WhichOneof(choice):
            raise Refused("", "DUPLICATE_KEY", "is given beside another of the same choice")
        setattr(message, name, read(cell))

    return put


def columns_of(message: Descriptor, hidden: frozenset[str], prefix: str = "", depth: int = 4) -> Iterator[str]:
    """The names that columns may have, for the documents; `<key>` stands for a map's key."""
    for field in message.fields:
        name = prefix + field.json_name
        if field.name in hidden or depth == 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if single(field.message_type.fields_by_name["value"]):
                yield f"{name}.<key>"
        elif single(field):
            yield name
        elif field.message_type is not None and not field.is_repeated:
            yield from columns_of(field.message_type, frozenset(), f"{name}.", depth - 1)


class Layout:
    """Where rows lie in the requests, and whether a reply tells of those that were refused."""

    def __init__(self, operation: Operation, binding: Binding) -> None:
        rows = operation.rows(binding)
        self._field = rows.name if rows else ""
        self.kind = operation.rpc.input_type if rows is None or rows.message_type is None else rows.message_type
        self._numbered = LINE in self.kind.fields_by_name
        self.hidden = frozenset({REQUEST_ID, LINE} if self._numbered else {REQUEST_ID})
        limits = rules_of(rows).repeated if rows else None
        self.most = 1 if limits is None else limits.max_items or _MOST_ROWS
        self.tells = {FAILED, ERRORS} <= set(operation.rpc.output_type.fields_by_name)

    def rows(self, media: str) -> Rows:
        """What reads a body of a kind."""
        made = GetMessageClass(self.kind)
        return NdjsonRows(made, self.hidden) if media == NDJSON else CsvRows(made, self.hidden)

    def add(self, message: Any, line: int, row: Any) -> None:
        """Put a row into a request. What the path says stays, whatever the row says."""
        if self._numbered:
            setattr(row, LINE, line)
        if self._field:
            getattr(message, self._field).append(row)
        else:
            row.MergeFrom(message)
            message.CopyFrom(row)
