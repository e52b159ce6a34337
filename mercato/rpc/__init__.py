"""Calls between services: who calls (`current_call`), how a servicer is served, how a channel is held.

Only the call itself is imported from here; `mercato.rpc.server` and `mercato.rpc.channel` bring gRPC with them and are
imported by the runtime.
"""

from mercato.rpc.call import Call, Key, Principal, current_call, on_behalf_of

__all__ = ["Call", "Key", "Principal", "current_call", "on_behalf_of"]
