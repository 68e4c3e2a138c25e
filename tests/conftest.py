"""For all tests: timeouts of the tiers, Hypothesis profiles, operator logs in failure reports."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.operator_process import started_operators

TIMEOUTS = {
    "unit": 60,
    "docs": 60,
    "component": 120,
    "program": 120,
    "sandbox": 300,
    "integration": 240,
    "e2e": 240,
    "kueue": 300,
}
"""Seconds per test, with its fixtures. They stop a test that hangs and allow for a busy machine."""

# An unrelated change must not fail because of a new example. `make laws` looks for new examples.
settings.register_profile("steady", derandomize=True)
settings.register_profile("few", derandomize=True, max_examples=20)  # for other Pythons
settings.register_profile("search", max_examples=3000, print_blob=True)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test the timeout of its tier, unless it sets its own."""
    root = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(root).parts[0]
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUTS[tier]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[Any],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of the log of every operator that ran during a failed test."""
    report = yield
    if report.failed:
        for operator in started_operators:
            code = operator.process.returncode
            state = "running" if code is None else f"exit code {code}"
            report.sections.append((f"{operator.output.name}, {state}", operator.log_tail()))
    if call.when == "teardown":
        running = [each for each in started_operators if each.process.returncode is None]
        started_operators[:] = running
    return report
