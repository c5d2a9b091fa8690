"""The jobs every peer is given, and what of a result stands in the table. Starting peers is done in `peer.py`.

A job's `measure` runs one client against one running server and gives its figures; medians, ratios and tables are
made of them in `tables.py`.
"""

import dataclasses
import functools
import json
import re
import shlex
import subprocess
import typing

from peer import ROOT, Failed


@dataclasses.dataclass
class Scale:
    """How much of each job is done."""

    seconds: float
    rounds: int
    idle_connections: int
    storm_connections: int
    subscribers: int


QUICK = Scale(seconds=1.0, rounds=2, idle_connections=2000, storm_connections=1000, subscribers=500)
FULL = Scale(seconds=5.0, rounds=5, idle_connections=15_000, storm_connections=15_000, subscribers=2000)


@dataclasses.dataclass
class Column:
    """A figure in the table: its key in a result, its heading, its format."""

    key: str
    heading: str
    form: str = "{:,.0f}"


@dataclasses.dataclass
class Job:
    """One table of the comparison. The first column is the one peers are compared by."""

    title: str
    columns: list[Column]
    is_higher_better: bool
    measure: typing.Callable
    # How long one server's round takes besides `Scale.seconds`, from its start to its end.
    overhead_seconds: float
    is_timed: bool = True
    note: str = ""
    # The table of a peer's manifest that says where, if it is another job's.
    where: str | None = None

    def round_seconds(self, scale):
        """How long one server's round takes, roughly."""
        return self.overhead_seconds + (scale.seconds if self.is_timed else 0)


class Client:
    """The load generator on its core."""

    def __init__(self, options, scale):
        self.server_core, self.core = options.cores.split(",")
        self.bench, self.scale = options.bench, scale
        self.commands = {}

    def measure(self, job, arguments, pid):
        """Runs `roadstead-bench`. It exits with an error when it holds itself for the bottleneck, and prints its result
        all the same."""
        command = ["taskset", "-c", self.core, self.bench, *map(str, arguments), "--pid", str(pid), "--json"]
        self.note(job, command)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise Failed((done.stderr.strip() or done.stdout.strip())[-300:]) from None

    def note(self, job, command):
        """Keeps the first command of each job as one would type it."""
        text = shlex.join(command).replace(f"{ROOT}/", "").replace(" --json", "")
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
        self.commands.setdefault(job, re.sub(r"--pid \d+", "--pid PID", text))


def place_of(name, peer):
    """The table of a peer's manifest that says where it does this job; none if it does not."""
    return peer.jobs.get(JOBS[name].where or name)


def flags(table, port):
    """A job's table as flags of `roadstead-bench`."""
    return [word for key, value in table.items()
            for word in ([f"--{key}"] if value is True else [f"--{key}", str(value).format(port=port)])]


def measure_idle(client, name, table, port, pid):
    arguments = ["connect", *flags(table, port), "--connections", client.scale.idle_connections, "--hold", 0.5]
    wave = client.measure(name, arguments, pid)["waves"][0]
    each = wave["per_connection"]
    # What the floor keeps for a connection in user memory is too little to be measured.
    return {"user": each["server_rss_bytes"] or 0, "kernel": each["kernel_slab_bytes"], "client": each["client_anonymous_bytes"],
            "faults": faults(wave, "failed", "lost")}


def measure_storm(client, name, table, port, pid):
    count = client.scale.storm_connections
    arguments = ["storm", *flags(table, port), "--connections", count, "--hold", 0.2, "--settle-seconds", 0.3]
    wave = client.measure(name, arguments, pid)["waves"][1]
    return {"seconds": wave["seconds"], "rate": wave["connections_per_second"],
            "cpu": wave["server"]["us_per_message"], "faults": faults(wave, "failed", "lost"),
            "is_generator_bound": wave["bottleneck"] == "generator", "core_wait": wave["client_core_wait"]}


def measure_echo(client, name, table, port, pid):
    arguments = ["echo", *flags(table, port), "--connections", 200, "--bytes", 32, "--seconds", client.scale.seconds,
                 "--closed-loop"]
    result = client.measure(name, arguments, pid)
    return {"rate": result["echoes_per_second"], "faults": faults(result, "wrong", "lost"), **shared(result)}


def measure_fanout(client, name, table, port, pid, burst=1):
    arguments = ["fanout", *flags(table, port), "--subscribers", client.scale.subscribers, "--bytes", 64, "--burst",
                 burst, "--seconds", client.scale.seconds, "--closed-loop"]
    result = client.measure(name, arguments, pid)
    return {"rate": result["deliveries_per_second"], "together": result["deliveries_per_read"],
            "faults": faults(result, "lost", "duplicates", "reordered", "subscribers_lost"), **shared(result)}


def measure_burst(client, name, table, port, pid):
    return measure_fanout(client, name, table, port, pid, burst=16)


# What chats send: text that compresses as text does, and not as one letter repeated.
CONTENT = ('{"room":"harbour","user":"Anna Lind","at":"2026-11-26T19:00:00Z","text":"The pilot is aboard, we come in with the '
           'tide. Keep berth four free until the ferry has left."}')


def measure_compressed(client, name, table, port, pid):
    arguments = ["fanout", *flags(table, port), "--subscribers", client.scale.subscribers, "--bytes", 512, "--content",
                 CONTENT, "--compression", "--seconds", client.scale.seconds, "--closed-loop"]
    result = client.measure(name, arguments, pid)
    received = result["compression"]["received"]
    return {"rate": result["deliveries_per_second"], "wire": received["wire_bytes"] / max(1, received["messages"]),
            "faults": faults(result, "lost", "duplicates", "reordered", "subscribers_lost"), **shared(result)}


def measure_http(client, name, table, port, pid):
    arguments = ["http", *flags(table, port), "--connections", 64, "--seconds", client.scale.seconds, "--closed-loop"]
    result = client.measure(name, arguments, pid)
    return {"rate": result["per_second"], "faults": faults(result, "wrong", "lost"), **shared(result)}


def measure_half_echo(client, name, table, port, pid, rate):
    arguments = ["echo", *flags(table, port), "--connections", 200, "--bytes", 32, "--seconds", client.scale.seconds,
                 "--rate", rate]
    result = client.measure(name, arguments, pid)
    return {"rate": result["echoes_per_second"], "faults": faults(result, "wrong", "lost", "unanswered", "unsent"),
            **below_saturation(result)}


def measure_half_fanout(client, name, table, port, pid, rate):
    arguments = ["fanout", *flags(table, port), "--subscribers", client.scale.subscribers, "--bytes", 64, "--seconds",
                 client.scale.seconds, "--rate", rate]
    result = client.measure(name, arguments, pid)
    return {"rate": result["deliveries_per_second"],
            "faults": faults(result, "lost", "duplicates", "reordered", "subscribers_lost"), **below_saturation(result)}


def below_saturation(result):
    """On a schedule the percentiles are latencies, not queues: more of them are worth showing."""
    return {"p50": result["latency"]["p50_us"], "p999": result["latency"]["p999_us"], **shared(result)}


def shared(result):
    """What echo and fan-out results have in common."""
    return {"cpu": result["server"]["us_per_message"], "p99": result["latency"]["p99_us"],
            "is_generator_bound": result["bottleneck"] == "generator", "core_wait": result["client_core_wait"]}


def faults(result, *keys):
    """What went wrong, such as `3 lost`; nothing if nothing did."""
    return ", ".join(f"{result[key]} {key.replace('_', ' ')}" for key in keys if result[key])


CPU = Column("cpu", "server CPU each, µs", "{:.2f}")
P99 = Column("p99", "p99, µs")
P50 = Column("p50", "p50, µs")
P999 = Column("p999", "p99.9, µs")
WIRE = Column("wire", "bytes each on the line")
TOGETHER = Column("together", "at a time", "{:.1f}")


def idle(title, note):
    columns = [Column("user", "user, B"), Column("kernel", "kernel slab, both ends, B")]
    return Job(title, columns, False, measure_idle, overhead_seconds=8, is_timed=False, note=note)


def load(title, heading, measure, *more):
    return Job(title, [Column("rate", heading), CPU, P99, *more], True, measure, overhead_seconds=3)


def storm(title, overhead_seconds):
    """All connect at once."""
    return Job(title, [Column("rate", "served/s"), CPU, Column("seconds", "until the last is served, s", "{:.3f}")], True,
               measure_storm, overhead_seconds=overhead_seconds, is_timed=False)


def half(title, heading, measure, rate, where):
    """On a schedule, far below saturation: what most users see."""
    return Job(title, [CPU, P50, P99, P999, Column("rate", heading)], False, functools.partial(measure, rate=rate),
               overhead_seconds=3, where=where)


JOBS = {
    "idle": idle(
        "Memory of an idle WebSocket in a channel",
        "User memory is the growth of the server's resident memory. The kernel's is that of both ends, all on this "
        "machine; it contains the client's epoll items, and what else the machine did meanwhile. The floor keeps "
        "nothing but a descriptor: a WebSocket costs more than none."),
    "storm": storm("A storm: all connect at once, for the second time", 6),
    "echo": load("Echo: 200 connections, 32 B, one message each under way", "echoes/s", measure_echo),
    "fanout": load("Fan-out: one message of 64 B to all of a channel", "deliveries/s", measure_fanout, TOGETHER),
    "burst": load("Fan-out of 16 messages published together", "deliveries/s", measure_burst, TOGETHER),
    **{f"half-echo-{rate}": half(f"Half busy: {rate:,} echoes/s over 200 connections, 32 B", "echoes/s",
                                 measure_half_echo, rate, "echo") for rate in (5000, 20_000, 60_000)},
    **{f"half-fanout-{rate}": half(f"Half busy: {rate} publications/s of 64 B to all of a channel", "deliveries/s",
                                   measure_half_fanout, rate, "fanout") for rate in (20, 200)},
    "tls-idle": idle("Memory of an idle WebSocket in a channel, over TLS 1.3", "As above."),
    "tls-storm": storm("A storm over TLS: all connect at once, for the second time, each with a whole handshake", 30),
    "tls-echo": load("Echo over TLS: 200 connections, 32 B, one message each under way", "echoes/s", measure_echo),
    "tls-fanout": load("Fan-out over TLS: one message of 64 B to all of a channel", "deliveries/s", measure_fanout, TOGETHER),
    "compressed-fanout": load("Compressed fan-out: one message of 512 B of JSON to all of a channel, permessage-deflate",
                              "deliveries/s", measure_compressed, WIRE),
    "http": load("HTTP: keep-alive `GET /hello`, 64 connections, one request each under way", "requests/s", measure_http),
    "socketio-echo": load("Socket.IO: 200 clients, events of 32 B that are acknowledged", "echoes/s", measure_echo),
    "socketio-fanout": load("Socket.IO: one event of 64 B to all of a room", "deliveries/s", measure_fanout, TOGETHER),
    "socketio-burst": load("Socket.IO: 16 events published together", "deliveries/s", measure_burst, TOGETHER),
    "socketio-idle": idle("Memory of an idle Socket.IO client over a WebSocket", "As above."),
    "socketio-idle-polling": idle("Memory of an idle Socket.IO client that polls", "As above."),
}
