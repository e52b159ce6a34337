"""Events of users, as far as they say who is to be forgotten."""

from uuid import UUID

from mercato.api.user.v1 import user_events_pb2 as users
from mercato.consumer import Delivery, Handle, handlers
from services.delivery.store import DeliveryWork
from services.delivery.usecases import Dispatch

PERSONS = "delivery.persons"  # the name of the position: renaming it reads everything again


def follow_users(dispatch: Dispatch) -> Handle:
    """What to do with each event of a user."""

    def erased(work: DeliveryWork, event: users.UserErased, _: Delivery) -> None:
        dispatch.forget_user(work, UUID(event.user_id))

    return handlers({users.UserErased: erased})
