"""Delivery: where the shop delivers, when, and how the goods get there.

Tables (schema `delivery`): zone, slot, hold, courier, shipment, destination (the persons' part of a shipment), erased.
Out (`mercato.delivery.v1`): SlotHeld SlotConfirmed SlotReleased, ShipmentPlanned ShipmentReady ShipmentAssigned
ShipmentPickedUp ShipmentDelivered ShipmentFailed ShipmentCancelled. In: UserErased of `mercato.user.v1`.
In Redis, for those who watch an order live: where the courier of a shipment is.
"""
