"""The policies of the contracts say what the public surface promises: who may do what, and which repeats need a key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from gateway.accesstable import ALL, NO, OWN, may
from gateway.contract import operations, published, rpcs
from mercato.errors import PermissionDenied, Unauthenticated
from mercato.grants import Grant
from mercato.money import Money
from mercato.policy import decide, policy_of
from mercato.rpc.call import NOBODY, Principal
from tests.access import ANONYMOUS, GRANTED, ROLES, ROWS, SERVICES, Verdict

GRANT = Grant("", "", "", "", Money(0, "USD"), frozenset())
RPCS = {rpc.name: rpc for rpc in rpcs(published())}
SHOWN = {Verdict.PASSED: OWN, Verdict.FORBIDDEN: NO}


def test_every_rpc_of_every_contract_stands_in_the_table_once() -> None:
    assert RPCS.keys() == ROWS.keys()
    assert len(RPCS) == len(list(rpcs(published()))), "names are what the table knows rpcs by"


def told(rpc: MethodDescriptor, service: str, role: str) -> tuple[Verdict, bool]:
    """What the policy says to a process that calls for somebody, and whether only to what is theirs."""
    someone = NOBODY if role == ANONYMOUS else Principal("somebody", frozenset({role}), "session")
    try:
        return Verdict.PASSED, decide(policy_of(rpc), someone, service) is not None
    except Unauthenticated:
        return Verdict.SIGN_IN, False
    except PermissionDenied:
        return Verdict.FORBIDDEN, False


def differences(rpc: MethodDescriptor) -> Iterator[str]:
    row = ROWS[rpc.name] if policy_of(rpc).over_http else ROWS[rpc.name].between_processes()
    for service in SERVICES:
        for role in ROLES:
            found, only_own = told(rpc, service, role)
            own, others = (row.call(service, role, target) for target in ("own", "another's"))
            if found is Verdict.PASSED:
                # Who may touch others' and not their own is refused behind the gate.
                fits = (own, others) == (Verdict.PASSED, Verdict.HIDDEN) if only_own else others is Verdict.PASSED
            else:
                fits = own is others is found
            if not fits:
                yield f"{rpc.name} by {service} for {role}: {found}"


@pytest.mark.parametrize("rpc", RPCS.values(), ids=lambda rpc: str(rpc.name))
def test_policies_say_what_was_promised(rpc: MethodDescriptor) -> None:
    assert not list(differences(rpc))


def test_keys_are_required_where_that_was_promised_and_nowhere_else() -> None:
    assert {name for name, rpc in RPCS.items() if policy_of(rpc).key_required} == {
        row.rpc for row in ROWS.values() if row.key
    }
    unnamed = [row.rpc for row in ROWS.values() if row.key and policy_of(RPCS[row.rpc]).idempotent_by != "request_id"]
    assert not unnamed, "a key that names no effect is no key"


def test_what_takes_money_wants_to_see_that_its_customer_agreed_to_all_of_it() -> None:
    granted = {name: policy.granted for name, rpc in RPCS.items() if (policy := policy_of(rpc)).granted}
    assert granted.keys() == GRANTED
    for name, wants in granted.items():
        fields = {each.name for each in RPCS[name].input_type.fields}
        nameable = fields & GRANT.names.keys()
        assert (set(wants.fields), wants.amount in fields) == (nameable, True), "what it can name, it names"


def test_the_page_of_the_access_table_shows_what_was_promised() -> None:
    for operation in operations(published()):
        row = ROWS[operation.name]
        shown = {role: may(operation.policy, role) for role in ROLES if role != ANONYMOUS}
        wanted = {
            role: ALL if row.verdict(role, "another's") is Verdict.PASSED else SHOWN[row.verdict(role)]
            for role in shown
        }
        assert shown == wanted, operation.name


TOLD_NOBODY = re.compile("password|hash|secret|cost|token|provider|principal|fingerprint")
# What begins a session is told once, to whom it is for; pages have tokens of their own. Finance compares with the
# provider's list, where a payment has the provider's name for it.
TOLD = {"SignInResponse.token", "StartGuestSessionResponse.token", "Difference.provider_reference"}


def fields(message: Descriptor, seen: set[str]) -> Iterator[str]:
    """The fields of a message and of all within it."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for each in message.fields:
        yield f"{message.name}.{each.name}"
        if each.message_type is not None:
            yield from fields(each.message_type, seen)


def test_no_answer_has_room_for_what_nobody_is_to_be_told() -> None:
    told = {name for operation in operations(published()) for name in fields(operation.rpc.output_type, set())}
    names = {name for name in told if not name.endswith(".next_page_token")}
    assert {name for name in names if TOLD_NOBODY.search(name.partition(".")[2])} == TOLD
