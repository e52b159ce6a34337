"""What customers agreed to: signed by a key of its own, and nothing else is taken for it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mercato.api.payment.v1 import payment_pb2 as pb
from mercato.auth import Signer, Verifier
from mercato.config import Settings, load
from mercato.errors import PermissionDenied, Unauthenticated
from mercato.grants import (
    LIFE,
    Grant,
    Granter,
    GrantExceeded,
    GrantExpired,
    GrantInvalid,
    GrantMismatch,
    GrantRequired,
    Grants,
    check,
    digest,
)
from mercato.keys import SigningKey, TrustFolder, UnfitKey, create_keys
from mercato.money import Money
from mercato.policy import Granted, policy_of
from mercato.rotation import KEPT, rotate_all, rotate_key
from mercato.rpc import Principal
from mercato.stack import Stack
from mercato.wire import money_to_pb
from services.order.app import sign_in

STEP = "payment.AuthorizePayment"
GRANT = Grant("ann", "order-1", "payment-1", digest("pm_card_visa"), Money(910, "USD"), frozenset({STEP}))
AUTHORIZE = pb.DESCRIPTOR.services_by_name["PaymentService"].methods_by_name["AuthorizePayment"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys of the order service, and of another one."""
    create_keys(tmp_path, ["order", "order-grant", "delivery", "delivery-grant"])
    return tmp_path


def shown(keys: Path, text: str) -> Grant:
    """What the order service shows, as others read it."""
    return Grants(TrustFolder(keys)).of("order", text)


def forged(keys: Path, *, by: str = "order-grant", kind: str = "grant+jwt", **claims: Any) -> str:
    """A grant as it is signed, with some things changed."""
    now = int(time.time())
    payload = {"iss": by, **GRANT.claims, "iat": now, "exp": now + LIFE, **claims}
    return SigningKey.load(keys, by).sign(kind, {name: value for name, value in payload.items() if value is not None})


def test_a_grant_is_read_as_it_was_signed(keys: Path) -> None:
    assert shown(keys, Granter.load(keys, "order").sign(GRANT)) == GRANT
    assert shown(keys, forged(keys)) == GRANT, "a forgery that changes nothing"


def test_means_of_payment_are_not_told_by_a_grant(keys: Path) -> None:
    claims = jwt.decode(Granter.load(keys, "order").sign(GRANT), options={"verify_signature": False})
    assert "pm_card_visa" not in json.dumps(claims)


def said_anew(keys: Path) -> str:
    """More is agreed to, under the old signature."""
    header, _, signature = forged(keys).split(".")
    _, more, _ = forged(keys, cap={"amount": 91_000, "currency": "USD"}).split(".")
    return f"{header}.{more}.{signature}"


def signed_by_a_stranger(keys: Path) -> str:
    """Another key under a known id."""
    header = jwt.get_unverified_header(forged(keys))
    claims = jwt.decode(forged(keys), options={"verify_signature": False})
    return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)


@pytest.mark.parametrize(
    "attack",
    [
        # The key that a worker has, too.
        lambda keys: forged(keys, by="order"),
        lambda keys: forged(keys, by="order", iss="order-grant"),
        lambda keys: forged(keys, by="delivery-grant"),
        lambda keys: forged(keys, by="delivery-grant", iss="order-grant"),
        lambda keys: forged(keys, kind="at+jwt"),
        lambda keys: Signer.load(keys, "order").token("payment", Principal("ann")),
        said_anew,
        signed_by_a_stranger,
        lambda keys: forged(keys, exp=int(time.time()) + LIFE + 3600),
        lambda keys: forged(keys, iat=int(time.time()) + 3600),
        lambda keys: forged(keys, cap=None),
        lambda keys: forged(keys, cap=910),
        lambda keys: forged(keys, cap={"amount": "much", "currency": "USD"}),
        lambda keys: forged(keys, steps=None),
        lambda keys: forged(keys, steps=7),
        lambda keys: forged(keys, pay=None),
        lambda keys: forged(keys, exp="soon"),
        lambda keys: forged(keys) + "x" * 10_000,
        lambda _: "a.b.c",
    ],
)
def test_what_is_not_signed_as_grants_are_is_none(keys: Path, attack: Callable[[Path], str]) -> None:
    with pytest.raises(GrantInvalid):
        shown(keys, attack(keys))


def test_without_a_grant_there_is_none(keys: Path) -> None:
    with pytest.raises(GrantRequired):
        shown(keys, "")


def test_a_grant_ends(keys: Path) -> None:
    now = int(time.time())
    with pytest.raises(GrantExpired):
        shown(keys, forged(keys, iat=now - LIFE, exp=now - 1))


def test_a_key_that_signs_grants_signs_no_calls(keys: Path) -> None:
    token = Signer.load(keys, "order-grant").token("payment", Principal("ann"))
    assert Verifier(keys, "payment").verify(token).service == "order-grant", "which no contract names"
    with pytest.raises(Unauthenticated):
        Verifier(keys, "payment").verify(forged(keys))


def request(**changed: Any) -> pb.AuthorizePaymentRequest:
    """What the grant is for, with some things changed."""
    asked = {
        "payment_id": "payment-1",
        "order_id": "order-1",
        "customer_id": "ann",
        "amount": money_to_pb(Money(910, "USD")),
        "payment_method": "pm_card_visa",
    }
    return pb.AuthorizePaymentRequest(**{**asked, **changed})


def demanded() -> Granted:
    """What the contract wants to see."""
    granted = policy_of(AUTHORIZE).granted
    assert granted
    return granted


def test_what_was_agreed_to_may_be_done() -> None:
    check(demanded(), GRANT, STEP, "ann", request())
    check(demanded(), GRANT, STEP, "ann", request(amount=money_to_pb(Money(1, "USD"))))


@pytest.mark.parametrize("field", ["order_id", "customer_id", "payment_id", "payment_method"])
def test_a_grant_is_for_one_order_one_payment_and_its_means(field: str) -> None:
    with pytest.raises(GrantMismatch) as refusal:
        check(demanded(), GRANT, STEP, "ann", request(**{field: "another"}))
    assert refusal.value.metadata == {"field": field}


def test_a_grant_is_for_its_customer_whoever_calls() -> None:
    with pytest.raises(GrantMismatch, match="customer"):
        check(demanded(), GRANT, STEP, "ben", request())


def test_a_grant_is_for_its_steps() -> None:
    with pytest.raises(GrantMismatch, match="step"):
        check(demanded(), GRANT, "payment.CapturePayment", "ann", request())


@pytest.mark.parametrize("amount", [Money(911, "USD"), Money(910, "EUR"), Money(1, "JPY")])
def test_no_more_is_taken_than_was_agreed_to(amount: Money) -> None:
    with pytest.raises(GrantExceeded):
        check(demanded(), GRANT, STEP, "ann", request(amount=money_to_pb(amount)))


def test_grants_outlive_the_key_that_signed_them_for_as_long_as_they_hold(keys: Path) -> None:
    granter = Granter.load(keys, "order")
    early = granter.sign(GRANT)
    rotate_key(keys, "order-grant", wait=lambda _: None)
    granter._key._look_at = 0.0
    late = granter.sign(replace(GRANT, order_id="order-2"))
    assert jwt.get_unverified_header(early)["kid"] != jwt.get_unverified_header(late)["kid"]
    assert (shown(keys, early).order_id, shown(keys, late).order_id) == ("order-1", "order-2")
    file = keys / "order-grant.jwks.json"
    new, old = json.loads(file.read_text())["keys"]
    assert old["until"] > time.time() + LIFE
    file.write_text(json.dumps({"keys": [new, {**old, "until": time.time() - 1}]}))
    with pytest.raises(GrantInvalid):
        shown(keys, early)


def test_keys_of_calls_are_forgotten_as_soon_as_ever(keys: Path) -> None:
    rotate_all(keys, ["order", "order-grant"], wait=lambda _: None)
    _, old = json.loads((keys / "order.jwks.json").read_text())["keys"]
    assert old["until"] <= time.time() + KEPT + 1


def test_a_grant_that_was_read_is_remembered_until_its_key_ends(keys: Path) -> None:
    trust = TrustFolder(keys)
    grants, text = Grants(trust), forged(keys)
    assert grants.of("order", text) is grants.of("order", text)
    known = grants._shown._known
    known[text] = replace(known[text], known_until=time.time() - 1)
    with pytest.raises(GrantInvalid):
        grants.of("order", text)
    file = keys / "order-grant.jwks.json"
    [key] = json.loads(file.read_text())["keys"]
    file.write_text(json.dumps({"keys": [{**key, "until": time.time() - 1}]}))
    trust._look_at = 0.0
    with pytest.raises(GrantInvalid):
        grants.of("order", text)


def test_production_neither_signs_nor_trusts_with_keys_of_development(keys: Path) -> None:
    with pytest.raises(UnfitKey, match="development"):
        Granter.load(keys, "order", development=False)
    with pytest.raises(GrantInvalid):
        Grants(TrustFolder(keys, development=False)).of("order", forged(keys))


def process(keys: Path, **told: str) -> Stack:
    """A process of the order service, as its settings say."""
    settings = {f"MERCATO_{name.upper()}": value for name, value in told.items()}
    return Stack(load(Settings, {"MERCATO_NAME": "order", "MERCATO_KEYS": str(keys), **settings}))


def test_a_process_that_people_ask_signs_and_any_other_needs_no_key(keys: Path) -> None:
    assert shown(keys, sign_in(process(keys))(GRANT)) == GRANT
    (keys / "private" / "order-grant.pem").unlink()
    with pytest.raises(UnfitKey):
        sign_in(process(keys))
    for roles in ("process", "relay,consume,process"):
        with pytest.raises(UnfitKey, match="serves"):
            sign_in(process(keys, roles=roles))(GRANT)


def test_in_production_no_process_starts_that_would_sign_with_a_key_of_development(keys: Path) -> None:
    with pytest.raises(UnfitKey, match="development"):
        sign_in(process(keys, environment="production"))


def test_every_refusal_is_one_of_permission() -> None:
    refusals = (GrantRequired, GrantInvalid, GrantExpired, GrantMismatch, GrantExceeded)
    assert {each.reason for each in refusals if issubclass(each, PermissionDenied)} == {
        *("GRANT_REQUIRED", "GRANT_INVALID", "GRANT_EXPIRED", "GRANT_MISMATCH", "GRANT_EXCEEDED")
    }
