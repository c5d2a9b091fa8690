"""Starts a program with listening sockets, as systemd does: activated.py NAMES PATH PROGRAM [FLAG…]

It is passed a TCP socket on a free port, whose address stands for TCP among the flags, and a Unix one at PATH. NAMES are theirs,
or "-" for none.
"""

import os
import socket
import sys

names, path, *command = sys.argv[1:]
tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen()
kept = [os.dup(one.fileno()) for one in (tcp, unix)]
kept = [os.dup2(os.dup(descriptor), 20 + index, inheritable=False) for index, descriptor in enumerate(kept)]
for index, descriptor in enumerate(kept):
    os.dup2(descriptor, 3 + index, inheritable=True)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
if names != "-":
    os.environ["LISTEN_FDNAMES"] = names
address = "127.0.0.1:%d" % tcp.getsockname()[1]
os.execv(command[0], [word.replace("TCP", address) for word in command])
