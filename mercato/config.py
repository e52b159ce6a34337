"""Settings: frozen values read once from the environment, the only place where `os.environ` is read.

Every process has `Settings` (MERCATO_*); a service adds a class of its own, read the same way from
MERCATO_<SERVICE>_*:

    @config(prefix="MERCATO_INVENTORY")
    class InventoryConfig:
        hold: timedelta = var(default="15m", converter=duration)

Secrets are `Secret`s: they print as stars, and a file wins over the variable (MERCATO_SECRET_FILE=/run/secrets/x).
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import attrs
import environ
from environ.exceptions import MissingEnvValueError

T = TypeVar("T")
Environment = Mapping[str, str]

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TARGET = "MERCATO_TARGET_"
_FILE = "_FILE"
_KAFKA = "MERCATO_KAFKA_"
_PROTOCOLS = ("", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SCRAM = "SCRAM-SHA-512"
# How the client calls what it is told.
_SIGNING_IN = {
    "SECURITY": "security.protocol",
    "MECHANISM": "sasl.mechanism",
    "USERNAME": "sasl.username",
    "PASSWORD": "sasl.password",
    "CA": "ssl.ca.location",
}
ROLES = frozenset({"serve", "relay", "consume", "process"})
DEVELOPMENT, PRODUCTION = "development", "production"


class BadSettings(ValueError):
    """Settings that no process can start with; the text says which and why."""


class Secret:
    """A value that is not to be seen in logs or tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"


class Url(str):
    """A connection URL whose password is not shown by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", str(self)))


class Brokers(str):  # noqa: SLOT000  it holds something, for which a string has no slots
    """Where Kafka is reached, and how one signs in there: the client's own settings, none where nobody is asked."""

    access: Mapping[str, str]

    def __new__(cls, address: str, access: Mapping[str, str] | None = None) -> "Brokers":
        """Anybody's, unless somebody in particular is to sign in."""
        made = super().__new__(cls, address)
        made.access = getattr(address, "access", {}) if access is None else access
        return made

    @staticmethod
    def client(address: str) -> dict[str, Any]:
        """What a client is told of an address; of a plain one, that nobody signs in."""
        return {"bootstrap.servers": str(address), **getattr(address, "access", {})}

    @classmethod
    def told(cls, env: Environment) -> "Brokers":
        """What the environment says of them. BadSettings."""
        address, given = env.get(f"{_KAFKA}BOOTSTRAP", ""), {}
        for name, known in _SIGNING_IN.items():
            if value := env.get(_KAFKA + name):
                given[known] = value
        protocol = given.get("security.protocol", "").upper()
        if protocol not in _PROTOCOLS:
            raise BadSettings(f"{_KAFKA}SECURITY is one of {', '.join(_PROTOCOLS[1:])}, not {protocol!r}")
        if address and not protocol and env.get("MERCATO_ENVIRONMENT") == PRODUCTION:
            raise BadSettings(f"{_KAFKA}SECURITY is not set: say PLAINTEXT where Kafka is to ask nobody who they are")
        if not protocol.startswith("SASL"):
            return cls(address, {name: value for name, value in given.items() if not name.startswith("sasl")})
        if "sasl.password" not in given:
            raise BadSettings(f"not set: {_KAFKA}PASSWORD, which {protocol} asks for")
        return cls(address, {"sasl.mechanism": SCRAM, "sasl.username": env.get("MERCATO_NAME", ""), **given})


def duration(text: str | timedelta) -> timedelta:
    """A time span written as `15m`, `2.5s`, `200ms`, `24h`, `7d`."""
    if isinstance(text, timedelta):
        return text
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip())):
        raise BadSettings(f"{text!r} is not a duration such as 200ms, 2.5s, 15m, 24h or 7d")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def words(text: str) -> tuple[str, ...]:
    """A list separated by commas."""
    return tuple(word for each in text.split(",") if (word := each.strip()))


def boolean(text: str | bool) -> bool:
    """`true`, `yes`, `on`, `1` or their contraries."""
    match str(text).strip().lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0" | "":
            return False
    raise BadSettings(f"{text!r} is neither true nor false")


def _roles(text: str) -> frozenset[str]:
    roles = frozenset(words(text))
    if unknown := roles - ROLES:
        raise BadSettings(f"MERCATO_ROLES knows {', '.join(sorted(ROLES))}, not {', '.join(sorted(unknown))}")
    return roles


def _environment(text: str) -> str:
    if text not in (DEVELOPMENT, PRODUCTION):
        raise BadSettings(f"MERCATO_ENVIRONMENT is {DEVELOPMENT} or {PRODUCTION}, not {text!r}")
    return text


def _folder(text: str) -> Path | None:
    return Path(text) if text else None


def var(*, default: Any = attrs.NOTHING, converter: Callable[[Any], Any] | None = None, name: str | None = None) -> Any:
    """A setting, required unless it has a default; `converter` makes the text (and the default) its value.

    `name`: of the variable, where somebody else gave it one.
    """
    named: Any = attrs.Converter(_naming(converter), takes_field=True) if converter else None
    return environ.var(converter=named, name=name) if default is attrs.NOTHING else environ.var(default, named, name)


def _naming(converter: Callable[[Any], Any]) -> Callable[[Any, "attrs.Attribute[Any]"], Any]:
    def convert(value: Any, field: "attrs.Attribute[Any]") -> Any:
        try:
            return converter(value)
        except ValueError as wrong:
            raise BadSettings(f"{field.name.upper()}: {wrong}") from None

    return convert


@dataclass_transform(frozen_default=True, field_specifiers=(var,))
def config(*, prefix: str) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen group of settings, read from variables that begin with the prefix."""
    return environ.config(prefix=prefix, frozen=True)


@config(prefix="MERCATO")
class Settings:
    """What every process is told."""

    name: str = var()
    environment: str = var(default=DEVELOPMENT, converter=_environment)
    roles: frozenset[str] = var(default="serve,relay,consume,process", converter=_roles)
    log_level: str = var(default="info", converter=str.lower)

    database_url: Url = var(default="", converter=Url)
    redis_url: Url = var(default="", converter=Url)
    redis_patience: timedelta = var(default="50ms", converter=duration)
    """How long Redis may take to answer: whatever it holds can be had elsewhere."""
    kafka_bootstrap: Brokers = var(default="", converter=Brokers)

    grpc_address: str = var(default="127.0.0.1:0")
    health_address: str = var(default="127.0.0.1:0")
    metrics_address: str = var(default="")
    threads: int = var(default=32, converter=int)
    maximum_calls: int = var(default=64, converter=int)
    together: bool = var(default="on", converter=boolean)
    """Whether calls that may travel together do; else each goes alone."""
    grace: timedelta = var(default="20s", converter=duration)
    leave_first: timedelta = var(default="200ms", converter=duration)

    keys: Path = var(default=".mercato/keys", converter=Path)
    secret: Secret = var(default="development", converter=Secret)
    parent_pid: int = var(default=0, converter=int)
    targets: Mapping[str, str] = var(default={}, converter=dict)
    failpoint: str = var(default="")
    """Where this process is to fail, for tests; see `mercato.failpoint`. Refused in production."""
    failpoint_folder: Path | None = var(default="", converter=_folder)
    """Where it listens for who tells it to fail; see `mercato.failpoint_control`. Refused in production."""

    @property
    def development(self) -> bool:
        """Whether demo accounts, reflection and development keys are in order."""
        return self.environment == DEVELOPMENT


def load(cls: type[T], env: Environment | None = None) -> T:
    """Read a class of settings. BadSettings names what is missing or wrong."""
    env = _with_files(os.environ if env is None else env)
    try:
        # One variable for each neighbour reads better in a manifest; the class has one field for all.
        variables: dict[str, Any] = {**env, "MERCATO_TARGETS": _targets(env)}
        if env.get(f"{_KAFKA}BOOTSTRAP"):
            variables[f"{_KAFKA}BOOTSTRAP"] = Brokers.told(env)
        return environ.to_config(cls, variables)
    except MissingEnvValueError as missing:
        raise BadSettings(f"not set: {', '.join(sorted(map(str, missing.args)))}") from None


def _targets(env: Environment) -> Mapping[str, str]:
    named = {name.removeprefix(_TARGET).lower(): target for name, target in env.items() if name.startswith(_TARGET)}
    return {name: target for name, target in named.items() if target}


def _with_files(env: Environment) -> Environment:
    files = {name.removesuffix(_FILE): path for name, path in env.items() if _is_file(name) and path}
    return {**env, **{name: _read(path) for name, path in files.items()}}


def _is_file(name: str) -> bool:
    return name.startswith("MERCATO_") and name.endswith(_FILE)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as problem:
        raise BadSettings(f"cannot read {path}: {problem.strerror}") from None


def _copies(text: str) -> Mapping[str, int]:
    named = dict(word.partition("=")[::2] for word in words(text))
    return {name: max(1, int(count)) for name, count in named.items()}


@config(prefix="MERCATO")
class LocalSettings:
    """What the supervisor and the command line are told."""

    home: Path | None = var(default="", converter=_folder)
    port: int = var(default=8080, converter=int)
    database_url: Url = var(default="", converter=Url)
    redis_url: Url = var(default="", converter=Url)
    kafka_bootstrap: Brokers = var(default="", converter=Brokers)
    demo_password: Secret = var(default="", converter=Secret)
    stripe_api_key: Secret = var(default="", converter=Secret, name="STRIPE_API_KEY")
    """With it the payment provider is Stripe, and not its stand-in."""
    role_passwords: Path | None = var(default="", converter=_folder)
    """A folder with a file for each schema: the password of its role."""
    copies: Mapping[str, int] = var(default="", converter=_copies)
    """How many processes of a service: `order=2,product=2`; one where it is not named."""


def surroundings() -> dict[str, str]:
    """The environment as it is, for processes that are started with it."""
    return dict(os.environ)
