"""The crash sweep: every failpoint that the shop's stories pass, made to crash, raise, hang and lose an answer in turn.

The names come from a recorded run of the stories, not from a list: whatever is built later is swept by itself once a
story uses it. One case: a story is prepared, a place is armed, the story goes on (a client that hears nothing asks
again with the same key), the shop comes to rest, the auditor looks at all of it.
"""
