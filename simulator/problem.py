"""What the provider says when it refuses: Stripe's error objects.

Problem
├── InvalidRequest    400  something is wrong with the request; not remembered for its idempotency key
│   ├── NoSuchObject  404
│   ├── WrongState    400  remembered: the operation was tried
│   └── Unauthorized  401
├── CardError         402  the card said no; remembered
├── KeyReused         400  the idempotency key belongs to another request
├── KeyInUse          409  the first request with this key has not been answered yet
└── ProviderFailure   500  pm_flaky
"""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):
    """A refusal, as the client sees it."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    remembered: ClassVar[bool] = False

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.error = {"type": self.type, "message": message} | {
            name: value for name, value in members.items() if value is not None
        }


class InvalidRequest(Problem):
    """A parameter is missing, malformed or beyond its bounds."""


class NoSuchObject(InvalidRequest):
    """Nothing has the id that the path names."""

    status = 404

    def __init__(self, kind: str, given: str) -> None:
        super().__init__(f"No such {kind}: '{given}'", code="resource_missing", param="id")


class WrongState(InvalidRequest):
    """The object is not in a state that allows this."""

    remembered = True


class Unauthorized(InvalidRequest):
    """No key, or not ours."""

    status = 401


class CardError(Problem):
    """The card was declined."""

    status = 402
    type = "card_error"
    remembered = True

    def __init__(self, message: str, decline_code: str, **members: Any) -> None:
        super().__init__(message, code="card_declined", decline_code=decline_code, **members)


class KeyReused(Problem):
    """An idempotency key came back with another request."""

    type = "idempotency_error"

    def __init__(self, key: str) -> None:
        super().__init__(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request."
        )


class KeyInUse(Problem):
    """Two requests with one idempotency key at once."""

    status = 409
    type = "idempotency_error"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"There is currently another in-progress request using this idempotency key ('{key}').",
            code="idempotency_key_in_use",
        )


class ProviderFailure(Problem):
    """The provider itself failed; nothing was done and nothing is remembered."""

    status = 500
    type = "api_error"

    def __init__(self) -> None:
        super().__init__("An unknown error occurred.")
