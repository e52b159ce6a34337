"""UserService: requests to use cases, and back."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToJson
from grpc import ServicerContext

from mercato.api.user.v1 import user_pb2 as pb
from mercato.errors import InvalidArgument, NotFound
from mercato.pagination import PageTokens
from mercato.rpc import current_call
from mercato.rpc.set_form import Item, SetForm
from mercato.wire import time_to_pb
from services.user import messages
from services.user.copies import SessionCopies
from services.user.domain import User
from services.user.queries import UserQueries
from services.user.usecases import Accounts, AddressBook, SignIns


class UserServicer:
    """Serves accounts, sessions and addresses."""

    contract = pb.DESCRIPTOR.services_by_name["UserService"]

    def __init__(
        self,
        accounts: Accounts,
        sign_ins: SignIns,
        addresses: AddressBook,
        queries: UserQueries,
        copies: SessionCopies,
        pages: PageTokens,
    ) -> None:
        self._accounts = accounts
        self._sign_ins = sign_ins
        self._addresses = addresses
        self._queries = queries
        self._copies = copies
        self._pages = pages

    @property
    def together(self) -> Mapping[str, SetForm]:
        """Rpcs of which one statement answers many."""
        return {"GetAddress": self.get_address}

    def get_address(self, items: Sequence[Item]) -> Sequence[pb.Address | NotFound]:
        """Addresses that orders asked for in one message."""
        found = self._queries.addresses_of([(UUID(item.request.id), UUID(item.request.user_id)) for item in items])
        return [messages.address_to_pb(each) if each else NotFound() for each in found]

    def RegisterUser(self, request: pb.RegisterUserRequest, context: ServicerContext) -> pb.User:
        user = self._accounts.register_user(request.email, request.password, request.display_name)
        return messages.user_to_pb(user)

    def SignIn(self, request: pb.SignInRequest, context: ServicerContext) -> pb.SignInResponse:
        caller = current_call().principal
        guest_id = UUID(caller.subject) if caller.is_guest else None
        signed_in = self._sign_ins.sign_in(request.email, request.password, guest_id)
        return pb.SignInResponse(
            token=signed_in.token,
            expire_time=time_to_pb(signed_in.session.expire_time),
            user=messages.user_to_pb(signed_in.user) if signed_in.user else None,
        )

    def StartGuestSession(
        self, request: pb.StartGuestSessionRequest, context: ServicerContext
    ) -> pb.StartGuestSessionResponse:
        signed_in = self._sign_ins.start_guest_session()
        return pb.StartGuestSessionResponse(
            token=signed_in.token, expire_time=time_to_pb(signed_in.session.expire_time)
        )

    def ListSessions(self, request: pb.ListSessionsRequest, context: ServicerContext) -> pb.ListSessionsResponse:
        call = current_call()
        subject = UUID(request.user_id or call.principal.subject)
        page = self._pages.page(request)
        sessions = page.of(
            self._queries.sessions(subject, page.after, page.most),
            lambda last: (last.create_time.isoformat(), str(last.id)),
        )
        listed = [messages.session_to_pb(each, call.principal.session_id) for each in sessions.items]
        return pb.ListSessionsResponse(sessions=listed, next_page_token=sessions.next_page_token)

    def RevokeSession(self, request: pb.RevokeSessionRequest, context: ServicerContext) -> Empty:
        only_of = current_call().only_of
        self._sign_ins.revoke_session(UUID(request.id), UUID(only_of) if only_of else None)
        return Empty()

    def SignOut(self, request: pb.SignOutRequest, context: ServicerContext) -> Empty:
        caller = current_call().principal
        self._sign_ins.revoke_session(UUID(caller.session_id), UUID(caller.subject))
        return Empty()

    def LookUpSession(self, request: pb.LookUpSessionRequest, context: ServicerContext) -> pb.SessionIdentity:
        identity = messages.identity_to_pb(self._queries.look_up_session(request.token_hash))
        self._copies.keep(request.token_hash, MessageToJson(identity, indent=None))
        return identity

    def ListUsers(self, request: pb.ListUsersRequest, context: ServicerContext) -> pb.ListUsersResponse:
        page = self._pages.page(request)
        users = page.of(
            self._queries.users(request.email, request.role, page.after, page.most), lambda last: (str(last.id),)
        )
        listed = [messages.user_to_pb(_shown(each)) for each in users.items]
        return pb.ListUsersResponse(users=listed, next_page_token=users.next_page_token)

    def GetUser(self, request: pb.GetUserRequest, context: ServicerContext) -> pb.User:
        return messages.user_to_pb(_shown(self._queries.user(UUID(request.id))))

    def UpdateUser(self, request: pb.UpdateUserRequest, context: ServicerContext) -> pb.User:
        name = messages.new_name(request.user, request.update_mask.paths)
        return messages.user_to_pb(self._accounts.update_user(_id(request.user.id, "user.id"), request.user.etag, name))

    def EraseUser(self, request: pb.EraseUserRequest, context: ServicerContext) -> Empty:
        self._accounts.erase_user(UUID(request.id))
        return Empty()

    def ChangePassword(self, request: pb.ChangePasswordRequest, context: ServicerContext) -> pb.User:
        call = current_call()
        user = self._accounts.change_password(
            UUID(call.principal.subject),
            UUID(call.principal.session_id),
            request.old_password,
            request.new_password,
            call.key,
        )
        return messages.user_to_pb(user)

    def SetRoles(self, request: pb.SetRolesRequest, context: ServicerContext) -> pb.User:
        user = self._accounts.set_roles(UUID(request.id), request.roles, by=current_call().principal.subject)
        return messages.user_to_pb(user)

    def ListAddresses(self, request: pb.ListAddressesRequest, context: ServicerContext) -> pb.ListAddressesResponse:
        page = self._pages.page(request)
        addresses = page.of(
            self._queries.addresses(UUID(request.user_id), page.after, page.most),
            lambda last: (last.create_time.isoformat(), str(last.id)),
        )
        listed = [messages.address_to_pb(each) for each in addresses.items]
        return pb.ListAddressesResponse(addresses=listed, next_page_token=addresses.next_page_token)

    def GetAddress(self, request: pb.GetAddressRequest, context: ServicerContext) -> pb.Address:
        return messages.address_to_pb(self._queries.address(UUID(request.id), _id(request.user_id, "user_id")))

    def CreateAddress(self, request: pb.CreateAddressRequest, context: ServicerContext) -> pb.Address:
        address = messages.new_address(UUID(request.user_id), request.address)
        return messages.address_to_pb(self._addresses.create_address(address, current_call().key))

    def UpdateAddress(self, request: pb.UpdateAddressRequest, context: ServicerContext) -> pb.Address:
        change = messages.address_change(request.address, request.update_mask.paths)
        address = self._addresses.update_address(
            _id(request.address.id, "address.id"), UUID(request.user_id), request.address.etag, change
        )
        return messages.address_to_pb(address)

    def DeleteAddress(self, request: pb.DeleteAddressRequest, context: ServicerContext) -> Empty:
        self._addresses.delete_address(UUID(request.id), UUID(request.user_id))
        return Empty()

    def PutAccount(self, request: pb.PutAccountRequest, context: ServicerContext) -> pb.User:
        user = self._accounts.put_account(request.email, request.password, request.display_name, request.roles)
        return messages.user_to_pb(user)


def _shown(user: User) -> User:
    """The user as the caller may see them: whole to themselves and to admin, masked to support."""
    caller = current_call().principal
    return user if str(user.id) == caller.subject or "admin" in caller.roles else user.masked()


def _id(text: str, field: str) -> UUID:
    """The id of the resource in a body. InvalidArgument names its field."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidArgument.of(field, "must be a UUID", "UUID") from None
