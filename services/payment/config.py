"""Settings of the payment service (MERCATO_PAYMENT_*)."""

from datetime import timedelta

from mercato.config import Secret, config, duration, var


@config(prefix="MERCATO_PAYMENT")
class PaymentConfig:
    """Where the provider is, and how long it is waited for."""

    provider_key: Secret = var(converter=Secret)
    """The secret API key of the shop's account."""
    provider_url: str = var(default="")
    """The base of an API with Stripe's paths; empty: Stripe itself."""
    provider_connect: timedelta = var(default="1s", converter=duration)
    provider_read: timedelta = var(default="2s", converter=duration)
    """How long one reply is waited for; then it is asked again with the same key."""
    provider_remembers: timedelta = var(default="20h", converter=duration)
    """How long asking again with the same key is safe: Stripe forgets keys after a day."""

    lease: timedelta = var(default="5s", converter=duration)
    """For how long an unanswered attempt is left to whoever works on it: above connect + read."""
    longest_pause: timedelta = var(default="60s", converter=duration)
    """Between two looks of the worker at one attempt that stays unanswered."""
    resolve: timedelta = var(default="500ms", converter=duration)
    """How often the worker looks for such attempts."""
