"""Colours of lines in the report's plots.

What has a verdict (the distribution of latencies, the Pareto plot, candidates of a tuning) takes its colour from
`edgetf.verdicts`; the page itself has its colours in `report.css.j2`.
"""

from __future__ import annotations

INK, GRID = "#1f2933", "#dde3ea"
# Okabe and Ito's colours, which colour-blind readers can distinguish (https://jfly.uni-koeln.de/color/), without the
# yellow and light ones with a contrast below 3:1 on white; repeated colours have another dash
LINES = ("#0072B2", "#D55E00", "#000000", "#00805C", "#A8467F", "#7A5C00")
HEAT, CLOCK = "#a11d33", "#31458f"  # temperature and frequency over time
UNJUDGED = "#8a94a3"  # candidates of a tuning that have no verdict
