"""The comparison as one SVG: a panel of bars per job, best at the top. Written by hand, so that it needs no library.

Every bar is a median; the thin line on it reaches from the lowest to the highest round.
"""

import html
import re

import tables

WIDTH, LABEL, BAR, GAP, VALUE = 860, 250, 16, 6, 120
HEAD, FOOT = 34, 18
OWN, OTHER, FLOOR = "#0b7285", "#adb5bd", "#e9c46a"
STYLE = ("text{font:12px system-ui,sans-serif;fill:#343a40}.title{font-weight:600;font-size:13px}"
         ".whisker{stroke:#343a40;stroke-width:1}")


def as_svg(jobs, found, caption):
    """All panels under each other; `found` holds the rows of each job by its name."""
    body, top = [], 30
    for name, rows in found.items():
        measured = [row for row in tables.ranked(jobs[name], rows) if row.results]
        body += panel(jobs[name], measured, top)
        top += HEAD + len(measured) * (BAR + GAP) + FOOT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">',
        f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>', text(10, 20, caption), *body,
        "</svg>", ""])


def panel(job, rows, top):
    column = job.columns[0]
    direction = "more is better" if job.is_higher_better else "less is better"
    parts = [text(10, top + 16, f"{job.title}: {column.heading}, {direction}", "title")]
    most = max((max(row.values(column.key)) for row in rows), default=0) or 1
    room = WIDTH - LABEL - VALUE
    for index, row in enumerate(rows):
        y = top + HEAD - 8 + index * (BAR + GAP)
        parts += bar(row, column, y, room / most)
    return parts


def bar(row, column, y, scale):
    values, middle = row.values(column.key), max(0, row.median(column.key))
    low, high = (LABEL + max(0, value) * scale for value in (min(values), max(values)))
    color = OWN if row.peer.is_reference else FLOOR if row.peer.is_floor else OTHER
    centre = y + BAR / 2
    return [
        text(LABEL - 8, y + 12, row.peer.title.replace("*", ""), anchor="end"),
        f'<rect x="{LABEL}" y="{y}" width="{max(1, middle * scale):.1f}" height="{BAR}" fill="{color}"/>',
        f'<line class="whisker" x1="{low:.1f}" y1="{centre}" x2="{high:.1f}" y2="{centre}"/>',
        text(max(high, LABEL + middle * scale) + 6, y + 12, column.form.format(row.median(column.key))),
    ]


def text(x, y, content, style=None, anchor="start"):
    style = f' class="{style}"' if style else ""
    plain = html.escape(re.sub("`", "", content))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{plain}</text>'
