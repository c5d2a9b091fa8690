"""Runs a command for which io_uring_setup, io_uring_enter and io_uring_register fail: without_io_uring.py ERRNO COMMAND…

The filter is that of seccomp(2). It binds this process and what it becomes, and nothing else on the machine.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_AT_LEAST, JUMP_IF_GREATER, RETURN = 0x20, 0x35, 0x25, 0x06
# The same on every architecture that Linux has added system calls to since 5.1.
FIRST_CALL, LAST_CALL = 425, 427


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def forbid(errno):
    """Makes the calls fail with errno from here on."""
    instructions = [
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_AT_LEAST, 0, 2, FIRST_CALL),
        (JUMP_IF_GREATER, 1, 0, LAST_CALL),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    program = Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ]:
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


forbid(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
