"""How stored events have changed: what brings the bytes of an earlier schema to the next.

An upcaster knows the message of its type and nothing of the domain, for that goes on changing. The fields that only an
earlier schema had stay in the message, deprecated: they are how its bytes are read.
"""

from mercato.event_store import Upcasters
from services.order.v1 import stored_events_pb2 as pb


def order_rejected_1(payload: bytes) -> bytes:
    """A reason, and fields that meant something for some reasons, become one cause with what belongs to it."""
    old = pb.OrderRejected.FromString(payload)
    match old.reason:
        case "OUT_OF_STOCK":
            new = pb.OrderRejected(out_of_stock=pb.OrderRejected.OutOfStock(skus=old.skus))
        case "SLOT_FULL" | "SLOT_CLOSED":
            why = pb.OrderRejected.SlotRefused.Why.Value(old.reason)
            new = pb.OrderRejected(slot_refused=pb.OrderRejected.SlotRefused(why=why))
        case "PAYMENT_DECLINED":
            declined = pb.OrderRejected.PaymentDeclined(decline_code=old.decline_code)
            new = pb.OrderRejected(payment_declined=declined)
        case _:
            new = pb.OrderRejected(refused=pb.OrderRejected.Refused(reason=old.reason))
    return new.SerializeToString(deterministic=True)


def order_cancelled_1(payload: bytes) -> bytes:
    """The name of a state becomes one of the states that there are."""
    message = pb.OrderCancelled.FromString(payload)
    message.cancelled_from = pb.OrderCancelled.State.Value(message.from_state)
    message.ClearField("from_state")
    return message.SerializeToString(deterministic=True)


UPCASTERS = Upcasters({("OrderRejected", 1): order_rejected_1, ("OrderCancelled", 1): order_cancelled_1})
