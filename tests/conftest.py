"""What holds for all tests: how laws choose their examples, and what a failed test tells besides."""

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from tests.support.workbench import operators

# A change must not be held up by an example that it has nothing to do with: new ones are sought by `make laws`.
settings.register_profile("steady", derandomize=True)
settings.register_profile("search", max_examples=3000, print_blob=True)
settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[Any],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The end of the log of every operator that was at work in it."""
    report = yield
    if report.failed:
        for each in operators:
            code = each.process.returncode
            state = "running" if code is None else f"ended with {code}"
            report.sections.append((f"{each.output.name}, {state}", each.last_words()))
    if call.when == "teardown":
        operators[:] = [each for each in operators if each.process.returncode is None]
    return report
