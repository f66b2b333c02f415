"""Results as Markdown, JSON and a chart."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path

from bench.figures import Figures, Spread
from bench.goals import GOALS
from bench.machine import as_table
from bench.peers import LIMIT, OURS

CHART = ("fan-out", "500 clients, 200 B, 8 under way", "deliveries/s")
INTRODUCTION = """\
Each figure is the median over the rounds of one run, in which all took turns. In brackets is how
often it goes into ours: the median of the ratios within a round, then the least and the greatest.
"""


def write(
    folder: Path, figures: Figures, machine: Mapping[str, str], left_out: Mapping[str, str]
) -> None:
    """Write results.md, results.json and fan-out.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    document = markdown(figures, machine, left_out)
    (folder / "results.md").write_text(document, encoding="utf-8")
    everything = {
        "machine": machine,
        "left out": left_out,
        "samples": [asdict(sample) for sample in figures.samples],
    }
    (folder / "results.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    measure, case, metric = CHART
    values = {
        subject: spread
        for subject in figures.names(lambda s: s.subject, measure=measure, case=case)
        if (spread := figures.spread(measure=measure, case=case, metric=metric, subject=subject))
    }
    if values:
        (folder / "fan-out.svg").write_text(chart(f"{case}: {metric}", values), encoding="utf-8")


def markdown(figures: Figures, machine: Mapping[str, str], left_out: Mapping[str, str]) -> str:
    """The whole report."""
    parts = ["# Results", INTRODUCTION, "## Goals", goals(figures)]
    for measure in figures.names(lambda sample: sample.measure):
        parts.append(f"## {measure.capitalize()}")
        for metric in figures.names(lambda sample: sample.metric, measure=measure):
            parts += [f"### {metric}", table(figures, measure, metric)]
    parts += ["## Machine", as_table(machine)]
    if left_out:
        parts += ["## Left out", "\n".join(f"- {name}: {why}" for name, why in left_out.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def goals(figures: Figures) -> str:
    """What was to be reached, and what was."""
    lines = ["| goal | bound | measured | reached |", "|---|---|---|---|"]
    for goal in GOALS:
        result = goal.result(figures)
        if result is not None:
            sign = "<=" if goal.at_most else ">="
            reached = "yes" if goal.reached(result) else "no"
            lines.append(f"| {goal.text} | {sign} {goal.bound:g} | {_spread(result)} | {reached} |")
    return "\n".join(lines)


def table(figures: Figures, measure: str, metric: str) -> str:
    """One metric: cases down, servers across."""
    where = {"measure": measure, "metric": metric}
    subjects = figures.names(lambda sample: sample.subject, **where)
    lines = [f"| | {' | '.join(subjects)} |", "|---" * (len(subjects) + 1) + "|"]
    for case in figures.names(lambda sample: sample.case, **where):
        cells = [_cell(figures, subject, where | {"case": case}) for subject in subjects]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chart(title: str, values: Mapping[str, Spread]) -> str:
    """Horizontal bars, with a line from the least to the greatest value."""
    width, left, line = 760, 170, 34
    most = max(spread.greatest for spread in values.values())
    scale = (width - left - 90) / most
    bars = []
    for row, (name, spread) in enumerate(values.items()):
        y = 44 + row * line
        end = left + spread.median * scale
        color = {OURS: "#2563eb", LIMIT: "#111827"}.get(name, "#9ca3af")
        low, high = (left + value * scale for value in (spread.least, spread.greatest))
        bars += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{end - left:.1f}" height="22" fill="{color}"/>',
            f'<path d="M{low:.1f} {y + 11}H{high:.1f}" stroke="#f59e0b" stroke-width="2"/>',
            f'<text x="{max(end, high) + 8:.1f}" y="{y + 15}">{_number(spread.median)}</text>',
        ]
    height = 56 + len(values) * line
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="{left}" y="26" font-weight="bold">{escape(title)}</text>\n'
        + "\n".join(bars)
        + "\n</svg>\n"
    )


def _cell(figures: Figures, subject: str, where: Mapping[str, str]) -> str:
    spread = figures.spread(subject=subject, **where)
    if spread is None:
        return "none"
    ratio = None if subject == OURS else figures.ratio(OURS, subject, **where)
    return _number(spread.median) + (f" ({_spread(ratio)})" if ratio else "")


def _spread(spread: Spread) -> str:
    if spread.least == spread.greatest:
        return _number(spread.median)
    least, greatest = _number(spread.least), _number(spread.greatest)
    return f"{_number(spread.median)}, {least} to {greatest}"


def _number(value: float) -> str:
    """Three digits that count, or all of a large one."""
    if value >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"
