"""The limit on open files: it is raised as far as the system allows, and never lowered."""

import resource

import pytest

from raysweep.controller import open_files

NONE = resource.RLIM_INFINITY


def test_the_soft_limit_is_raised_to_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        ("the default of containerd", (1_024, 524_288), (65_536, 524_288)),
        ("a low hard limit", (1_024, 4_096), (4_096, 4_096)),
        ("no hard limit", (1_024, NONE), (65_536, NONE)),
        ("the soft limit is the hard limit", (2_000, 2_000), None),
        ("the soft limit is higher already", (100_000, 524_288), None),
        ("no limit at all", (NONE, NONE), None),
    ]
    for sentence, before, after in rows:
        limits: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "getrlimit", lambda _, before=before: before)
        monkeypatch.setattr(resource, "setrlimit", lambda _, new, limits=limits: limits.append(new))
        open_files.raise_limit()
        assert limits == ([after] if after else []), sentence


@pytest.mark.parametrize("error", [ValueError("not permitted"), PermissionError()])
def test_a_refusal_of_the_system_is_ignored(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    open_files.raise_limit()
