"""Order: carts, and orders from the checkout to the return.

Owns the schema `orders`: `events` (an order is its stream), `order_view` (the order as it is now), `personal` (name,
address, note: the one place where they lie), `process` (what an event still demands), `cart`; the read models that
follow the events, `order_list`, `order_board` and `order_history`; `snapshot`, which nothing depends on.
Publishes on `mercato.order.v1`; follows `mercato.delivery.v1`, `mercato.payment.v1` and `mercato.user.v1`. Asks
product, inventory, delivery, payment and user.
"""
