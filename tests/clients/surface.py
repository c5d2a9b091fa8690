"""What the descriptions beside the manual say, held against the running server.

schemathesis sends requests that fit the OpenAPI descriptions, and some that just do not, and checks statuses, content
types and bodies of the answers. The commands of the AsyncAPI description are sent on /ws, and what comes back has to fit
the schema of one of its messages.

    surface.py PROGRAM
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import jsonschema_rs
import websockets

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# A poll is to be answered soon, for thousands are made.
SETTINGS = ["limits.long_poll_timeout_max_ms=20", "log.level=off"]
# TRACE is answered 501, as RFC 9110 §9.1 has it for what a server does not know, and that is no failure of a server.
CONFIGURATION = '[phases.coverage]\nunexpected-methods = ["DELETE", "PUT", "PATCH"]\n'
# What a description cannot say: a key that is wrong is no fault where none is needed.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class Server:
    def __init__(self, program):
        command = [program, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards", "2"]
        for setting in SETTINGS:
            command += ["--set", setting]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        addresses = {}
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            addresses[word] = rest.strip()
            if word == "try:":
                break
        self.clients, self.admin = addresses["listening"], addresses["admin"]

    def description(self, name):
        with urllib.request.urlopen(f"{self.admin}/manual/{name}") as answer:
            return json.load(answer)

    def end(self):
        self.process.terminate()
        return self.process.wait(timeout=30)


def tell(name, good, why=""):
    print(f"passed: {name}" if good else f"FAILED: {name}\n{why}", flush=True)


def openapi(server, name, base):
    file = tempfile.NamedTemporaryFile("w", suffix=".toml")
    file.write(CONFIGURATION)
    file.flush()
    command = [SCHEMATHESIS, "--config-file", file.name, "run", f"{server.admin}/manual/{name}", "--url", base, "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "7", "--no-color"]
    command += ["--request-timeout", "20", "--generation-database", "none"]
    # A stream that never ends.
    command += ["--exclude-path", "/dashboard/live"]
    # It is tried where it is looked at (browser.mjs), and leaves no room for others here.
    command += ["--exclude-path", "/demo/crowd/open"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    tell(f"the HTTP surface is as {name} says", done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:])


# Commands that show a token; the server of this test knows none, and a refusal ends the connection.
TOKENS = ("connect", "refresh")


async def asyncapi(server):
    description = server.description("asyncapi.json")
    messages = description["components"]["messages"]
    commands = [name.rsplit("/", 1)[1] for name in refs(description, "command")]
    told = [messages[name.rsplit("/", 1)[1]]["payload"] for name in refs(description, "tell")]
    shown = [name for name in commands if name in TOKENS]
    said, unknown = await answers(server, messages, [name for name in commands if name not in TOKENS], told)
    refused = []
    for name in shown:
        keys, others = await answers(server, messages, [name], told)
        refused.append("error" in keys)
        unknown += others
    tell("every message of /ws fits one of asyncapi.json", not unknown, unknown)
    expected = {"subscribed", "unsubscribed", "published", "pong"}
    tell("every command of asyncapi.json has its reply", expected <= said and "error" not in said, said)
    tell("a token that nobody has signed is refused by an answer", refused and all(refused), refused)


async def answers(server, messages, commands, told):
    """What the examples of these commands are answered with on one connection: members, and messages that fit nothing."""
    seen, unknown = set(), []
    async with websockets.connect(server.clients.replace("http", "ws") + "/ws") as socket:
        for example in [example for name in commands for example in messages[name]["examples"]]:
            await socket.send(json.dumps(example["payload"]))
            # Pushes may come before the reply.
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                fits = [schema for schema in told if jsonschema_rs.is_valid(schema, message)]
                if len(fits) != 1:
                    unknown.append(message)
                seen |= message.keys() - {"id"}
                if "id" in message:
                    break
    return seen, unknown


def refs(description, operation):
    return [message["$ref"] for message in description["operations"][operation]["messages"]]


server = Server(sys.argv[1])
try:
    openapi(server, "openapi.json", server.clients)
    openapi(server, "openapi-admin.json", server.admin)
    asyncio.run(asyncapi(server))
finally:
    tell("the server ends as asked", server.end() == 0)
