"""Who may come in: the credential of a request, its session, and the contract's policy."""

from starlette.datastructures import Headers

from gateway.contract import Operation
from gateway.problems import Problem
from gateway.sessions import Credential, Sessions, check_origin, clear_cookie
from mercato.errors import Unauthenticated
from mercato.policy import decide
from mercato.rpc.call import NOBODY, Principal

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_SELF = "gateway"


class Access:
    """Decides about requests at the door. The service decides again, and about ownership."""

    def __init__(self, sessions: Sessions, origins: frozenset[str]) -> None:
        self.sessions = sessions
        self._origins = origins

    async def admit(self, operation: Operation, method: str, headers: Headers) -> Principal:
        """Who asks, if they may. Unauthenticated or PermissionDenied if not."""
        principal = await self._visitor(operation, method, headers)
        decide(operation.policy, principal, _SELF)
        return principal

    async def _visitor(self, operation: Operation, method: str, headers: Headers) -> Principal:
        credential = Credential()
        try:
            credential = Credential.of(headers)
            if credential.by_cookie and credential.token and method not in READS:
                check_origin(headers, self._origins)
            return await self.sessions.principal(credential.token)
        except Unauthenticated as refusal:
            # Signing in and registering must work for whoever still carries a session that has ended.
            if operation.public and method not in READS:
                return NOBODY
            problem = Problem.of(refusal)
            if credential.by_cookie:
                problem.headers = {"Set-Cookie": clear_cookie()}
            raise problem from None
