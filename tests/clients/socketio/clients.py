"""The stock client of Socket.IO for Python, python-socketio, against the fixture in tests/socketio.

Prints a line for each check, which tests/run counts. SOCKETIO_FIXTURE may name another program than the one
`cargo test` has built.
"""

import asyncio
import logging
import os
import pathlib
import signal
import sys
from contextlib import asynccontextmanager

import socketio

# Sessions of HTTP that this client leaves to the collector are none of the server's business.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
sys.path.append(str(pathlib.Path(__file__).parents[1]))
from checks import run, soon, tls_flags, until  # noqa: E402

FIXTURE = os.environ.get("SOCKETIO_FIXTURE") or str(
    pathlib.Path(__file__).parents[3] / "target/debug/examples/socketio_fixture"
)
WAYS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}
VALUES = [None, True, 0, -0.5, 2**53 - 1, "", "grüße 😀", "\u2028\x1e\x00", '"\\/', [], [[[]]], {"": {"a": [1]}}, "x" * 100000]


@asynccontextmanager
async def fixture(*settings):
    """A running fixture; its address."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*FIXTURE.split(), *tls_flags(), *settings, stdout=pipe, stderr=pipe)
    url = None
    async for line in process.stdout:
        name, _, rest = line.decode().strip().partition(" ")
        if name == "listening":
            url = rest.split()[0]
        if name == "try:":
            break
    try:
        yield url
        process.send_signal(signal.SIGTERM)
        log = (await process.stderr.read()).decode()
        code = await process.wait()
        assert code == 0 and "panicked" not in log, f"the server ended with {code}:\n{log}"
    finally:
        if process.returncode is None:
            process.kill()


class Client:
    """A client of the namespace `/play` that keeps what it hears."""

    def __init__(self, url, way):
        self.url, self.way = url, way
        self.heard, self.reasons, self.errors, self.words = [], [], [], set()
        self.io = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.1)
        for namespace in ("/", "/play", "/custom", "/dynamic-3"):
            self.io.on("*", self.on_event, namespace=namespace)
            self.io.on("connect_error", self.errors.append, namespace=namespace)
            self.io.on("disconnect", self.reasons.append, namespace=namespace)

    async def on_event(self, event, *args):
        if event == "here":
            self.words.add(args[0])
        else:
            self.heard.append((event, *args))

    async def join(self, room):
        """Enters a room, and waits until the client hears itself there: a room may be another shard's."""
        await self.ask("join", room)
        word = self.io.get_sid("/play") + room
        await self.ask("say", {"to": [room], "self": True, "event": "here", "args": [word]})

        async def is_so():
            return word in self.words

        await until(f"{room} is joined", is_so)

    async def connect(self, namespaces=("/play",), auth=None):
        await soon(self.io.connect(self.url, auth=auth, transports=WAYS[self.way], namespaces=list(namespaces)))
        expected = WAYS[self.way][-1]
        assert self.io.transport() == expected, self.io.transport()
        return self

    async def ask(self, event, *args, namespace="/play"):
        """The acknowledgement of an event: one argument by itself, several as a list."""
        data = args if len(args) != 1 else args[0]
        answer = await soon(self.io.call(event, data if args else None, namespace=namespace))
        return list(answer) if isinstance(answer, tuple) else answer

    async def hears(self, *expected):
        """Waits until exactly these events were heard, in this order."""
        async def is_so():
            return len(self.heard) >= len(expected)

        await until(f"{len(expected)} events are there: {str(self.heard)[:500]}", is_so)
        assert self.heard == list(expected), self.heard

    async def hears_sorted(self, *expected):
        """Waits until exactly these events were heard, in any order."""
        async def is_so():
            return len(self.heard) >= len(expected)

        await until(f"{len(expected)} events are there: {str(self.heard)[:500]}", is_so)
        assert sorted(self.heard, key=str) == sorted(expected, key=str), self.heard


async def the_example_of_the_documentation_works(way):
    async with fixture() as url:
        client = await Client(url, way).connect(namespaces=("/",), auth={"token": "abc"})
        await client.hears(("auth", {"token": "abc"}))
        await client.io.emit("message", (1, "2", {"3": [True]}))
        await client.hears(("auth", {"token": "abc"}), ("message-back", 1, "2", {"3": [True]}))
        assert await client.ask("message-with-ack", 1, "2", namespace="/") == [1, "2"]
        await client.io.disconnect()


async def every_kind_of_value_and_bytes_come_back_as_they_went(way):
    async with fixture() as url:
        client = await Client(url, way).connect()
        for value in VALUES[1:] + [b"\x01\x02", b"", bytes(range(256)) * 1000, {"a": [b"x", {"b": b"y"}]}]:
            assert await client.ask("echo", value) == value
        await client.io.emit("echo", ("before", b"bytes", None, "behind"), namespace="/play")
        await client.hears(("echo", "before", b"bytes", None, "behind"))
        assert await client.ask("bytes", 100000) == b"\xa5" * 100000
        await client.io.disconnect()


async def the_server_asks_and_the_client_answers_or_does_not(way):
    async with fixture() as url:
        client = Client(url, way)
        client.io.on("question", lambda *args: (*args, b"and"), namespace="/play")
        await client.connect()
        assert await client.ask("ask", 10000, 1, b"2") == ["answered", 1, b"2", b"and"]
        silent = Client(url, way)

        async def slow(*args):
            await asyncio.sleep(1)

        silent.io.on("question", slow, namespace="/play")
        await silent.connect()
        assert await silent.ask("ask", 100, 1) == "timeout"
        await client.io.disconnect()
        await silent.io.disconnect()


async def a_hundred_events_each_way_keep_their_order(way):
    async with fixture() as url:
        client = await Client(url, way).connect()
        # This client takes no more than 16 packets in one poll (engineio.payload.Payload.max_decode_packets).
        count = 100 if way == "websocket" else 10
        await client.io.emit("count-to", count, namespace="/play")
        expected = [("number", number + 1) for number in range(count)]
        await client.hears(*expected)
        for number in range(100):
            await client.io.emit("echo", number, namespace="/play")
            expected.append(("echo", number))
            if number % 8 == 7:
                await client.hears(*expected)
        await client.hears(*expected)
        await client.io.disconnect()


async def rooms_reach_their_members_and_nobody_else(way):
    async with fixture() as url:
        ada, bob, eve = [await Client(url, way).connect(auth={"name": name}) for name in ("ada", "bob", "eve")]
        await ada.join("one")
        await bob.join("one")
        await eve.join("two")
        await ada.ask("say", {"to": ["one"], "event": "first", "args": [b"bytes"]})
        await ada.ask("say", {"to": ["one", "two"], "except": ["one"], "event": "second"})
        await ada.ask("say", {"to": ["one"], "self": True, "event": "third", "args": [{"a": "grün"}]})
        # Each is on its way for a while, and judged by the rooms its receivers are in when it comes.
        await eve.hears(("second",))
        await bob.hears(("first", b"bytes"), ("third", {"a": "grün"}))
        await bob.ask("leave", "one")
        await ada.ask("say", {"to": ["one"], "self": True, "event": "fourth"})
        await ada.hears(("third", {"a": "grün"}), ("fourth",))
        await bob.hears(("first", b"bytes"), ("third", {"a": "grün"}))
        await eve.hears(("second",))
        members = await ada.ask("sockets", "all")
        assert sorted(member["name"] for member in members) == ["ada", "bob", "eve"], members
        await ada.ask("kick", "two", False)

        async def is_gone():
            return eve.reasons == ["server disconnect"]

        await until("eve is sent away", is_gone)
        for client in (ada, bob, eve):
            await client.io.disconnect()


async def namespaces_share_a_connection(way):
    async with fixture() as url:
        client = await Client(url, way).connect(namespaces=("/", "/play", "/custom", "/dynamic-3"))
        await client.hears_sorted(("auth", {}), ("auth", {}), ("welcome", "/dynamic-3"))
        assert len({client.io.get_sid(name) for name in ("/", "/play", "/custom", "/dynamic-3")}) == 4
        assert await client.ask("echo", "here") == "here"
        await client.io.disconnect()


async def who_is_refused_learns_why(way):
    async with fixture() as url:
        client = Client(url, way)
        try:
            await client.connect(auth={"refuse": "because"})
            raise AssertionError("let in")
        except socketio.exceptions.ConnectionError:
            pass
        assert client.errors == [{"message": "refused", "data": {"code": 401, "why": "because"}}], client.errors
        nowhere = Client(url, way)
        try:
            await nowhere.connect(namespaces=("/nowhere",))
            raise AssertionError("let in")
        except socketio.exceptions.ConnectionError:
            pass
        again = await Client(url, way).connect(auth={"name": "ada"})
        assert (await again.ask("me"))["name"] == "ada"
        await again.io.disconnect()


async def heartbeats_keep_a_client_and_it_comes_back_when_lost(way):
    async with fixture("pingInterval=100", "pingTimeout=1000") as url:
        client = await Client(url, way).connect(auth={"name": "ada"})
        await asyncio.sleep(0.5)
        first = (await client.ask("me"))["id"]
        assert client.reasons == []
        await client.io.eio.http.close()

        async def is_back():
            return client.io.connected and "/play" in client.io.namespaces and client.io.get_sid("/play") != first

        await until("it is back", is_back)
        assert (await client.ask("me"))["name"] == "ada"
        await client.io.disconnect()


async def sixty_clients_meet_on_all_shards():
    async with fixture("shards=4") as url:
        ways = list(WAYS)
        clients = [Client(url, ways[index % 3]) for index in range(60)]
        await asyncio.gather(*(client.connect() for client in clients))
        # One after the other: this client takes no more than 16 packets in one poll.
        for client in clients:
            await client.join("crowd")
        assert len(await clients[0].ask("sockets", "crowd")) == 60
        for number in range(5):
            await clients[number].ask("say", {"to": ["crowd"], "self": True, "event": "said", "args": [number, b"x"]})
        for client in clients:
            await client.hears_sorted(*(("said", number, b"x") for number in range(5)))
        await asyncio.gather(*(client.io.disconnect() for client in clients))


def over(check, way):
    """A check over one transport, with its name as a sentence."""
    return (f"{check.__name__.replace('_', ' ')} ({way})", lambda: check(way))


CHECKS = [
    over(check, way)
    for way in WAYS
    for check in (
        the_example_of_the_documentation_works,
        every_kind_of_value_and_bytes_come_back_as_they_went,
        the_server_asks_and_the_client_answers_or_does_not,
        a_hundred_events_each_way_keep_their_order,
        rooms_reach_their_members_and_nobody_else,
        namespaces_share_a_connection,
        who_is_refused_learns_why,
        heartbeats_keep_a_client_and_it_comes_back_when_lost,
    )
] + [("sixty clients meet on all shards", sixty_clients_meet_on_all_shards)]
sys.exit(asyncio.run(run(CHECKS)))
