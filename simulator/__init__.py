"""A stand-in for the payment provider: the part of Stripe's REST API that the shop uses, with faults by test token.

It is a process of its own with an append-only log that is flushed to the disk before any reply. The log is its only
state, and the outside truth that the shop's money is checked against. It is kinder than Stripe in one respect: it
takes amounts below fifty cents.
"""
