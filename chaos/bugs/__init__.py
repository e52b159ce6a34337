"""Seeded bugs: the proof that the checker of the nemesis can fail.

Production code has no switches. A build with a bug is made of the code as it is, by one small, named change of its
text as it is imported; where the text is not found exactly once, the build fails, so that a bug cannot silently rot.
Each bug has a scenario that leads to where it matters, and must then be found by the checker; on the sound build, the
same scenarios must leave nothing to find.

    python -m chaos.bugs                    all of them, on one mesh
    python -m chaos.bugs no_tombstone       one
    python -m chaos.bugs --apart            each on a mesh of its own
"""
