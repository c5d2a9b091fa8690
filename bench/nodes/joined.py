"""A Redis, servers of three kinds that it may join, and what a client says to them, for the scripts of this folder."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import resp  # noqa: E402
import serving  # noqa: E402

BODY = "x" * 100


def frame(text):
    """A masked text frame; a mask of zeros leaves the text as it is (RFC 6455 §5.3)."""
    data = text.encode()
    head = struct.pack("!BB4x", 0x81, 0x80 | len(data)) if len(data) < 126 else struct.pack("!BBH4x", 0x81, 0xFE, len(data))
    return head + data


def connected(address):
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_to(sock, mark):
    """What comes until this has."""
    told = b""
    while mark not in told:
        told += sock.recv(4096)
    return told


class Process:
    def cpu_s(self):
        used = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            used += int(open(f"/proc/{self.process.pid}/task/{task}/schedstat").read().split()[0])
        return used / 1e9

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=60)


class Redis(Process):
    def __init__(self, folder):
        self.path = f"{folder}/redis.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}"
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)

    def ask(self, *words):
        """The reply, as redis-cli writes it."""
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def calls(self, commands):
        """How often clients have said these commands; what scripts do within counts under other names."""
        stats = dict(line.split(":", 1) for line in self.ask("INFO", "commandstats").split() if ":" in line)
        calls = lambda name: int(stats.get(f"cmdstat_{name}", "calls=0,").split(",")[0].removeprefix("calls="))  # noqa: E731
        return {name: calls(name) for name in commands}


class Node(Process):
    def __init__(self, program, shards, more):
        settings = ("--shards", shards, "--set", "log.level=off", *more)
        self.process, self.address, _ = serving.start(program, *settings)

    def connect(self, target="/ws"):
        sock = connected(self.address)
        sock.sendall(
            b"GET " + target.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = read_to(sock, b"\r\n\r\n")
        assert b" 101 " in head, head
        return sock


class Member(Node):
    """A server in JavaScript: npm's socket.io with its Redis adapter."""

    def __init__(self, modules, redis):
        command = ["node", str(pathlib.Path(__file__).parent / "member.mjs"), modules, redis.url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        host, port = self.process.stdout.readline().strip().rsplit(":", 1)
        self.address = (host, int(port))


RELAY = """
import select, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
poll, other = select.epoll(), {}
poll.register(listener, select.EPOLLIN)
while True:
    for number, _ in poll.poll():
        if number == listener.fileno():
            pair = listener.accept()[0], socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            for one, peer in (pair, pair[::-1]):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                other[one.fileno()] = one, peer
                poll.register(one, select.EPOLLIN)
        elif number in other:
            one, peer = other[number]
            if data := one.recv(1 << 18):
                peer.sendall(data)
            else:
                for end in (one, peer):
                    other.pop(end.fileno())
                    end.close()
"""


class Relay(Process):
    """In the place of a node a process that passes bytes on: who is connected to it is connected to Redis."""

    def __init__(self, redis):
        command = [sys.executable, "-c", RELAY, str(redis.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def connect(self):
        return connected(("127.0.0.1", self.port))


class Bare:
    """The least that Redis can be asked for a message that is kept and pushed: what a broker's CPU is held against."""

    # Two who follow; and the word before a message.
    ack, push = b":2\r\n", b"$7\r\nmessage"
    publication = resp.command("XADD", "kept", "MAXLEN", "~", "1000", "*", "d", BODY) + resp.command("PUBLISH", "c", BODY)

    @staticmethod
    def connect(node):
        return node.connect()

    @classmethod
    def follow(cls, node):
        sock = node.connect()
        sock.sendall(resp.command("SUBSCRIBE", "c"))
        read_to(sock, b"subscribe")
        return sock


class Channel:
    """Publications to a channel over /ws."""

    ack, push = b'{"id":1', b'"push"'
    publication = frame('{"id":1,"publish":{"channel":"c","data":"%s"}}' % BODY)

    @staticmethod
    def connect(node):
        return node.connect()

    @classmethod
    def follow(cls, node):
        sock = node.connect()
        # Until the node has found its Redis this waits.
        sock.sendall(frame('{"id":1,"subscribe":{"channel":"c"}}'))
        told = read_to(sock, cls.ack)
        assert b'"error"' not in told, told
        return sock


class Events:
    """Events of a client of Socket.IO to everybody."""

    ack, push = b"431[", b'42["m"'
    publication = frame('421["m","%s"]' % BODY)

    @staticmethod
    def connect(node):
        sock = node.connect("/socket.io/?EIO=4&transport=websocket")
        sock.sendall(frame("40"))
        read_to(sock, b"40{")
        return sock

    follow = connect
