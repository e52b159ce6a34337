"""Upcasters: bytes that were written in an earlier schema, brought to the present one, a schema at a time."""

from collections.abc import Callable, Mapping

Step = Callable[[bytes], bytes]


class NoSuchSchema(Exception):
    """Bytes of a schema that this code does not know: a newer program wrote them."""


class Upcasters:
    """Steps keyed by type and schema; the step of schema 1 makes schema 2 of it, and so on."""

    def __init__(self, steps: Mapping[tuple[str, int], Step]) -> None:
        """ValueError if the steps of a type leave out a schema."""
        self._steps = dict(steps)
        for type_, schema in self._steps:
            if schema > 1 and (type_, schema - 1) not in self._steps:
                raise ValueError(f"nothing brings {type_} from schema {schema - 1} to {schema}")
        self._present = {type_: 1 + sum(1 for name, _ in self._steps if name == type_) for type_, _ in self._steps}

    def schema(self, type_: str) -> int:
        """The present schema of a type: that behind its last step."""
        return self._present.get(type_, 1)

    def upcast(self, type_: str, schema: int, payload: bytes) -> bytes:
        """The bytes in the present schema. NoSuchSchema if they are of a later one."""
        present = self.schema(type_)
        if not 1 <= schema <= present:
            raise NoSuchSchema(f"{type_} of schema {schema}: {present} is the last that is known here")
        for each in range(schema, present):
            payload = self._steps[type_, each](payload)
        return payload
