#!/usr/bin/env python3
"""A program in Python whose clients Roadstead holds, by the manual's page on the link alone: `roadstead run --exec link.py`.

It greets whoever comes, answers, asks, tells everybody, counts in a channel of the server, and gives its place to another process
of itself when it is asked to. `tests/e2e/linked.rs` talks to it.
"""

import json
import os
import selectors
import socket
import struct

HEAD = struct.Struct("<IBBHHHIIII")
HELLO, REFUSED, LISTEN, LISTENING, PING, PONG, STOP, STOPPED = range(1, 9)
CONNECTED, EVENT, ACKED, DISCONNECTED, UPGRADED, PAUSED, REPLY = range(18, 25)
NAMESPACE, READY, VERDICT, EMIT, BROADCAST, ACK, JOIN, LEAVE, DISCONNECT, DATA, PAUSE, COMMAND = range(32, 44)
WANTS_ACK = 2
NOBODY = (0, 0, 0)
ROOT = 0


class Frame:
    """A frame that has arrived."""

    def __init__(self, head, body):
        (_, self.kind, self.flags, self.namespace, shard, attachments, index, generation, self.number, self.extra) = head
        self.socket = (shard, index, generation)
        sizes = struct.unpack_from(f"<{attachments}I", body)
        text_ends = len(body) - sum(sizes)
        text = body[4 * attachments : text_ends]
        self.json = json.loads(text) if text else None
        self.attachments, at = [], text_ends
        for size in sizes:
            self.attachments.append(body[at : at + size])
            at += size


class Link:
    """One socket of the link: frames in, frames out."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(os.environ["ROADSTEAD_LINK"], f"{name}.sock"))
        self.arrived = b""
        self.send(HELLO, {"protocol": 2, "pid": os.getpid()})

    def send(self, kind, value=None, who=NOBODY, number=0, extra=0, flags=0, target=None, attachments=()):
        text = b"" if value is None else json.dumps(value).encode()
        target = b"" if target is None else json.dumps(target).encode()
        sizes = struct.pack(f"<{len(attachments)}I", *map(len, attachments))
        body = target + sizes + text + b"".join(attachments)
        shard, index, generation = who
        extra = len(target) or extra
        head = HEAD.pack(len(body), kind, flags, ROOT, shard, len(attachments), index, generation, number, extra)
        self.socket.sendall(head + body)

    def receive(self):
        """What has arrived, as frames. The end of a link is that of the program."""
        bytes_ = self.socket.recv(65536)
        if not bytes_:
            raise SystemExit("the link has ended")
        self.arrived += bytes_
        while len(self.arrived) >= HEAD.size:
            head = HEAD.unpack_from(self.arrived)
            end = HEAD.size + head[0]
            if len(self.arrived) < end:
                return
            frame = Frame(head, self.arrived[HEAD.size : end])
            self.arrived = self.arrived[end:]
            if frame.kind == REFUSED:
                raise SystemExit(frame.json["message"])
            yield frame


class Program:
    """What the program does."""

    def __init__(self):
        self.control, self.shards = Link("control"), []
        self.waiting, self.numbers, self.paused = {}, 0, 0
        self.selector = selectors.DefaultSelector()
        self.add(self.control, self.hear_control)

    def add(self, link, hear):
        self.selector.register(link.socket, selectors.EVENT_READ, (link, hear))

    def run(self):
        while True:
            for key, _ in self.selector.select():
                link, hear = key.data
                for frame in link.receive():
                    hear(link, frame)

    def hear_control(self, control, frame):
        if frame.kind == HELLO:
            control.send(LISTEN, {"port": 0, "options": {"pingInterval": 20000}, "namespaces": {"/": 0}})
        elif frame.kind == LISTENING:
            self.shards = [Link(shard) for shard in range(frame.json["shards"])]
            for link in self.shards:
                self.add(link, self.hear)
        elif frame.kind == PING:
            control.send(PONG)
        elif frame.kind == STOP:
            for link in self.shards:
                link.send(PAUSE)

    def hear(self, link, frame):
        if frame.kind == HELLO:
            link.is_greeted = True
            # What is asked goes by the first link, so that is to be ready first.
            if all(hasattr(one, "is_greeted") for one in self.shards):
                for one in self.shards:
                    one.send(NAMESPACE, "/")
                    one.send(READY)
        elif frame.kind == CONNECTED:
            is_again = frame.flags & 2 != 0
            self.emit(frame.socket, ["hello", os.getpid(), is_again, frame.json.get("auth")])
        elif frame.kind == EVENT:
            self.event(frame, *frame.json)
        elif frame.kind in (ACKED, REPLY) and frame.number in self.waiting:
            self.waiting.pop(frame.number)(frame)
        elif frame.kind == PAUSED:
            self.paused += 1
            # All was heard before, and is answered at once.
            if self.paused == len(self.shards):
                self.control.send(STOPPED)

    def emit(self, who, event, number=0, flags=0, attachments=()):
        self.shards[0].send(EMIT, event, who, number, flags=flags, attachments=attachments)

    def wait(self, act):
        self.numbers += 1
        self.waiting[self.numbers] = act
        return self.numbers

    def event(self, frame, name, *arguments):
        """One of a client's. Whoever wants an acknowledgement gets one."""

        def acknowledge(*values, attachments=()):
            if frame.flags & WANTS_ACK:
                self.shards[0].send(ACK, list(values), frame.socket, frame.number, frame.extra, attachments=attachments)

        if name == "echo":
            acknowledge(*arguments, attachments=frame.attachments)
        elif name == "ask":
            number = self.wait(lambda answer: acknowledge(*answer.json))
            self.emit(frame.socket, ["question", *arguments], number, WANTS_ACK)
        elif name == "join":
            self.shards[0].send(JOIN, list(arguments), frame.socket)
            acknowledge()
        elif name == "tell":
            room, text = arguments
            self.shards[0].send(BROADCAST, ["told", text], target={"rooms": [room]})
            acknowledge()
        elif name == "count":
            number = self.wait(lambda answer: acknowledge(answer.json["value"]))
            self.shards[0].send(COMMAND, {"op": "add", "channel": "counts", "key": "all", "add": 1}, number=number)


if __name__ == "__main__":
    Program().run()
