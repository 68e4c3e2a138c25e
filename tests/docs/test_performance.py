"""The page of benchmarks follows from their JSON files."""

import json
from pathlib import Path
from typing import Any

import pytest

import performance
from sandbox import binaries


def result(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": f"Title of {name}",
        "command": f"python -m benchmarks.{name}",
        "measuredAt": "2026-11-30",
        "machine": {
            "cores": 2,
            "processor": "A | B",
            "memoryGiB": 8,
            "kernel": "6.1",
            "python": "3.11.2",
        },
        "columns": ["RayJobs", "seconds"],
        "rows": [["1,000", "1.50"]],
        "ratios": [
            {"name": "a / b", "value": 5.0, "bound": 4.0, "is_minimum": False, "is_met": False},
            {"name": "c / d", "value": 0.9, "bound": 0.8, "is_minimum": True, "is_met": True},
        ],
        "notes": ["A note."],
        **fields,
    }


def write_all(folder: Path) -> None:
    for name in performance.SECTIONS:
        (folder / f"{name}.json").write_text(json.dumps(result(name)))


def test_the_page_has_a_section_for_each_benchmark(tmp_path: Path) -> None:
    write_all(tmp_path)
    page = performance.page(tmp_path)
    for name, introduction in performance.SECTIONS.items():
        assert f"## Title of {name}\n\n{introduction}\n\n" in page
        assert f"![Title of {name}](../assets/benchmarks/{name}.png)" in page
    assert "| a / b | 5.00 | at most 4 | **no** |" in page
    assert "| c / d | 0.90 | at least 0.8 | yes |" in page
    assert performance.LIMITS["bursts"] in page


def test_the_machine_is_named_once(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert performance.page(tmp_path).count("Machine: 2 cores") == 1


def test_a_benchmark_without_results_is_an_error(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "waves.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"waves\.json"):
        performance.page(tmp_path)


def test_the_figures_beside_kuberay_are_cells_of_their_rows(tmp_path: Path) -> None:
    due = [["Raysweep", "5", "0.1"], ["KubeRay", "1", "0.2"], ["KubeRay", "5", "0.3"]]
    bursts = [
        ["Raysweep, RayClusters", "1.1", "20.1"],
        ["Raysweep, RayJobs, RayClusters and Pods", "1.2", "3.1"],
        ["KubeRay", "2.1", "21.1"],
    ]
    lag, last_pod = performance.P99, performance.LAST_POD
    for name, columns, rows in (
        ("due", ["run", "due per second", lag], due),
        ("bursts", ["run", lag, last_pod], bursts),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name, columns=columns, rows=rows)))
    figures = [tuple(times) for _, *times in performance.beside_kuberay(tmp_path)]
    assert figures == [("0.3 s", "0.1 s"), ("2.1 s", "1.1 s"), ("21.1 s", "3.1 s")]


def test_the_results_name_the_pinned_kuberay() -> None:
    """If this fails after an upgrade, run `make bench` and change the version."""
    assert binaries.KUBERAY.version == performance.KUBERAY
