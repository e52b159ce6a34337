"""The collector of cycles, as a process that lives long wants it."""

import gc


def settle() -> None:
    """Let it leave alone what was imported, and look less often: it takes 7 % of the CPU of a gateway's read."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
