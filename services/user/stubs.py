"""The services that users need."""

from mercato.api.delivery.v1 import delivery_pb2, delivery_pb2_grpc
from mercato.errors import NotFound
from services.user.domain import Place


class GrpcDeliveries:
    """The delivery service."""

    def __init__(self, stub: delivery_pb2_grpc.DeliveryServiceStub) -> None:
        self._stub = stub

    def locate_zone(self, place: Place) -> str:
        """The zone that delivers to a place; empty where none does."""
        try:
            request = delivery_pb2.LocateZoneRequest(latitude=place.latitude, longitude=place.longitude)
            return self._stub.LocateZone(request).id
        except NotFound:
            return ""
