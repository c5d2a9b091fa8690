"""Runs checks one after another and prints a line for each, which tests/run counts; and waits for things."""

import asyncio
import time
import traceback

PATIENCE_SECONDS = 15


async def until(what, is_so):
    """Asks again and again until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not await is_so():
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s in vain until {what}"
        await asyncio.sleep(0.01)


async def soon(awaitable):
    """What comes, if it comes in time."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)


async def run(checks):
    """Runs named checks; the code to end with."""
    failed = 0
    for name, check in checks:
        began = time.monotonic()
        try:
            await asyncio.wait_for(check(), 60)
            print(f"passed: {name} ({(time.monotonic() - began) * 1000:.0f} ms)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED: {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


def named(*checks):
    """Functions with their names as sentences."""
    return [(check.__name__.replace("_", " "), check) for check in checks]
