"""One server of the comparison: how its folder says it is built, started, measured and ended.

What is measured is in `jobs.py`. A folder under `peers/` holds a `peer.toml`:

    title     what it is called in the table
    packages  Debian packages by the program that shows they are there
    build     commands, run once in the folder; {target} is the build folder all Rust peers share
    start     the command, run in the folder; {port}, {admin_port}, {cores}, {folder} (a fresh one) and {root} are filled in
    template  a configuration file that is copied into {folder} with PORT and FOLDER filled in
    version   commands whose output's first numbers are the version, by the name to show
    certificate   true if {folder} is to hold certificate.pem and key.pem, made with openssl
    accepts       [command, word]: the peer is skipped, with the reason, until what the command prints holds the word
    is_reference  true if ratios are taken to it: Roadstead's own programs, one for each job
    worker    true if a child does the work, and its memory and CPU count
    [job]     for each job it can do, the arguments of `roadstead-bench` that say where

A peer without a job's table stays out of that job's row.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target/peers"


class Failed(Exception):
    """A peer that cannot be built, started or measured, and why."""


class Skipped(Failed):
    """A peer that cannot do a job yet, and why."""


class Peer:
    """A peer's manifest."""

    def __init__(self, folder):
        self.name, self.folder = folder.name, folder
        self.manifest = tomllib.loads((folder / "peer.toml").read_text())
        self.title = self.manifest["title"]
        self.jobs = self.manifest.get("job", {})
        self.is_reference = self.manifest.get("is_reference", False)
        self.is_floor = self.name.startswith("floor-")
        # Without these a table says nothing: they are measured beside every peer.
        self.is_always_there = self.is_reference or self.is_floor

    def build(self):
        for program, package in self.manifest.get("packages", {}).items():
            need(program, package)
        for command in self.manifest.get("build", []):
            run(["nice", "-n", "10", *self.words(command)], 1800, self.folder)

    def versions(self):
        """Such as `axum 0.8.9, tokio 1.54.1`."""
        found = []
        for what, command in self.manifest.get("version", {}).items():
            number = re.search(r"\d+(\.\d+)+", run(["sh", "-c", command], 60, self.folder, both=True))
            found.append(f"{what} {number.group(0) if number else '?'}")
        return ", ".join(found)

    def words(self, command, **more):
        return [word.format(target=TARGET, root=ROOT, **more) for word in command.split()]

    @contextlib.contextmanager
    def running(self, core, bench):
        """The peer on a free port, pinned, until the block ends; gives port and the pid that does the work."""
        port, admin_port = free_port(), free_port()
        self.check()
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
            if template := self.manifest.get("template"):
                text = (self.folder / template).read_text().replace("PORT", str(port)).replace("FOLDER", folder)
                (pathlib.Path(folder) / template).write_text(text)
            if self.manifest.get("certificate"):
                make_certificate(folder)
            command = self.words(self.manifest["start"], port=port, admin_port=admin_port, cores=core, folder=folder,
                                 bench=bench)
            process = subprocess.Popen(["taskset", "-c", core, *command], stdout=log, stderr=log, cwd=self.folder)
            try:
                wait_until_listening(process, port, log)
                yield port, worker_of(process.pid) if self.manifest.get("worker") else process.pid
            finally:
                end(process)


    def check(self):
        """Skips a peer that has not learnt yet what the job asks of it."""
        command, word = self.manifest.get("accepts", (None, None))
        if command and word not in run(self.words(command), 60, self.folder, both=True):
            raise Skipped(f"skipped: it does not know `{word}` yet")


def make_certificate(folder):
    need("openssl", "openssl")
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", f"{folder}/key.pem",
         "-out", f"{folder}/certificate.pem"], 60)


def all_peers():
    """Every folder with a manifest; Roadstead first, the floors last."""
    found = [Peer(manifest.parent) for manifest in sorted(HERE.glob("peers/*/peer.toml"))]
    return sorted(found, key=lambda peer: (not peer.is_reference, peer.is_floor, peer.name))


def run(command, seconds, cwd=ROOT, both=False):
    """Runs a command to its end; its standard output (and error)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=cwd)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end after {seconds} s: {' '.join(map(str, command))}") from None
    except OSError as error:
        raise Failed(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {(done.stderr.strip() or done.stdout.strip())[-300:]}")
    return done.stdout + done.stderr if both else done.stdout


def need(program, package):
    """Installs a Debian package if what shows its presence (a program, or a file's path) is missing."""
    if shutil.which(program) or pathlib.Path(program).is_absolute() and pathlib.Path(program).exists():
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"],
                    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise Failed(f"{program} is missing, and {' '.join(command)} failed: {done.stderr.strip()[-200:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(process, port, log, seconds=15):
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    log.seek(0)
    said = log.read().decode(errors="replace").strip()[-300:]
    raise Failed(f"ended with status {process.returncode}: {said}" if process.poll() is not None
                 else f"nothing listens on port {port} after {seconds} s: {said}")


def worker_of(pid):
    """The first child, once there is one."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise Failed("no worker process after 5 s")


def end(process):
    """Asks once, asks again (a second signal ends a draining server at once), then kills."""
    for sign in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
