"""Tokens between services."""

import json
import math
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mercato.auth import Signer, Verifier
from mercato.errors import Unauthenticated
from mercato.keys import UnfitKey, create_keys
from mercato.rotation import KEPT, rotate_key
from mercato.rpc.call import NOBODY, Principal

ANN = Principal("ann", frozenset({"customer"}), "session-1", "guest-1")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with keys for two services."""
    create_keys(tmp_path / "keys", ["gateway", "order"])
    return tmp_path / "keys"


def forge(keys: Path, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token as the gateway signs it for `order`, with some things changed."""
    honest = Signer.load(keys, "gateway").token("order", ANN)
    payload = {**jwt.decode(honest, options={"verify_signature": False}), **claims}
    header = {**jwt.get_unverified_header(honest), **(headers or {})}
    key = Signer.load(keys, "gateway")._key.now().key
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm="EdDSA", headers={name: header[name] for name in ("typ", "kid")})


def test_a_token_says_who_calls_and_for_whom(keys: Path) -> None:
    verified = Verifier(keys, "order").verify(Signer.load(keys, "gateway").token("order", ANN))
    assert (verified.principal, verified.service) == (ANN, "gateway")


def test_a_token_may_be_for_nobody_in_particular(keys: Path) -> None:
    assert Verifier(keys, "order").verify(Signer.load(keys, "gateway").token("order")).principal == NOBODY


def test_a_forgery_that_changes_nothing_is_good(keys: Path) -> None:
    assert Verifier(keys, "order").verify(forge(keys)).principal == ANN


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "payment"},
        {"aud": None},
        {"iss": "order"},
        {"iss": None},
        {"act": "order"},
        {"act": None},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 3660},
        {"exp": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 3660},
        {"nbf": int(time.time()) + 3600},
        {"exp": None},
        {"roles": "admin"},
        {"roles": None},
        {"roles": [1]},
        {"sub": None},
        {"sub": 7},
        {"sid": 7},
    ],
    ids=",".join,
)
def test_a_token_with_a_wrong_claim_does_not_hold(keys: Path, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        Verifier(keys, "order").verify(forge(keys, **claims))


@pytest.mark.parametrize(
    "headers",
    [
        {"typ": "JWT"},
        {"typ": "id+jwt"},
        {"kid": "gateway-000000000000"},
        {"kid": "../../etc/passwd"},
        {"kid": "' or 1=1 --"},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_header_does_not_hold(keys: Path, headers: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        Verifier(keys, "order").verify(forge(keys, headers=headers))


def unsigned(keys: Path) -> str:
    """`alg: none`."""
    claims = jwt.decode(forge(keys), options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none", headers={"typ": "at+jwt", "kid": kid(keys)})


def signed_with_the_public_key(keys: Path) -> str:
    """HS256 with the public key as the secret."""
    claims = jwt.decode(forge(keys), options={"verify_signature": False})
    secret = json.loads((keys / "gateway.jwks.json").read_text())["keys"][0]["x"]
    return jwt.encode(claims, secret.ljust(64), algorithm="HS256", headers={"typ": "at+jwt", "kid": kid(keys)})


def signed_by_a_stranger(keys: Path) -> str:
    """Another key under a known id."""
    claims = jwt.decode(forge(keys), options={"verify_signature": False})
    stranger = Ed25519PrivateKey.generate()
    return jwt.encode(claims, stranger, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": kid(keys)})


def brought_along(keys: Path) -> str:
    """A key of the attacker's own, in the token itself and at an address, under an id that claims to be known."""
    claims, stranger = jwt.decode(forge(keys), options={"verify_signature": False}), Ed25519PrivateKey.generate()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
    where = "https://keys.example/jwks.json"
    header = {"typ": "at+jwt", "kid": kid(keys), "jwk": jwk, "jku": where, "x5u": where}
    return jwt.encode(claims, stranger, algorithm="EdDSA", headers=header)


def signed_otherwise(keys: Path) -> str:
    """Another algorithm than the only one."""
    claims = jwt.decode(forge(keys), options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(claims, key, algorithm="ES256", headers={"typ": "at+jwt", "kid": kid(keys)})


def said_anew(keys: Path) -> str:
    """The claims written down again, with another role, under the old signature."""
    header, payload, signature = forge(keys).split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    other = urlsafe_b64encode(json.dumps({**claims, "roles": ["admin"]}).encode()).decode().rstrip("=")
    return f"{header}.{other}.{signature}"


def kid(keys: Path) -> str:
    """The id of the gateway's key."""
    found: str = json.loads((keys / "gateway.jwks.json").read_text())["keys"][0]["kid"]
    return found


def flipped(keys: Path) -> str:
    """One character of the signature changed."""
    token = forge(keys)
    at = len(token) - 10
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


@pytest.mark.parametrize(
    "attack",
    [
        unsigned,
        signed_with_the_public_key,
        signed_by_a_stranger,
        brought_along,
        signed_otherwise,
        said_anew,
        flipped,
        lambda keys: forge(keys) + ".",
        lambda keys: forge(keys).rsplit(".", 1)[0],
        lambda keys: forge(keys) + "x" * 1_000_000,
        lambda _: "",
        lambda _: "a.b.c",
        lambda _: "\x00\xff",
    ],
)
def test_an_attack_is_refused(keys: Path, attack: Callable[[Path], str]) -> None:
    verifier = Verifier(keys, "order")
    with pytest.raises(Unauthenticated):
        verifier.verify(attack(keys))


def test_a_flood_of_unknown_keys_has_nothing_read_again(keys: Path) -> None:
    verifier = Verifier(keys, "order")
    verifier.verify(forge(keys))
    verifier.trust._look_at = math.inf  # until the next look, which comes once a second whatever is asked
    create_keys(keys, ["delivery"])
    for number in range(100):
        with pytest.raises(Unauthenticated):
            verifier.verify(forge(keys, headers={"kid": f"delivery-{number:012}"}))
    with pytest.raises(Unauthenticated):
        verifier.verify(Signer.load(keys, "delivery").token("order"))


def test_a_service_cannot_sign_as_another(keys: Path) -> None:
    order = Signer.load(keys, "order")
    order.service = "gateway"
    with pytest.raises(Unauthenticated):
        Verifier(keys, "payment").verify(order.token("payment", ANN))


def test_a_token_that_was_signed_a_moment_ago_is_used_again(keys: Path) -> None:
    signer = Signer.load(keys, "gateway")
    assert signer.token("order", ANN) is signer.token("order", ANN)
    assert signer.token("order", ANN) != signer.token("order", NOBODY)
    assert signer.token("order", ANN) != signer.token("payment", ANN)


def test_a_verified_token_is_not_remembered_beyond_its_end(keys: Path) -> None:
    verifier, token = Verifier(keys, "order"), forge(keys)
    verified = verifier.verify(token)
    verifier._verified._known[token] = type(verified)(verified.principal, verified.service, time.time() - 1)
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


def look_again(verifier: Verifier) -> None:
    """Let the next verification look at the folder."""
    verifier.trust._look_at = 0.0


def test_a_new_key_is_seen_and_a_withdrawn_one_forgotten(keys: Path) -> None:
    verifier = Verifier(keys, "order")
    early = Signer.load(keys, "gateway").token("order")
    verifier.verify(early)
    (keys / "gateway.jwks.json").unlink()
    create_keys(keys, ["delivery"])
    late = Signer.load(keys, "delivery").token("order")
    look_again(verifier)
    assert verifier.verify(late).service == "delivery"
    with pytest.raises(Unauthenticated):
        verifier.verify(early)


def test_keys_rotate_and_no_token_is_refused(keys: Path) -> None:
    signer, verifier, seen = Signer.load(keys, "gateway"), Verifier(keys, "order"), list[str]()

    def everybody_looks(_seconds: float) -> None:
        look_again(verifier)
        seen.append(signer.token("order", ANN))
        assert verifier.verify(signer.token("order", ANN)).service == "gateway"

    early = signer.token("order", NOBODY)
    kid = rotate_key(keys, "gateway", wait=everybody_looks)
    signer._key._look_at = 0.0
    late = signer.token("order", Principal("late"))
    assert jwt.get_unverified_header(late)["kid"] == kid != jwt.get_unverified_header(early)["kid"]
    assert {verifier.verify(token).service for token in (early, *seen, late)} == {"gateway"}


def test_a_key_that_was_replaced_opens_nothing_in_the_end(keys: Path) -> None:
    thief = Signer.load(keys, "gateway")
    thief._key._look_at = math.inf
    rotate_key(keys, "gateway", wait=lambda _: None)
    file = keys / "gateway.jwks.json"
    new, old = json.loads(file.read_text())["keys"]
    assert "until" not in new
    assert time.time() < old["until"] <= time.time() + KEPT + 1
    file.write_text(json.dumps({"keys": [new, {**old, "until": time.time() - 1}]}))
    with pytest.raises(Unauthenticated):
        Verifier(keys, "order").verify(thief.token("order", ANN))
    rotate_key(keys, "gateway", wait=lambda _: None)
    assert len(json.loads(file.read_text())["keys"]) == 2  # what holds no more is forgotten


def test_a_key_that_cannot_be_read_does_not_replace_the_one_that_is_good(keys: Path) -> None:
    signer = Signer.load(keys, "gateway")
    (keys / "private" / "gateway.pem").write_text("half a ke")
    signer._key._look_at = 0.0
    assert Verifier(keys, "order").verify(signer.token("order", ANN)).service == "gateway"


def test_without_a_key_there_is_none_to_rotate(tmp_path: Path) -> None:
    with pytest.raises(UnfitKey, match="bakery"):
        rotate_key(tmp_path, "bakery")


def test_the_last_good_keys_stay_while_a_file_cannot_be_read(keys: Path) -> None:
    verifier, token = Verifier(keys, "order"), Signer.load(keys, "gateway").token("order")
    verifier.verify(token)
    (keys / "order.jwks.json").write_text("{half a fi")
    look_again(verifier)
    assert verifier.verify(token).service == "gateway"


def test_a_file_cannot_bring_keys_for_another_service(keys: Path) -> None:
    (keys / "order.jwks.json").write_text((keys / "gateway.jwks.json").read_text())
    (keys / "gateway.jwks.json").unlink()
    with pytest.raises(Unauthenticated):
        Verifier(keys, "order").verify(forge(keys))


def test_production_refuses_keys_of_development(keys: Path) -> None:
    token = Signer.load(keys, "gateway").token("order")
    with pytest.raises(Unauthenticated):
        Verifier(keys, "order", development=False).verify(token)
    with pytest.raises(UnfitKey, match="development"):
        Signer.load(keys, "gateway", development=False)


def test_keys_made_for_production_are_good_there(tmp_path: Path) -> None:
    create_keys(tmp_path, ["gateway"], development=False)
    token = Signer.load(tmp_path, "gateway", development=False).token("order")
    assert Verifier(tmp_path, "order", development=False).verify(token).service == "gateway"


def test_making_keys_again_changes_none(keys: Path) -> None:
    before = {path: path.read_bytes() for path in keys.rglob("*") if path.is_file()}
    create_keys(keys, ["gateway", "order"])
    assert {path: path.read_bytes() for path in keys.rglob("*") if path.is_file()} == before


def test_private_keys_are_for_their_owner_alone(keys: Path) -> None:
    assert (keys / "private" / "order.pem").stat().st_mode & 0o777 == 0o600
    assert (keys / "private").stat().st_mode & 0o777 == 0o700


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnfitKey, match=r"bakery\.pem"):
        Signer.load(tmp_path, "bakery")
