"""The rows of a projection: written for whole streams at a time, compared with what they should be, swept away."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection, sql

from mercato.event_store import StoredEvent
from mercato.projection.definition import Projection

Streams = Mapping[UUID, Sequence[StoredEvent]]
SWEPT_AT_ONCE = 5_000

# Rows travel as one JSON text, made and read by C on both sides. Those that are as they should be are not written: a
# history has most of its rows already.
PUT: LiteralString = """
    with new as materialized (select * from json_to_recordset(%(rows)s::json) as row ({definitions})),
    gone as (
        delete from {table} kept where generation = %(generation)s and stream_id = any(%(streams)s)
            and not exists (select from new where {same_key}))
    insert into {table} as kept (generation, {columns})
    select %(generation)s, {columns} from new
    on conflict (generation, {key}) do update set {renewed}
    where ({kept}) is distinct from ({excluded})
"""
# Where none of the streams has a row yet, none is looked for: that takes PostgreSQL two thirds of the time.
FILL: LiteralString = """
    insert into {table} (generation, {columns})
    select %(generation)s, {columns} from json_to_recordset(%(rows)s::json) as row ({definitions})
"""
COMPARE: LiteralString = """
    with wanted as (select * from json_to_recordset(%(rows)s::json) as row ({definitions})),
    kept as (
        select {columns} from {table} where generation = %(generation)s and stream_id = any(%(streams)s)),
    missing as (select {columns} from wanted except select {columns} from kept),
    surplus as (select {columns} from kept except select {columns} from wanted)
    select distinct stream_id from (select * from missing union all select * from surplus) differing
"""
PHANTOMS: LiteralString = """
    select distinct stream_id from {table} kept
    where generation = %(generation)s and not exists (select from {events} e where e.stream_id = kept.stream_id)
"""
VERSIONS: LiteralString = """
    select page.stream_id, page.version, coalesce(
        (select max(version) from {table} where generation = %(generation)s and stream_id = page.stream_id), -1)
    from (
        select stream_id, max(version) as version from {events} where stream_id > %(after)s
        group by stream_id order by stream_id limit %(limit)s) page
    order by page.stream_id
"""
SWEEP: LiteralString = """
    delete from {table} where ctid = any (array(
        select ctid from {table} where generation <> %(generation)s limit %(limit)s))
"""


class ProjectionTable:
    """Where the rows of a projection lie."""

    def __init__(self, projection: Projection, events: str) -> None:
        self._rows = projection.rows
        self._statements = {text: _completed(text, projection, events) for text in _TEXTS}

    def put(self, connection: Connection[Any], generation: int, streams: Streams) -> None:
        """Have the rows of these streams be what their events make."""
        if streams:
            connection.execute(self._statements[PUT], self._values(generation, streams))

    def made(self, streams: Streams) -> str:
        """The rows of these streams, as they travel."""
        rows = [{"stream_id": stream_id, **row} for stream_id, events in streams.items() for row in self._rows(events)]
        return orjson.dumps(rows, default=_plain).decode()

    def fill(self, connection: Connection[Any], generation: int, made: str) -> None:
        """Write the rows of streams that have none in the generation, and of which nobody else writes any."""
        connection.execute(self._statements[FILL], {"generation": generation, "rows": made})

    def differing(self, connection: Connection[Any], generation: int, streams: Streams) -> list[UUID]:
        """The streams whose rows are not what their events make."""
        found = connection.execute(self._statements[COMPARE], self._values(generation, streams))
        return [stream_id for (stream_id,) in found]

    def phantoms(self, connection: Connection[Any], generation: int) -> list[UUID]:
        """Streams that have rows and no events."""
        found = connection.execute(self._statements[PHANTOMS], {"generation": generation})
        return [stream_id for (stream_id,) in found]

    def versions(
        self, connection: Connection[Any], generation: int, after: UUID, limit: int
    ) -> list[tuple[UUID, int, int]]:
        """The next streams by id: the version that each is at, and that its rows are as of."""
        values = {"generation": generation, "after": after, "limit": limit}
        return connection.execute(self._statements[VERSIONS], values).fetchall()

    def sweep(self, connection: Connection[Any], generation: int) -> None:
        """Remove all rows but those of a generation, some at a time. The connection commits each time."""
        values = {"generation": generation, "limit": SWEPT_AT_ONCE}
        while connection.execute(self._statements[SWEEP], values).rowcount:
            pass

    def _values(self, generation: int, streams: Streams) -> dict[str, Any]:
        return {"generation": generation, "streams": list(streams), "rows": self.made(streams)}


def _plain(value: object) -> str:
    """What JSON has no word for, and is not written as text by itself like UUIDs and times."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(f"no column holds {value!r}")


_TEXTS = (PUT, FILL, COMPARE, PHANTOMS, VERSIONS, SWEEP)


def _completed(text: LiteralString, projection: Projection, events: str) -> bytes:
    types = {"stream_id": "uuid", "version": "bigint", **projection.columns}
    rest = [name for name in types if name not in projection.key]
    return (
        sql.SQL(text)
        .format(
            table=sql.Identifier(projection.table),
            events=sql.Identifier(events),
            definitions=_list(types, lambda name: sql.SQL("{} {}").format(sql.Identifier(name), _type(types[name]))),
            columns=_list(types, sql.Identifier),
            key=_list(projection.key, sql.Identifier),
            same_key=sql.SQL(" and ").join(
                sql.SQL("new.{0} = kept.{0}").format(sql.Identifier(name)) for name in projection.key
            ),
            renewed=_list(rest, lambda name: sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))),
            kept=_list(rest, lambda name: sql.Identifier("kept", name)),
            excluded=_list(rest, lambda name: sql.Identifier("excluded", name)),
        )
        .as_bytes(None)
    )


def _list(names: Iterable[str], part: Callable[[str], sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(part(name) for name in names)


def _type(name: Any) -> sql.SQL:
    return sql.SQL(name)  # a constant of the program
