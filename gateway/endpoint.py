"""One REST form of an rpc: from a request to a call, from its reply to an answer."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import grpc.aio
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import Access
from gateway.calls import Caller, Reply, Visit, headers_of, written
from gateway.conditions import etag_of, idempotency_key, not_modified, version_wanted
from gateway.contract import ETAG, REQUEST_ID, Binding, Operation
from gateway.keeping import KeptReply, Replies, key_of
from gateway.limits import JSON, Limits, check_accepts
from gateway.plain import PlainRead, ids_in
from gateway.problems import Problem
from gateway.rates import Rates
from gateway.sessions import clear_cookie, set_cookie
from gateway.sharing import SharedReplies
from gateway.transcode import Transcoder
from mercato.clock import Clock
from mercato.rpc.call import Principal

_SIGN_OUT = "SignOut"
_PENDING = "PENDING"
_PERSONAL = frozenset({"authorization", "cookie", "x-consistency"})


@dataclass(frozen=True, slots=True)
class Mesh:
    """What endpoints work with."""

    access: Access
    caller: Caller
    limits: Limits
    rates: Rates
    replies: Replies
    shared: SharedReplies
    clock: Clock

    async def admit(self, operation: Operation, request: Request, kind: str) -> Principal:
        """Who asks, if they may, may now, and take an answer of a kind."""
        principal = await self.access.admit(operation, request.method, request.headers)
        await self.rates.count(operation, principal, request.scope)
        check_accepts(request.headers.get("accept", ""), kind)
        return principal


class Endpoint:
    """Answers requests for one binding of an operation."""

    def __init__(self, operation: Operation, binding: Binding, mesh: Mesh) -> None:
        self.operation = operation
        self._binding = binding
        self._mesh = mesh
        self._transcoder = Transcoder(operation, binding)
        reply = operation.rpc.output_type
        self._reply_has_etag = ETAG in reply.fields_by_name and not binding.response_body
        self.plain = (
            PlainRead(operation, binding, self._transcoder, mesh.caller, mesh.replies, mesh.shared)
            if operation.policy.keeping
            else None
        )
        self._located = operation.creates and not binding.template.verb and "id" in reply.fields_by_name

    async def __call__(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """The answer to a request. Problem, MercatoError or AioRpcError when there is none."""
        principal = await self._mesh.admit(self.operation, request, JSON)
        message = await self._message(request, variables, principal)
        await self._mesh.rates.count_about(self.operation, message, request.scope)
        if self.plain and _is_plain(request):
            return _given(request, await self.plain.reply(key_of(request.scope), message, visit))
        reply = await self._call(message, visit, principal)
        await self._mesh.rates.know(self.operation, message, request.scope)
        if not self.operation.safe:
            # Others hear of it by an event; whoever comes by this gateway shall not wait for that.
            self._mesh.replies.drop(self.operation.service, ids_in(reply.message, ("id",)), time.monotonic())
        return self._answer(request, reply)

    async def _call(self, message: Message, visit: Visit, principal: Principal) -> Reply:
        try:
            return await self._mesh.caller.call(self.operation.rpc, message, visit, principal)
        except grpc.aio.AioRpcError as failed:
            problem = Problem.of_call(failed).named(self._transcoder.public)
            raise replace(problem, headers=headers_of(failed.trailing_metadata())) from None

    async def _message(self, request: Request, variables: Mapping[str, str], principal: Principal) -> Message:
        key = idempotency_key(request.headers, required=self.operation.policy.key_required)
        body = await self._mesh.limits.read_body(request.receive, request.headers)
        message = self._transcoder.request(variables, request.scope["query_string"], body)
        self._set_key(message, key if principal.subject and self._binding.method == "POST" else "")
        self._set_version(message, request)
        return message

    def _set_key(self, message: Any, key: str) -> None:
        """Name the request, so that its repeat is known. Without a key of the client's, only the channel repeats it."""
        if key and self._transcoder.has_request_id:
            message.request_id = key
        elif self.operation.policy.idempotent_by == REQUEST_ID:
            message.request_id = str(uuid4())

    def _set_version(self, message: Message, request: Request) -> None:
        if self._transcoder.etag_path and not self.operation.creates:
            version = version_wanted(request.headers, self._transcoder.etag(message))
            if version:
                self._transcoder.set_etag(message, version)

    def _answer(self, request: Request, reply: Reply) -> Response:
        beside = reply.headers if self.operation.safe else written(reply.headers)
        headers = {"Cache-Control": self._cache_control(), "Vary": "Authorization, Cookie", **beside}
        if self._binding.method == "DELETE":
            if self.operation.name == _SIGN_OUT:
                headers["Set-Cookie"] = clear_cookie()
            return Response(status_code=204, headers=headers)
        body = self._transcoder.answer(reply.message)
        if self._reply_has_etag and reply.message.etag:
            headers["ETag"] = etag_of(reply.message.etag, body)
            if request.method in ("GET", "HEAD") and not_modified(
                request.headers.get("if-none-match", ""), headers["ETag"]
            ):
                return Response(status_code=304, headers=headers)
        return Response(body, self._status(request, reply.message, headers), headers, "application/json")

    def _status(self, request: Request, message: Any, headers: dict[str, str]) -> int:
        """200, or what making something is answered with."""
        if not self.operation.creates:
            return 200
        if self.operation.gives_session:
            expires = message.expire_time.ToDatetime(self._mesh.clock.now().tzinfo)
            headers["Set-Cookie"] = set_cookie(message.token, expires, self._mesh.clock.now())
        if self._located:
            headers["Location"] = f"{request.url.path}/{message.id}"
        return 202 if _is_pending(message) else 201

    def _cache_control(self) -> str:
        if self.operation.gives_session:
            return "no-store"
        return "no-cache" if self.operation.public else "private, no-cache"


def _given(request: Request, kept: KeptReply) -> Response:
    """The answer that a kept reply is to a request."""
    headers = kept.text_headers
    if not_modified(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(kept.body, 200, headers)


def _is_plain(request: Request) -> bool:
    """Whether a request is by nobody in particular, and does not ask for what it has just written."""
    return request.method == "GET" and not _PERSONAL.intersection(request.headers.keys())


def _is_pending(message: Any) -> bool:
    """Whether what was asked for is accepted, and still to be decided."""
    state = message.DESCRIPTOR.fields_by_name.get("state")
    if state is None or state.enum_type is None:
        return False
    value = state.enum_type.values_by_number.get(message.state)
    return value is not None and value.name == _PENDING
