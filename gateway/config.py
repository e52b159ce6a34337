"""Settings of the gateway, beside those of every process (`mercato.config.Settings`)."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from gateway.rates import Network, networks
from gateway.shedding import MOST_REQUESTS
from mercato.config import BadSettings, config, duration, var, words

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


def _deadlines(text: str) -> Mapping[str, timedelta]:
    """Deadlines of single rpcs, written as `PlaceOrder=4s,SearchProducts=1s`."""
    pairs = (word.partition("=") for word in words(text))
    return {name: duration(value) for name, _, value in pairs}


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadSettings(f"MERCATO_GATEWAY_ADDRESS is host:port, not {text!r}")
    return Address(host, int(port))


def _origins(text: str) -> tuple[str, ...]:
    """Origins by name. Not any: their pages may send cookies along, and read what is answered to them."""
    found = words(text)
    for each in found:
        if not _ORIGIN.fullmatch(each):
            raise BadSettings(f"MERCATO_GATEWAY_ORIGINS names origins such as https://shop.example, not {each!r}")
    return found


@config(prefix="MERCATO_GATEWAY")
class GatewayConfig:
    """Where the gateway listens, how long it waits, and who else's pages may call it."""

    address: Address = var(default="127.0.0.1:8080", converter=_address)
    # The descriptor of a socket that listens there already, kept by whoever started us; -1: there is none.
    listener: int = var(default=-1, converter=int)
    deadline: timedelta = var(default="3s", converter=duration)
    deadlines: Mapping[str, timedelta] = var(default="PlaceOrder=4s,ReconcilePayments=30s", converter=_deadlines)
    # Requests under way at once; of them a quarter may be lists and searches, half any other reading.
    most_requests: int = var(default=MOST_REQUESTS, converter=int)
    body_timeout: timedelta = var(default="10s", converter=duration)
    # Origins whose pages may call, beside our own: `https://shop.example,https://staff.example`.
    origins: tuple[str, ...] = var(default="", converter=_origins)
    # Times as many requests as the contracts allow; 0: twelve in development, one otherwise.
    rate_factor: float = var(default="0", converter=float)
    # Gateways that share the rates while Redis is away, and the networks of proxies whose X-Forwarded-For is believed.
    gateways: int = var(default=1, converter=int)
    trusted_proxies: tuple[Network, ...] = var(default="", converter=networks)
    # Memory for replies that are kept, in bytes; 0: none is, here or in Redis.
    cache_bytes: int = var(default=16 * 1024 * 1024, converter=int)
    gzip_from: int = var(default=1024, converter=int)
    # Event streams that may be open in this process, by one account and from one address.
    streams: int = var(default=5000, converter=int)
    streams_per_principal: int = var(default=32, converter=int)
    streams_per_address: int = var(default=512, converter=int)
    # A quiet stream says that it lives; where Kafka does not tell, the order service is asked for news; a client that
    # does not read is waited for.
    heartbeat: timedelta = var(default="15s", converter=duration)
    look: timedelta = var(default="2s", converter=duration)
    stream_patience: timedelta = var(default="10s", converter=duration)
    # Whoever takes nothing of what was sent for so long is disconnected.
    unheard: timedelta = var(default="30s", converter=duration)
