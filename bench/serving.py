"""The program under test: how a script of this folder starts it, and where it then is."""

import subprocess

# One process, whose memory and CPU are the server's, on ports that the kernel gives.
ARGUMENTS = ["--no-keeper", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]


def start(program, *arguments, core=None):
    """Runs a server until somebody ends it, on one core if that is given; waits until it has said what can be tried.

    Gives the process, where it listens and where its admin listener is, both as (host, port), or None where it has not come so
    far.
    """
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    process = subprocess.Popen([*pinned, program, *ARGUMENTS, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    places = {}
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word in ("listening", "admin"):
            host, _, port = rest.strip().removeprefix("http://").partition(":")
            places[word] = (host, int(port.split("/")[0]))
        if word == "try:":
            break
    return process, places.get("listening"), places.get("admin")
