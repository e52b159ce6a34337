"""Bytes of WebSocket and HTTP/2 that follow their rules in most things, and break them in some."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Sequence
from typing import Literal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_KINDS = {"DATA": 0, "HEADERS": 1, "PRIORITY": 2, "RST_STREAM": 3, "SETTINGS": 4, "PUSH_PROMISE": 5, "PING": 6}
_KINDS |= {"GOAWAY": 7, "WINDOW_UPDATE": 8, "CONTINUATION": 9, "UNKNOWN": 77}
_END_STREAM, _END_HEADERS = 1, 4
_RIGHT = ((":method", "GET"), (":scheme", "http"), (":path", "/v1/products"), (":authority", "fuzz"))
_WRONG = (
    (":method", "get it"),
    (":method", ""),
    (":path", ""),
    (":path", "*"),
    (":path", "/v1/products\x00"),
    (":scheme", "gopher"),
    (":status", "200"),
    (":protocol", "websocket"),
    (":unknown", "x"),
    ("Upper-Case", "x"),
    ("connection", "keep-alive"),
    ("te", "gzip"),
    ("transfer-encoding", "chunked"),
    ("content-length", "-1"),
    ("content-length", "99999999999999999999"),
    ("host", "somebody.example"),
    ("x-nul", "a\x00b"),
    ("x-line", "a\r\nb: c"),
    ("", "no name"),
    ("cookie", "__Host-session=" + "x" * 3000),
)


def upgrade(dice: random.Random, target: str, token: str) -> bytes:
    """A request for a WebSocket, in which a header or two may be missing, doubled or wrong."""
    headers = [
        ("Host", "fuzz"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", base64.b64encode(dice.randbytes(16)).decode()),
        ("Authorization", f"Bearer {token}"),
    ]
    if dice.random() < 0.5:
        place = dice.randrange(len(headers))
        name, value = headers[place]
        odd = ("", "0", "x" * 200, value + value, "websocket, h2c", "\x7f", "é")
        headers[place : place + 1] = dice.choice([[], [(name, value)] * 2, [(name, dice.choice(odd))]])
    method = "GET" if dice.random() < 0.9 else dice.choice(["POST", "HEAD", "CONNECT", "get"])
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def socket_frame(dice: random.Random) -> bytes:
    """A frame of a client's: any opcode, reserved bits, lengths that are not so, perhaps unmasked."""
    payload = dice.randbytes(dice.choice([0, 1, 2, 125, 126, 4097, 70_000]))
    if dice.random() < 0.3:
        payload = b'{"id": "1"}'
    first = dice.choice([0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0x80, dice.randrange(256)])
    length = len(payload) if dice.random() < 0.9 else dice.choice([0, 127, 2**16, 2**40, 2**63 + 5])
    masked = 0x80 if dice.random() < 0.9 else 0
    if length < 126:
        head = bytes([first, masked | length])
    elif length < 2**16:
        head = struct.pack(">BBH", first, masked | 126, length)
    else:
        head = struct.pack(">BBQ", first, masked | 127, length)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def conversation(dice: random.Random, target: str, token: str) -> bytes:
    """All that a client of a WebSocket says: an upgrade and some frames, cut off anywhere."""
    said = upgrade(dice, target, token) + b"".join(socket_frame(dice) for _ in range(dice.randint(0, 6)))
    return said[: dice.randrange(len(said))] if dice.random() < 0.2 else said


def connection(dice: random.Random) -> bytes:
    """All that a client of HTTP/2 says: the preface and some frames, of which some are none."""
    said = PREFACE + frame("SETTINGS", 0, 0, b"")
    odd = dice.choice([0.0, 0.0, 0.2, 0.6])  # one frame that is none ends the connection: let there be some before
    said += b"".join(_http2_frame(dice, 2 * number + 1, odd) for number in range(dice.randint(1, 12)))
    if dice.random() < 0.1:
        place = dice.randrange(len(PREFACE), len(said))
        said = said[:place] + dice.randbytes(dice.randint(1, 9)) + said[place:]
    return said[: dice.randrange(len(said))] if dice.random() < 0.1 else said


def frame(kind: str, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2, perhaps with a length that is not so."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", _KINDS[kind], flags, stream) + payload


def _http2_frame(dice: random.Random, stream: int, odd: float) -> bytes:
    if dice.random() >= odd:
        ends = dice.choice([*[_END_STREAM | _END_HEADERS] * 8, _END_HEADERS, 0 if odd else _END_HEADERS])
        return frame("HEADERS", ends, stream, _block(dice, odd))
    kind = dice.choice(list(_KINDS))
    size = dice.choice([0, 1, 4, 5, 6, 8, 9, 400, 17_000])
    flags = dice.choice([0, 1, 4, 5, 8, 0x20, 0xFF])
    number = dice.choice([0, stream, stream - 2 if stream > 1 else 1, 2, 2**31 - 1, 2**32 - 1])
    length = None if dice.random() < 0.9 else dice.choice([0, 3, 2**14 + 1, 2**24 - 1])
    return frame(kind, flags, number, dice.randbytes(size), length)


def _block(dice: random.Random, odd: float) -> bytes:
    """The headers of a request by HPACK, without Huffman's code or the table; sometimes no HPACK at all."""
    fields = list(_RIGHT)
    for _ in range(dice.choice([0, 1, 1, 2, 3])):
        match dice.choice(["add", "drop", "double", "swap"]):
            case "add":
                fields.insert(dice.randrange(len(fields) + 1), dice.choice(_WRONG))
            case "drop" if fields:
                del fields[dice.randrange(len(fields))]
            case "double" if fields:
                fields.append(dice.choice(fields))
            case _:
                dice.shuffle(fields)
    if dice.random() < 0.03:
        fields += [(f"x-{number}", "y" * 200) for number in range(400)]
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return block if dice.random() >= odd / 4 else block[: len(block) // 2] + dice.randbytes(9)


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    size, rest = bytearray([127]), len(raw) - 127
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes([*size, rest]) + raw


def statuses(heard: bytes, protocol: Literal["WebSocket", "HTTP/2"]) -> Sequence[str]:
    """The statuses among what a server says; of HTTP/2 those below 500 are told by `ok`."""
    if protocol == "WebSocket":
        return [heard[9:12].decode("latin-1")] if heard.startswith(b"HTTP/1.1 ") else []
    return [_status(block) for kind, block in _frames(heard) if kind == _KINDS["HEADERS"]]


def _frames(heard: bytes) -> Sequence[tuple[int, bytes]]:
    found, at = [], 0
    while at + 9 <= len(heard):
        size = int.from_bytes(heard[at : at + 3])
        found.append((heard[at + 3], heard[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def _status(block: bytes) -> str:
    """The status that headers begin with: 0x8e stands for 500; any other is spelled, and 5 begins with 011011."""
    while block[:1] and block[0] & 0xE0 == 0x20:  # the table's new size comes first
        block = block[1:]
    spelled = len(block) > 2 and block[0] & 0x3F == 0x08
    return "5xx" if block[:1] == b"\x8e" or (spelled and (block[2] >> 2 == 0x1B or block[2:3] == b"5")) else "ok"
