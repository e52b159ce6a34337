"""Users, sessions and addresses as protobuf messages, and back."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from google.type import latlng_pb2

from mercato.api.user.v1 import user_events_pb2 as events
from mercato.api.user.v1 import user_pb2 as pb
from mercato.errors import InvalidArgument
from mercato.ids import uuid7
from mercato.rpc.validation import unchangeable
from mercato.wire import time_to_pb
from services.user.domain import Address, Identity, Session, User

_TEXTS = ("label", "recipient", "line1", "line2", "postal_code", "city", "country_code", "phone")
_CHANGEABLE = frozenset({*_TEXTS, "location"})
_NOT_YET = datetime.fromtimestamp(0, UTC)  # the database says when


def user_to_pb(user: User) -> pb.User:
    return pb.User(
        id=str(user.id),
        email=user.email,
        display_name=user.display_name,
        roles=user.roles,
        state=pb.User.State.Value(user.state),
        etag=str(user.version),
        create_time=time_to_pb(user.create_time),
    )


def session_to_pb(session: Session, current: str) -> pb.Session:
    return pb.Session(
        id=str(session.id),
        user_id=str(session.subject),
        current=str(session.id) == current,
        create_time=time_to_pb(session.create_time),
        expire_time=time_to_pb(session.expire_time),
    )


def identity_to_pb(identity: Identity) -> pb.SessionIdentity:
    session = identity.session
    return pb.SessionIdentity(
        session_id=str(session.id),
        subject=str(session.subject),
        roles=("guest",) if session.guest else identity.roles,
        guest_id=str(session.guest_id or ""),
        expire_time=time_to_pb(session.expire_time),
    )


def address_to_pb(address: Address) -> pb.Address:
    return pb.Address(
        id=str(address.id),
        location=latlng_pb2.LatLng(latitude=address.latitude, longitude=address.longitude),
        zone_id=address.zone_id,
        etag=str(address.version),
        create_time=time_to_pb(address.create_time),
        update_time=time_to_pb(address.update_time),
        **{name: getattr(address, name) for name in _TEXTS},
    )


def new_address(user_id: UUID, given: pb.Address) -> Address:
    """The address that a request describes, without a zone or times yet."""
    latitude, longitude = _place(given)
    return Address(
        id=uuid7(),
        user_id=user_id,
        latitude=latitude,
        longitude=longitude,
        zone_id="",
        version=1,
        create_time=_NOT_YET,
        update_time=_NOT_YET,
        **{name: getattr(given, name) for name in _TEXTS},
    )


def address_change(given: pb.Address, mask: Iterable[str]) -> Callable[[Address], Address]:
    """What an update does to an address: the fields of the mask, or, without one, those that are set."""
    names = list(mask) or [field.name for field, _ in given.ListFields() if field.name in _CHANGEABLE]
    for name in names:
        if name not in _CHANGEABLE:
            raise unchangeable(name)
    changes: dict[str, object] = {name: getattr(given, name) for name in names if name != "location"}
    if "location" in names:
        changes["latitude"], changes["longitude"] = _place(given)
    return lambda address: replace(address, **changes)  # type: ignore[arg-type]  # every name is a field of Address


def new_name(given: pb.User, mask: Iterable[str]) -> str | None:
    """The display name that an update asks for; None if it asks for none."""
    names = list(mask) or [field.name for field, _ in given.ListFields() if field.name == "display_name"]
    for name in names:
        if name != "display_name":
            raise unchangeable(name)
    return given.display_name if names else None


def _place(given: pb.Address) -> tuple[float, float]:
    if not given.HasField("location"):
        raise InvalidArgument.of("address.location", "is required: the client knows the place", "REQUIRED")
    place = given.location
    if not (-90 <= place.latitude <= 90):
        raise InvalidArgument.of("address.location.latitude", "must be between -90 and 90", "RANGE")
    if not (-180 <= place.longitude <= 180):
        raise InvalidArgument.of("address.location.longitude", "must be between -180 and 180", "RANGE")
    return place.latitude, place.longitude


def registered(user: User) -> events.UserRegistered:
    return events.UserRegistered(user_id=str(user.id))


def updated(user: User) -> events.UserUpdated:
    return events.UserUpdated(user_id=str(user.id))


def erased(user: User) -> events.UserErased:
    return events.UserErased(user_id=str(user.id))


def roles_changed(user: User) -> events.RolesChanged:
    return events.RolesChanged(user_id=str(user.id), roles=user.roles)
