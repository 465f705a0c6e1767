"""The pictures: curves as PNG, readable in a README at 700 pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.bench import Series

_TITLES = {
    "sizes": ("Time against size, over loopback", "size of the model in GiB", "seconds"),
    "fetchers": ("Time until all fetchers are done", "number of fetchers", "seconds"),
}
_COLOURS = ("#0b6e4f", "#c1440e", "#3d5a80", "#8d99ae")
_MARKERS = ("o", "s", "^", "D")
_PIXELS = (1400, 840)
_DPI = 200
_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 2,
}


def draw(series: Iterable[Series], folder: Path) -> None:
    """Write a picture `PLOT.png` for each plot among the curves."""
    plots: dict[str, list[Series]] = {}
    for each in series:
        plots.setdefault(each.plot, []).append(each)
    folder.mkdir(parents=True, exist_ok=True)
    for plot, curves in plots.items():
        _draw(plot, curves, folder / f"{plot}.png")


def _draw(plot: str, curves: list[Series], path: Path) -> None:
    title, across, up = _TITLES[plot]
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(_PIXELS[0] / _DPI, _PIXELS[1] / _DPI), dpi=_DPI, layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            x, y = zip(*curve.points, strict=True)
            colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
            axes.plot(x, y, label=curve.label, color=colour, marker=marker)
        axes.set(title=title, xlabel=across, ylabel=up, ylim=(0, None), xlim=(0, None))
        axes.legend(frameon=False)
        figure.savefig(path)
