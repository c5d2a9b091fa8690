"""Runs checks one after another and prints a line for each, which tests/run counts; and waits for things."""

import asyncio
import os
import time
import traceback

PATIENCE_SECONDS = 15
# How many checks of a suite may fail and be run a second time at once, as in checks.mjs.
SECOND_CHANCES = 2


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
    lost, chances = False, SECOND_CHANCES
    for name, check in checks:
        began = time.monotonic()
        why = await failure(check)
        if why:
            print(f"FAILED: {name}\n{why}", flush=True)
            if chances > 0:
                chances -= 1
                why = await failure(check)
                print(f"again: {why}" if why else f"passed alone: {name}", flush=True)
        lost |= bool(why)
        if not why:
            print(f"passed: {name} ({(time.monotonic() - began) * 1000:.0f} ms)", flush=True)
    return 1 if lost else 0


async def failure(check):
    """Why a check failed; None where it did not."""
    try:
        await asyncio.wait_for(check(), 60)
    except Exception:
        return traceback.format_exc()


def named(*checks):
    """Functions with their names as sentences."""
    return [(check.__name__.replace("_", " "), check) for check in checks]


def tls_flags():
    """What makes a server speak TLS, if all do: `tests/clients/tls` has made the certificate, and lets clients trust it."""
    if os.environ.get("ROADSTEAD_TEST_TLS") != "1":
        return []
    return ["--tls-cert", os.environ["ROADSTEAD_TEST_TLS_CERT"], "--tls-key", os.environ["ROADSTEAD_TEST_TLS_KEY"]]


def server_environment():
    """What a server is started in: what tests are told in the environment is no setting of it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROADSTEAD_TEST_")}
