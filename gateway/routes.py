"""REST routes: the path templates of `google.api.http` rules, and the tree that finds what a method and a path mean."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")

_PART = re.compile(r"\{(?P<name>[a-z0-9_.]+)(?:=(?P<pattern>[^{}]+))?\}|(?P<plain>[^/{}]+)")
_TEMPLATE = re.compile(r"(?P<path>/[^:]*)(?::(?P<verb>[^/:{}]+))?")
_ONE, _REST = "*", "**"


class RouteNotFound(Exception):
    """No operation has this path."""


class MethodNotAllowed(Exception):
    """The path has operations, none of them for this method."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(allowed)))
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of a path that becomes a field of the request; `stop` is None where it takes all that is left."""

    name: str
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class Template:
    """A path with variables, such as `/v1/products/{product.id}:archive`."""

    segments: tuple[str, ...]
    verb: str
    variables: tuple[Variable, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read a template; ValueError when it is none."""
        match = _TEMPLATE.fullmatch(text)
        if not match or "/" + "/".join(part[0] for part in _PART.finditer(match["path"])) != match["path"]:
            raise ValueError(f"{text!r} is no path template")
        segments: list[str] = []
        variables: list[Variable] = []
        for part in _PART.finditer(match["path"]):
            start = len(segments)
            segments += (part["plain"] or part["pattern"] or _ONE).split("/")
            if part["name"]:
                stop = None if segments[-1] == _REST else len(segments)
                variables.append(Variable(part["name"], start, stop))
        return cls(tuple(segments), match["verb"] or "", tuple(variables), text)

    def bind(self, segments: list[str]) -> dict[str, str]:
        """What the variables are in a path that fits."""
        return {each.name: "/".join(segments[each.start : each.stop]) for each in self.variables}


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a request is for."""

    target: T
    variables: Mapping[str, str]
    template: Template


@dataclass(slots=True)
class _Node(Generic[T]):
    """The routes that begin alike."""

    below: dict[str, "_Node[T]"] = field(default_factory=dict)
    routes: dict[str, dict[str, tuple[Template, T]]] = field(default_factory=dict)


class Router(Generic[T]):
    """Finds what a method and a path stand for. A literal segment is preferred to a variable one, place by place."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, template: Template, target: T) -> None:
        """Route a method and a template; ValueError when something else has them already."""
        node = self._root
        for segment in template.segments:
            node = node.below.setdefault(segment, _Node())
        methods = node.routes.setdefault(template.verb, {})
        if method in methods:
            raise ValueError(f"{method} {template.text} is routed twice")
        methods[method] = (template, target)

    def find(self, method: str, raw_path: str) -> Found[T]:
        """The operation of a method and a path as it came over the wire (not yet decoded)."""
        segments, verb = _split(raw_path)
        allowed: set[str] = set()
        for node in _reached(self._root, segments, 0):
            methods = node.routes.get(verb, {})
            if method in methods:
                template, target = methods[method]
                return Found(target, template.bind(segments), template)
            allowed.update(methods)
        if allowed:
            raise MethodNotAllowed(frozenset(allowed))
        raise RouteNotFound(raw_path)


def _reached(node: _Node[T], segments: list[str], at: int) -> Iterator[_Node[T]]:
    """Every node that the path leads to, the most literal first."""
    if at == len(segments):
        yield node
    else:
        for key in (segments[at], _ONE):
            if key in node.below:
                yield from _reached(node.below[key], segments, at + 1)
    if _REST in node.below:
        yield node.below[_REST]


def _split(raw_path: str) -> tuple[list[str], str]:
    """The decoded segments of a path, and its verb. A path that plays tricks leads nowhere.

    The verb is cut off before decoding: a colon that is data comes encoded. Empty and dot segments, parameters behind
    a semicolon and encoded slashes are never resolved, so that no two readers of a path may differ about it.
    """
    path, colon, verb = raw_path.rpartition(":")
    if not colon or "/" in verb:
        path, verb = raw_path, ""
    elif not verb or path.endswith("/"):
        raise RouteNotFound(raw_path)
    if not path.startswith("/"):
        raise RouteNotFound(raw_path)
    segments = [_decoded(segment) for segment in path[1:].split("/")] if path != "/" else []
    return segments, verb


def _decoded(segment: str) -> str:
    if ";" in segment:
        raise RouteNotFound(segment)
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise RouteNotFound(segment) from None
    if text in ("", ".", "..", _ONE, _REST) or "/" in text or "\\" in text:
        raise RouteNotFound(segment)
    return text
