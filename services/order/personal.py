"""What an order knows of a person: kept in one row that can be emptied, shown only to those who need it."""

from dataclasses import dataclass, replace

_SHOWN_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A place on the map, in degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Address:
    """Where an order goes, and to whom."""

    recipient: str = ""
    line1: str = ""
    line2: str = ""
    postal_code: str = ""
    city: str = ""
    country_code: str = ""
    phone: str = ""
    place: Place | None = None

    @property
    def masked(self) -> "Address":
        """The same with a telephone number that only its owner recognises."""
        hidden = max(len(self.phone) - _SHOWN_DIGITS, 0)
        return replace(self, phone="•" * hidden + self.phone[hidden:])


@dataclass(frozen=True, slots=True)
class Personal:
    """The person's part of an order."""

    address: Address | None = None
    note: str = ""
    return_reason: str = ""

    def shown_to(self, subject: str, roles: frozenset[str], owner: str) -> "Personal":
        """All of it to the owner and to admin, with the telephone number masked to support, none to others."""
        if subject == owner or "admin" in roles:
            return self
        if "support" in roles:
            return replace(self, address=self.address and self.address.masked)
        return Personal()
