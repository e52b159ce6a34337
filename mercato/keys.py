"""The keys that processes sign with, and those that all trust: files in one folder, read again when they change.

    keys/private/order.pem     0600, only for that service
    keys/order.jwks.json       for everybody

Everybody looks again each second, so that keys are rotated while all runs (`mercato.rotation`). Beside the keys of
services, which sign their calls (`mercato.auth`), lie those that sign grants (`mercato.grants`).
"""

import json
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mercato import log
from mercato.errors import Unauthenticated

T = TypeVar("T")
LOOK_AGAIN = 1.0
_LONGEST = 4096
_MARK = b"# development key of mercato: production refuses it\n"


class UnfitKey(Exception):
    """A key that is missing, malformed, or made for development and met in production."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with, and the id by which others know it."""

    key: Ed25519PrivateKey
    kid: str


class SigningKey:
    """The private key of a service, whatever lies in its file now."""

    def __init__(self, service: str, path: Path, *, development: bool) -> None:
        self.service = service
        self._path = path
        self._development = development
        self._stamp, self._key = _stamp(path), _private(service, path, development=development)
        self._look_at = time.monotonic() + LOOK_AGAIN

    @classmethod
    def load(cls, folder: Path, service: str, *, development: bool = True) -> "SigningKey":
        """The key that lies in the folder. UnfitKey if there is none, or it may not be used."""
        return cls(service, folder / "private" / f"{service}.pem", development=development)

    def now(self) -> PrivateKey:
        """The key. What another one has signed before is good until it ends."""
        if time.monotonic() >= self._look_at:
            self._look()
        return self._key

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_AGAIN
        try:
            if (stamp := _stamp(self._path)) != self._stamp:
                self._key, self._stamp = _private(self.service, self._path, development=self._development), stamp
                log.get(__name__).info("keys.renewed", kid=self._key.kid)
        except UnfitKey as problem:
            # The one that we have is good for as long as others know it.
            log.get(__name__).warning("keys.unfit", problem=str(problem))

    def sign(self, kind: str, claims: Mapping[str, Any]) -> str:
        """Claims under a signature, as a JWS of a kind."""
        signing = self.now()
        return jwt.encode(dict(claims), signing.key, algorithm="EdDSA", headers={"typ": kind, "kid": signing.kid})


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


class Remembered(Generic[T]):
    """What was read from signed texts, by their bytes, until a key is withdrawn that may have vouched for one."""

    def __init__(self, trust: "TrustFolder", read: Callable[[str, Mapping[str, "PublicKey"]], T], most: int) -> None:
        self._trust = trust
        self._read = read
        self._most = most
        self._known: dict[str, T] = {}
        self._keys: Mapping[str, PublicKey] = {}

    def of(self, text: str) -> T:
        """What a text says; whatever reading it raises if it does not hold."""
        keys = self._trust.keys()
        if self._keys is not keys:
            self._known, self._keys = {}, keys
        known = self._known.get(text)
        if known is None:
            known = self._read(text, keys)
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[text] = known
        return known

    def forget(self, text: str) -> None:
        """This one has ended."""
        self._known.pop(text, None)


def key_of(text: str, kind: str, keys: Mapping[str, "PublicKey"]) -> "PublicKey":
    """The key that a text of a kind says to be signed with. Unauthenticated; InvalidTokenError of jwt."""
    if len(text) > _LONGEST:
        raise Unauthenticated("the token is too long")
    header = jwt.get_unverified_header(text)
    if header.get("alg") != "EdDSA" or header.get("typ") != kind:
        raise Unauthenticated("the token is of another kind")
    key = keys.get(header.get("kid", ""))
    if key is None or key.until < time.time():
        raise Unauthenticated("the token is signed with an unknown key")
    return key


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
