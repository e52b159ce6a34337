"""The list of rights on Kafka names what processes do read, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mercato.local.table import SERVICES
from mercato.rights import FOLLOWS
from mercato.rights import SERVICES as NAMED

ROOT = Path(__file__).parents[2]


def test_every_service_is_in_the_list() -> None:
    assert {*NAMED} == {each.name for each in SERVICES} == FOLLOWS.keys() - {"gateway", "auditor"}


@pytest.mark.parametrize("service", NAMED)
def test_a_service_may_read_what_its_code_follows(service: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "services" / service).rglob("*.py"))
    assert set(re.findall(r'topic\("(\w+)"\)', code)) == {*FOLLOWS[service]}
