"""Medians, ratios and spreads of a comparison, as Markdown. Nothing is measured and nothing is left out here: a peer
that wins stands first, one that failed stands last with its reason.
"""

import statistics

# A share of the time that others may keep the load generator from its core, as its own verdict has it.
CORE_WAIT_MAX = 0.10


class Row:
    """What one peer did in one job: a result for each round, or why there is none; and the reference's of the same
    rounds."""

    def __init__(self, peer, tried, reference):
        self.peer, self.version, self.failure = peer, tried["version"], tried["failure"]
        self.rounds, self.reference = tried["rounds"], reference
        self.results = [] if self.failure else list(self.rounds.values())

    def values(self, key):
        return [result[key] for result in self.results]

    def median(self, key):
        return statistics.median(self.values(key))

    def spread(self, key):
        """Half the range, in percent of the median."""
        middle, values = self.median(key), self.values(key)
        return 100 * (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0

    def ratios(self, key):
        """This peer's figure by the reference's, round by round: neighbours in time share the machine's mood."""
        pairs = ((result[key], self.reference[number][key]) for number, result in self.rounds.items()
                 if number in self.reference)
        return [own / other for own, other in pairs if other]

    def remarks(self):
        """What went wrong in any round, whether the load generator was the limit, and whether others were in the way."""
        found = sorted({result["faults"] for result in self.results if result["faults"]})
        if any(result.get("is_generator_bound") for result in self.results):
            found.append("the generator was the limit")
        disturbed = sum(result.get("core_wait", 0) > CORE_WAIT_MAX for result in self.results)
        if disturbed:
            found.append(f"other programs disturbed {disturbed} of {len(self.results)} rounds")
        return "; ".join(found)


def ranked(job, rows):
    """Best first; those without a result last."""
    key = job.columns[0].key
    measured = sorted((row for row in rows if row.results), key=lambda row: row.median(key),
                      reverse=job.is_higher_better)
    return measured + [row for row in rows if not row.results]


def as_markdown(job, rows):
    """The table of one job."""
    first, others = job.columns[0], job.columns[1:]
    heads = ["server", first.heading, "against Roadstead", *(column.heading for column in others), "remarks"]
    text = [f"### {job.title}", "", f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 2)}---|"]
    for row in ranked(job, rows):
        text.append(f"| {' | '.join(cells(job, row, others))} |")
    if job.note:
        text += ["", job.note]
    return "\n".join(text)


def cells(job, row, others):
    if not row.results:
        return [row.peer.title, "–", "–", *("–" for _ in others), f"not measured: {row.failure}"]
    key = job.columns[0].key
    first = f"{job.columns[0].form.format(row.median(key))} ±{row.spread(key):.0f} %"
    return [row.peer.title, first, ratio(row, key),
            *(column.form.format(row.median(column.key)) for column in others), row.remarks()]


def ratio(row, key):
    if row.peer.is_reference:
        return "1"
    ratios = row.ratios(key)
    if not ratios:
        return "–"
    # More than one figure as small as 0.01 would all read 0.01.
    digits = 2 if statistics.median(ratios) >= 0.1 else 3
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return f"{middle} × ({low}–{high})"
