"""Live events of orders as one writes them first: every stream asks the order service by itself, every two seconds.

    python -m benchmarks.naive_streams --port 8081 --target 127.0.0.1:50051 --keys FOLDER

The peer that `benchmarks.streams` measures the gateway against: Starlette on granian, `StreamingResponse`, one gRPC
call a look, no session that is looked after, no resuming, no bound. A process of its own.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from mercato.api.order.v1 import order_pb2, order_pb2_grpc
from mercato.auth import Signer
from mercato.rpc.call import Principal
from mercato.rpc.channel import metadata_for

LOOK = 2.0  # seconds


async def serve(port: int, target: str, keys: Path) -> None:
    """Answer until killed."""
    signer = Signer.load(keys, "gateway", development=True)
    stub: Any = order_pb2_grpc.OrderServiceStub(grpc.aio.insecure_channel(target))

    async def events(request: Request) -> StreamingResponse:
        subject = request.headers["authorization"].removeprefix("Bearer ")
        return StreamingResponse(told(request.path_params["id"], subject), media_type="text/event-stream")

    async def told(order_id: str, subject: str) -> AsyncIterator[str]:
        after = 0
        while True:
            metadata = metadata_for(signer, "order", Principal(subject, frozenset({"customer"})))
            request = order_pb2.ListOrderEventsRequest(id=order_id, after_version=after)
            with suppress(grpc.aio.AioRpcError):  # it is asked again
                for event in (await stub.ListOrderEvents(request, metadata=metadata)).events:
                    yield f"id: {event.version}\nevent: {event.type}\ndata: {event.text}\n\n"
                    after = event.version
            await asyncio.sleep(LOOK)

    app = Starlette(routes=[Route("/v1/orders/{id}/events", events)])
    await Server(
        app, port=port, interface=Interfaces.ASGINL, backlog=1024, backpressure=10_000, log_enabled=False
    ).serve()


def main() -> None:
    """Be the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--target", required=True, help="the order service")
    parser.add_argument("--keys", type=Path, required=True, help="the folder with the keys of `gateway`")
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.target, given.keys))


if __name__ == "__main__":
    main()
