"""The wheel with its base dependencies only, as `pipx install` puts it on a laptop."""

import importlib.metadata
import re
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATOR_ONLY = {"kopf", "prometheus-client"}
RAYJOB = """\
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: train
  namespace: team-a
  annotations: {raysweep.io/ttl: soon}
spec:
  entrypoint: python train.py
  rayClusterSpec: {headGroupSpec: {template: {spec: {containers: [{name: head, image: ray}]}}}}
"""


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def base_requirements(distribution: str) -> Iterable[str]:
    """The names that a distribution requires on this Python without any extra."""
    for requirement in importlib.metadata.requires(distribution) or ():
        name, _, marker = requirement.partition(";")
        if "extra ==" not in marker:
            yield normalized(re.split(r"[ \[<>=!~(]", name, maxsplit=1)[0])


def base_closure() -> dict[str, importlib.metadata.Distribution]:
    """Every distribution that an installation of raysweep without extras brings along."""
    closure: dict[str, importlib.metadata.Distribution] = {}
    pending = list(base_requirements("raysweep"))
    while pending:
        name = pending.pop()
        if name in closure:
            continue
        try:
            closure[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # its marker excludes this platform
        pending += base_requirements(name)
    return closure


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("laptop")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-q", "--wheel-dir", str(folder), str(ROOT)], check=True)
    environment = folder / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    (wheel,) = folder.glob("raysweep-*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*install, "-q", "--no-index", str(wheel)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for distribution in base_closure().values():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return environment / "bin"


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, check=False, cwd=program.parent
    )


def test_the_base_dependencies_leave_out_what_only_the_operator_needs() -> None:
    assert not OPERATOR_ONLY & set(base_closure())


def test_the_plugin_runs_without_the_packages_of_the_operator(
    bin_folder: Path, tmp_path: Path
) -> None:
    plugin = bin_folder / "kubectl-raysweep"

    imported = run(bin_folder / "python", "-c", "import kopf")
    assert "No module named 'kopf'" in imported.stderr

    assert run(plugin, "--help").returncode == 0
    for command in ("completion", "keep", "logs", "plan", "stop", "submit", "sweep", "why"):
        help_page = run(plugin, command, "--help")
        assert help_page.returncode == 0, help_page.stderr

    manifest = tmp_path / "train.yaml"
    manifest.write_text(RAYJOB)
    lint = run(plugin, "lint", str(manifest))
    assert "soon" in lint.stdout, lint.stderr

    kubeconfig = tmp_path / "missing"
    plan = run(plugin, "plan", "--kubeconfig", str(kubeconfig))
    assert "Traceback" not in plan.stderr
    assert str(kubeconfig) in plan.stderr


def test_run_names_the_extra_that_is_missing(bin_folder: Path) -> None:
    operator = run(bin_folder / "raysweep", "run")
    assert operator.returncode == 1
    assert "install raysweep[operator]" in operator.stderr, operator.stderr
