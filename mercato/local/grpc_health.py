"""The health question of gRPC (grpc.health.v1.Health/Check), asked from outside of the mesh."""

from functools import cache

import grpc

# Two bytes at most: an empty request asks about the whole process, field 1 of the answer is its status.
WHOLE_PROCESS = b""
SERVING = b"\x08\x01"


def serves(address: str) -> bool:
    """Whether the process whose health server listens at the address takes calls. Answers within a second."""
    try:
        return bool(_check(address)(WHOLE_PROCESS, timeout=1.0) == SERVING)
    except grpc.RpcError:
        return False


@cache
def _check(address: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    # A process that starts is asked every tenth of a second: the channel must not wait longer between its attempts.
    backoff = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
    channel = grpc.insecure_channel(address, options=[*backoff, ("grpc.enable_http_proxy", 0)])
    return channel.unary_unary("/grpc.health.v1.Health/Check")
