"""What it costs to wake a shard: one publication at a time, while everybody sleeps.

A publication goes from one WebSocket to another one, either on the same shard or on the other shard, which sleeps as
well; beside it the bare epoll program `roadstead-bench floor relay`, whose second thread sleeps likewise. The client is
this program: a publisher and a subscriber for each way, and a message every few milliseconds, the ways in turn, so that
every thread has gone to sleep before the next message.
"""

import base64
import contextlib
import json
import os
import socket
import statistics
import time
import urllib.request

PAUSE = 0.004
HOST = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def tcp(port):
    made = socket.create_connection((HOST, port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def websocket(port, path):
    made = tcp(port)
    key = base64.b64encode(os.urandom(16)).decode()
    made.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += made.recv(4096)
    return made


def frame(payload):
    """One masked text frame; the mask is of zeros."""
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def publications(shard):
    return shard["publications_total"]


def websockets(shard):
    return shard["sessions"][1]


def counters(admin, read):
    """A counter of every shard."""
    with urllib.request.urlopen(f"http://{HOST}:{admin}/shards", timeout=10) as answer:
        shards = json.load(answer)["shards"]
    return {shard["shard"]: read(shard) for shard in shards}


def grown(admin, read, before, seconds=10):
    """The shard whose counter is larger than before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = counters(admin, read)
        if more := [shard for shard in now if now[shard] > before[shard]]:
            return more[0]
        time.sleep(0.02)
    raise TimeoutError(f"no shard counted {read.__name__} within {seconds} s")


def channels_of(shard, port, admin, count):
    """Channels that this shard owns."""
    found = []
    for number in range(200):
        before = counters(admin, publications)
        name = f"wake{number}"
        urllib.request.urlopen(f"http://{HOST}:{port}/channels/{name}", data=b"x", timeout=10).close()
        if grown(admin, publications, before) == shard:
            found.append(name)
        if len(found) == count:
            return found
    raise TimeoutError(f"not {count} of 200 channels are owned by shard {shard}")


def websocket_on(shard, port, admin, path):
    """A WebSocket that the kernel has given to this shard; the server has forgotten those it gave to others."""
    there, others = sum(counters(admin, websockets).values()), []
    try:
        for _ in range(200):
            before = counters(admin, websockets)
            made = websocket(port, path)
            if grown(admin, websockets, before) == shard:
                break
            others.append(made)
        else:
            raise TimeoutError(f"none of 200 connections came to shard {shard}")
    finally:
        for other in others:
            other.close()
    deadline = time.monotonic() + 10
    while sum(counters(admin, websockets).values()) != there + 1:
        if time.monotonic() > deadline:
            raise TimeoutError("the server still counts connections that are closed")
        time.sleep(0.02)
    return made


class Path:
    """From a publisher to a subscriber, with the times it took."""

    def __init__(self, publisher, subscriber, message):
        self.publisher, self.subscriber, self.message, self.us = publisher, subscriber, message, []

    def measure(self):
        """One message, after everybody has gone to sleep."""
        time.sleep(PAUSE)
        began = time.perf_counter()
        self.publisher.sendall(self.message)
        self.subscriber.recv(4096)
        self.us.append((time.perf_counter() - began) * 1e6)


def roadstead_path(stack, port, admin, channel, shard):
    """From shard 0 to a shard. The publisher hears itself too; what it does not read the kernel holds."""
    publisher, subscriber = (stack.enter_context(websocket_on(on, port, admin, f"/channels/{channel}"))
                             for on in (0, shard))
    return Path(publisher, subscriber, frame(b"hello"))


def relay_path(stack, port):
    """Through a bare epoll program."""
    publisher, subscriber = (stack.enter_context(tcp(port)) for _ in range(2))
    time.sleep(0.1)  # accepted, both
    return Path(publisher, subscriber, b"hello")
