"""Addresses: kept for their owner, each in its zone."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.latlng_pb2 import LatLng

from gateway.problems import lower_camel
from mercato.api.delivery.v1 import delivery_pb2
from mercato.api.user.v1 import user_pb2 as pb
from mercato.cache import connect
from mercato.errors import (
    EtagMismatch,
    EtagRequired,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    MercatoError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import at_once
from services.user.domain import Place, TooManyAddresses
from services.user.stubs import GrpcDeliveries
from tests.component.user_shop import Person, Shop, an_address, open_shop
from tests.valkeys import PATIENCE

SOUTH = LatLng(latitude=-33.9, longitude=18.4)


@pytest.fixture(scope="module")
def shop(user_database: Database, valkey_url: str) -> Iterator[Shop]:
    with connect(valkey_url, patience=PATIENCE) as redis, open_shop(user_database, redis) as shop:
        yield shop


@pytest.fixture(scope="module")
def ada(shop: Shop) -> Person:
    """Somebody with addresses, who has room for more."""
    return shop.join()


def create(person: Person, address: pb.Address | None = None, request_id: str = "", user_id: str = "me") -> pb.Address:
    request = pb.CreateAddressRequest(user_id=user_id, address=address or an_address(), request_id=request_id)
    reply: pb.Address = person.stub.CreateAddress(request)
    return reply


def get(person: Person, address_id: str) -> pb.Address:
    reply: pb.Address = person.stub.GetAddress(pb.GetAddressRequest(user_id="me", id=address_id))
    return reply


def update(person: Person, address: pb.Address, mask: tuple[str, ...] = (), **values: Any) -> pb.Address:
    changed = pb.Address(id=address.id, etag=address.etag, **values)
    request = pb.UpdateAddressRequest(user_id="me", address=changed, update_mask=FieldMask(paths=mask))
    reply: pb.Address = person.stub.UpdateAddress(request)
    return reply


# Creating


def test_an_address_is_kept_as_it_is_given_with_its_zone(shop: Shop, ada: Person) -> None:
    given = an_address()
    made = create(ada, given)
    assert (made.zone_id, made.etag) == ("north", "1")
    assert shop.deliveries.asked[-1] == Place(48.2, 16.4)
    assert get(ada, made.id) == made
    for name in ("id", "zone_id", "etag", "create_time", "update_time"):
        made.ClearField(name)
    assert made == given


def test_where_nobody_delivers_an_address_is_kept_without_a_zone(ada: Person) -> None:
    assert create(ada, an_address(latitude=-33.9)).zone_id == ""


def test_without_the_delivery_service_no_address_is_kept(shop: Shop) -> None:
    person = shop.join()
    shop.deliveries.away = True
    try:
        with pytest.raises(Unavailable):
            create(person, request_id="k")
    finally:
        shop.deliveries.away = False
    assert not person.stub.ListAddresses(pb.ListAddressesRequest(user_id="me")).addresses
    assert create(person, request_id="k").zone_id == "north"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("address.recipient", {"recipient": ""}),
        ("address.recipient", {"recipient": " "}),
        ("address.line1", {"line1": ""}),
        ("address.city", {"city": ""}),
        ("address.location", {"location": None}),
        ("address.location.latitude", {"location": LatLng(latitude=91)}),
        ("address.location.longitude", {"location": LatLng(longitude=float("nan"))}),
        ("address.countryCode", {"country_code": "gb"}),
        ("address.label", {"label": "x" * 51}),
        ("address.phone", {"phone": "0" * 51}),
    ],
)
def test_an_address_that_lacks_something_is_refused_and_the_field_named(
    ada: Person, field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        create(ada, an_address(**changes))
    assert [each.field for each in refused.value.fields] == [field]


def test_an_address_must_be_given(ada: Person) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ada.stub.CreateAddress(pb.CreateAddressRequest(user_id="me"))
    assert [each.field for each in refused.value.fields] == ["address"]


def test_what_the_service_says_of_an_address_is_not_taken_from_the_client(ada: Person) -> None:
    own = uuid7()
    absurd = Timestamp(seconds=10**17)
    made = create(ada, an_address(id=str(own), zone_id="mine", etag="7", create_time=absurd, update_time=absurd))
    assert (made.id != str(own), made.zone_id, made.etag) == (True, "north", "1")
    assert made.create_time.seconds < 10**11


def test_text_that_cannot_be_kept_is_a_mistake_of_the_caller(ada: Person) -> None:
    with pytest.raises(InvalidArgument):
        create(ada, an_address(line2="2nd\0floor"))


def test_a_repeated_request_makes_one_address_and_shows_it_as_it_is_now(shop: Shop) -> None:
    person = shop.join()
    made = create(person, request_id="k")
    changed = update(person, made, label="Work")
    assert create(person, request_id="k") == changed
    with pytest.raises(IdempotencyKeyReused):
        create(person, an_address(label="Other"), request_id="k")
    assert len(person.stub.ListAddresses(pb.ListAddressesRequest(user_id="me")).addresses) == 1


def test_the_same_address_many_times_at_once_is_one(shop: Shop) -> None:
    person = shop.join()
    told = at_once(lambda: create(person, request_id="k"), 6)
    assert len({each.id if isinstance(each, pb.Address) else repr(each) for each in told}) == 1


def test_an_account_keeps_fifty_addresses_even_if_two_come_at_once(shop: Shop) -> None:
    person = shop.join()
    first = create(person)
    with shop.work() as work:
        work.connection.execute(
            """
            insert into addresses select gen_random_uuid(), user_id, label, recipient, line1, line2, postal_code, city,
                country_code, phone, latitude, longitude, zone_id, version
            from addresses, generate_series(1, 48) where id = %s
            """,
            [first.id],
        )
    told = at_once(lambda: create(person), 4)
    assert sum(isinstance(each, pb.Address) for each in told) == 1
    assert sum(isinstance(each, TooManyAddresses) for each in told) == 3
    with pytest.raises(TooManyAddresses) as refused:
        create(person, request_id="k")
    assert (refused.value.reason, refused.value.metadata) == ("TOO_MANY_ADDRESSES", {"most": 50})
    person.stub.DeleteAddress(pb.DeleteAddressRequest(user_id="me", id=first.id))
    assert create(person, request_id="k").zone_id == "north"


# Changing


@pytest.mark.parametrize("mask", [(), ("label", "line2")])
def test_what_the_mask_names_or_else_what_is_set_is_changed(ada: Person, mask: tuple[str, ...]) -> None:
    made = create(ada)
    changed = update(ada, made, mask, label="Work", line2="1st floor", **({"city": "Bath"} if mask else {}))
    assert (changed.label, changed.line2, changed.etag) == ("Work", "1st floor", "2")
    assert (changed.city, changed.recipient, changed.zone_id) == (made.city, made.recipient, "north")
    assert (changed.create_time, changed.location) == (made.create_time, made.location)
    assert changed.update_time.ToNanoseconds() > made.update_time.ToNanoseconds()
    assert get(ada, made.id) == changed


def test_a_mask_may_empty_a_field_but_not_a_required_one(ada: Person) -> None:
    made = create(ada)
    assert update(ada, made, ("phone",)).phone == ""
    for name in ("recipient", "city", "location"):
        with pytest.raises(InvalidArgument) as refused:
            update(ada, get(ada, made.id), (name,))
        assert [each.field for each in refused.value.fields] == [f"address.{name}"]


@pytest.mark.parametrize("name", ["id", "zone_id", "create_time", "etag", "nonsense"])
def test_what_is_not_the_users_to_change_is_named(ada: Person, name: str) -> None:
    made = create(ada)
    with pytest.raises(InvalidArgument) as refused:
        update(ada, made, ("label", name), label="Work")
    assert [each.field for each in refused.value.fields] == ["updateMask"]
    assert refused.value.message.startswith(f"updateMask: {lower_camel(name)} ")
    assert get(ada, made.id) == made


def test_who_moves_gets_another_zone_and_who_does_not_keeps_theirs(shop: Shop, ada: Person) -> None:
    made = create(ada)
    asked = len(shop.deliveries.asked)
    relabelled = update(ada, made, label="Work", location=made.location)
    assert len(shop.deliveries.asked) == asked
    moved = update(ada, relabelled, location=SOUTH)
    assert (moved.zone_id, moved.location) == ("", SOUTH)
    assert update(ada, moved, location=made.location).zone_id == "north"


def test_a_change_wants_the_version_that_was_read_and_asks_nobody_else_before(shop: Shop, ada: Person) -> None:
    made = create(ada)
    changed = update(ada, made, label="Work")
    asked = len(shop.deliveries.asked)
    with pytest.raises(EtagMismatch):
        update(ada, made, location=SOUTH)
    with pytest.raises(EtagRequired):
        update(ada, pb.Address(id=made.id), location=SOUTH)
    assert len(shop.deliveries.asked) == asked
    assert get(ada, made.id) == changed


def test_of_many_changes_of_one_version_one_lands(ada: Person) -> None:
    made = create(ada)
    told = at_once(lambda: update(ada, made, label="Work", location=SOUTH), 4)
    assert sum(isinstance(each, pb.Address) for each in told) == 1
    assert sum(isinstance(each, EtagMismatch) for each in told) == 3


def test_an_address_is_named_by_a_uuid(ada: Person) -> None:
    for address_id in ("", "7"):
        with pytest.raises(InvalidArgument) as refused:
            update(ada, pb.Address(id=address_id, etag="1"), label="Work")
        assert [each.field for each in refused.value.fields] == ["address.id"]


# Whose they are


def test_addresses_are_listed_newest_first_in_pages_that_are_their_readers_alone(shop: Shop) -> None:
    person, other = shop.join(), shop.join()
    made = [create(person).id for _ in range(3)]
    create(other)
    first = person.stub.ListAddresses(pb.ListAddressesRequest(user_id="me", page_size=2))
    again = pb.ListAddressesRequest(user_id="me", page_size=2, page_token=first.next_page_token)
    rest = person.stub.ListAddresses(again)
    assert [[each.id for each in page.addresses] for page in (first, rest)] == [made[:0:-1], made[:1]]
    assert rest.next_page_token == ""
    with pytest.raises(InvalidPageToken):
        other.stub.ListAddresses(again)


def test_a_deleted_address_is_gone(ada: Person) -> None:
    made = create(ada)
    ada.stub.DeleteAddress(pb.DeleteAddressRequest(user_id="me", id=made.id))
    for call in (
        lambda: get(ada, made.id),
        lambda: update(ada, made, label="Work"),
        lambda: ada.stub.DeleteAddress(pb.DeleteAddressRequest(user_id="me", id=made.id)),
    ):
        with pytest.raises(NotFound):
            call()


def test_anothers_address_looks_like_none(shop: Shop, ada: Person) -> None:
    other = shop.join()
    made = create(ada)
    refusals = []
    for user_id, address_id in (("me", made.id), (ada.id, made.id), (other.id, str(uuid7()))):
        named = {"user_id": user_id, "id": address_id}
        changed = pb.Address(id=address_id, etag="1", label="Mine")
        for rpc, request in (
            ("GetAddress", pb.GetAddressRequest(**named)),
            ("UpdateAddress", pb.UpdateAddressRequest(user_id=user_id, address=changed)),
            ("DeleteAddress", pb.DeleteAddressRequest(**named)),
        ):
            with pytest.raises(NotFound) as refused:
                getattr(other.stub, rpc)(request)
            refusals.append((refused.value.reason, refused.value.message, refused.value.metadata))
    assert refusals == refusals[:1] * 9
    for refused_too in (
        lambda: create(other, user_id=ada.id),
        lambda: other.stub.ListAddresses(pb.ListAddressesRequest(user_id=ada.id)),
        lambda: shop.support.ListAddresses(pb.ListAddressesRequest(user_id=ada.id)),
    ):
        with pytest.raises(NotFound):
            refused_too()
    assert get(ada, made.id) == made


def test_the_order_service_reads_the_address_that_a_customer_names(shop: Shop, ada: Person) -> None:
    made, other = create(ada), shop.join()
    assert shop.order.GetAddress(pb.GetAddressRequest(user_id=ada.id, id=made.id)) == made
    with pytest.raises(NotFound):
        shop.order.GetAddress(pb.GetAddressRequest(user_id=other.id, id=made.id))
    with pytest.raises(InvalidArgument):
        shop.order.GetAddress(pb.GetAddressRequest(id=made.id))


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("ListAddresses", pb.ListAddressesRequest(user_id="me")),
        ("GetAddress", pb.GetAddressRequest(user_id="me", id=str(uuid7()))),
        ("CreateAddress", pb.CreateAddressRequest(user_id="me", address=an_address())),
        ("UpdateAddress", pb.UpdateAddressRequest(user_id="me", address=an_address(id=str(uuid7())))),
        ("DeleteAddress", pb.DeleteAddressRequest(user_id="me", id=str(uuid7()))),
    ],
)
def test_addresses_are_for_those_who_have_an_account(shop: Shop, rpc: str, request_: Any) -> None:
    refusals: list[tuple[Any, type[MercatoError]]] = [
        (shop.gateway, Unauthenticated),
        (shop.stub(shop.guest()), PermissionDenied),
    ]
    for stub, refusal in refusals:
        with pytest.raises(refusal):
            getattr(stub, rpc)(request_)


# The delivery service


class Zones:
    """A delivery service with zones in the north alone."""

    def LocateZone(self, request: delivery_pb2.LocateZoneRequest) -> delivery_pb2.Zone:
        if request.latitude == 91:
            raise Unavailable("nobody there")
        if request.latitude < 0:
            raise NotFound
        return delivery_pb2.Zone(id=f"at {request.latitude} {request.longitude}")


def test_the_zone_is_that_of_the_delivery_service_and_nobodys_is_none() -> None:
    stub: Any = Zones()
    deliveries = GrpcDeliveries(stub)
    assert deliveries.locate_zone(Place(48.5, 16.5)) == "at 48.5 16.5"
    assert deliveries.locate_zone(Place(-1, 0)) == ""
    with pytest.raises(Unavailable):
        deliveries.locate_zone(Place(91, 0))
