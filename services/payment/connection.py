"""The connection to the payment provider: the `stripe` SDK, its errors sorted into a no, and silence.

Only a definite refusal is a no. Timeouts, lost connections, 5xx, 409 (the first request with this key is not through),
429 and refusals of our account say nothing about the payment.
"""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from http.client import NOT_FOUND
from typing import TYPE_CHECKING, Any, TypeVar

from mercato import log
from mercato.errors import Unavailable
from mercato.failpoint import failpoint
from mercato.rpc import current_call
from mercato.telemetry import Counter
from services.payment.domain import ProviderSilent

if TYPE_CHECKING:
    import requests
    import stripe

T = TypeVar("T")

_LEAST = 0.05  # seconds that a question gets, however late it is
_SPARE = 0.1  # seconds of the caller's time that are kept for the answer to it
_CONNECTIONS = 32

SILENCES = Counter("mercato_payment_provider_silences", "Calls that the provider gave no answer to.", ("why",))
_log = log.get(__name__)


class No(Exception):
    """The provider refused, for good, in its own words. `missing`: there is no such path or object."""

    def __init__(self, code: str, param: str = "", reference: str = "", *, missing: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.param = param
        self.reference = reference
        self.missing = missing


class StripeConnection:
    """One pool of connections for all threads, without retries of the SDK's own."""

    def __init__(self, key: str, url: str, connect: timedelta, read: timedelta) -> None:
        """Speak to `url`, or to Stripe where it is empty. Nothing is connected, or even imported, yet."""
        self._key = key
        self._url = url
        self._timeouts = connect.total_seconds(), read.total_seconds()
        self._lock = threading.Lock()
        self._client: stripe.StripeClient | None = None
        self._session: requests.Session | None = None

    def prepare(self) -> None:
        """Load the SDK: it takes longer than all else at start, so a process is ready first and then does this."""
        self._services()

    def close(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            self._session.close()

    def call(self, ask: Callable[[Any], T]) -> T:
        """What the provider answers to one call of its v1 services. No, ProviderSilent."""
        services = self._services()
        from stripe import CardError, InvalidRequestError, StripeError

        try:
            failpoint("call.provider.before")
            answer = ask(services)
            failpoint("call.provider.after")
        except Unavailable as lost:
            raise ProviderSilent from lost
        except CardError as refusal:
            raise _no(refusal) from None
        except InvalidRequestError as refusal:
            missing = refusal.http_status == NOT_FOUND
            raise No(refusal.code or "invalid_request", str(refusal.param or ""), missing=missing) from None
        except StripeError as failure:
            raise _silence(failure) from failure
        return answer

    def _services(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
        return self._client.v1

    def _connect(self) -> "stripe.StripeClient":
        import requests
        import stripe

        # It tells of every request; what matters of them stands in lines of ours.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._session = requests.Session()
        # A provider at an address of our own is never behind the machine's proxy; Stripe may be.
        self._session.trust_env = not self._url
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _adapter(*self._timeouts))
        http = stripe.RequestsClient(session=self._session)
        base: Any = {"api": self._url} if self._url else {}
        return stripe.StripeClient(self._key, base_addresses=base, max_network_retries=0, http_client=http)


def _adapter(connect: float, read: float) -> Any:
    from requests.adapters import HTTPAdapter

    class Patient(HTTPAdapter):
        """Waits as long as the present call allows, and no longer."""

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            remaining = current_call().remaining
            longest = read if remaining is None else min(read, max(_LEAST, remaining - _SPARE))
            return super().send(request, *args, **{**options, "timeout": (min(connect, longest), longest)})

    return Patient(pool_connections=4, pool_maxsize=_CONNECTIONS)


def _no(refusal: "stripe.CardError") -> No:
    error: Any = refusal.error  # typed as what all errors have; a card's has more
    code = getattr(error, "decline_code", None) or refusal.code or "card_declined"
    intent = getattr(error, "payment_intent", None)
    return No(code, reference=getattr(intent, "id", ""))


def _silence(failure: "stripe.StripeError") -> ProviderSilent:
    import stripe

    SILENCES.add(type(failure).__name__)
    problem = str(failure.__cause__ or failure)[:300]
    told = {"why": type(failure).__name__, "status": failure.http_status, "problem": problem}
    if isinstance(failure, stripe.AuthenticationError | stripe.IdempotencyError | stripe.PermissionError):
        # Not about a payment but about us: it stays so until somebody changes a key, or the code.
        _log.error("provider.refuses_us", **told)
    else:
        _log.warning("provider.silent", **told)
    return ProviderSilent()
