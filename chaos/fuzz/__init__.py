"""The fuzz: what nobody would send, sent to a whole mesh by the ten thousand, from the documents clients are given.

Requests are made from `/openapi.json` (REST) and from the descriptors (gRPC): right, nearly right, hostile, and then
with bytes changed. Whatever comes, the answer is in time, no 5xx, as the document says; what is refused changes no row;
and the auditor finds nothing.
"""
