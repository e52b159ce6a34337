"""Identifiers: UUIDv7, which sort by the time they were made, and names derived from others."""

import os
import time
from uuid import UUID, uuid5

_VERSION_7_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_ALL_BUT_THESE = ~(0xF << 76 | 0b11 << 62)


def uuid7() -> UUID:
    """A new identifier (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    drawn = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    return UUID(int=drawn & _ALL_BUT_THESE | _VERSION_7_AND_VARIANT)


def derive(parent: UUID, name: str) -> UUID:
    """The identifier that belongs to `name` within `parent`: the same one every time it is asked for."""
    return uuid5(parent, name)
