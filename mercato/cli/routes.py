"""`mercato routes`: what the gateway serves, read from where it reads it: the contracts."""

from collections.abc import Iterator
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from rich.console import Console
from rich.table import Table

from mercato.cli.contracts import services
from mercato.cli.up import wide
from mercato.policy import Policy, policy_of

_HTTP: Any = annotations_pb2.http


def show() -> None:
    """Print a table, in the order of the contracts."""
    table = Table(box=None, pad_edge=False)
    for title in ("method", "path", "rpc", "who"):
        table.add_column(title, no_wrap=title != "who")
    for service in services():
        for method in service.methods:
            for verb, path in _rules(method):
                table.add_row(verb, path, f"{service.name}.{method.name}", _who(policy_of(method)))
    wide(Console(highlight=False, markup=False)).print(table)


def _rules(method: MethodDescriptor) -> Iterator[tuple[str, str]]:
    options = method.GetOptions()
    if options.HasExtension(_HTTP):
        first = options.Extensions[_HTTP]
        for rule in (first, *first.additional_bindings):
            verb = str(rule.WhichOneof("pattern"))
            yield verb.upper(), getattr(rule, verb)


def _who(policy: Policy) -> str:
    if policy.anyone:
        return "all"
    own = () if policy.own_roles is None else (f"own ({', '.join(sorted(policy.own_roles)) or 'any account'})",)
    return ", ".join((*own, *sorted(policy.roles)))
