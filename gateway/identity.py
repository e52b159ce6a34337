"""What the user service knows of a session token, asked by the gateway in its own name."""

import grpc.aio

from gateway.calls import Caller, Visit
from gateway.sessions import LookUp
from mercato.api.user.v1 import user_pb2
from mercato.rpc.call import Principal
from mercato.rpc.status import error_of_call

_LOOK_UP = user_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name["LookUpSession"]


def session_look_up(caller: Caller) -> LookUp:
    """The question whose the session with a hash is, put to the user service."""

    async def look_up(digest: str) -> Principal:
        try:
            reply = await caller.call(_LOOK_UP, user_pb2.LookUpSessionRequest(token_hash=digest), Visit())
        except grpc.aio.AioRpcError as failed:
            raise error_of_call(failed) from None
        found: user_pb2.SessionIdentity = reply.message
        return Principal(found.subject, frozenset(found.roles), found.session_id, found.guest_id or None)

    return look_up
