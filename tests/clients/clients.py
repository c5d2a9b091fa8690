"""Clients of Python: `websockets`, and `aiohttp` for streams, polls and publishing.

Prints a line for each check, which tests/run counts. The server is that of `cargo build`, or the one ROADSTEAD names.
"""

import asyncio
import json
import os
import pathlib
import signal
import ssl
import sys
from contextlib import asynccontextmanager

import aiohttp
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from checks import named, run, server_environment, soon, tls_flags, until

CONTEXT = ssl.create_default_context()
PROGRAM = os.environ.get("ROADSTEAD") or pathlib.Path(__file__).parents[2] / "target/debug/roadstead"


class Server:
    """A running server, on free ports."""

    def __init__(self, process, url, admin, http):
        self.process, self.url, self.admin, self.http = process, url, admin, http
        self.is_draining = False

    def socket(self, path):
        """A WebSocket. Its own pings are off: the server's are answered all the same."""
        # Reading the roots takes as long as hundreds of handshakes: they are read once.
        tls = {"ssl": CONTEXT} if self.url.startswith("https") else {}
        return websockets.connect(
            self.url.replace("http", "ws") + path, ping_interval=None, max_size=32 << 20, open_timeout=60, **tls
        )

    async def get(self, path, **arguments):
        """The JSON of one answer."""
        async with self.http.get(self.url + path, **arguments) as answer:
            assert answer.status == 200, (answer.status, await answer.text())
            return await answer.json()

    async def publish(self, channel, data):
        """Publishes; the position."""
        async with self.http.post(f"{self.url}/channels/{channel}", data=data) as answer:
            assert answer.status == 200, (answer.status, await answer.text())
            position = await answer.json()
            return f"{position['epoch']}:{position['offset']}"

    async def subscribers(self, channel, count):
        """Waits until a channel has so many subscribers."""
        async def is_so():
            return (await self.get(f"/channels/{channel}/info"))["subscribers"] == count

        await until(f"{channel} has {count} subscribers", is_so)

    def drain(self):
        """Asks the server to drain; asked twice it would end at once."""
        if not self.is_draining:
            self.is_draining = True
            self.process.send_signal(signal.SIGTERM)

    async def stop(self):
        """Lets the server drain, and checks that it ended well."""
        self.drain()
        log = (await self.process.stderr.read()).decode()
        code = await self.process.wait()
        assert code == 0 and "panicked" not in log, f"the server ended with {code}:\n{log}"


@asynccontextmanager
async def server(*settings, config=None):
    """A server for one check."""
    flags = [*(["--config", str(config)] if config else []), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards", "2", *tls_flags()]
    for setting in ("server.drain_ms=100",) + settings:
        flags += ["--set", setting]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *flags, stdout=pipe, stderr=pipe, env=server_environment()
    )
    words = {}
    async for line in process.stdout:
        name, _, rest = line.decode().strip().partition(" ")
        words[name] = rest.split()[:1]
        if name == "try:":
            break
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            running = Server(process, words["listening"][0], words["admin"][0], http)
            yield running
        await running.stop()
    finally:
        if process.returncode is None:
            process.kill()


async def events(answer):
    """The events of a stream, each a dict of its fields."""
    event = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "data":
            event.setdefault("data", []).append(value)
        elif name in ("id", "event", "retry"):
            event[name] = value
        elif not line.strip() and event:
            yield event
            event = {}


async def stream_of(running, channel, count, **headers):
    """The data of the next `count` publications of an event stream."""
    heard = []
    headers["Accept"] = "text/event-stream"
    async with running.http.get(f"{running.url}/channels/{channel}", headers=headers) as answer:
        async for event in events(answer):
            if "data" in event:
                heard.append((event["id"], "\n".join(event["data"])))
            if len(heard) == count:
                return heard


async def everybody_receives_hello():
    async with server() as running:
        streams = [asyncio.create_task(stream_of(running, "news", 1)) for _ in range(8)]
        polls = [asyncio.create_task(running.get("/channels/news?timeout=25")) for _ in range(8)]
        sockets = [await running.socket("/channels/news") for _ in range(8)]
        await running.subscribers("news", 24)
        position = await running.publish("news", "hello")
        for socket in sockets:
            assert await soon(socket.recv()) == "hello"
            await socket.close()
        for stream in streams:
            assert await soon(stream) == [(position, "hello")]
        for poll in polls:
            page = await soon(poll)
            assert [one["data"] for one in page["publications"]] == ["hello"] and page["position"] == position


async def a_client_that_comes_back_gets_what_it_missed():
    async with server("limits.history_publications_max=5") as running:
        positions = [await running.publish("news", str(number)) for number in range(1, 9)]
        seen = positions[4]
        missed = [(positions[number - 1], str(number)) for number in (6, 7, 8)]
        assert await soon(stream_of(running, "news", 3, **{"Last-Event-ID": seen})) == missed
        async with running.socket(f"/channels/news?since={seen}") as socket:
            assert [await soon(socket.recv()) for _ in missed] == ["6", "7", "8"]
        async with running.socket("/ws") as socket:
            await socket.send(json.dumps({"id": 1, "subscribe": {"channel": "news", "since": seen}}))
            reply = json.loads(await soon(socket.recv()))["subscribed"]
            assert reply["recovered"] is True and reply["missed"] == 3, reply
            pushes = [json.loads(await soon(socket.recv()))["push"]["data"] for _ in missed]
            assert pushes == ["6", "7", "8"]
        page = await running.get(f"/channels/news?since={positions[0]}&timeout=0")
        assert page["recovered"] is False, "what is gone is not passed over in silence"


async def bytes_fragments_and_pings_survive_the_way_there_and_back():
    async with server() as running:
        payload = bytes(range(256)) * 4096
        async with running.socket("/echo") as socket:
            await socket.send(payload)
            assert await soon(socket.recv()) == payload
            await socket.send(iter(["grü", "ße", " 😀"]))
            assert await soon(socket.recv()) == "grüße 😀"
            await socket.send(iter([payload[:70000], payload[70000:]]))
            assert await soon(socket.recv()) == payload
            await soon(await socket.ping(b"?"))
        assert socket.close_code == 1000
        async with running.http.ws_connect(running.url + "/channels/bytes") as socket:
            await running.publish("bytes", payload[:1000])
            assert (await soon(socket.receive())).data == payload[:1000]


async def messages_are_compressed_both_ways_whatever_websockets_asks_for():
    texts = [json.dumps([{"index": index, "number": number} for index in range(2 ** (number % 10))]) for number in range(40)]
    factories = [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10),
        ClientPerMessageDeflateFactory(server_max_window_bits=12),
    ]
    for mode in ("shared", "dedicated"):
        async with server(f"websocket.compression={mode}", "websocket.compression_bytes_min=0") as running:
            for factory in factories:
                url = running.url.replace("http", "ws")
                async with websockets.connect(url + "/echo", extensions=[factory], compression=None) as socket:
                    assert socket.protocol.extensions, "it has been agreed on"
                    for text in texts:
                        await socket.send(text)
                        await socket.send(iter([text[:7], text[7:]]))
                    heard = [await soon(socket.recv()) for _ in range(2 * len(texts))]
                    assert heard == [text for text in texts for _ in range(2)], (mode, factory)


async def two_hundred_at_once_hear_everything_on_both_shards():
    async with server() as running:
        sockets = await asyncio.gather(*(running.socket("/channels/crowd") for _ in range(200)))
        streams = [asyncio.create_task(stream_of(running, "crowd", 10)) for _ in range(100)]
        await running.subscribers("crowd", 300)
        for number in range(10):
            await running.publish("crowd", str(number))
        expected = [str(number) for number in range(10)]
        for socket in sockets:
            assert [await soon(socket.recv()) for _ in expected] == expected
        for stream in streams:
            assert [data for _, data in await soon(stream)] == expected
        async with running.http.get(running.admin + "/shards") as answer:
            held = [shard["sessions"][1] for shard in (await answer.json())["shards"]]
        assert len(held) == 2 and min(held) > 20 and sum(held) == 200, held
        await asyncio.gather(*(socket.close() for socket in sockets))


async def a_drain_tells_everybody():
    async with server("server.drain_ms=300") as running:
        sockets = await asyncio.gather(*(running.socket("/channels/d") for _ in range(20)))
        streams = [asyncio.create_task(stream_of(running, "d", 1)) for _ in range(20)]
        polls = [asyncio.create_task(running.get("/channels/d?timeout=25")) for _ in range(20)]
        await running.subscribers("d", 60)
        running.drain()
        for socket in sockets:
            await soon(socket.wait_closed())
            assert socket.close_code == 1001, socket.close_code
        for stream in streams:
            assert await soon(stream) is None, "the stream ends in order and with nothing made up"
        for poll in polls:
            assert (await soon(poll))["recovered"] is True


CHECKS = named(
    everybody_receives_hello,
    a_client_that_comes_back_gets_what_it_missed,
    bytes_fragments_and_pings_survive_the_way_there_and_back,
    messages_are_compressed_both_ways_whatever_websockets_asks_for,
    two_hundred_at_once_hear_everything_on_both_shards,
    a_drain_tells_everybody,
)
if __name__ == "__main__":
    sys.exit(asyncio.run(run(CHECKS)))
