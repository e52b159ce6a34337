"""Settings."""

from datetime import timedelta
from pathlib import Path

import pytest

from mercato.config import BadSettings, Secret, Settings, Url, boolean, config, duration, load, var

LEAST = {"MERCATO_NAME": "order"}


@config(prefix="MERCATO_BAKERY")
class BakeryConfig:
    """A service's own."""

    oven: str = var()
    rest: timedelta = var(default="15m", converter=duration)


def test_what_is_not_set_has_its_default() -> None:
    settings = load(Settings, LEAST)
    assert settings.development
    assert settings.roles == {"serve", "relay", "consume", "process"}


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(BadSettings, match="MERCATO_NAME"):
        load(Settings, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("THREADS", "many"), ("ROLES", "serve,rest"), ("ENVIRONMENT", "staging"), ("GRACE", "20 minutes")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=name):
        load(Settings, {**LEAST, f"MERCATO_{name}": value})


def test_settings_do_not_change() -> None:
    settings = load(Settings, LEAST)
    with pytest.raises(AttributeError):
        settings.threads = 1  # type: ignore[misc]


def test_a_service_reads_its_own_settings_the_same_way() -> None:
    own = load(BakeryConfig, {"MERCATO_BAKERY_OVEN": "hot"})
    assert (own.oven, own.rest) == ("hot", timedelta(minutes=15))


def test_neighbours_are_known_by_their_names() -> None:
    settings = load(Settings, {**LEAST, "MERCATO_TARGET_PRODUCT": "ipv4:1.2.3.4:5", "MERCATO_TARGET_USER": ""})
    assert settings.targets == {"product": "ipv4:1.2.3.4:5"}


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    settings = load(Settings, {**LEAST, "MERCATO_SECRET_FILE": str(tmp_path / "secret")})
    assert settings.secret == Secret("hush")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="nothing-here"):
        load(Settings, {**LEAST, "MERCATO_SECRET_FILE": str(tmp_path / "nothing-here")})


def test_secrets_and_passwords_are_not_shown() -> None:
    shown = repr(
        load(Settings, {**LEAST, "MERCATO_SECRET": "hush", "MERCATO_DATABASE_URL": "postgresql://me:pw1@db/x"})
    )
    assert "hush" not in shown
    assert "pw1" not in shown
    assert Url("postgresql://me:pw1@db/x") == "postgresql://me:pw1@db/x"


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("2.5s", 2.5), ("15m", 900), ("24h", 86_400), ("7d", 604_800)]
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


def test_booleans_are_words() -> None:
    assert boolean("yes")
    assert not boolean("off")
    with pytest.raises(BadSettings):
        boolean("perhaps")
