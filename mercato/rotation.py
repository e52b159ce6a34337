"""Rotation of the keys that services sign with, while all of them run.

The new public key is laid beside the old one; when everybody has looked, the private key is replaced, which its service
sees within a second. What the old one has signed holds for as long as tokens live, or grants; then it opens nothing any
more.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mercato.auth import LIFE
from mercato.grants import LIFE as GRANT_LIFE
from mercato.grants import SUFFIX as GRANT_SUFFIX
from mercato.keys import LOOK_AGAIN, UnfitKey, jwk_of, pem_of, set_of, write_whole

SETTLED = 2 * LOOK_AGAIN
"""Seconds until every process has seen what was written: each looks once a second, when it is called."""
KEPT = SETTLED + 2 * LIFE
"""For how long the old key is known: the last token that it signs is one of a process that has not looked yet."""
KEPT_FOR_GRANTS = SETTLED + LIFE + GRANT_LIFE
"""For how long an old key that signs grants is."""

Wait = Callable[[float], object]


def rotate_key(folder: Path, service: str, *, development: bool = True, wait: Wait = time.sleep) -> str:
    """Give a service another key, and return its id. UnfitKey if it has none yet."""
    return rotate_all(folder, [service], development=development, wait=wait)[service]


def rotate_all(
    folder: Path, services: Iterable[str], *, development: bool = True, wait: Wait = time.sleep
) -> Mapping[str, str]:
    """Give services other keys at the same time, and return their ids. UnfitKey if one of them has none yet."""
    known = {name: _known_before(folder / f"{name}.jwks.json", kept_of(name)) for name in services}
    pems = {name: pem_of(Ed25519PrivateKey.generate(), development=development) for name in known}
    keys = {name: jwk_of(name, pem) for name, pem in pems.items()}
    for name, before in known.items():
        write_whole(folder / f"{name}.jwks.json", set_of([keys[name], *before]), 0o644)
    wait(SETTLED)
    for name, pem in pems.items():
        write_whole(folder / "private" / f"{name}.pem", pem, 0o600)
    return {name: str(jwk["kid"]) for name, jwk in keys.items()}


def kept_of(name: str) -> float:
    """For how many seconds the old key of somebody is known."""
    return KEPT_FOR_GRANTS if name.endswith(GRANT_SUFFIX) else KEPT


def _known_before(public: Path, kept: float) -> list[dict[str, Any]]:
    """The keys that are known so far and still hold, each until the last that it has signed has ended."""
    now = time.time()
    try:
        known = json.loads(public.read_bytes())["keys"]
    except (OSError, ValueError, KeyError) as problem:
        raise UnfitKey(f"no keys to rotate at {public}: {problem}") from None
    held = [{"until": round(now + kept), **each} for each in known]
    return [each for each in held if each["until"] > now]
