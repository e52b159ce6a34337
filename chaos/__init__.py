"""Faults on purpose: the crash sweep over all failpoints, the nemesis, the fuzz, and the seeded bugs to be found."""
