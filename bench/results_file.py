"""bench/RESULTS.md: one file, several sections, each written by the script whose command stands in it.

A section lies between two comment lines that carry its name, so that a run replaces its own and no other.
"""

import datetime
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = ROOT / "bench/RESULTS.md"
WRITTEN = ("bench/RESULTS.md", "bench/results.svg", "bench/compare/rounds")
TITLE = """# Results

Written by `bench/compare/run`, `bench/sidebyside/run`, `bench/lab/run`, `bench/state/measure`, `bench/state/durable`,
`bench/state/stores/run`, `bench/tokens/measure`, `bench/compression/measure`, `bench/nodes/measure`,
`bench/order/measure`, `bench/balance/measure` and `bench/upgrade/measure`: every section names the command, the machine,
the date and the commit it was measured at. Run the command again and the section is replaced.
"""


def machine():
    """The machine a run was made on, in one line."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model.group(1) if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def stamp():
    """Date and commit of a run, to be taken at its start."""
    return f"{datetime.date.today()}, {commit()}"


def commit():
    """The commit of the tree; what runs write themselves does not count as a change."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in WRITTEN))
    return f"commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}{' with changes' if changed else ''}"


def write_section(name, text, path=PATH):
    """Replaces the section `name`, or adds it at the end."""
    old = path.read_text() if path.exists() else TITLE
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{opening}\n{text.strip()}\n{closing}\n"
    before, found, rest = old.partition(opening)
    if found:
        new = before + section + rest.partition(f"{closing}\n")[2]
    else:
        new = f"{old.rstrip()}\n\n{section}"
    path.write_text(new)
