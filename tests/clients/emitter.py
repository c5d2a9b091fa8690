"""Socket.IO's emitter for Python, PyPI's socket-io-emitter, beside a member of its cluster: what it tells reaches our clients."""

import asyncio
import contextlib
import pathlib
import sys
import tempfile

import redis
from socket_io_emitter import Emitter

from checks import named, run, soon, until
from clients import server

ENGINE = "socket.io/?EIO=4&transport=websocket"


@contextlib.asynccontextmanager
async def cluster():
    """A server that is a member, and a client of its Redis, on a socket's file in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "redis.sock"))
        flags = ("--port", "0", "--save", "", "--unixsocket", path, "--dir", folder)
        process = await asyncio.create_subprocess_exec("redis-server", *flags, stdout=asyncio.subprocess.DEVNULL)
        try:
            client = redis.Redis(unix_socket_path=path)
            await until("Redis answers", lambda: answers(client))
            settings = ("socketio.cluster=redis-adapter", f"socketio.cluster_url=unix:{path}")
            async with server(*settings) as one:
                channel = "socket.io-request#/#"

                async def is_member():
                    return client.pubsub_numsub(channel) == [(channel.encode(), 1)]

                await until("it is a member", is_member)
                yield one, client
        finally:
            process.kill()
            await process.wait()


async def answers(client):
    with contextlib.suppress(redis.exceptions.ConnectionError):
        return client.ping()
    return False


async def entered(one, room):
    """A client in a room."""
    socket = await soon(one.http.ws_connect(f"{one.url}/{ENGINE}"))
    assert (await soon(socket.receive_str())).startswith("0{")
    await socket.send_str("40")
    assert (await soon(socket.receive_str())).startswith("40{")
    await socket.send_str(f'421["join","{room}"]')
    assert (await soon(socket.receive_str())).startswith("431[")
    return socket


async def what_an_emitter_in_python_tells_reaches_our_clients():
    async with cluster() as (one, client):
        sockets = [await entered(one, "lobby"), await entered(one, "hall")]
        emitter = Emitter({"client": client})
        emitter.Emit("all", 1, {"a": [True, None, 1.5, "ä"]})
        emitter.To("lobby").Emit("lobby", b"\x00\xff")
        emitter.To("hall").Emit("hall", {7: 2**40})
        told = '42["all",1,{"a":[true,null,1.5,"ä"]}]'
        for socket in sockets:
            assert await soon(socket.receive_str()) == told
        assert await soon(sockets[0].receive_str()) == '451-["lobby",{"_placeholder":true,"num":0}]'
        assert await soon(sockets[0].receive_bytes()) == b"\x00\xff"
        assert await soon(sockets[1].receive_str()) == f'42["hall",{{"7":{2**40}}}]'


if __name__ == "__main__":
    sys.exit(asyncio.run(run(named(what_an_emitter_in_python_tells_reaches_our_clients))))
