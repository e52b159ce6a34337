"""Values that somebody has tripped over before: texts, numbers, and JSON that is none; and what is asked for rarely."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Work for seconds, a password's hash, or the end of somebody's session: rarely, or there is little else.
SELDOM: Mapping[str, float] = {
    **dict.fromkeys(("SignOut", "EraseUser", "RevokeSession"), 0.1),
    **dict.fromkeys(("RegisterUser", "SignIn", "ChangePassword", "PutAccount"), 0.05),
    **dict.fromkeys(("RebuildProjection", "AuditService", "ReconcilePayments"), 0.05),
}
TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\r\nX-Injected: 1",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u2028",
        "\u202e",
        "\x7f",
        "\x1b[31m",
    ),
    *("é", "e\u0301", "😀", "👩‍👩‍👧", "مرحبا", "İ", "ß", "ﬁ", "١٢٣", "²", "Ⅷ", "x" * 201, "x" * 5_000, "😀" * 300),
    *(
        "'; drop table orders; --",
        "' or 1=1 --",
        "%",
        "_",
        "%_\\",
        "\\",
        "a\\",
        "*",
        "a:b",
        "a & b | !c",
        "(",
        "!",
        "'",
        '"',
        "<>",
    ),
    *(
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${jndi:ldap://127.0.0.1/x}",
        "../../../../etc/passwd",
        "$(reboot)",
        "`id`",
    ),
    *(
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "//evil.example",
    ),
    *(
        "null",
        "undefined",
        "NaN",
        "Infinity",
        "true",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e400",
        "1e9",
        "0x10",
        "1_000",
        " 7 ",
        "+7",
        "9" * 30,
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616", "1,2", ",", "1,,2"),
    *(
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "0190a6e0-0000-7000-8000-00000000000g",
    ),
    *(
        "{0190a6e0-0000-7000-8000-000000000001}",
        "0190a6e0000070008000000000000001",
        "urn:uuid:0190a6e0-0000-7000-8000-000000000001",
    ),
    *(
        "me",
        "current",
        "id",
        "events",
        "search",
        "..",
        ".",
        "a/b",
        "a%2fb",
        "a;b=c",
        "%00",
        "%",
        "%zz",
        "%c0%af",
        "+",
        "a+b",
    ),
    *(
        "0000-00-00",
        "2026-02-30",
        "9999-12-31",
        "10000-01-01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "2026-01-01",
    ),
    *("2026-01-01T00:00:00", "2026-01-01T00:00:00+25:00", "-0001-01-01T00:00:00Z", "1970-01-01T00:00:00.123456789123Z"),
    *(
        "price desc",
        "price; drop table x",
        "password_hash",
        "create_time",
        "name,price",
        "PLACED",
        "UNSPECIFIED",
        "confirmed",
    ),
    *(
        "a@b",
        "@",
        "a@b@c",
        '"quoted local"@example.com',
        "a@münchen.example",
        f"{'a' * 250}@{'b' * 60}.example",
        "a@b\n.example",
    ),
    *("eur", "XXX", "EURO", "€", "US", "usd ", "title,title", "id,etag", "variants.price", "state.state", "*"),
)
"""Any of them may stand where a text is wanted, in a path, a query, a header or a body."""

NUMBERS: tuple[Any, ...] = (
    *(
        0,
        -1,
        1,
        99,
        100,
        101,
        200,
        201,
        2**31 - 1,
        2**31,
        -(2**31),
        -(2**31) - 1,
        2**53 + 1,
        2**63 - 1,
        2**63,
        -(2**63),
        2**64,
    ),
    *(0.5, 1.5, -0.0, 1e-300, 1e308, -1e308, 89.999999, 90.1, 180.1, 10**40, 999_999_999, 1_000_000_000, -999_999_999),
)


@dataclass(frozen=True, slots=True)
class Token:
    """What is written into JSON as it is."""

    text: str


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may stand twice."""


TOKENS = tuple(
    map(Token, ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01", "+1", "1.", "0x1", "'a'", "undefined", ""))
)
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": 1}, {"a": {"b": {"c": {}}}}, [1] * 300, *TOKENS)
"""What stands where something else was wanted."""


def rendered(value: Any) -> str:
    """A value as JSON, with the tokens and repeated keys that JSON does not have."""
    match value:
        case Token():
            return value.text
        case Pairs():
            return "{" + ",".join(f"{json.dumps(name)}:{rendered(each)}" for name, each in value) + "}"
        case dict():
            return rendered(Pairs(value.items()))
        case list() | tuple():
            return "[" + ",".join(map(rendered, value)) + "]"
    return json.dumps(value)


def bitten(raw: bytes, dice: random.Random) -> bytes:
    """Bytes with some of them changed: a few, anywhere, or a piece gone, doubled or foreign."""
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        at = dice.randrange(len(raw) + 1)
        before, after = raw[:at], raw[at:]
        match dice.randrange(6):
            case 0:
                raw = before + bytes([after[0] ^ 1 << dice.randrange(8)]) + after[1:] if after else raw
            case 1:
                raw = before + dice.randbytes(dice.randint(1, 8)) + after
            case 2:
                raw = before + after[dice.randint(1, 8) :]
            case 3:
                raw = before + after[: dice.randint(1, 64)] + after
            case 4:
                raw = before + rendered(dice.choice([*TEXTS, *NUMBERS])).encode("utf-8", "surrogatepass") + after
            case _ if dice.random() < 0.2:
                raw = before
    return raw or b"\0"
