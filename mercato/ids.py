"""Identifiers: UUIDv7, which sort by the time they were made, and names derived from others."""

import os
import time
from uuid import UUID, SafeUUID, uuid5

_VERSION_7_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_ALL_BUT_THESE = ~(0xF << 76 | 0b11 << 62)
_UNKNOWN = SafeUUID.unknown  # looked up once: a member of an enumeration costs what drawing the bits does
_set = object.__setattr__  # a UUID's own refuses: it does not change once it is made


def uuid7() -> UUID:
    """A new identifier (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    drawn = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    # Made past its constructor, which looks for the form that it is given and costs more than all the rest.
    made = UUID.__new__(UUID)
    _set(made, "int", drawn & _ALL_BUT_THESE | _VERSION_7_AND_VARIANT)
    _set(made, "is_safe", _UNKNOWN)
    return made


def derive(parent: UUID, name: str) -> UUID:
    """The identifier that belongs to `name` within `parent`: the same one every time it is asked for."""
    return uuid5(parent, name)
