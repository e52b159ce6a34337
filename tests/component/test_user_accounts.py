"""Accounts: how they are opened, changed and forgotten, what others see of them, and what is told of them."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from psycopg import sql

from mercato.api.order.v1 import order_events_pb2 as orders
from mercato.api.user.v1 import user_events_pb2 as events
from mercato.api.user.v1 import user_pb2 as pb
from mercato.cache import connect
from mercato.clock import SystemClock
from mercato.delivery import Delivery, Place, Record
from mercato.errors import (
    EtagMismatch,
    EtagRequired,
    IdempotencyKeyReused,
    InvalidArgument,
    InvalidPageToken,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mercato.ids import uuid7
from mercato.postgres import Database
from mercato.testing import at_once, staff
from services.user.consumers import follow_orders
from services.user.domain import EmailTaken, InvalidCredentials, OpenOrders, OwnRoles, PasswordTooCommon
from services.user.usecases import OrdersOfUsers
from tests.component.user_shop import ADMIN, EMAILS, PASSWORD, Person, Shop, an_address, open_shop
from tests.servers import FreshDatabase
from tests.valkeys import PATIENCE

NEW = "eight maids a-milking"


@pytest.fixture(scope="module")
def shop(user_database: Database, valkey_url: str) -> Iterator[Shop]:
    with connect(valkey_url, patience=PATIENCE) as redis, open_shop(user_database, redis) as shop:
        yield shop


# Registering


def test_who_registers_is_a_customer(shop: Shop) -> None:
    email = next(EMAILS)
    user = shop.gateway.RegisterUser(pb.RegisterUserRequest(email=email, password=PASSWORD, display_name="Ada"))
    assert (user.email, user.display_name, list(user.roles)) == (email, "Ada", ["customer"])
    assert (user.state, user.etag) == (pb.User.ACTIVE, "1")
    assert shop.told(user.id) == ["UserRegistered"]


def test_an_email_has_one_account_in_whatever_case(shop: Shop) -> None:
    person = shop.join()
    with pytest.raises(EmailTaken) as refused:
        shop.gateway.RegisterUser(pb.RegisterUserRequest(email=person.email.swapcase(), password=NEW))
    assert (refused.value.reason, refused.value.definite) == ("EMAIL_TAKEN", True)
    assert shop.sign_in(person.email).id == person.id


def test_of_many_who_register_one_email_at_once_one_gets_it(shop: Shop) -> None:
    request = pb.RegisterUserRequest(email=next(EMAILS), password=PASSWORD)
    told = at_once(lambda: shop.gateway.RegisterUser(request), 6)
    assert sum(isinstance(each, pb.User) for each in told) == 1
    assert sum(isinstance(each, EmailTaken) for each in told) == 5


def test_a_common_password_is_refused_and_nothing_opened(shop: Shop) -> None:
    email = next(EMAILS)
    with pytest.raises(PasswordTooCommon) as refused:
        shop.gateway.RegisterUser(pb.RegisterUserRequest(email=email, password="Password1"))
    assert [(each.field, each.reason) for each in refused.value.fields] == [("password", "PASSWORD_TOO_COMMON")]
    assert shop.sql("select 1 from users where email = %s", email) == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("email", {"email": "ada"}),
        ("email", {"email": ""}),
        ("email", {"email": f"{'a' * 250}@b.org"}),
        ("email", {"email": "a\0da@example.org"}),
        ("password", {"password": "7 bytes"}),
        ("password", {"password": "é" * 513}),
        ("displayName", {"display_name": "x" * 101}),
    ],
)
def test_a_malformed_registration_is_refused_and_the_field_named(
    shop: Shop, field: str, changes: dict[str, str]
) -> None:
    good = {"email": next(EMAILS), "password": PASSWORD, "display_name": "Ada"}
    with pytest.raises(InvalidArgument) as refused:
        shop.gateway.RegisterUser(pb.RegisterUserRequest(**(good | changes)))
    assert {each.field for each in refused.value.fields} == {field}


@pytest.mark.parametrize("password", ["é" * 512, "8 bytes!"])
def test_a_password_has_8_to_1024_bytes(shop: Shop, password: str) -> None:
    email = next(EMAILS)
    shop.gateway.RegisterUser(pb.RegisterUserRequest(email=email, password=password))
    assert shop.sign_in(email, password).email == email


def test_text_that_cannot_be_kept_is_a_mistake_of_the_caller(shop: Shop) -> None:
    with pytest.raises(InvalidArgument):
        shop.gateway.RegisterUser(pb.RegisterUserRequest(email=next(EMAILS), password=PASSWORD, display_name="A\0da"))
    with pytest.raises(InvalidArgument):
        shop.gateway.SignIn(pb.SignInRequest(email="a\0da@example.org", password=PASSWORD))


# Reading


def test_users_see_themselves_whole(shop: Shop) -> None:
    person = shop.join()
    for name in ("me", person.id):
        assert person.stub.GetUser(pb.GetUserRequest(id=name)) == person.user


def test_support_sees_a_masked_email_and_admin_the_whole(shop: Shop) -> None:
    person = shop.join()
    request = pb.GetUserRequest(id=person.id)
    assert shop.support.GetUser(request).email == "A•••@Example.org"
    assert shop.admin.GetUser(request) == person.user


def test_another_user_looks_like_none(shop: Shop) -> None:
    person, other, erased = shop.join(), shop.join(), shop.join()
    erased.stub.EraseUser(pb.EraseUserRequest(id="me"))
    refusals = []
    for stub, user_id in ((person.stub, other.id), (person.stub, str(uuid7())), (shop.support, erased.id)):
        with pytest.raises(NotFound) as refused:
            stub.GetUser(pb.GetUserRequest(id=user_id))
        refusals.append((refused.value.reason, refused.value.message, refused.value.metadata))
    assert refusals == refusals[:1] * 3


def test_users_are_listed_newest_first_in_pages_that_tell_no_email(shop: Shop) -> None:
    people = [shop.join() for _ in range(5)]
    request, pages, tokens = pb.ListUsersRequest(page_size=2), list[Any](), list[str]()
    while len(pages) < 3:
        page = shop.support.ListUsers(request)
        pages += [page.users]
        tokens.append(page.next_page_token)
        request.page_token = page.next_page_token
    listed = [user for page in pages for user in page]
    assert {person.id for person in people} <= {user.id for user in listed}
    assert [user.id for user in listed] == sorted((user.id for user in listed), reverse=True)
    assert {user.email for user in listed} == {"A•••@Example.org"}
    assert not [token for token in tokens if b"xample" in _decoded(token).lower()]
    with pytest.raises(InvalidPageToken):
        shop.admin.ListUsers(pb.ListUsersRequest(page_size=2, page_token=tokens[0]))


def _decoded(token: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(token + "=" * (-len(token) % 4))


def test_users_are_found_by_email_and_by_role(shop: Shop) -> None:
    person, courier, erased = shop.join(), shop.join(), shop.join()
    shop.admin.SetRoles(pb.SetRolesRequest(id=courier.id, roles=["courier"]))
    erased.stub.EraseUser(pb.EraseUserRequest(id="me"))

    def found(**query: str) -> list[str]:
        return [user.id for user in shop.admin.ListUsers(pb.ListUsersRequest(page_size=200, **query)).users]

    assert found(email=person.email.upper()) == [person.id]
    assert found(role="courier") == [courier.id]
    assert found(email=person.email, role="courier") == found(email=erased.email) == found(role="king") == []
    assert erased.id not in found()
    [listed] = shop.admin.ListUsers(pb.ListUsersRequest(email=person.email)).users
    assert listed == person.user


@pytest.mark.parametrize("role", ["customer", "courier", "warehouse", "finance", "catalog", "guest"])
def test_users_are_listed_for_support_and_admin_alone(shop: Shop, role: str) -> None:
    with pytest.raises(PermissionDenied):
        shop.stub(staff(role)).ListUsers(pb.ListUsersRequest())


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("ListUsers", pb.ListUsersRequest()),
        ("GetUser", pb.GetUserRequest(id="me")),
        ("UpdateUser", pb.UpdateUserRequest(user=pb.User(id="me"))),
        ("EraseUser", pb.EraseUserRequest(id="me")),
        ("ChangePassword", pb.ChangePasswordRequest(old_password=PASSWORD, new_password=NEW)),
        ("SetRoles", pb.SetRolesRequest(id=str(uuid7()))),
    ],
)
def test_nobody_and_no_service_touches_accounts(shop: Shop, rpc: str, request_: Any) -> None:
    with pytest.raises(Unauthenticated):
        getattr(shop.gateway, rpc)(request_)
    with pytest.raises(PermissionDenied):
        getattr(shop.order, rpc)(request_)


# Profiles


def _update(stub: Any, user: pb.User, mask: tuple[str, ...] = (), **values: Any) -> pb.User:
    changed = pb.User(id="me", etag=user.etag, **values)
    reply: pb.User = stub.UpdateUser(pb.UpdateUserRequest(user=changed, update_mask=FieldMask(paths=mask)))
    return reply


@pytest.mark.parametrize("mask", [(), ("display_name",)])
def test_a_profile_is_changed_and_its_version_with_it(shop: Shop, mask: tuple[str, ...]) -> None:
    person = shop.join("Ada")
    changed = _update(person.stub, person.user, mask, display_name="Bea")
    assert (changed.display_name, changed.email, changed.etag) == ("Bea", person.email, "2")
    assert person.stub.GetUser(pb.GetUserRequest(id="me")) == changed
    assert shop.told(person.id) == ["UserRegistered", "UserUpdated"]


def test_a_change_wants_the_version_that_was_read(shop: Shop) -> None:
    person = shop.join("Ada")
    _update(person.stub, person.user, display_name="Bea")
    with pytest.raises(EtagMismatch):
        _update(person.stub, person.user, display_name="Cyd")
    with pytest.raises(EtagRequired):
        _update(person.stub, pb.User(), display_name="Cyd")
    assert person.stub.GetUser(pb.GetUserRequest(id="me")).display_name == "Bea"


def test_of_many_changes_of_one_version_one_lands(shop: Shop) -> None:
    person = shop.join("Ada")
    told = at_once(lambda: _update(person.stub, person.user, display_name="Bea"), 4)
    assert sum(isinstance(each, pb.User) for each in told) == 1
    assert sum(isinstance(each, EtagMismatch) for each in told) == 3


def test_a_change_of_nothing_is_none(shop: Shop) -> None:
    person = shop.join("Ada")
    assert _update(person.stub, person.user, display_name="Ada") == person.user
    assert _update(person.stub, person.user, email="other@example.org") == person.user
    assert shop.told(person.id) == ["UserRegistered"]


@pytest.mark.parametrize("name", ["email", "roles", "nonsense"])
def test_what_is_not_ones_own_to_change_is_named(shop: Shop, name: str) -> None:
    person = shop.join()
    with pytest.raises(InvalidArgument) as refused:
        _update(person.stub, person.user, ("display_name", name), display_name="Bea")
    assert name in refused.value.message
    assert person.stub.GetUser(pb.GetUserRequest(id="me")) == person.user


def test_a_profile_is_its_owners_alone_to_change(shop: Shop) -> None:
    person, other = shop.join(), shop.join()
    request = pb.UpdateUserRequest(user=pb.User(id=person.id, etag="1", display_name="Bea"))
    for stub in (other.stub, shop.support, shop.admin):
        with pytest.raises(NotFound):
            stub.UpdateUser(request)
    with pytest.raises(InvalidArgument):
        person.stub.UpdateUser(pb.UpdateUserRequest())


# Passwords


def _change(person: Person, old: str = PASSWORD, new: str = NEW, request_id: str = "") -> pb.User:
    request = pb.ChangePasswordRequest(old_password=old, new_password=new, request_id=request_id)
    reply: pb.User = person.stub.ChangePassword(request)
    return reply


def test_a_new_password_replaces_the_old_one_and_ends_the_other_sessions(shop: Shop) -> None:
    person = shop.join()
    other = shop.sign_in(person.email)
    assert _change(person).etag == "2"
    assert shop.look_up(person.token).subject == person.id
    with pytest.raises(NotFound):
        shop.look_up(other.token)
    with pytest.raises(InvalidCredentials):
        shop.sign_in(person.email)
    assert shop.sign_in(person.email, NEW).id == person.id
    assert shop.told(person.id) == ["UserRegistered", "UserUpdated"]


def test_changing_a_password_wants_the_old_one_and_a_better_new_one(shop: Shop) -> None:
    person = shop.join()
    other = shop.sign_in(person.email)
    with pytest.raises(InvalidCredentials):
        _change(person, old="wrong")
    with pytest.raises(PasswordTooCommon) as refused:
        _change(person, new="iloveyou2")
    assert [each.field for each in refused.value.fields] == ["newPassword"]
    with pytest.raises(InvalidArgument) as refused_too:
        _change(person, new="7 bytes")
    assert [each.field for each in refused_too.value.fields] == ["newPassword"]
    assert shop.look_up(other.token).subject == person.id
    assert shop.told(person.id) == ["UserRegistered"]


def test_a_repeated_change_of_password_answers_as_the_first_and_ends_nothing_more(shop: Shop) -> None:
    person = shop.join()
    changed = _change(person, request_id="k")
    later = shop.sign_in(person.email, NEW)
    assert _change(person, request_id="k") == changed
    assert shop.look_up(later.token).subject == person.id
    assert shop.told(person.id) == ["UserRegistered", "UserUpdated"]


def test_the_same_change_of_password_at_once_is_one(shop: Shop) -> None:
    person = shop.join()
    told = at_once(lambda: _change(person, request_id="k"), 4)
    assert [each.etag for each in told if isinstance(each, pb.User)] == ["2"] * 4


def test_of_two_changes_of_one_password_one_lands(shop: Shop) -> None:
    person = shop.join()
    told = at_once(lambda: _change(person), 3)
    assert sum(isinstance(each, pb.User) for each in told) == 1
    assert sum(isinstance(each, InvalidCredentials) for each in told) == 2


def test_a_key_belongs_to_one_change_and_a_refused_one_leaves_it_free(shop: Shop) -> None:
    person = shop.join()
    with pytest.raises(InvalidCredentials):
        _change(person, old="wrong", request_id="k")
    _change(person, request_id="k")
    for old in (PASSWORD, NEW):
        with pytest.raises(IdempotencyKeyReused):
            _change(person, old=old, new="nine ladies dancing", request_id="k")


# Roles


def test_an_admin_says_what_a_user_may_do(shop: Shop) -> None:
    person = shop.join()
    request = pb.SetRolesRequest(id=person.id, roles=["finance", "customer"])
    changed = [shop.admin.SetRoles(request) for _ in range(2)]
    assert changed[0] == changed[1]
    assert list(changed[0].roles) == ["customer", "finance"]
    assert shop.told(person.id) == ["UserRegistered", "RolesChanged"]
    [[payload]] = shop.sql("select payload from outbox where aggregate_id = %s and version = 2", person.id)
    assert events.RolesChanged.FromString(payload) == events.RolesChanged(
        user_id=person.id, roles=["customer", "finance"]
    )
    assert list(shop.admin.SetRoles(pb.SetRolesRequest(id=person.id)).roles) == []


def test_nobody_sets_their_own_roles(shop: Shop) -> None:
    with pytest.raises(OwnRoles) as refused:
        shop.admin.SetRoles(pb.SetRolesRequest(id=ADMIN.subject, roles=["admin"]))
    assert refused.value.reason == "OWN_ROLES"


@pytest.mark.parametrize("roles", [["king"], ["ADMIN"], ["guest"], ["support", "support"], [""]])
def test_roles_are_known_words_each_once(shop: Shop, roles: list[str]) -> None:
    person = shop.join()
    with pytest.raises(InvalidArgument) as refused:
        shop.admin.SetRoles(pb.SetRolesRequest(id=person.id, roles=roles))
    assert refused.value.fields[0].field.startswith("roles")


def test_roles_are_set_by_admins_of_users_who_are_there(shop: Shop) -> None:
    person, erased = shop.join(), shop.join()
    erased.stub.EraseUser(pb.EraseUserRequest(id="me"))
    for stub in (person.stub, shop.support):
        with pytest.raises(PermissionDenied):
            stub.SetRoles(pb.SetRolesRequest(id=person.id, roles=["admin"]))
    for user_id in (str(uuid7()), erased.id):
        with pytest.raises(NotFound):
            shop.admin.SetRoles(pb.SetRolesRequest(id=user_id, roles=["customer"]))


# Orders that are not over


def _hear(shop: Shop, order_id: UUID, *told: Message) -> None:
    """The order service tells what happened to an order."""
    now = SystemClock().now()
    with shop.work() as work:
        for version, event in enumerate(told, 1):
            kind = event.DESCRIPTOR.full_name
            record = Record(Place("mercato.order.v1", "", 0), version, str(order_id), b"", {"ce_type": kind}, now)
            delivery = Delivery(str(uuid7()), kind, str(order_id), version, now, event, record.headers, record)
            follow_orders(OrdersOfUsers())(work, [delivery])


def _placed(person: Person, order_id: UUID) -> orders.OrderPlaced:
    return orders.OrderPlaced(order_id=str(order_id), customer_id=person.id)


def test_a_person_with_open_orders_is_not_erased(shop: Shop) -> None:
    person, other = shop.join(), shop.join()
    for _ in range(2):
        order_id = uuid7()
        for _ in range(2):
            _hear(shop, order_id, _placed(person, order_id))
    _hear(shop, order_id, _placed(other, uuid7()))
    with pytest.raises(OpenOrders) as refused:
        person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    assert (refused.value.reason, refused.value.metadata) == ("OPEN_ORDERS", {"orders": 2})
    assert person.stub.GetUser(pb.GetUserRequest(id="me")) == person.user
    assert shop.look_up(person.token).subject == person.id


@pytest.mark.parametrize("over", [orders.OrderDelivered, orders.OrderRejected, orders.OrderCancelled])
def test_an_order_that_is_over_holds_nobody(shop: Shop, over: type[Any]) -> None:
    person, order_id = shop.join(), uuid7()
    _hear(shop, order_id, _placed(person, order_id))
    for _ in range(2):
        _hear(shop, order_id, over(order_id=str(order_id)))
    person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    assert shop.told(person.id)[-1] == "UserErased"


# Erasing


def _everything(database: FreshDatabase) -> str:
    """Every row of every table of the schema, as its superuser sees them."""
    with psycopg.connect(database.url) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'users'").fetchall()
        rows = [
            connection.execute(
                sql.SQL("select coalesce(string_agg(t::text, ' '), '') from {} t").format(
                    sql.Identifier("users", table)
                )
            ).fetchone()
            for (table,) in tables
        ]
    return " ".join(str(row) for row in rows).lower()


def _found(needles: list[str], hay: str) -> list[str]:
    return [each for each in needles if each.lower() in hay or each.encode().hex() in hay]


def test_of_an_erased_person_nothing_is_left_in_any_table(shop: Shop, fresh_database: FreshDatabase) -> None:
    person = shop.join("Augusta Ada King")
    address = an_address(recipient="Countess Lovelace", phone="+44 1 234", line1="Ockham Park", label="The park")
    person.stub.CreateAddress(pb.CreateAddressRequest(user_id="me", address=address, request_id="k"))
    person = shop.sign_in(person.email)
    _change(person, request_id="k")
    password_hash = shop.sql("select password_hash from users where id = %s", person.id)[0][0]
    needles = [person.email, "Augusta", "Countess", "+44 1 234", "Ockham", "The park", password_hash]
    assert _found(needles, _everything(fresh_database)) == needles
    person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    assert _found(needles, _everything(fresh_database)) == []


def test_erasing_ends_the_sessions_and_is_told(shop: Shop) -> None:
    person = shop.join()
    other = shop.sign_in(person.email)
    person.stub.EraseUser(pb.EraseUserRequest(id=person.id))
    for token in (person.token, other.token):
        with pytest.raises(NotFound):
            shop.look_up(token)
    with pytest.raises(InvalidCredentials):
        shop.sign_in(person.email)
    assert shop.told(person.id) == ["UserRegistered", "UserErased"]


def test_the_email_of_an_erased_person_may_register_again(shop: Shop) -> None:
    person = shop.join()
    person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    shop.gateway.RegisterUser(pb.RegisterUserRequest(email=person.email, password=NEW))
    assert shop.sign_in(person.email, NEW).id != person.id


def test_erasing_twice_or_at_once_is_erasing(shop: Shop) -> None:
    person = shop.join()
    told = at_once(lambda: person.stub.EraseUser(pb.EraseUserRequest(id="me")), 3)
    assert [each for each in told if isinstance(each, Exception)] == []
    assert shop.told(person.id) == ["UserRegistered", "UserErased"]


def test_a_person_erases_themselves_alone(shop: Shop) -> None:
    person = shop.join()
    for stub in (shop.join().stub, shop.support, shop.admin):
        with pytest.raises(NotFound):
            stub.EraseUser(pb.EraseUserRequest(id=person.id))
    with pytest.raises(NotFound):
        shop.admin.EraseUser(pb.EraseUserRequest(id="me"))  # who has no account
    assert shop.look_up(person.token).subject == person.id


def test_what_is_left_of_a_session_cannot_bring_an_erased_person_back(shop: Shop) -> None:
    person = shop.join()
    person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    for touch in (
        lambda: _update(person.stub, pb.User(etag="2"), display_name="Ada"),
        lambda: person.stub.CreateAddress(pb.CreateAddressRequest(user_id="me", address=an_address())),
    ):
        with pytest.raises(NotFound):
            touch()
    with pytest.raises(InvalidCredentials):
        _change(person)
    assert shop.told(person.id) == ["UserRegistered", "UserErased"]


def test_events_tell_nothing_of_who_somebody_is(shop: Shop) -> None:
    person = shop.join("Augusta")
    _update(person.stub, person.user, display_name="Ada King")
    _change(person)
    shop.admin.SetRoles(pb.SetRolesRequest(id=person.id, roles=["support"]))
    person.stub.EraseUser(pb.EraseUserRequest(id="me"))
    assert shop.told(person.id) == ["UserRegistered", "UserUpdated", "UserUpdated", "RolesChanged", "UserErased"]
    rows = shop.sql("select payload, headers::text, aggregate_id from outbox where aggregate_id = %s", person.id)
    told = b" ".join(bytes(payload) + headers.encode() for payload, headers, _ in rows)
    assert [name for name in ("Augusta", "Ada King", person.email) if name.encode() in told] == []


# The operator's accounts


def _put(shop: Shop, email: str, *roles: str, password: str = PASSWORD, name: str = "Ada") -> pb.User:
    request = pb.PutAccountRequest(email=email, password=password, display_name=name, roles=roles)
    reply: pb.User = shop.operator.PutAccount(request)
    return reply


def test_the_operator_makes_an_account_and_a_repeat_changes_and_tells_nothing(shop: Shop) -> None:
    email = next(EMAILS)
    made = _put(shop, email, "warehouse", "customer")
    assert (made.display_name, list(made.roles)) == ("Ada", ["customer", "warehouse"])
    person = shop.sign_in(email)
    assert _put(shop, email.upper(), "customer", "warehouse", name="Bea") == made
    assert shop.told(made.id) == ["UserRegistered", "RolesChanged"]
    assert shop.look_up(person.token).subject == made.id


def test_the_operator_sets_password_and_roles_of_an_account_that_is_there(shop: Shop) -> None:
    person = shop.join("Ada")
    put = _put(shop, person.email, "admin", password=NEW, name="Bea")
    assert (put.id, put.display_name, list(put.roles)) == (person.id, "Ada", ["admin"])
    assert list(shop.sign_in(person.email, NEW).principal.roles) == ["admin"]
    with pytest.raises(InvalidCredentials):
        shop.sign_in(person.email)
    with pytest.raises(NotFound):
        shop.look_up(person.token)
    assert shop.told(person.id) == ["UserRegistered", "UserUpdated", "RolesChanged"]


def test_new_roles_alone_end_no_session(shop: Shop) -> None:
    person = shop.join()
    _put(shop, person.email, "courier")
    assert list(shop.look_up(person.token).roles) == ["courier"]
    assert shop.told(person.id) == ["UserRegistered", "RolesChanged"]


def test_the_same_account_put_from_many_sides_at_once_is_one(shop: Shop) -> None:
    email = next(EMAILS)
    told = at_once(lambda: _put(shop, email, "courier"), 4)
    assert {each.id if isinstance(each, pb.User) else each for each in told} == {shop.sign_in(email).id}
    assert shop.sign_in(email).principal.roles == {"courier"}


def test_accounts_are_put_by_the_operator_with_known_roles_and_a_password_worth_it(shop: Shop) -> None:
    request = pb.PutAccountRequest(email=next(EMAILS), password=PASSWORD, roles=["admin"])
    for stub in (shop.gateway, shop.admin, shop.order):
        with pytest.raises(PermissionDenied):
            stub.PutAccount(request)
    with pytest.raises(InvalidArgument):
        _put(shop, next(EMAILS), "king")
    with pytest.raises(PasswordTooCommon):
        _put(shop, next(EMAILS), "admin", password="password1")
