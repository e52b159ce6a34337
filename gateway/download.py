"""An rpc whose replies stream out: a JSON object on each line, none of them asked for before the last has left.

What is refused before the first line is a problem like any other. What breaks later is told by a last line of its own,
`{"problem": …}`, and the answer is broken off, so that nobody takes it for whole.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.calls import Visit
from gateway.endpoint import Endpoint
from gateway.problems import Problem
from gateway.rows import NDJSON
from gateway.writer import dumps


class Download(Endpoint):
    """Answers requests for one binding of an rpc whose replies stream out."""

    async def __call__(self, request: Request, variables: Mapping[str, str], visit: Visit) -> Response:
        """The answer to a request. Problem, MercatoError or AioRpcError when there is none."""
        principal = await self._mesh.admit(self.operation, request, NDJSON)
        message = await self._message(request, variables, principal)
        call = self._mesh.caller.stream(self.operation.rpc, message, visit, principal)
        try:
            first = await call.read()
        except grpc.aio.AioRpcError as failed:
            raise Problem.of_call(failed).named(self._transcoder.public) from None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        lines = self._lines(call, first, request.scope["path"], visit)
        return StreamingResponse(lines, 200, headers, NDJSON)

    async def _lines(self, call: Any, reply: Any, instance: str, visit: Visit) -> AsyncIterator[bytes]:
        try:
            while reply is not grpc.aio.EOF:
                yield self._transcoder.answer(reply) + b"\n"
                reply = await call.read()
        except grpc.aio.AioRpcError as failed:
            problem = Problem.of_call(failed)
            yield dumps({"problem": problem.body(instance, visit.request_id)}) + b"\n"
            raise
        finally:
            call.cancel()
