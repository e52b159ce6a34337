"""Rights on Kafka: which process may write to which topics, and read them; nobody may do anything else.

A process signs in by its own name. It writes its service's events and whatever it puts aside of others' (their dead
letters), and reads the topics that it follows. Topics are made by whoever comes first, so that everybody may make
those that they use. The operator gives the rights (`mercato migrate`) and has all of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mercato.topic import dead_letters, topic

# A topic for nothing: the first idempotent producer of a broker's life waits a second for it.
WARM_UP = "mercato.warm_up"
SERVICES = ("product", "inventory", "order", "payment", "delivery", "user")
FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "product": ("inventory",),
    "inventory": (),
    "order": ("payment", "delivery", "user"),
    "payment": (),
    "delivery": ("user",),
    "user": ("order",),
    "gateway": ("order", "product", "inventory"),
    "auditor": SERVICES,
}
"""Whose events a process reads."""


@dataclass(frozen=True, slots=True)
class Right:
    """What somebody may do with a topic or a group, or with all whose names begin so. Words are Kafka's own."""

    principal: str
    kind: str
    name: str
    operations: tuple[str, ...]
    prefix: bool = False


def rights() -> Iterator[Right]:
    """Everybody's rights."""
    for who, others in FOLLOWS.items():
        # Groups bear the name of the process, or that and what they are for.
        yield Right(who, "GROUP", who, ("READ",), prefix=True)
        for name in map(topic, others):
            yield Right(who, "TOPIC", name, ("READ", "DESCRIBE", "CREATE"))
        if who in SERVICES:
            written = (topic(who), WARM_UP, *(dead_letters(topic(each)) for each in others))
            yield from (Right(who, "TOPIC", name, ("WRITE", "DESCRIBE", "CREATE")) for name in written)
