"""Faults on purpose: the crash sweep over all failpoints, the nemesis, and the seeded bugs that both must find."""
