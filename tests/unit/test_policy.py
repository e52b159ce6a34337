"""Who may do what."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from mercato.errors import PermissionDenied, Unauthenticated
from mercato.policy import NoPolicy, Policy, decide, policy_of
from mercato.rpc.call import NOBODY, Principal
from mercato.testing import a_customer, a_guest, staff
from tests.probe import SERVICE

ANN = a_customer("ann")


def policy(rpc: str) -> Policy:
    """The policy of one of the probe's rpcs."""
    return policy_of(SERVICE.methods_by_name[rpc])


@pytest.mark.parametrize("who", [NOBODY, a_guest(), ANN, staff("courier")])
def test_what_is_for_anyone_is_for_everybody(who: Principal) -> None:
    assert decide(policy("Read"), who, "gateway") is None


def test_staff_may_do_what_their_role_may() -> None:
    assert decide(policy("Count"), staff("warehouse"), "gateway") is None


def test_admin_is_implied_where_the_warehouse_may_but_not_where_finance_alone_may() -> None:
    assert decide(policy("Count"), staff("admin"), "gateway") is None
    with pytest.raises(PermissionDenied):
        decide(policy("Pay"), staff("admin"), "gateway")


@pytest.mark.parametrize("who", [ANN, a_guest(), staff("finance"), staff("support", "catalog", "courier")])
def test_others_may_not(who: Principal) -> None:
    with pytest.raises(PermissionDenied):
        decide(policy("Count"), who, "gateway")


def test_nobody_is_asked_to_sign_in() -> None:
    with pytest.raises(Unauthenticated):
        decide(policy("Count"), NOBODY, "gateway")


def test_an_owner_may_see_what_is_theirs_and_support_everything() -> None:
    assert decide(policy("Mine"), ANN, "gateway") == "ann"
    assert decide(policy("Mine"), staff("support"), "gateway") is None


def test_a_guest_owns_only_where_guests_are_named() -> None:
    with pytest.raises(PermissionDenied):
        decide(policy("Mine"), a_guest(), "gateway")
    assert decide(policy("Make"), a_guest("g"), "gateway") == "g"


def test_a_named_service_may_call_for_itself() -> None:
    assert decide(policy("Step"), NOBODY, "order") is None


@pytest.mark.parametrize("service", ["gateway", "operator", "product", "payment", ""])
def test_no_other_service_may(service: str) -> None:
    with pytest.raises(PermissionDenied):
        decide(policy("Step"), staff("admin", "finance", "support"), service)


@pytest.mark.parametrize("service", ["product", "inventory", "analytics", ""])
def test_a_service_cannot_borrow_the_roles_of_a_user(service: str) -> None:
    with pytest.raises(PermissionDenied):
        decide(policy("Count"), staff("warehouse", "admin"), service)


def test_the_operator_is_held_to_the_roles_of_whom_they_act_for() -> None:
    assert decide(policy("Count"), staff("warehouse"), "operator") is None
    with pytest.raises(PermissionDenied):
        decide(policy("Count"), ANN, "operator")


def test_what_a_repeat_does_is_known() -> None:
    assert policy("Read").repeatable
    assert policy("Make").repeatable
    assert not policy("Once").repeatable


def test_an_rpc_that_nobody_decided_on_cannot_be_served() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="undecided.proto", package="undecided", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Undecided")
    service.method.add(name="Do", input_type=".undecided.Nothing", output_type=".undecided.Nothing")
    made = descriptor_pool.DescriptorPool().AddSerializedFile(file.SerializeToString())
    with pytest.raises(NoPolicy, match=r"undecided\.Undecided\.Do"):
        policy_of(made.services_by_name["Undecided"].methods_by_name["Do"])
