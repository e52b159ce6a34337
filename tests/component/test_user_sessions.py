"""Sessions: who signs in, whose a token is, what the copies in Redis say, and how sessions end."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mercato.api.user.v1 import user_pb2 as pb
from mercato.cache import connect
from mercato.config import Settings, load
from mercato.errors import (
    InvalidArgument,
    InvalidPageToken,
    MercatoError,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
)
from mercato.ids import uuid7
from mercato.keys import create_keys
from mercato.local.server import free_port
from mercato.postgres import Database
from mercato.rpc import Principal
from mercato.runtime import Stack
from services.user.app import build
from services.user.config import UserConfig
from services.user.copies import RedisSessionCopies
from services.user.domain import InvalidCredentials
from services.user.passwords import Passwords
from tests.component.user_shop import CHEAP, PASSWORD, SUPPORT, Person, Shop, digest, open_shop
from tests.servers import FreshDatabase
from tests.valkeys import PATIENCE, full, only_reading


@pytest.fixture(scope="module")
def shop(user_database: Database, valkey_url: str) -> Iterator[Shop]:
    with connect(valkey_url, patience=PATIENCE) as redis, open_shop(user_database, redis) as shop:
        yield shop


class Interrupted(Passwords):
    """Passwords during whose first check something happens."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__(1, 8, **CHEAP)
        self._meanwhile = [meanwhile]

    def match(self, password: str, known: str | None) -> bool:
        matched = super().match(password, known)
        if self._meanwhile:
            self._meanwhile.pop()()
        return matched


class Late(RedisSessionCopies):
    """Copies that are written only after something else has happened."""

    def __init__(self, redis: Any, meanwhile: Callable[[], object]) -> None:
        super().__init__(redis)
        self._meanwhile = meanwhile

    def keep(self, token_hash: str, copy: str) -> None:
        self._meanwhile()
        super().keep(token_hash, copy)


class Dying:
    """Copies of a process that dies before it drops any."""

    def keep(self, token_hash: str, copy: str) -> None:
        raise KeyboardInterrupt(token_hash, copy)

    def drop(self, hashes: Iterable[str]) -> bool:
        raise KeyboardInterrupt(*hashes)


def nowhere() -> Any:
    """A Redis that does not answer."""
    return connect(f"redis://127.0.0.1:{free_port()}")


# Signing in


def test_a_user_signs_in_and_the_gateway_learns_whose_the_token_is(shop: Shop) -> None:
    person = shop.join("Ada")
    assert (person.user.display_name, person.user.email, list(person.user.roles)) == ("Ada", person.email, ["customer"])
    identity = shop.look_up(person.token)
    assert (identity.subject, list(identity.roles), identity.guest_id) == (person.id, ["customer"], "")


def test_the_case_of_an_email_does_not_matter(shop: Shop) -> None:
    person = shop.join()
    assert shop.sign_in(person.email.swapcase()).id == person.id


def test_a_wrong_email_and_a_wrong_password_are_the_same_error(shop: Shop) -> None:
    person = shop.join()
    refusals = []
    for email, password in ((person.email, "wrong"), ("nobody@example.org", PASSWORD)):
        with pytest.raises(InvalidCredentials) as refused:
            shop.sign_in(email, password)
        refusals.append((refused.value.reason, refused.value.message, refused.value.metadata, refused.value.fields))
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == "INVALID_CREDENTIALS"


def test_every_session_has_a_token_of_its_own_that_is_not_kept(shop: Shop) -> None:
    person = shop.join()
    tokens = {person.token, *(shop.sign_in(person.email).token for _ in range(2))}
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 43
    kept = str(shop.sql("select s::text from sessions s where subject = %s", person.id))
    assert [token for token in tokens if token in kept] == []
    assert digest(person.token) in kept


def test_when_too_many_sign_in_at_once_some_are_turned_away(shop: Shop) -> None:
    person = shop.join()
    full = Passwords(1, 0, **CHEAP)
    sign_ins = shop.sign_ins(full)
    with full.turn(), pytest.raises(Overloaded):
        sign_ins.sign_in(person.email, PASSWORD, None)
    assert sign_ins.sign_in(person.email, PASSWORD, None).user is not None


@pytest.mark.parametrize("changes", [{"email": ""}, {"password": ""}, {"password": "x" * 1025}, {"email": "x" * 321}])
def test_a_sign_in_names_an_email_and_a_password(shop: Shop, changes: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        shop.gateway.SignIn(pb.SignInRequest(**({"email": "a@example.org", "password": PASSWORD} | changes)))
    assert [each.field for each in refused.value.fields] == list(changes)


def test_a_password_that_is_changed_during_a_sign_in_no_longer_signs_in(shop: Shop) -> None:
    person = shop.join()
    sign_ins = shop.sign_ins(Interrupted(lambda: _change_password(person, "another password")))
    with pytest.raises(InvalidCredentials):
        sign_ins.sign_in(person.email, PASSWORD, None)
    assert len(person.stub.ListSessions(pb.ListSessionsRequest()).sessions) == 1


def test_an_old_password_does_not_return_with_its_newer_hash(shop: Shop) -> None:
    person = shop.join()
    _store_hash(shop, person, Passwords(1, 0, time_cost=2, memory_kib=1024))
    with pytest.raises(InvalidCredentials):
        shop.sign_ins(Interrupted(lambda: _change_password(person, "another password"))).sign_in(
            person.email, PASSWORD, None
        )
    assert shop.sign_in(person.email, "another password").id == person.id


def test_a_hash_of_yesterdays_parameters_is_renewed_at_the_next_sign_in(shop: Shop) -> None:
    person = shop.join()
    _store_hash(shop, person, Passwords(1, 0, time_cost=2, memory_kib=1024))
    for _ in range(2):
        assert shop.sign_in(person.email).id == person.id
        assert "t=1" in _hash(shop, person)


def _hash(shop: Shop, person: Person) -> str:
    return str(shop.sql("select password_hash from users where id = %s", person.id)[0][0])


def _store_hash(shop: Shop, person: Person, passwords: Passwords) -> None:
    shop.sql("update users set password_hash = %s where id = %s", passwords.hash(PASSWORD), person.id)


def _change_password(person: Person, password: str) -> None:
    person.stub.ChangePassword(pb.ChangePasswordRequest(old_password=PASSWORD, new_password=password))


# Guests


def test_a_guest_has_a_session_without_an_account(shop: Shop) -> None:
    guest, other = shop.guest(), shop.guest()
    assert guest.roles == {"guest"}
    assert guest.guest_id is None
    assert guest.subject != other.subject


def test_a_session_remembers_the_guest_that_it_grew_from(shop: Shop) -> None:
    person, guest = shop.join(), shop.guest()
    grown = shop.sign_in(person.email, stub=shop.stub(guest))
    assert (grown.principal.subject, grown.principal.guest_id) == (person.id, guest.subject)
    again = shop.sign_in(person.email, stub=person.stub)
    assert again.principal.guest_id is None


def test_a_guest_may_sign_out_and_nothing_else(shop: Shop) -> None:
    signed_in = shop.gateway.StartGuestSession(pb.StartGuestSessionRequest())
    stub = shop.stub(shop.principal(signed_in.token))
    refused: dict[str, Any] = {
        "ListSessions": pb.ListSessionsRequest(),
        "GetUser": pb.GetUserRequest(id="me"),
        "RevokeSession": pb.RevokeSessionRequest(id=str(uuid7())),
    }
    for rpc, request in refused.items():
        with pytest.raises(PermissionDenied):
            getattr(stub, rpc)(request)
    stub.SignOut(pb.SignOutRequest())
    with pytest.raises(NotFound):
        shop.look_up(signed_in.token)


# Looking up


def test_a_token_that_opens_nothing_is_not_found(shop: Shop) -> None:
    person, revoked = shop.join(), shop.join()
    revoked.stub.SignOut(pb.SignOutRequest())
    expired = shop.sign_ins(lasts=timedelta(seconds=-1)).sign_in(person.email, PASSWORD, None)
    erased = shop.join()
    # Were a session of an erased account still open, the account's state alone must close it.
    erased.stub.EraseUser(pb.EraseUserRequest(id="me"))
    shop.sql("update sessions set revoke_time = null where subject = %s", erased.id)
    for token in ("unknown", revoked.token, expired.token, erased.token):
        with pytest.raises(NotFound):
            shop.look_up(token)
        assert not shop.copy(digest(token))


@pytest.mark.parametrize("token_hash", ["", "x" * 64, "A" * 64, "a" * 63])
def test_a_look_up_names_a_hash(shop: Shop, token_hash: str) -> None:
    with pytest.raises(InvalidArgument):
        shop.gateway.LookUpSession(pb.LookUpSessionRequest(token_hash=token_hash))


def test_roles_are_those_of_now(shop: Shop) -> None:
    person = shop.join()
    shop.admin.SetRoles(pb.SetRolesRequest(id=person.id, roles=["warehouse", "customer"]))
    assert list(shop.look_up(person.token).roles) == ["customer", "warehouse"]


@pytest.mark.parametrize("caller", ["order", "operator", "delivery"])
def test_only_the_gateway_looks_up_tokens(shop: Shop, caller: str) -> None:
    with pytest.raises(PermissionDenied):
        shop.stub(Principal(), caller).LookUpSession(pb.LookUpSessionRequest(token_hash="a" * 64))


# Copies


def test_a_look_up_leaves_a_copy_that_lives_a_minute_and_says_the_same(shop: Shop) -> None:
    person = shop.join()
    copy = json.loads(shop.copy(person.digest) or "")
    identity = shop.look_up(person.token)
    assert (copy["subject"], copy["roles"], copy["sessionId"]) == (person.id, ["customer"], identity.session_id)
    assert datetime.fromisoformat(copy["expireTime"]).timestamp() == pytest.approx(identity.expire_time.seconds, abs=1)
    assert person.token not in str(copy)
    assert 0 < shop.redis.ttl(f"session:{person.digest}") <= 60


ENDS: dict[str, Callable[[Shop, Person], object]] = {
    "sign out": lambda _, person: person.stub.SignOut(pb.SignOutRequest()),
    "revoke": lambda shop, person: shop.support.RevokeSession(pb.RevokeSessionRequest(id=person.principal.session_id)),
    "erase": lambda _, person: person.stub.EraseUser(pb.EraseUserRequest(id="me")),
    "change password elsewhere": lambda shop, person: _change_password(shop.sign_in(person.email), "another password"),
    "reset by the operator": lambda shop, person: shop.operator.PutAccount(
        pb.PutAccountRequest(email=person.email, password="another password", roles=["customer"])
    ),
}
ROLE_CHANGES: dict[str, Callable[[Shop, Person], object]] = {
    "set roles": lambda shop, person: shop.admin.SetRoles(pb.SetRolesRequest(id=person.id, roles=["support"])),
    "set by the operator": lambda shop, person: shop.operator.PutAccount(
        pb.PutAccountRequest(email=person.email, password=PASSWORD, roles=["support"])
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_when_a_session_ends_its_copy_is_gone_and_cannot_come_back(
    shop: Shop, end: Callable[[Shop, Person], object]
) -> None:
    person = shop.join()
    assert shop.copy(person.digest)
    end(shop, person)
    assert shop.copy(person.digest) == ""
    with pytest.raises(NotFound):
        shop.look_up(person.token)


@pytest.mark.parametrize("change", [*ENDS.values(), *ROLE_CHANGES.values()], ids=[*ENDS, *ROLE_CHANGES])
def test_a_read_through_that_began_before_a_change_cannot_put_the_old_copy_back(
    shop: Shop, change: Callable[[Shop, Person], object]
) -> None:
    person = shop.join()
    shop.forget_copies()
    late = shop.servicer(Late(shop.redis, lambda: change(shop, person)))
    request: Any = pb.LookUpSessionRequest(token_hash=person.digest)
    context: Any = None
    assert list(late.LookUpSession(request, context).roles) == ["customer"]  # it was read before the change
    assert shop.copy(person.digest) == ""


@pytest.mark.parametrize("change", ROLE_CHANGES.values(), ids=list(ROLE_CHANGES))
def test_a_copy_of_other_roles_is_gone(shop: Shop, change: Callable[[Shop, Person], object]) -> None:
    person = shop.join()
    change(shop, person)
    assert shop.copy(person.digest) == ""
    assert list(shop.look_up(person.token).roles) == ["support"]


def test_the_copy_of_a_session_that_goes_on_stays(shop: Shop) -> None:
    person, other = shop.join(), shop.join()
    _change_password(person, "another password")
    other.stub.SignOut(pb.SignOutRequest())
    assert shop.copy(person.digest)


def test_what_a_process_did_not_drop_because_it_died_the_next_one_drops(shop: Shop) -> None:
    person = shop.join()
    with pytest.raises(KeyboardInterrupt):
        shop.sign_ins(copies=Dying()).revoke_session(UUID(person.principal.session_id), None)
    assert shop.copy(person.digest)
    while shop.sign_ins().drop_stale_copies():
        pass
    assert shop.copy(person.digest) == ""
    assert shop.sql("select * from stale_copies") == []


def test_roles_that_a_process_changed_before_it_died_reach_the_copies(shop: Shop) -> None:
    person = shop.join()
    with pytest.raises(KeyboardInterrupt):
        shop.accounts(copies=Dying()).set_roles(UUID(person.id), ["support"], by="admin")
    assert shop.copy(person.digest)
    shop.sign_ins().drop_stale_copies()
    assert shop.copy(person.digest) == ""


def test_without_redis_sessions_begin_are_found_and_end(shop: Shop) -> None:
    person = shop.join()
    with nowhere() as redis:
        away = RedisSessionCopies(redis)
        context: Any = None
        request: Any = pb.LookUpSessionRequest(token_hash=person.digest)
        assert shop.servicer(away).LookUpSession(request, context).subject == person.id
        sign_ins = shop.sign_ins(copies=away)
        sign_ins.revoke_session(UUID(person.principal.session_id), None)
        with pytest.raises(NotFound):
            shop.servicer(away).LookUpSession(request, context)
        # What Redis could not be told is told as soon as it is back.
        assert not sign_ins.drop_stale_copies()
    assert shop.copy(person.digest)
    assert shop.sign_ins().drop_stale_copies()
    assert shop.copy(person.digest) == ""


def test_a_full_redis_gives_up_the_copy_of_a_session_that_ended(shop: Shop) -> None:
    person = shop.join()
    assert shop.copy(person.digest)
    with full(shop.redis):
        shop.sign_ins().revoke_session(UUID(person.principal.session_id), None)
        assert not shop.copy(person.digest)
        with pytest.raises(NotFound):
            shop.look_up(person.token)
        assert not shop.sign_ins().drop_stale_copies()
    assert shop.sign_ins().drop_stale_copies()
    assert shop.copy(person.digest) == ""


def test_a_redis_that_only_reads_costs_questions_and_nothing_else(shop: Shop) -> None:
    with only_reading(shop.redis):
        person = shop.join()
        assert shop.copy(person.digest) is None
        assert shop.look_up(person.token).subject == person.id
        shop.sign_ins().revoke_session(UUID(person.principal.session_id), None)
        with pytest.raises(NotFound):
            shop.look_up(person.token)
        assert not shop.sign_ins().drop_stale_copies()
    assert shop.sign_ins().drop_stale_copies()


def test_with_nothing_to_drop_the_worker_rests(shop: Shop) -> None:
    while shop.sign_ins().drop_stale_copies():
        pass
    assert not shop.sign_ins(copies=Dying()).drop_stale_copies()


def test_the_process_drops_what_others_left_and_forgets_what_ended_long_ago(
    shop: Shop, fresh_database: FreshDatabase, valkey_url: str, tmp_path: Path
) -> None:
    person, current = shop.join(), shop.join()
    with pytest.raises(KeyboardInterrupt):
        shop.sign_ins(copies=Dying()).revoke_session(UUID(person.principal.session_id), None)
    ended = shop.sign_in(person.email)
    ended.stub.SignOut(pb.SignOutRequest())
    shop.sql("update sessions set revoke_time = now() - interval '25 hours' where id = %s", ended.principal.session_id)
    create_keys(tmp_path, ["user", "delivery"])
    variables = {
        "MERCATO_NAME": "user",
        "MERCATO_DATABASE_URL": fresh_database.url_of("users"),
        "MERCATO_REDIS_URL": valkey_url,
        "MERCATO_REDIS_PATIENCE": f"{PATIENCE:.0f}s",
        "MERCATO_KEYS": str(tmp_path),
        "MERCATO_TARGET_DELIVERY": f"ipv4:127.0.0.1:{free_port()}",
    }
    stack = Stack(load(Settings, variables))
    try:
        for worker in build(load(UserConfig, {}), stack).workers:
            worker.run_once(stack.clock.now())
    finally:
        stack.close()
    assert shop.copy(person.digest) == ""
    left = {str(row[0]) for row in shop.sql("select id from sessions")}
    assert ended.principal.session_id not in left
    assert {person.principal.session_id, current.principal.session_id} <= left


# Listing and ending


def test_a_user_sees_their_open_sessions_newest_first_and_which_one_asks(shop: Shop) -> None:
    person = shop.join()
    second, third = shop.sign_in(person.email), shop.sign_in(person.email)
    third.stub.SignOut(pb.SignOutRequest())
    shop.sign_ins(lasts=timedelta(seconds=-1)).sign_in(person.email, PASSWORD, None)
    listed = person.stub.ListSessions(pb.ListSessionsRequest()).sessions
    assert [(each.id, each.user_id, each.current) for each in listed] == [
        (second.principal.session_id, person.id, False),
        (person.principal.session_id, person.id, True),
    ]


def test_sessions_come_in_pages_that_are_their_readers_alone(shop: Shop) -> None:
    person = shop.join()
    shop.sign_in(person.email)
    first = person.stub.ListSessions(pb.ListSessionsRequest(page_size=1))
    rest = person.stub.ListSessions(pb.ListSessionsRequest(page_size=1, page_token=first.next_page_token))
    assert [each.current for page in (first, rest) for each in page.sessions] == [False, True]
    assert rest.next_page_token == ""
    with pytest.raises(InvalidPageToken):
        shop.join().stub.ListSessions(pb.ListSessionsRequest(page_size=1, page_token=first.next_page_token))


def test_anothers_session_looks_like_none(shop: Shop) -> None:
    person, other = shop.join(), shop.join()
    refusals = []
    for session_id in (other.principal.session_id, str(uuid7())):
        with pytest.raises(NotFound) as refused:
            person.stub.RevokeSession(pb.RevokeSessionRequest(id=session_id))
        refusals.append((refused.value.reason, refused.value.message, refused.value.metadata))
    assert refusals[0] == refusals[1]
    assert shop.look_up(other.token).subject == other.id
    with pytest.raises(NotFound):
        person.stub.ListSessions(pb.ListSessionsRequest(user_id=other.id))


def test_a_user_ends_one_of_their_sessions_however_often(shop: Shop) -> None:
    person = shop.join()
    other = shop.sign_in(person.email)
    for _ in range(2):
        person.stub.RevokeSession(pb.RevokeSessionRequest(id=other.principal.session_id))
    with pytest.raises(NotFound):
        shop.look_up(other.token)
    assert shop.look_up(person.token).subject == person.id


def test_ending_an_ended_session_leaves_its_end_where_it_was(shop: Shop) -> None:
    person = shop.join()
    ends = []
    for _ in range(2):
        person.stub.SignOut(pb.SignOutRequest())
        ends += shop.sql("select revoke_time from sessions where id = %s", person.principal.session_id)
    assert ends[0] == ends[1]


def test_support_sees_and_ends_the_sessions_of_others(shop: Shop) -> None:
    person = shop.join()
    [listed] = shop.support.ListSessions(pb.ListSessionsRequest(user_id=person.id)).sessions
    assert (listed.id, listed.current) == (person.principal.session_id, False)
    shop.support.RevokeSession(pb.RevokeSessionRequest(id=listed.id))
    with pytest.raises(NotFound):
        shop.look_up(person.token)
    for own in ("", "me", SUPPORT.subject):
        assert list(shop.support.ListSessions(pb.ListSessionsRequest(user_id=own)).sessions) == []


def test_a_session_that_nobody_knows_is_not_ended(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.support.RevokeSession(pb.RevokeSessionRequest(id=str(uuid7())))
    with pytest.raises(InvalidArgument):
        shop.support.RevokeSession(pb.RevokeSessionRequest(id="7"))


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("ListSessions", pb.ListSessionsRequest()),
        ("RevokeSession", pb.RevokeSessionRequest(id=str(uuid7()))),
        ("SignOut", pb.SignOutRequest()),
    ],
)
def test_sessions_are_for_those_who_have_one(shop: Shop, rpc: str, request_: Any) -> None:
    refusals: list[tuple[Any, type[MercatoError]]] = [(shop.gateway, Unauthenticated), (shop.order, PermissionDenied)]
    for stub, refusal in refusals:
        with pytest.raises(refusal):
            getattr(stub, rpc)(request_)
