"""The manual's receiver of notices, run as it stands there: PyPI's standardwebhooks takes what the server signs."""

import asyncio
import contextlib
import pathlib
import re
import socket
import sys
import tempfile

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from checks import named, run, soon
from clients import server

MANUAL = pathlib.Path(__file__).parents[2] / "src/manual/notices.md"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@contextlib.asynccontextmanager
async def receiver():
    """The program of the manual's page on a free port: its process, and where it listens."""
    program = re.search(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)[1]
    assert KEY in program and "3000" in program
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "receiver.py")
        file.write_text(program.replace("3000", str(port)))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, str(file), stdout=pipe, stderr=pipe)
        try:
            yield process, f"notices.url=http://127.0.0.1:{port}/"
        finally:
            process.kill()
            await process.wait()


async def lines_until(process, wanted):
    """What it prints, up to a line that begins so."""
    lines = []
    while not lines or not lines[-1].startswith(wanted):
        lines.append((await soon(process.stdout.readline())).decode().strip())
        assert lines[-1], lines
    return lines


async def the_manuals_receiver_is_told_everything_once_under_each_of_its_keys():
    async with receiver() as (process, url):
        settings = (url, "notices.delay_ms=10", "notices.vacated_after_ms=10", f"notices.signing_keys={OTHER},{KEY}")
        async with server(*settings) as one:
            await lines_until(process, "node_started")
            async with one.http.ws_connect(f"{one.url}/channels/news"):
                await lines_until(process, "channel_occupied news")
            seen = await lines_until(process, "channel_vacated news")
        seen += await lines_until(process, "node_draining")
        assert not any(line.startswith("missed") for line in seen), seen


async def a_receiver_with_another_key_takes_nothing():
    async with receiver() as (process, url):
        async with server(url, "notices.delay_ms=10", f"notices.signing_keys={OTHER}") as one:
            refused = (await soon(process.stderr.readuntil(b"WebhookVerificationError"))).decode()
            assert "Traceback" in refused, refused
            async with one.http.get(f"{one.admin}/metrics") as answer:
                assert 'roadstead_notices_total{shard="0",result="delivered"} 0' in await answer.text()


async def what_is_not_what_was_signed_is_refused_by_the_library():
    for changed in (b'{"a":2}', b""):
        try:
            Webhook(KEY).verify(changed, {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"})
        except WebhookVerificationError:
            continue
        raise AssertionError(changed)


CHECKS = named(
    the_manuals_receiver_is_told_everything_once_under_each_of_its_keys,
    a_receiver_with_another_key_takes_nothing,
    what_is_not_what_was_signed_is_refused_by_the_library,
)

if __name__ == "__main__":
    sys.exit(asyncio.run(run(CHECKS)))
