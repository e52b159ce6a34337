"""REST requests from the OpenAPI document: every operation, by everybody, with everything that can be said wrongly."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from chaos.fuzz.hoard import Hoard, kind_of
from chaos.fuzz.making import Maker
from chaos.fuzz.people import Person, may
from chaos.fuzz.wire import Request
from chaos.fuzz.words import SELDOM, TEXTS, Pairs, bitten, rendered
from gateway.contract import operations, published

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 40)
_OTHER_PATHS = (
    "/",
    "/v1",
    "/v1/",
    "/v1/nothing",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/metrics",
    "/admin",
    "*",
)
_ACCEPTS = (
    "*/*",
    "application/json",
    "text/xml",
    "application/json;q=0",
    "text/event-stream",
    "",
    ",;",
    "*",
    "application/*",
)
_JSON, _LINES = "application/json", "application/x-ndjson"
_KINDS = (
    "text/csv",
    "text/plain",
    "",
    "application/json; charset=latin1",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "a/b;" * 9,
)
_TEMPERS = (0.0, 0.0, 0.04, 0.12, 0.5)
"""How likely each value of a request is a mistake: that of a whole request is drawn first."""
_IN_PATHS = "%/:@!$&'()*+,;=?"  # and what else HTTP lets stand in an address as it is
_FITTING = 0.6
_RARE_HEADERS: Mapping[str, tuple[str, ...]] = {
    "X-Forwarded-For": ("127.0.0.1", "' or 1", "1.1.1.1, 2.2.2.2"),
    "X-HTTP-Method-Override": ("DELETE", "PATCH"),
    "X-User-Id": ("admin",),
    "Content-Encoding": ("gzip", "br", "identity"),
    "Accept-Encoding": ("gzip", "br, gzip;q=0", "*;q=0", "identity;q=0", "nonsense"),
    "Accept-Language": ("xx-YY;q=9", "*"),
    "traceparent": ("00-0-0-00", "00-" + "f" * 32 + "-" + "f" * 16 + "-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-00"),
    "Origin": ("null", "https://evil.example", "http://fuzz"),
    "Range": ("bytes=0-1", "bytes=-", "lines=1-2"),
    "Expect": ("100-continue", "200-ok"),
    "Upgrade": ("websocket", "h2c"),
    "Cookie": ("__Host-session=", "__Host-session=abc; __Host-session=def", "a=b;;;=", "__Host-session=" + "x" * 3000),
    "Last-Event-ID": ("-1", "9" * 30, "abc", "1.5"),
    "If-Modified-Since": ("yesterday",),
    "X-Long": ("x" * 17_000,),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request, what it is to, and who sends it. `proper`: it is HTTP, whatever it says."""

    route: str
    operation: str
    request: Request
    who: Person
    kind: str
    proper: bool = True


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: str
    name: str
    parameters: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any] | None
    media: str

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def kind(self) -> str:
        """What its answers are of: the last collection in its path."""
        plain = [part for part in self.path.partition(":")[0].split("/")[2:] if part and not part.startswith("{")]
        return kind_of(plain[-1]) if plain else ""


class RestCases:
    """Makes cases from a document."""

    def __init__(self, document: Mapping[str, Any], hoard: Hoard) -> None:
        self._schemas = document["components"]["schemas"]
        self._hoard = hoard
        self._operations = [*_operations(document)]
        self._weights = [SELDOM.get(each.name, 1.0) for each in self._operations]
        self.kinds = {each.route: each.kind for each in self._operations}
        self._policies = {each.name: each.policy for each in operations(published())}

    def case(self, dice: random.Random, people: Sequence[Person]) -> Case:
        """The next one, by somebody who may ask for it, more often than not."""
        (operation,) = dice.choices(self._operations, self._weights)
        who = dice.choice(people)
        if dice.random() < _FITTING:
            who = dice.choice([each for each in people if self.fits(operation.name, each)] or people)
        request = self._made(operation, dice, who)
        chance = dice.random()
        if chance < 0.12:
            return Case(operation.route, operation.name, mutated(request, dice), who, "bytes", proper=False)
        if chance < 0.18:
            return Case("(elsewhere)", "", _elsewhere(request, dice), who, "elsewhere")
        return Case(operation.route, operation.name, request, who, "made")

    def fits(self, name: str, who: Person) -> bool:
        """Whether an operation is for somebody."""
        policy = self._policies.get(name)
        return policy is None or may(policy, who, "gateway")

    def first(self, name: str, dice: random.Random, who: Person) -> Case:
        """A case without a mistake, to an operation of that name."""
        operation = next(each for each in self._operations if each.name == name)
        return Case(operation.route, name, self._made(operation, dice, who, temper=0.0), who, "made")

    def names(self) -> list[str]:
        """The operations that there are: those that only read come first."""
        return [each.name for each in sorted(self._operations, key=lambda each: each.method != "GET")]

    def _made(self, operation: _Operation, dice: random.Random, who: Person, temper: float | None = None) -> Request:
        temper = dice.choice(_TEMPERS) if temper is None else temper
        maker = Maker(self._schemas, self._hoard, dice, temper, who.own)
        target = self._path(operation, maker, dice) + _query(operation, maker, dice)
        headers = dict(self._headers(operation, maker, dice, who))
        body = b""
        if operation.body is not None or dice.random() < temper / 8:
            count = dice.randint(0, 20) if operation.media == _LINES else 1
            body = b"\n".join(_body(operation.body or {}, maker, dice) for _ in range(count))
            headers["Content-Type"] = dice.choice(_KINDS) if dice.random() < temper / 4 else operation.media
        return Request(operation.method, target, tuple(headers.items()), body)

    def _path(self, operation: _Operation, maker: Maker, dice: random.Random) -> str:
        path = operation.path
        for each in operation.parameters:
            if each["in"] == "path":
                name = each["name"]
                # An id is one of what stands before it.
                shown = operation.kind if name == "id" else name
                value = maker.text(each["schema"], shown)
                encoded = (
                    value.replace(" ", "+")
                    if dice.random() < maker.wrong / 4
                    else quote(value.encode("utf-8", "replace"), safe="")
                )
                path = path.replace(f"{{{name}}}", quote(encoded.encode("utf-8", "replace"), safe=_IN_PATHS))
        return path

    def _headers(
        self, operation: _Operation, maker: Maker, dice: random.Random, who: Person
    ) -> Sequence[tuple[str, str]]:
        headers = [("Authorization", f"Bearer {who.token}")] if who.token and dice.random() > maker.wrong / 4 else []
        headers += [
            (each["name"], _in_one_line(self._header(each["name"], maker, dice)))
            for each in operation.parameters
            if each["in"] == "header" and dice.random() < (0.95 if each.get("required") else 0.1)
        ]
        if dice.random() < maker.wrong:
            name = dice.choice([*_RARE_HEADERS])
            headers.append((name, dice.choice(_RARE_HEADERS[name])))
        if dice.random() < maker.wrong / 2:
            headers.append(("Accept", dice.choice(_ACCEPTS)))
        return headers

    def _header(self, name: str, maker: Maker, dice: random.Random) -> str:
        if dice.random() < maker.wrong:
            return dice.choice(TEXTS)
        match name:
            case "Idempotency-Key":
                return f"key-{dice.randrange(200) if dice.random() < 0.2 else dice.getrandbits(60)}"
            case "X-Consistency":
                return self._hoard.pick("consistency", dice) or ""
            case "If-Match" | "If-None-Match":
                return dice.choice(["*", f'"{self._hoard.pick("etag", dice) or 1}"', f'"{dice.randint(0, 9)}.abc"'])
        return f"fuzz-{dice.getrandbits(30)}"


def _operations(document: Mapping[str, Any]) -> Sequence[_Operation]:
    found = list[_Operation]()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            known = document["components"]["parameters"]
            parameters = [
                known[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in operation["parameters"]
            ]
            media, schema = _content(operation.get("requestBody", {}).get("content", {}))
            found.append(_Operation(method.upper(), path, operation["operationId"], parameters, schema, media))
    return found


def _content(content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """What a body is made of: one object, or one on each line."""
    lines = content.get(_LINES, {}).get("schema", {}).get("contentSchema")
    return (_LINES, lines) if lines else (_JSON, content.get(_JSON, {}).get("schema"))


def _query(operation: _Operation, maker: Maker, dice: random.Random) -> str:
    pairs = list[tuple[str, str]]()
    for each in operation.parameters:
        if each["in"] == "query" and dice.random() < (0.95 if each.get("required") else 0.25):
            pairs.append((each["name"], maker.text(each["schema"], each["name"].rpartition(".")[2])))
    if dice.random() < maker.wrong / 2:
        pairs.append((dice.choice([*TEXTS, "id", "role"]), dice.choice(TEXTS)))
    if pairs and dice.random() < maker.wrong / 2:
        pairs.append(dice.choice(pairs))
    text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
    return f"?{text}" if text or dice.random() < maker.wrong / 9 else ""


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _body(schema: Mapping[str, Any], maker: Maker, dice: random.Random) -> bytes:
    value = maker.value(schema)
    if isinstance(value, dict) and dice.random() < maker.wrong / 4:
        value = Pairs([*value.items(), *value.items()])
    text = rendered(value)
    if dice.random() < maker.wrong / 4:
        text = dice.choice(
            [text[: len(text) // 2], f"[{text}]", text + text, "[" * 5_000, "\ufeff" + text, text.replace(":", "=")]
        )
    if dice.random() < maker.wrong / 20:
        text += " " * 70_000
    return text.encode("utf-8", "surrogatepass")


def _in_one_line(text: str) -> str:
    """A text without what HTTP itself forbids in a head: that is for requests whose bytes are changed."""
    return "".join(each for each in text if each.isprintable() or ord(each) > 0x9F)


def _elsewhere(request: Request, dice: random.Random) -> Request:
    """The same for another address, or by another method."""
    path = request.target.partition("?")[0]
    other = dice.choice(
        [
            dice.choice(_OTHER_PATHS),
            path + "/",
            path + ":" + dice.choice(["cancel", "search", ""]),
            path.replace("/v1", "//v1"),
            path.replace("/v1/", "/v1/x/../"),
            path + "/%2e%2e/orders",
            path + ";a=b",
            path.upper(),
            path + "/" + "x" * 9_000,
            "http://evil.example" + path,
        ]
    )
    method = dice.choice(_METHODS) if dice.random() < 0.6 else request.method
    return Request(method, dice.choice([other, request.target]), request.headers, request.body)


def mutated(request: Request, dice: random.Random) -> Request:
    """The same with bytes changed."""
    return Request(request.method, request.target, raw=bitten(request.text, dice))
