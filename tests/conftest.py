"""What a failed test tells besides: the end of the log of every operator that was at work in it."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.lab import operators


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[Any]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for each in operators:
            code = each.process.returncode
            state = "running" if code is None else f"ended with {code}"
            report.sections.append((f"{each.output.name}, {state}", each.last_words()))
    if call.when == "teardown":
        operators[:] = [each for each in operators if each.process.returncode is None]
    return report
