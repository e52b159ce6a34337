"""What the user service decides without anybody's help: passwords, masks, roles."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Queue
from threading import Thread

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.latlng_pb2 import LatLng

from mercato.api.user.v1 import user_pb2 as pb
from mercato.errors import InvalidArgument, Overloaded
from mercato.ids import uuid7
from mercato.rpc import on_behalf_of
from services.user.domain import Address, PasswordTooCommon, User, UserState, masked_email
from services.user.messages import address_change, new_address, new_name, roles_changed
from services.user.passwords import Passwords

ADA = User(uuid7(), "ada@example.org", "Ada", ("customer",), UserState.ACTIVE, 3, datetime(2026, 1, 5, tzinfo=UTC))


def cheap(at_once: int = 1, queue: int = 8) -> Passwords:
    return Passwords(at_once, queue, time_cost=1, memory_kib=1024)


# Passwords


def test_a_password_opens_what_it_was_chosen_for_and_nothing_else() -> None:
    passwords = cheap()
    known = passwords.choose("correct horse", "password")
    assert passwords.match("correct horse", known)
    assert not passwords.match("correct hors", known)
    assert "correct horse" not in known


def test_two_who_choose_the_same_password_have_different_hashes() -> None:
    passwords = cheap()
    assert passwords.choose("correct horse", "password") != passwords.choose("correct horse", "password")


@pytest.mark.parametrize("common", ["password", "PassWord", "12345678", "qwertyuiop"])
def test_the_commonest_passwords_are_refused_in_any_case_and_the_field_named(common: str) -> None:
    with pytest.raises(PasswordTooCommon) as refused:
        cheap().choose(common, "newPassword")
    assert refused.value.reason == "PASSWORD_TOO_COMMON"
    assert [(each.field, each.reason) for each in refused.value.fields] == [("newPassword", "PASSWORD_TOO_COMMON")]


def test_nobodys_password_never_matches() -> None:
    assert not cheap().match("nobody has this password", None)


def test_somebody_unknown_costs_as_much_work_as_somebody_known() -> None:
    passwords = Passwords(1, 0)
    known = passwords.hash("correct horse")
    assert _work(lambda: passwords.match("wrong", None)) > 0.5 * _work(lambda: passwords.match("wrong", known))


def _work(act: Callable[[], object]) -> float:
    """The processor time of this thread, whatever else the machine does."""

    def once() -> float:
        started = time.thread_time()
        act()
        return time.thread_time() - started

    return min(once() for _ in range(3))


def test_a_hash_of_other_parameters_is_outdated_and_still_opens() -> None:
    known = Passwords(1, 0, time_cost=2, memory_kib=1024).hash("correct horse")
    assert cheap().outdated(known)
    assert cheap().match("correct horse", known)
    assert not cheap().outdated(cheap().hash("correct horse"))


def test_what_is_no_hash_opens_for_nobody() -> None:
    assert not cheap().match("correct horse", "no hash")


def test_nobody_hashes_for_a_caller_who_will_be_gone_nor_keeps_a_place_for_one() -> None:
    passwords = cheap(at_once=1, queue=2)
    for _ in range(4):
        with passwords.turn(), on_behalf_of("somebody", seconds=0.01), pytest.raises(Overloaded):
            passwords.hash("correct horse")
    with on_behalf_of("somebody", seconds=10):
        assert passwords.hash("correct horse")


def test_a_full_queue_turns_people_away_and_serves_who_waits() -> None:
    passwords, outcomes = cheap(at_once=1, queue=1), Queue[object]()
    known = passwords.hash("correct horse")

    def match() -> None:
        try:
            outcomes.put(passwords.match("correct horse", known))
        except Overloaded as refused:
            outcomes.put(refused.retry_after)

    threads = [Thread(target=match) for _ in range(3)]
    with passwords.turn():
        for thread in threads:
            thread.start()
        assert [outcomes.get(timeout=60) for _ in range(2)] == [1, 1]
    assert outcomes.get(timeout=60) is True
    for thread in threads:
        thread.join()


def test_a_failed_turn_leaves_its_place_to_the_next() -> None:
    passwords = cheap(at_once=1, queue=0)
    for _ in range(3):
        assert not passwords.match("correct horse", "no hash")


# People


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("anna@example.org", "a•••@example.org"),
        ("a@b.c", "a•••@b.c"),
        ('"x@y"@example.org', '"•••@example.org'),
        ("", ""),
    ],
)
def test_support_recognises_an_email_without_reading_it(email: str, masked: str) -> None:
    assert masked_email(email) == masked


def test_roles_stand_in_one_order_and_once() -> None:
    assert ADA.with_roles(["admin", "customer", "admin"]).roles == ("customer", "admin")


def test_every_change_is_a_version() -> None:
    changed = [ADA.renamed("A"), ADA.with_roles([]), ADA.touched(), ADA.erased()]
    assert {user.version for user in changed} == {4}


def test_an_erased_user_is_an_id_and_a_date() -> None:
    erased = ADA.erased()
    assert (erased.email, erased.display_name, erased.roles, erased.state) == ("", "", (), UserState.ERASED)
    assert (erased.id, erased.create_time) == (ADA.id, ADA.create_time)


def test_an_event_of_a_person_names_nothing_but_the_id_and_the_roles() -> None:
    event = roles_changed(ADA)
    assert {field.name: value for field, value in event.ListFields()} == {"user_id": str(ADA.id), "roles": ["customer"]}


# Masks


def test_without_a_mask_what_is_set_is_changed() -> None:
    assert new_name(pb.User(display_name="Bea", email="other@example.org"), []) == "Bea"
    assert new_name(pb.User(email="other@example.org"), []) is None


def test_a_mask_may_empty_what_it_names() -> None:
    assert new_name(pb.User(), ["display_name"]) == ""
    changed = address_change(pb.Address(label="x"), ["line2"])(_address())
    assert (changed.line2, changed.label) == ("", "At home")


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


@pytest.mark.parametrize("name", ["email", "roles", "state", "etag", "id", "createTime", "nonsense", "*"])
def test_only_the_name_of_a_user_is_theirs_to_change(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        new_name(pb.User(display_name="Bea"), ["display_name", _snake(name)])
    assert [(each.field, each.reason) for each in refused.value.fields] == [("updateMask", "NOT_CHANGEABLE")]
    assert name in refused.value.message


@pytest.mark.parametrize("name", ["id", "zoneId", "etag", "createTime", "location.latitude", "nonsense"])
def test_what_the_service_says_of_an_address_is_not_for_others_to_change(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        address_change(pb.Address(), ["label", _snake(name)])
    assert name in refused.value.message


# Addresses


def _given(latitude: float = 48.2, longitude: float = 16.4) -> pb.Address:
    return pb.Address(label="At home", line2="2", location=LatLng(latitude=latitude, longitude=longitude))


def _address() -> Address:
    return new_address(uuid7(), _given())


def test_what_a_client_says_of_times_and_zone_is_not_looked_at() -> None:
    given = _given()
    given.create_time.CopyFrom(Timestamp(seconds=10**17))
    given.zone_id, given.id, given.etag = "mine", "mine", "7"
    address = new_address(uuid7(), given)
    assert (address.zone_id, address.version) == ("", 1)


@pytest.mark.parametrize(
    ("latitude", "longitude", "field"),
    [(90.1, 0, "latitude"), (-91, 0, "latitude"), (0, 181, "longitude"), (0, float("nan"), "longitude")],
)
def test_a_place_is_on_the_map(latitude: float, longitude: float, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        new_address(uuid7(), _given(latitude, longitude))
    assert [each.field for each in refused.value.fields] == [f"address.location.{field}"]
