"""What becomes of clients of a node that is killed: nothing is to be lost or come twice, and Redis is to be asked little."""

import http.client
import json
import re
import resource
import selectors
import socket
import threading
import time

from joined import frame

# What a link to Redis says itself; what its scripts do within is counted under other names.
COMMANDS = ["eval", "evalsha", "subscribe", "unsubscribe", "xrange", "hgetall", "get"]
PATIENCE_S = 60
PUSH = re.compile(rb'"push":\{"channel":"(c\d*)"[^}]*?"offset":(\d+)')


class Follower:
    """A client that has heard a channel up to some offset, and what it has heard twice or not at all."""

    def __init__(self, channel):
        self.channel, self.sock, self.epoch, self.offset = channel, None, None, None
        self.lost = self.twice = 0
        self.tail, self.is_told = b"", False

    def come(self, node):
        """Subscribes, with where it was if it has been somewhere."""
        asked = {"channel": self.channel}
        if self.epoch is not None:
            asked["since"] = f"{self.epoch}:{self.offset}"
        self.sock, self.tail, self.is_told = node.connect(), b"", False
        self.sock.sendall(frame(json.dumps({"id": 1, "subscribe": asked})))

    def hear(self):
        """Whether its connection is still there."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError:
            data = b""
        text = self.tail + data
        if not self.is_told:
            told = re.search(rb'\{"id":1,"subscribed":(\{[^}]*\})\}', text)
            if told is None:
                assert b'"error"' not in text, text
                self.tail = text
                return bool(data)
            subscribed, text = json.loads(told[1]), text[told.end():]
            assert self.epoch in (None, subscribed["epoch"]) and subscribed["recovered"], subscribed
            if self.epoch is None:
                self.epoch, self.offset = subscribed["epoch"], subscribed["offset"]
            self.is_told = True
        end = 0
        for push in PUSH.finditer(text):
            end, offset = push.end(), int(push[2])
            self.lost += max(0, offset - self.offset - 1)
            self.twice += offset <= self.offset
            self.offset = max(self.offset, offset)
        assert b'"gap"' not in text, text
        self.tail = text[end:][-512:]
        return bool(data)


def publish(node, channel, count, pace_s):
    """Publishes so many, one in so many seconds; the last position."""
    sock, position = node.connect(), None
    for number in range(count):
        sock.sendall(frame(json.dumps({"id": 1, "publish": {"channel": channel, "data": str(number)}})))
        told = b""
        while b'{"id":1' not in told or not told.endswith(b"}"):
            told += sock.recv(4096)
        position = json.loads(re.search(rb'"published":(\{[^}]*\})', told)[1])["offset"]
        time.sleep(pace_s)
    return position


def info(node, channel):
    """What a node tells of a channel on all nodes."""
    connection = http.client.HTTPConnection(*node.address, timeout=PATIENCE_S)
    connection.request("GET", f"/channels/{channel}/info")
    told = json.loads(connection.getresponse().read())
    connection.close()
    return told


def raise_limits(clients):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * clients + 1_000)), hard))


def come(node, everybody, selector):
    """They subscribe, and are all told so."""
    for one in everybody:
        one.come(node)
        selector.register(one.sock, selectors.EVENT_READ, one)
    hear_until(selector, lambda: all(one.is_told for one in everybody))


def hear_until(selector, is_over, began=None):
    """They hear what they are told, until it is over; none may be cut. It began now, or at some time before."""
    began = began or time.monotonic()
    while not is_over():
        assert time.monotonic() - began < PATIENCE_S, "it takes too long"
        for key, _ in selector.select(1):
            assert key.data.hear()


def killed(redis, nodes, followers, seconds):
    """Followers of one channel on a node that is killed while the other publishes."""
    doomed, other = nodes
    everybody, selector = [Follower("c") for _ in range(followers)], selectors.DefaultSelector()
    come(doomed, everybody, selector)
    last, count = [], int(max(seconds, 1) * 400)
    publisher = threading.Thread(target=lambda: last.append(publish(other, "c", count, 0.001)))
    began = time.monotonic()
    publisher.start()
    killed_at = back_at = None
    while not last or any(one.offset < last[0] for one in everybody):
        assert time.monotonic() - began < PATIENCE_S, "it takes too long"
        for key, _ in selector.select(0.01):
            one = key.data
            had_come = one.is_told
            if not one.hear():
                selector.unregister(one.sock)
                one.sock.close()
                one.come(other)
                selector.register(one.sock, selectors.EVENT_READ, one)
            elif killed_at and one.is_told and not had_come:
                back_at = time.monotonic()
        if killed_at is None and time.monotonic() - began > max(seconds, 1) / 3:
            killed_at = time.monotonic()
            doomed.kill()
    publisher.join()
    took = time.monotonic() - began
    # A ghost is a client that is counted and is not there, or a node that others ask or send requests to.
    told = info(other, "c")
    while told["subscribers"] != followers or "missing_nodes" in told or redis.ask("ZCARD", "rs:nodes").strip() != "1":
        assert time.monotonic() - began < PATIENCE_S, "ghosts do not go"
        time.sleep(0.05)
        told = info(other, "c")
    ghosts_s = time.monotonic() - killed_at
    for process in (other, redis):
        process.end()
    return {
        "followers": followers,
        "published": count,
        "rate": count / took,
        "lost": sum(one.lost for one in everybody),
        "twice": sum(one.twice for one in everybody),
        "back_ms": (back_at - killed_at) * 1e3,
        "ghosts_s": ghosts_s,
    }


def reconnects(redis, nodes, clients, channels):
    """Clients of a node that is killed come back to the other at once, which has heard of none of their channels."""
    doomed, other = nodes
    raise_limits(clients)
    everybody = [Follower(f"c{number % channels}") for number in range(clients)]
    selector = selectors.DefaultSelector()
    for first in range(0, clients, 500):
        come(doomed, everybody[first:first + 500], selector)
    for number in range(channels):
        publish(doomed, f"c{number}", 3, 0)
    hear_until(selector, lambda: all(one.offset >= 2 for one in everybody))
    # The last publication they have not seen.
    for one in everybody:
        one.offset -= 1
        selector.unregister(one.sock)
    doomed.kill()
    before, began = redis.calls(COMMANDS), time.monotonic()
    for one in everybody:
        one.sock.close()
        one.come(other)
        selector.register(one.sock, selectors.EVENT_READ, one)
    wanted = {one: one.offset + 1 for one in everybody}
    hear_until(selector, lambda: all(one.offset >= offset for one, offset in wanted.items()), began)
    took = time.monotonic() - began
    calls = {name: count - before[name] for name, count in redis.calls(COMMANDS).items()}
    # Each node says every two seconds that it is there, by a script that has nothing to do with channels.
    calls["eval"] = max(0, calls["eval"] - int(took / 2) - 1)
    for process in (other, redis):
        process.end()
    per_channel = sum(calls.values()) / channels
    return {"clients": clients, "channels": channels, "calls": calls, "per_channel": per_channel, "took_s": took}
