"""Replies that are serialized already: bytes that were made when something was written, and are only passed on."""


class Ready:
    """A reply as bytes. Whoever sends replies asks nothing else of them."""

    __slots__ = ("_bytes",)

    def __init__(self, serialized: bytes) -> None:
        self._bytes = serialized

    def SerializeToString(self) -> bytes:  # noqa: N802  named as protobuf's messages name it
        """The bytes."""
        return self._bytes


def varint(number: int) -> bytes:
    """A number from 0 as protobuf writes lengths: seven bits in each byte, the lowest first."""
    if number < 128:
        return bytes((number,))
    return bytes((number & 127 | 128,)) + varint(number >> 7)
