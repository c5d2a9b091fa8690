"""What has been measured so far: every round of every server, kept as it ends, so that a long comparison can be made in
pieces and RESULTS.md written from all of them. Nothing is measured here; medians and ratios are made in `tables.py`.

A piece is one job measured by one call of `run`, and whatever later calls with `--resume` add to it. Roadstead is
measured in every piece, because a ratio is only taken between neighbours of one round. A server stands in the table
with the newest piece that has it; a piece nobody stands in any more is dropped.

    bench/compare/rounds/JOB.json   [{began, commit, machine, cores, scale, commands, bench_command,
                                      peers: {NAME: {version, failure, rounds: {NUMBER: result}}}}, …]
"""

import json

import tables

# What has to be the same for a round to belong to a piece that was begun earlier.
CONDITIONS = ("commit", "machine", "cores", "scale")


class Mismatch(Exception):
    """A piece cannot be gone on with, and why."""


class Kept:
    """One job's pieces; without a folder they are forgotten with the process."""

    def __init__(self, folder, job):
        self.path = folder / f"{job}.json" if folder else None
        self.pieces = json.loads(self.path.read_text()) if self.path and self.path.exists() else []

    def begin(self, began, command, conditions):
        """Begins a new piece."""
        self.pieces.append({"began": began, **conditions, "commands": [command], "bench_command": "", "peers": {}})
        return self.pieces[-1]

    def resume(self, began, command, conditions):
        """Goes on with the newest piece, if there is one, and forgets why servers failed in it."""
        if not self.pieces:
            return self.begin(began, command, conditions)
        piece = self.pieces[-1]
        for what in CONDITIONS:
            if piece[what] != conditions[what]:
                raise Mismatch(f"it was begun with {what} {piece[what]}, and now it is {conditions[what]}: measure "
                               "anew, without --resume")
        if command not in piece["commands"]:
            piece["commands"].append(command)
        for peer in piece["peers"].values():
            peer["failure"] = None
        return piece

    def save(self):
        """Writes the pieces that are still of use."""
        if not self.path:
            return
        in_use = {self.newest(name)["began"] for piece in self.pieces for name in piece["peers"]}
        self.pieces = [piece for piece in self.pieces if piece["began"] in in_use]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.pieces, indent=1) + "\n")

    def newest(self, name):
        """The newest piece that has this server."""
        return next((piece for piece in reversed(self.pieces) if name in piece["peers"]), None)

    def rows(self, peers):
        """A row of the table for each of `peers` that was tried."""
        found = []
        references = {peer.name for peer in peers if peer.is_reference}
        for peer in peers:
            if piece := self.newest(peer.name):
                reference = [tried["rounds"] for name, tried in piece["peers"].items() if name in references]
                found.append(tables.Row(peer, piece["peers"][peer.name], reference[0] if reference else {}))
        return found
