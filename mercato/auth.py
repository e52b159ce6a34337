"""Two identities on every call, in one signed token: the end user (`sub`, `roles`) and the calling service (`act`).

Tokens are EdDSA, live 60 seconds and name the one service that they are for. Every service signs with its own key
(`mercato.keys`). Work that goes on without its user shows a grant beside its token (`mercato.grants`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from mercato.errors import Unauthenticated
from mercato.keys import PublicKey, Remembered, SigningKey, TrustFolder, key_of
from mercato.rpc.call import NOBODY, Principal

LIFE = 60
_REUSED_FOR = 30  # of the life: whoever receives the token still has half a minute to look at it
LEEWAY = 5
_REMEMBERED = 10_000
_TYPE = "at+jwt"
_REQUIRED = ["iss", "sub", "aud", "act", "exp", "iat", "roles"]


@dataclass(frozen=True, slots=True)
class Verified:
    """Who stands behind a token."""

    principal: Principal
    service: str
    expires: float


class Signer:
    """Signs for one service."""

    def __init__(self, key: SigningKey) -> None:
        self.service = key.service
        self._key = key
        self._signed: dict[tuple[str, Principal], tuple[float, str]] = {}

    @classmethod
    def load(cls, folder: Path, service: str, *, development: bool = True) -> "Signer":
        """The signer whose key lies in the folder. UnfitKey if there is none, or it may not be used."""
        return cls(SigningKey.load(folder, service, development=development))

    def token(self, audience: str, principal: Principal = NOBODY) -> str:
        """A token for a call to `audience` on behalf of the principal; one that was signed lately is used again."""
        now = time.time()
        known = self._signed.get((audience, principal))
        if known and known[0] > now:
            return known[1]
        if len(self._signed) >= _REMEMBERED:
            self._signed.clear()
        token = self._sign(audience, principal, int(now))
        self._signed[audience, principal] = (now + _REUSED_FOR, token)
        return token

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
        return self._key.sign(_TYPE, claims)


class Verifier:
    """Reads tokens addressed to one service. Verified ones are remembered until they expire."""

    def __init__(self, folder: Path, audience: str, *, development: bool = True) -> None:
        self.trust = TrustFolder(folder, development=development)
        self._audience = audience
        self._verified = Remembered(self.trust, self._verify, _REMEMBERED)

    def verify(self, token: str) -> Verified:
        """Who stands behind a token. Unauthenticated if it does not hold."""
        known = self._verified.of(token)
        if known.expires < time.time():
            self._verified.forget(token)
            raise Unauthenticated("the token has expired")
        return known

    def _verify(self, token: str, keys: Mapping[str, "PublicKey"]) -> Verified:
        try:
            key = key_of(token, _TYPE, keys)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=key.service,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidTokenError as problem:
            raise Unauthenticated(f"the token does not hold: {problem}") from None
        return _read(claims, key.service)


def _read(claims: Mapping[str, Any], service: str) -> Verified:
    roles, session, guest = claims["roles"], claims.get("sid", ""), claims.get("gst")
    if claims["act"] != service or not _texts(roles) or not isinstance(session, str):
        raise Unauthenticated("the token says what its signer may not")
    if claims["exp"] - claims["iat"] > LIFE:
        raise Unauthenticated("the token lives too long")
    principal = Principal(claims["sub"], frozenset(roles), session, guest if isinstance(guest, str) else None)
    return Verified(principal, service, claims["exp"] + LEEWAY)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
