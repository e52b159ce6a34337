"""An rpc whose requests stream in: the rows of a body, read while they come, never more of them held than a message.

The next piece of the body is asked for when the service has taken what came before: whoever sends faster waits. Rows
that are none do not reach the service; they are counted and listed among those that it refused.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from gateway.calls import Visit, headers_of, written
from gateway.conditions import idempotency_key
from gateway.contract import ERRORS, FAILED, LINE, REQUEST_ID, Binding, Operation
from gateway.endpoint import Mesh
from gateway.limits import JSON, kind_of_body
from gateway.problems import Problem
from gateway.rows import CSV, NDJSON, BadRow, Layout, Rows
from gateway.transcode import Transcoder
from gateway.values import shown
from mercato.errors import FieldViolation

MOST_TOLD = 100
"""Rows that were refused are listed up to this many."""
_HEAVY = 128 * 1024  # bytes: a message is sent when it has so many, half of what services take
_TURN = 32  # rows read before others get their turn


class Upload:
    """Answers requests for one binding of an rpc whose requests stream in."""

    def __init__(self, operation: Operation, binding: Binding, mesh: Mesh) -> None:
        self.operation = operation
        self._binding = binding
        self._mesh = mesh
        self._transcoder = Transcoder(operation, binding)
        self._layout = Layout(operation, binding)

    async def __call__(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """The answer to a request. Problem, MercatoError or AioRpcError when there is none."""
        principal = await self._mesh.admit(self.operation, request, JSON)
        key = idempotency_key(request.headers, required=self.operation.policy.key_required)
        rows = self._layout.rows(kind_of_body(request.headers, (NDJSON, CSV)))
        about: Any = self._transcoder.request(variables, request.scope["query_string"], b"")
        if key and principal.subject and self._transcoder.has_request_id:
            about.request_id = key
        call = self._mesh.caller.stream(self.operation.rpc, about, visit, principal)
        intake = _Intake(self._layout, rows, about)
        try:
            pieces = self._mesh.limits.pieces(request.receive, request.headers)
            await _write(call, intake.messages(pieces))
            reply = await call
        except grpc.aio.AioRpcError as failed:
            raise Problem.of_call(failed) from None
        finally:
            call.cancel()
        intake.tell(reply)
        self._mesh.replies.drop(self.operation.service, (), time.monotonic())
        headers = {"Cache-Control": "private, no-cache", **written(headers_of(await call.trailing_metadata()))}
        return Response(self._transcoder.answer(reply), 200, headers, "application/json")


async def _write(call: Any, messages: AsyncIterator[Message]) -> None:
    """Send all, or as much as the service wants: one that has ended the call says itself what came of it."""
    try:
        async for message in messages:
            await call.write(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return


class _Intake:
    """One upload: the rows on their way into messages, and those that cannot be."""

    def __init__(self, layout: Layout, rows: Rows, about: Message) -> None:
        self._layout = layout
        self._rows = rows
        self._about = about
        self._bad: list[BadRow] = []
        self._failed = 0

    async def messages(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        """The requests that the pieces of a body make."""
        # A request that names itself is heard of, however little of it can be sent.
        named, message, count, size, read = bool(getattr(self._about, REQUEST_ID, "")), self._begun(), 0, 0, 0
        async for row in self._read(pieces):
            read += 1
            if read % _TURN == 0:
                await asyncio.sleep(0)
            if isinstance(row, BadRow):
                self._refuse(row)
                continue
            self._layout.add(message, *row)
            count, size = count + 1, size + row[1].ByteSize()
            if count >= self._layout.most or size >= _HEAVY:
                yield message
                named, message, count, size = False, self._begun(), 0, 0
        if count or named:
            yield message

    async def _read(self, pieces: AsyncIterator[bytes]) -> "AsyncIterator[tuple[int, Message] | BadRow]":
        async for piece in pieces:
            for row in self._rows.feed(piece):
                yield row
        for row in self._rows.end():
            yield row

    def _begun(self) -> Message:
        message = type(self._about)()
        message.CopyFrom(self._about)
        return message

    def _refuse(self, row: BadRow) -> None:
        if not self._layout.tells:
            raise Problem.invalid(_violation(row))
        self._failed += 1
        if len(self._bad) < MOST_TOLD:
            self._bad.append(row)

    def tell(self, reply: Any) -> None:
        """Count and list our bad rows among those of the service."""
        if not self._failed:
            return
        setattr(reply, FAILED, getattr(reply, FAILED) + self._failed)
        errors = getattr(reply, ERRORS)
        for row in self._bad:
            _describe(errors.add(), row)
        first = sorted(errors, key=lambda each: int(getattr(each, LINE)))[:MOST_TOLD]
        del errors[:]
        errors.extend(first)


def _describe(error: Any, row: BadRow) -> None:
    """Write down a bad row, with what it held of what the error has a place for."""
    about = {LINE: row.line, "field": row.refused.path, "reason": row.refused.reason, "message": row.refused.message}
    for field in error.DESCRIPTOR.fields:
        if field.name in about:
            setattr(error, field.name, about[field.name])
        elif isinstance(held := row.held.get(field.json_name), str) and field.type == field.TYPE_STRING:
            setattr(error, field.name, shown(held))


def _violation(row: BadRow) -> FieldViolation:
    return FieldViolation(f"line {row.line}: {row.refused.path}".rstrip(": "), row.refused.reason, row.refused.message)
