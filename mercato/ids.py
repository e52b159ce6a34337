"""Identifiers: UUIDv7, which sort by the time they were made, and names derived from others."""

import os
import time
from uuid import UUID, uuid5

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7() -> UUID:
    """A new identifier (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    return UUID(int=milliseconds << 80 | _VERSION_7 | (random >> 68) << 64 | _VARIANT | random & (1 << 62) - 1)


def derive(parent: UUID, name: str) -> UUID:
    """The identifier that belongs to `name` within `parent`: the same one every time it is asked for."""
    return uuid5(parent, name)
