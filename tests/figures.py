"""Figures that tests find, such as faults injected: summed by name over all workers, printed at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

_PROPERTY = "figure"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Adds to a figure of the whole run: `figure("bytes downloaded again", 4096)`."""

    def add(name: str, value: float) -> None:
        request.node.user_properties.append((_PROPERTY, (name, value)))

    return add


class Figures:
    """Collects what `figure` noted, in the process that reports."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take up the figures of a test that passed."""
        if report.when == "call" and report.passed:
            for kind, noted in report.user_properties:
                if kind == _PROPERTY and isinstance(noted, tuple | list):
                    name, value = noted
                    self.sums[name] += value

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the sums, one a line."""
        if self.sums:
            terminalreporter.section("figures")
            for name, value in sorted(self.sums.items()):
                terminalreporter.write_line(f"{value:,.10g} {name}")
