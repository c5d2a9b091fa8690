"""The rows about TLS of `figures`: each is the same thing with TLS and without it, in turn.

`openssl` makes the certificate, with a key on P-256. The clients of `roadstead-bench` exchange keys on X25519 and never
resume, so that every handshake is a whole one.
"""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile

import wake


@contextlib.contextmanager
def certificate():
    """A certificate and its key; gives the two paths."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = (str(pathlib.Path(folder) / name) for name in ("certificate.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", key, "-out", chain], check=True, capture_output=True)
        yield chain, key


class Sides:
    """The same measurement on a plain server and on one with TLS."""

    def __init__(self, bench, chain, key):
        self.bench, self.chain, self.key = bench, chain, key

    @contextlib.contextmanager
    def server(self, is_secure, admin=None):
        """A server; gives its pid, and what builds its URLs and the flags that go with them."""
        more = ["--tls-cert", self.chain, "--tls-key", self.key] if is_secure else []
        with self.bench.roadstead(1, None, *more, admin=admin) as (pid, port):
            yield pid, Urls(port, is_secure)

    def compare(self, measure):
        """`measure(pid, urls)` on both, in turn: results of the plain one, results of the one with TLS."""
        def side(is_secure):
            with self.server(is_secure) as (pid, urls):
                return measure(pid, urls)
        return self.bench.alternate(lambda: side(False), lambda: side(True))


class Urls:
    """URLs of one server."""

    def __init__(self, port, is_secure):
        self.port, self.letter, self.flags = port, "s" if is_secure else "", ["--insecure"] if is_secure else []

    def ws(self, path):
        return f"ws{self.letter}://127.0.0.1:{self.port}{path}"

    def http(self, path):
        return f"http{self.letter}://127.0.0.1:{self.port}{path}"


def beyond(plain, secure, read):
    """What TLS adds, round by round: the median, and the text with both sides."""
    added = [read(with_tls) - read(without) for without, with_tls in zip(plain, secure)]
    middle = statistics.median(added)
    return middle, (f"{middle:+.2f} ({min(added):+.2f} to {max(added):+.2f}): "
                    f"{statistics.median(map(read, secure)):.2f} against {statistics.median(map(read, plain)):.2f}")


def cpu(result):
    return result["server"]["us_per_message"]


def memory(bench, sides, row):
    """After some have come and gone: code and tables that the first handshake brings in belong to no connection."""
    count = 2000 if bench.options.quick else 15000

    def connect(pid, urls):
        arguments = ["connect", "--url", urls.ws("/channels/figures"), *urls.flags, "--hold", 1, "--pid", pid]
        bench.measure([*arguments, "--connections", 500])
        return bench.measure([*arguments, "--connections", count], seconds=300)["waves"][0]

    plain, secure = sides.compare(connect)
    added, text = beyond(plain, secure, lambda wave: wave["per_connection"]["server_rss_bytes"])
    failed = sum(wave["failed"] + wave["lost"] for wave in plain + secure)
    return [row(f"TLS 1.3: user memory of an idle WebSocket beyond a plain one, {count:,} on one shard", "≤ 260 B",
                f"{text} B" + (f"; {failed} FAILED" if failed else ""), added <= 260 and not failed)]


def echo(bench, sides, row):
    """Of a server that is busy all the time: one that sleeps now and then wakes more often or less often with TLS, and a wake-up
    costs more than TLS does."""
    arguments = ["--connections", 200, "--bytes", 32, "--seconds", bench.seconds, "--closed-loop"]
    plain, secure = sides.compare(
        lambda pid, urls: bench.measure(["echo", "--url", urls.ws("/echo"), *urls.flags, *arguments, "--pid", pid]))
    added, text = beyond(plain, secure, cpu)
    busy = [f"{statistics.median(result['server']['cores'] for result in side):.0%}" for side in (secure, plain)]
    wrong = sum(result["wrong"] + result["lost"] for result in plain + secure)
    return [row("TLS: CPU per echo beyond a plain one, 200 connections, 32 B", "≤ 1.6 µs",
                f"{text} µs; server busy {busy[0]} and {busy[1]} of the time" + (f"; {wrong} WRONG OR LOST" if wrong else ""),
                added <= 1.6 and not wrong)]


def fanout(bench, sides, row):
    found = []
    for burst, goal, what in ((1, 1.0, "64 B to 2,000"), (16, 0.15, "16 publications together")):
        arguments = ["--subscribers", 2000, "--bytes", 64, "--burst", burst, "--seconds", bench.seconds, "--closed-loop"]
        plain, secure = sides.compare(lambda pid, urls: bench.measure(
            ["fanout", "--url", urls.ws("/channels/figures"), "--publish", urls.http("/channels/figures"), *urls.flags,
             *arguments, "--pid", pid]))
        added, text = beyond(plain, secure, cpu)
        lost = sum(result["lost"] for result in plain + secure)
        found.append(row(f"TLS: CPU per delivery beyond a plain one, {what}", f"≤ {goal:.2f} µs",
                         f"{text} µs" + (f"; {lost} LOST" if lost else ""), added <= goal and not lost))
    return found


def handshakes(bench, sides, row):
    """What the server says its handshakes took, beside rustls alone; and what a storm costs with TLS and without."""
    count = 1000 if bench.options.quick else 6000
    command = [bench.options.bench, "floor", "handshakes", "--certificate", sides.chain, "--key", sides.key]

    def alone():
        done = subprocess.run(["taskset", "-c", bench.server_core, *command], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)["us_per_handshake"]

    def storm(is_secure):
        admin = wake.free_port()
        with sides.server(is_secure, admin) as (pid, urls):
            wave = bench.measure(["connect", "--url", urls.ws("/channels/figures"), *urls.flags, "--connections", count,
                                  "--hold", 0.2, "--pid", pid], seconds=300)["waves"][0]
            spent = sum(wake.counters(admin, lambda shard: shard["tls_handshake_us_total"]).values())
            return {"all": wave["server"]["us_per_message"], "handshake": spent / count,
                    "failed": wave["failed"] + wave["lost"]}

    bench.note(command)
    bare, plain, secure = bench.alternate(alone, lambda: storm(False), lambda: storm(True))
    ratios = [floor / full["handshake"] for floor, full in zip(bare, secure)]
    middle = {name: statistics.median(each[key] for each in side)
              for name, side, key in (("plain", plain, "all"), ("all", secure, "all"), ("each", secure, "handshake"))}
    ratio, failed = statistics.median(ratios), sum(each["failed"] for each in plain + secure)
    return [row(f"TLS: whole handshakes per second and core (P-256, X25519), {count:,} connecting",
                "≥ 0.9 × rustls with aws-lc-rs alone",
                f"{ratio:.2f} × ({min(ratios):.2f}–{max(ratios):.2f}): {1e6 / middle['each']:,.0f} against "
                f"{1e6 / statistics.median(bare):,.0f}; CPU of a connection with all it takes {middle['all']:.0f} µs, of "
                f"a plain one {middle['plain']:.0f} µs" + (f"; {failed} FAILED" if failed else ""),
                ratio >= 0.9 and not failed)]


# Whatever runs so goes before everything else on its core, at once.
FIRST = ["chrt", "-f", "10"]


def reconnects(bench, sides, row):
    """The echo of those connected while many come, some at a time and all at once.

    Whoever listens to it is a process of its own, which goes before those who come on their core. What that core's kernel does
    for them cannot be interrupted all the same: how late the echoes were sent says something of it, and so does a bare echo on
    the server's core, which goes before the server, during another such storm. The server adds what is beyond that.
    """
    count, rate = (1500, 500) if bench.options.quick else (15000, 500)
    # Shorter than it takes until all have come: nobody who is calm is counted.
    seconds = 0.5 if bench.options.quick else 3

    def listen(url, flags=(), beside=None):
        command = [*FIRST, "taskset", "-c", bench.client_core, bench.options.bench, "echo", "--url", url, *flags,
                   "--connections", 50, "--bytes", 32, "--rate", rate, "--seconds", seconds, "--json"]
        command = [str(part) for part in command]
        bench.note(command)
        listener = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        result = beside() if beside else None
        answer = json.loads(listener.communicate(timeout=120)[0])
        return answer["latency"], answer["schedule_lag"]["p99_us"] or 0, result

    def come(pid, urls, in_flight):
        return bench.measure(
            ["connect", "--url", urls.ws("/channels/figures"), *urls.flags, "--connections", count, "--hold", 0.1, "--pid", pid,
             "--in-flight", in_flight], seconds=300)["waves"][0]

    def once(in_flight):
        with sides.server(True) as (pid, urls):
            echo = (urls.ws("/echo"), urls.flags)
            calm, _, _ = listen(*echo)
            busy, late, wave = listen(*echo, beside=lambda: come(pid, urls, in_flight))
        with sides.server(True) as (pid, urls), bench.floor("echo", before=FIRST) as (_, port):
            bare, _, again = listen(f"tcp://127.0.0.1:{port}", beside=lambda: come(pid, urls, in_flight))
        return {"calm": calm["p99_us"], "busy": busy["p99_us"], "p50": busy["p50_us"], "late": late, "bare": bare["p99_us"],
                "seconds": wave["seconds"], "failed": sum(each["failed"] + each["lost"] for each in (wave, again))}

    found = []
    for in_flight, how in ((128, "128 at a time"), (count, "all on their way at once")):
        (rounds,) = bench.alternate(lambda: once(in_flight))
        ratios = [each["busy"] / each["calm"] for each in rounds]
        ratio, failed = statistics.median(ratios), sum(each["failed"] for each in rounds)
        middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        found.append(row(
            f"TLS: echo p99 of 50 who are connected, while {count:,} come, {how}, each with a whole handshake",
            "≤ 10 × calm",
            f"{ratio:.1f} × ({min(ratios):.1f}–{max(ratios):.1f}): p99 {middle['busy']:,.0f} µs against "
            f"{middle['calm']:,.0f} µs, p50 {middle['p50']:,.0f} µs, sent late by {middle['late']:,.0f} µs (p99); p99 of a bare "
            f"echo that goes before the server {middle['bare']:,.0f} µs; the last was served after "
            f"{middle['seconds']:.1f} s" + (f"; {failed} FAILED" if failed else ""), ratio <= 10 and not failed))
    return found


MEASURES = {"tls-memory": memory, "tls-echo": echo, "tls-fanout": fanout, "tls-handshakes": handshakes,
            "tls-reconnects": reconnects}


def rows(row):
    """The rows by name, as `figures` runs them."""
    def bound(measure):
        def run(bench):
            with certificate() as (chain, key):
                return measure(bench, Sides(bench, chain, key), row)
        return run
    return {name: bound(measure) for name, measure in MEASURES.items()}
