"""The tables of who may do what, from the policies of the contracts: people, and processes for themselves."""

from collections.abc import Iterable, Sequence
from html import escape

from google.protobuf.descriptor import MethodDescriptor

from gateway.contract import Operation
from gateway.openapi import public_path
from mercato.policy import Policy, policy_of

ROLES = ("guest", "customer", "support", "catalog", "warehouse", "courier", "finance", "admin")
ALL, OWN, NO = "all", "own", "no"


def may(policy: Policy, role: str) -> str:
    """What somebody with one role may do by a policy: on all resources, on their own, or nothing."""
    if policy.anyone or role in policy.roles:
        return ALL
    if policy.own_roles is None:
        return NO
    owns = role in policy.own_roles if policy.own_roles else role != "guest"
    return OWN if owns else NO


def table(operations: Sequence[Operation]) -> str:
    """The table as HTML, a row for each operation."""
    head = "".join(f"<th>{role}</th>" for role in ("nobody", *ROLES))
    rows = "".join(map(_row, operations))
    return f"<table><thead><tr><th>operation</th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def between_processes(rpcs: Iterable[MethodDescriptor]) -> str:
    """Who calls what for itself as HTML, and what must show that a customer agreed to it."""
    rows = "".join(_called(rpc, policy_of(rpc)) for rpc in rpcs if policy_of(rpc).callers)
    head = "<th>operation</th><th>callers</th><th>grant</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _called(rpc: MethodDescriptor, policy: Policy) -> str:
    granted = ", ".join((*policy.granted.fields, policy.granted.amount)) if policy.granted else NO
    cells = rpc.name, ", ".join(sorted(policy.callers)), granted
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _row(operation: Operation) -> str:
    binding = operation.bindings[0]
    address = f"{binding.method} {public_path(binding.template)}"
    cells = [ALL if operation.policy.anyone else NO, *(may(operation.policy, role) for role in ROLES)]
    name = f"<code>{_breaking(escape(address))}</code><br><small>{operation.name}</small>"
    return f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _breaking(address: str) -> str:
    """An address that may break where a part of it begins, and not within a word."""
    return address.replace("/", "<wbr>/").replace(":", "<wbr>:")
