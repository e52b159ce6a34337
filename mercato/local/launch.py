"""The wrapper around every process that we start: it dies with whoever started it, and PostgreSQL is never root.

Run as a script (`python -I -S launch.py SIGNAL PARENT USER COMMAND…`), so that it needs nothing but the interpreter's
own modules and is replaced by the command within some milliseconds. A `preexec_fn` would do the same in a forked copy
of a process that has threads, which is not safe.
"""

import ctypes
import os
import sys

# From linux/prctl.h and linux/capability.h.
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(signal: str, parent: str, user: str, *command: str) -> None:
    """Become the command."""
    if user != "-":
        become(user)
    if sys.platform == "linux":
        follow(int(parent), int(signal))
    os.execv(command[0], command)  # noqa: S606 - the very purpose


def follow(parent: int, signal: int) -> None:
    """Get a signal when the parent (to be exact: its thread that started us) dies."""
    _libc().prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    # It may have died before we asked; then nobody would ever tell us.
    if os.getppid() != parent:
        sys.exit(1)


def become(user: str) -> None:
    """Become an unprivileged user who may still enter the folders on the way to the programs and the data.

    PostgreSQL refuses to run as root. Another user often may not enter root's home, where the project may well lie;
    opening the folders to everybody would change the machine, one inherited capability changes nothing. Where it is
    not to be had, folders that all may enter still work.
    """
    import pwd

    entry = pwd.getpwnam(user)
    libc = _libc()
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    mask = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    libc.capset(header, sets)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
