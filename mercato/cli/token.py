"""`mercato token`: a minute's token for calling a service by hand."""

from pathlib import Path

from mercato.auth import Signer
from mercato.config import words
from mercato.keys import UnfitKey
from mercato.local.trouble import Trouble
from mercato.rpc.call import NOBODY, Principal

OPERATOR = "operator"


def sign(keys: Path, service: str, roles: str, subject: str) -> str:
    """A token of the operator for one service, on behalf of a user with these roles."""
    try:
        signer = Signer.load(keys, OPERATOR)
    except UnfitKey as unfit:
        raise Trouble(f"The operator has no key: {unfit}.", "Make the keys: mercato up.") from unfit
    principal = Principal(subject, frozenset(words(roles)), "", None) if roles or subject else NOBODY
    return signer.token(service, principal)
