"""How topics are called."""


def topic(service: str) -> str:
    """The topic of a service's events."""
    return f"mercato.{service}.v1"


def dead_letters(name: str) -> str:
    """Where records of a topic go that could not be applied."""
    return f"{name}.dlq"
