"""Runs the tests of KubeRay on other versions of KubeRay, Ray and Kubernetes.

`python -m tests.matrix` runs every cell that docs/reference/compatibility.md does not have yet, and
adds each result to that page as soon as it is known. Each cell varies one version from the pinned
ones. KUBERAY_OPERATOR adds a cell for the program that it names.
"""

import asyncio
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sandbox import binaries
from sandbox.binaries import ETCD, KUBERAY, KUBERNETES, Build

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
TESTS = "tests/e2e/test_kuberay.py"
OTHER_KUBERAY = ("1.4.0", "1.5.0")
OTHER_KUBERNETES = ("1.35.4",)
OTHER_RAY = {
    "2.9.3": ("setuptools<66", "aiohttp<3.10", "aiohttp_cors<0.8", "pydantic<2.6"),
    "2.46.0": ("setuptools<80",),
    "2.52.0": ("setuptools<80",),
}
"""Versions, and the pins that they need with Python 3.11."""
ROW = re.compile(r"^\| (\S+) \| (\S+) \| (\S+) \| (.*?) \| (\S+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A combination of versions."""

    kuberay: str
    ray: str
    kubernetes: str


def cells() -> Iterator[Cell]:
    """The pinned versions, and one cell for each other version."""
    pinned = Cell(KUBERAY.version, version("ray"), KUBERNETES.version)
    yield pinned
    yield from (replace(pinned, kuberay=other) for other in OTHER_KUBERAY)
    if given := os.environ.get(KUBERAY.override):
        yield replace(pinned, kuberay=Path(given).name)
    yield from (replace(pinned, ray=other) for other in OTHER_RAY)
    yield from (replace(pinned, kubernetes=other) for other in OTHER_KUBERNETES)


def environment(cell: Cell) -> dict[str, str]:
    """The variables that make the sandbox use these versions. Builds and installs them."""
    result: dict[str, str] = {}
    if cell.kuberay in OTHER_KUBERAY:
        build = replace(KUBERAY, module=f"kuberay-{cell.kuberay}", override="")
        result[KUBERAY.override] = str(_provided(build))
    elif cell.kuberay == KUBERAY.version:
        result[KUBERAY.override] = ""
    if cell.kubernetes != KUBERNETES.version:
        build = replace(KUBERNETES, module=f"kubernetes-{cell.kubernetes}", override="")
        result[KUBERNETES.override] = str(_with_etcd(_provided(build)))
    if cell.ray != version("ray"):
        result["SANDBOX_RAY"] = str(_ray(cell.ray))
    return result


def _provided(build: Build) -> Path:
    asyncio.run(binaries.provide([build], lambda line: print(line, flush=True)))
    return build.folder


def _with_etcd(folder: Path) -> Path:
    if not (folder / "etcd").exists():
        (folder / "etcd").symlink_to(_provided(ETCD) / "etcd")
    return folder


def _ray(wanted: str) -> Path:
    """The bin folder of a virtual environment with this version of Ray."""
    folder = binaries.cache_folder() / f"ray-{wanted}"
    if not (folder / "bin" / "ray").exists():
        print(f"installing ray {wanted}", flush=True)
        venv.create(folder, with_pip=True)
        pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, f"ray[default]=={wanted}", *OTHER_RAY[wanted]], check=True)
    return folder / "bin"


def run(cell: Cell) -> str:
    """Runs the tests in a cell. Returns the last line of pytest, or why they cannot run."""
    try:
        variables = os.environ | environment(cell)
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        return f"cannot run: {str(error).splitlines()[0][:100]}"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", TESTS]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=variables, capture_output=True, text=True
    )
    failed = re.findall(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE)
    counts = re.findall(r"\d+ (?:passed|skipped|failed|error)s?", done.stdout.splitlines()[-1])
    return ", ".join([*counts, *(f"`{name}`" for name in failed)])


def main() -> int:
    """Runs what is missing in the page. Returns 1 if a test failed."""
    done = {Cell(*row[:3]) for row in ROW.findall(PAGE.read_text())}
    results: list[str] = []
    for cell in cells():
        if cell in done:
            continue
        print(f"KubeRay {cell.kuberay}, Ray {cell.ray}, Kubernetes {cell.kubernetes}", flush=True)
        results.append(run(cell))
        print(f"  {results[-1]}", flush=True)
        row = " | ".join([*astuple(cell), results[-1], datetime.now(UTC).date().isoformat()])
        PAGE.write_text(f"{PAGE.read_text().rstrip()}\n| {row} |\n")
    return int(any(re.search("failed|error|cannot run", result) for result in results))


if __name__ == "__main__":
    sys.exit(main())
