"""Two identities on every call, in one signed token: the end user (`sub`, `roles`) and the calling service (`act`).

Tokens are EdDSA, live 60 seconds and name the one service that they are for. Every service signs with its own key; the
public keys lie in one folder, a JWKS file for each service, which is read again when it changes:

    keys/private/order.pem     0600, only for that service
    keys/order.jwks.json       for everybody

Everybody looks again each second, so that keys are rotated while all runs (`mercato.rotation`).
"""

import json
import math
import os
import stat
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mercato import log
from mercato.errors import Unauthenticated
from mercato.rpc.call import NOBODY, Principal

LIFE = 60
_REUSED_FOR = 30  # of the life: whoever receives the token still has half a minute to look at it
_LEEWAY = 5
_LONGEST = 4096
_REMEMBERED = 10_000
LOOK_AGAIN = 1.0
_TYPE = "at+jwt"
_MARK = b"# development key of mercato: production refuses it\n"
_REQUIRED = ["iss", "sub", "aud", "act", "exp", "iat", "roles"]


class UnfitKey(Exception):
    """A key that is missing, malformed, or made for development and met in production."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Who stands behind a token."""

    principal: Principal
    service: str
    expires: float


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with, and the id by which others know it."""

    key: Ed25519PrivateKey
    kid: str


class Signer:
    """Signs for one service, with whatever key lies in the folder now."""

    def __init__(self, service: str, path: Path, *, development: bool) -> None:
        self.service = service
        self._path = path
        self._development = development
        self._stamp, self._key = _stamp(path), _private(service, path, development=development)
        self._look_at = time.monotonic() + LOOK_AGAIN
        self._signed: dict[tuple[str, Principal], tuple[float, str]] = {}

    @classmethod
    def load(cls, folder: Path, service: str, *, development: bool = True) -> "Signer":
        """The signer whose key lies in the folder. UnfitKey if there is none, or it may not be used."""
        return cls(service, folder / "private" / f"{service}.pem", development=development)

    def token(self, audience: str, principal: Principal = NOBODY) -> str:
        """A token for a call to `audience` on behalf of the principal; one that was signed lately is used again."""
        now = time.time()
        if time.monotonic() >= self._look_at:
            self._look()
        known = self._signed.get((audience, principal))
        if known and known[0] > now:
            return known[1]
        if len(self._signed) >= _REMEMBERED:
            self._signed.clear()
        token = self._sign(audience, principal, int(now))
        self._signed[audience, principal] = (now + _REUSED_FOR, token)
        return token

    def _look(self) -> None:
        """Take a new key up. What the old one has signed is good until it ends."""
        self._look_at = time.monotonic() + LOOK_AGAIN
        try:
            if (stamp := _stamp(self._path)) != self._stamp:
                self._key, self._stamp = _private(self.service, self._path, development=self._development), stamp
                log.get(__name__).info("keys.renewed", kid=self._key.kid)
        except UnfitKey as problem:
            # The one that we have is good for as long as others know it.
            log.get(__name__).warning("keys.unfit", problem=str(problem))

    def _sign(self, audience: str, principal: Principal, now: int) -> str:
        claims: dict[str, Any] = {
            "iss": self.service,
            "act": self.service,
            "aud": audience,
            "sub": principal.subject,
            "roles": sorted(principal.roles),
            "iat": now,
            "exp": now + LIFE,
        }
        if principal.session_id:
            claims["sid"] = principal.session_id
        if principal.guest_id:
            claims["gst"] = principal.guest_id
        signing = self._key
        return jwt.encode(claims, signing.key, algorithm="EdDSA", headers={"typ": _TYPE, "kid": signing.kid})


def _private(service: str, path: Path, *, development: bool) -> PrivateKey:
    try:
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
    except (OSError, ValueError) as problem:
        raise UnfitKey(f"no usable key for {service} at {path}: {problem}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnfitKey(f"{path} is not an Ed25519 key")
    if pem.startswith(_MARK) and not development:
        raise UnfitKey(f"{path} was made for development; make one for production")
    return PrivateKey(key, _kid(service, key.public_key()))


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as problem:
        raise UnfitKey(f"no usable key at {path}: {problem}") from None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Verifier:
    """Reads tokens addressed to one service. Verified ones are remembered by their bytes until they expire."""

    def __init__(self, folder: Path, audience: str, *, development: bool = True) -> None:
        self._trust = TrustFolder(folder, development=development)
        self._audience = audience
        self._verified: dict[str, Verified] = {}
        self._keys: Mapping[str, PublicKey] = {}

    def verify(self, token: str) -> Verified:
        """Who stands behind a token. Unauthenticated if it does not hold."""
        keys = self._trust.keys()
        if self._keys is not keys:
            # A key may have been withdrawn: what it vouched for is looked at again.
            self._verified, self._keys = {}, keys
        verified = self._verified
        known = verified.get(token)
        if known is None:
            known = self._verify(token, keys)
            if len(verified) >= _REMEMBERED:
                verified.clear()
            verified[token] = known
        if known.expires < time.time():
            verified.pop(token, None)
            raise Unauthenticated("the token has expired")
        return known

    def _verify(self, token: str, keys: Mapping[str, "PublicKey"]) -> Verified:
        try:
            key = keys.get(_proper_header(token).get("kid", ""))
            if key is None or key.until < time.time():
                raise Unauthenticated("the token is signed with an unknown key")
            claims = jwt.decode(
                token,
                key.key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=key.service,
                leeway=_LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError as problem:
            raise Unauthenticated(f"the token does not hold: {problem}") from None
        return _read(claims, key.service)


def _proper_header(token: str) -> Mapping[str, Any]:
    if len(token) > _LONGEST:
        raise Unauthenticated("the token is too long")
    header = jwt.get_unverified_header(token)
    if header.get("alg") != "EdDSA" or header.get("typ") != _TYPE:
        raise Unauthenticated("the token is of another kind")
    return header


def _read(claims: Mapping[str, Any], service: str) -> Verified:
    roles, session, guest = claims["roles"], claims.get("sid", ""), claims.get("gst")
    if claims["act"] != service or not _texts(roles) or not isinstance(session, str):
        raise Unauthenticated("the token says what its signer may not")
    if claims["exp"] - claims["iat"] > LIFE:
        raise Unauthenticated("the token lives too long")
    principal = Principal(claims["sub"], frozenset(roles), session, guest if isinstance(guest, str) else None)
    return Verified(principal, service, claims["exp"] + _LEEWAY)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, the one service that it vouches for, and until when: for ever, unless another one has taken its place."""

    service: str
    key: Ed25519PublicKey
    until: float = math.inf


class TrustFolder:
    """The public keys of all services. The last good set stays in force while the folder cannot be read."""

    def __init__(self, folder: Path, *, development: bool = True) -> None:
        self._folder = folder
        self._development = development
        self._lock = threading.Lock()
        self._seen: object = None
        self._look_at = 0.0
        self._keys: Mapping[str, PublicKey] = {}

    def keys(self) -> Mapping[str, PublicKey]:
        """Keys by their id: the same object until the folder changes."""
        if time.monotonic() >= self._look_at:
            with self._lock:
                # Whoever came second waits for the first one's look, or would see an empty folder at the start.
                if time.monotonic() >= self._look_at:
                    self._refresh()
                    self._look_at = time.monotonic() + LOOK_AGAIN
        return self._keys

    def _refresh(self) -> None:
        try:
            files = sorted(self._folder.glob("*.jwks.json"))
            seen = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files]
            if seen != self._seen:
                self._keys = {kid: key for path in files for kid, key in self._load(path)}
                self._seen = seen
        except (OSError, ValueError, KeyError, jwt.PyJWTError) as problem:
            # Half-written or unreadable for a moment: the next look decides.
            log.get(__name__).warning("keys.unreadable", folder=str(self._folder), problem=str(problem))

    def _load(self, path: Path) -> Iterable[tuple[str, PublicKey]]:
        service = path.name.removesuffix(".jwks.json")
        for jwk in json.loads(path.read_bytes())["keys"]:
            key = jwt.PyJWK(jwk, algorithm="EdDSA").key
            allowed = self._development or not jwk.get("development")
            if allowed and isinstance(key, Ed25519PublicKey) and jwk["kid"].startswith(f"{service}-"):
                yield jwk["kid"], PublicKey(service, key, float(jwk.get("until", math.inf)))


def create_keys(folder: Path, services: Iterable[str], *, development: bool = True) -> None:
    """Make the keys that are missing in a folder; what is there stays."""
    private = folder / "private"
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(stat.S_IRWXU)
    for service in services:
        path = private / f"{service}.pem"
        if not path.exists():
            write_whole(path, pem_of(Ed25519PrivateKey.generate(), development=development), 0o600)
        public = folder / f"{service}.jwks.json"
        if not public.exists():
            write_whole(public, set_of([jwk_of(service, path.read_bytes())]), 0o644)


def pem_of(key: Ed25519PrivateKey, *, development: bool) -> bytes:
    """A private key as it lies in its file."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (_MARK if development else b"") + pem


def jwk_of(service: str, pem: bytes) -> dict[str, Any]:
    """What others are to know of a service's private key. UnfitKey."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise UnfitKey(f"the key of {service} is not an Ed25519 key")
    public = key.public_key()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    marks = {"development": True} if pem.startswith(_MARK) else {}
    return {**jwk, "kid": _kid(service, public), "use": "sig", "alg": "EdDSA", **marks}


def set_of(keys: Sequence[Mapping[str, Any]]) -> bytes:
    """Public keys as they lie in their file."""
    return json.dumps({"keys": keys}, indent=2).encode()


def _kid(service: str, key: Ed25519PublicKey) -> str:
    return f"{service}-{key.public_bytes_raw()[:6].hex()}"


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that whoever reads the folder meanwhile sees the whole of it or none."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    scratch.replace(path)
