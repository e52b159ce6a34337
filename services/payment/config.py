"""Settings of the payment service (MERCATO_PAYMENT_*)."""

from datetime import timedelta

from mercato.config import BadSettings, Secret, config, duration, var

_KNOWN_TO_ALL = "whsec_development"


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(f"is at least 1, not {text!r}")
    return number


@config(prefix="MERCATO_PAYMENT")
class PaymentConfig:
    """Where the provider is, how long it is waited for, and how many declines are too many.

    With STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET alone, the provider is Stripe.
    """

    provider_key: Secret = var(default="", converter=Secret)
    """The secret API key of the shop's account; unless it is set, STRIPE_API_KEY is."""
    provider_url: str = var(default="")
    """The base of an API with Stripe's paths; empty: Stripe itself."""
    provider_connect: timedelta = var(default="1s", converter=duration)
    provider_read: timedelta = var(default="2s", converter=duration)
    """How long one reply is waited for; then it is asked again with the same key."""
    provider_remembers: timedelta = var(default="20h", converter=duration)
    """How long asking again with the same key is safe: Stripe forgets keys after a day."""
    webhook_secret: Secret = var(default="", converter=Secret)
    """What the provider signs webhooks with; unless it is set, STRIPE_WEBHOOK_SECRET is."""
    stripe_api_key: Secret = var(default="", converter=Secret, name="STRIPE_API_KEY")
    stripe_webhook_secret: Secret = var(default="", converter=Secret, name="STRIPE_WEBHOOK_SECRET")

    lease: timedelta = var(default="5s", converter=duration)
    """For how long an unanswered attempt is left to whoever works on it: above connect + read."""
    longest_pause: timedelta = var(default="60s", converter=duration)
    """Between two looks of the worker at one attempt that stays unanswered."""
    resolve: timedelta = var(default="500ms", converter=duration)
    """How often the worker looks for such attempts."""
    reconcile: timedelta = var(default="1m", converter=duration)
    """How often what is new is compared with the provider's list; whole days, sixty times as seldom."""

    declines_per_customer: int = var(default="20", converter=_at_least_one)
    declines_per_method: int = var(default="1000", converter=_at_least_one)
    """How many declines stop further authorizations of a customer, or by a means of payment. The latter is generous:
    the provider's test tokens are everybody's."""
    declines_within: timedelta = var(default="1h", converter=duration)

    @property
    def key(self) -> Secret:
        """The secret API key. BadSettings if there is none."""
        if not (key := self.provider_key or self.stripe_api_key):
            raise BadSettings("not set: MERCATO_PAYMENT_PROVIDER_KEY or STRIPE_API_KEY")
        return key

    def signing_secret(self, *, development: bool) -> Secret:
        """What webhooks are signed with. BadSettings if that is nobody's secret, but in development."""
        secret = self.webhook_secret or self.stripe_webhook_secret
        if not development and secret.reveal() in ("", _KNOWN_TO_ALL):
            raise BadSettings("production needs MERCATO_PAYMENT_WEBHOOK_SECRET or STRIPE_WEBHOOK_SECRET of its own")
        return secret or Secret(_KNOWN_TO_ALL)
