"""The call that is being answered: for whom, by whom, until when, and what it has changed so far."""

import base64
import binascii
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from mercato import log


@dataclass(frozen=True, slots=True)
class Principal:
    """The end user that work is done for. Without a subject: nobody in particular."""

    subject: str = ""
    roles: frozenset[str] = frozenset()
    session_id: str = ""
    guest_id: str | None = None

    @property
    def is_guest(self) -> bool:
        """Whether this is a session without an account."""
        return "guest" in self.roles

    @property
    def is_account(self) -> bool:
        """Whether this is somebody who signed in."""
        return bool(self.subject) and not self.is_guest


NOBODY = Principal()
GRANT = "mercato-grant"
# Changes travel as metadata, of which a reply may have 8 KiB: a consignment of thousands of SKUs could not be answered.
MOST_NAMED = 32


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two requests the same one: who sent it to which rpc, the key they chose, a digest of the rest."""

    principal: str
    rpc: str
    key: str
    fingerprint: bytes


@dataclass(slots=True)
class Call:
    """One call. `only_of` is None for a caller who may see everybody's, else the subject whose resources exist.

    `private` is set where not anybody may call: what is answered is for this caller. `grant` is shown by the calls that
    are made for this one, to whoever wants to see one (`mercato.grants`).
    """

    rpc: str = ""
    principal: Principal = NOBODY
    service: str = ""
    only_of: str | None = None
    key: Key | None = None
    request_id: str = ""
    private: bool = False
    grant: str = ""
    ends: float | None = None
    consistency: Mapping[str, int] = field(default_factory=dict)
    replayed: bool = False
    written: dict[str, int] = field(default_factory=dict)

    @property
    def remaining(self) -> float | None:
        """Seconds until the caller stops waiting; None if nobody waits."""
        return None if self.ends is None else self.ends - time.monotonic()

    def named(self, request_id: str, fingerprint: bytes = b"") -> Key | None:
        """What a repeat of the request is known by; None if it has no name, or nobody who could repeat it."""
        # Only the gateway brings people without a name, who cannot be told apart; who else calls is known by itself.
        sender = self.principal.subject or (f"@{self.service}" if self.service != "gateway" else "")
        return Key(sender, self.rpc, request_id, fingerprint) if sender and request_id else None

    def wrote(self, aggregate: str, version: int) -> None:
        """Note a change, so that the caller can ask to see it elsewhere. Of a bulk change, the first ones.

        An aggregate is named with the service that it belongs to: `order/0190…`.
        """
        if aggregate in self.written or len(self.written) < MOST_NAMED:
            self.written[aggregate] = max(version, self.written.get(aggregate, 0))


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """The call that is being answered; outside of any, one of nobody that never ends."""
    return _current.get() or Call()


def begin(call: Call) -> None:
    """Answer a call for the rest of the present context."""
    _current.set(call)


@contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Answer a call within the block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def on_behalf_of(
    subject: str,
    roles: frozenset[str] = frozenset({"customer"}),
    *,
    seconds: float | None = None,
    request_id: str = "",
    grant: str = "",
) -> Iterator[Call]:
    """Work without its user: within the block, tokens are signed for the user whom the work was accepted from.

    `grant` is what that user agreed to.
    """
    principal = Principal(subject, roles)
    ends = None if seconds is None else time.monotonic() + seconds
    request_id = request_id or log.context().get("request_id") or log.new_request_id()
    call = Call("", principal, request_id=request_id, ends=ends, grant=grant)
    with log.bound(request_id=request_id), calling(call):
        yield call


def consistency_token(written: Mapping[str, int]) -> str:
    """What was written, as a token that only we read."""
    text = ",".join(f"{aggregate}={version}" for aggregate, version in written.items())
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_consistency(token: str) -> dict[str, int]:
    """The aggregates and versions that a token names; none if it is not one of ours, for it is only a wish."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        pairs = (entry.rpartition("=") for entry in text.split(",") if entry)
        return {aggregate: int(version) for aggregate, _, version in pairs}
    except (ValueError, binascii.Error):
        return {}
