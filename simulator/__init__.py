"""A stand-in for the payment provider: the part of Stripe's REST API that the shop uses, with faults on purpose.

It is a process of its own with an append-only log that is flushed to the disk before any reply. The log is its only
state, and the outside truth that the shop's money is checked against. It is kinder than Stripe in one respect: it
takes amounts below fifty cents.

**Faults by token**: `card.py` lists the test tokens. **Faults by rate**: MERCATO_SIMULATOR_FAULTS=hang=0.1,late=0.5, or
while it runs `POST /_faults` with the form `hang=0.1&late=0.5` (all others go to zero; an empty form heals); `GET
/_faults` tells. `faults.py` says what each does.

**Webhooks** go to MERCATO_SIMULATOR_WEBHOOK_URL, signed as Stripe signs (MERCATO_SIMULATOR_WEBHOOK_SECRET), again and
again until they are answered with 2xx, also after a restart.

**For audits**: `GET /_audit` answers JSON lines, one for every movement of money in the order in which it happened;
`?after=N` goes on behind line N, `python -m simulator LOG` prints the same from a log at rest. A line has always all of

    {"line": 7, "time": 1767225600.12, "did": "capture", "amount": 2400, "currency": "USD",
     "payment_intent": "pi_…", "charge": "ch_…", "refund": "", "payment_id": "…", "order_id": "…", "refund_id": "",
     "key": "mercato-…", "decline_code": ""}

`line` is that of the log (an automatic capture makes two of one), `did` is `authorize`, `decline`, `capture`, `cancel`,
`expire` or `refund`, `amount` what was reserved, refused, taken, let go (all that was reserved) or given back, in minor
units. `payment_id`, `order_id` and `refund_id` are the shop's own labels, `refund` and `refund_id` those of a refund
only. A capture of less than was authorized lets the rest go without a line.

`GET /_log` answers the log itself, `POST /_expire` (`payment_intent=pi_…`) ends an authorization as a week's passing
would. All these want the API key, and but for `/_audit` and `/_log` a caller on this machine.
"""
