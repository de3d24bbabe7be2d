"""Run a command without a system call, as on a file system that does not support it.

    python -m tests.helpers.deny_syscalls link command ...

runs a command in which `link(2)` fails (also: rename, fsync).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

CALLS = {
    "x86_64": {"link": (86, 265), "rename": (82, 264, 316), "fsync": (74,)},
    "aarch64": {"link": (37,), "rename": (38, 276), "fsync": (82,)},
}
"""Machine -> operation -> numbers of the system calls that perform it."""
LOAD_NUMBER, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Instructions of the classic Berkeley packet filter."""
ALLOW, FAIL = 0x7FFF0000, 0x00050000
EPERM, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 1, 22, 38, 2


def deny(name: str) -> None:
    """Make the call fail with EPERM in this process and its children, for good."""
    numbers = CALLS[platform.machine()][name]
    program = [(LOAD_NUMBER, 0, 0, 0)]
    program += [(JUMP_EQUAL, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, FAIL | EPERM)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, FILTER, ctypes.create_string_buffer(header), 0, 0
    ):
        sys.exit(f"no seccomp here: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    deny(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
