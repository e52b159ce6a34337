"""Etags: the version of a resource as an opaque string, which a change must name to be let through."""

from mercato.errors import EtagMismatch, EtagRequired


def require_etag(given: str, version: int) -> None:
    """Let a change through if it is based on this version. EtagRequired without an etag, EtagMismatch with another."""
    if not given:
        raise EtagRequired
    check_etag(given, version)


def check_etag(given: str, version: int) -> None:
    """The same, where the etag may be left out."""
    if given and given != str(version):
        raise EtagMismatch(etag=str(version))
