"""Where the control plane's programs come from: KUBEBUILDER_ASSETS, or one build of pinned Go modules into the user's cache.

Nothing here starts a program of the control plane; that is controlplane.py.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
MODULES = Path(__file__).parent / "modules"
KUBERNETES = "1.36.3"
HELM = "v4.3.1"

Say = Callable[[str], None]


class NoControlPlaneError(RuntimeError):
    """The programs are neither given nor can they be built; the text names the remedy."""


def find_or_build(say: Say) -> Path:
    """The folder that holds PROGRAMS. Builds them where needed, which takes about 8 minutes on two cores."""
    if given := os.environ.get("KUBEBUILDER_ASSETS"):
        return _given(Path(given))
    ready = cache_folder() / f"control-plane-{_fingerprint()}"
    if not _is_complete(ready):
        with _only_one_builder(ready.with_suffix(".lock")):
            if not _is_complete(ready):  # another sandbox may have built it while we waited for the lock
                _build(ready, say)
    return ready


def find_or_build_helm(say: Say) -> Path:
    """The helm command, pinned. Built once, which takes about 5 minutes on two cores; without Go the one on the PATH."""
    ready = cache_folder() / f"helm-{HELM}"
    with _only_one_builder(ready.with_suffix(".lock")):
        if (ready / "helm").is_file():
            return ready / "helm"
        if shutil.which("go") is None:
            if given := shutil.which("helm"):
                return Path(given)
            raise NoControlPlaneError("there is neither helm nor Go to build it; install Go 1.26 or later, or helm")
        say(f"building helm {HELM}: once, about 5 minutes on two cores")
        with tempfile.TemporaryDirectory(dir=ready.parent) as scratch:
            command = ["go", "install", "-trimpath", "-ldflags", "-s -w", f"helm.sh/helm/v4/cmd/helm@{HELM}"]
            subprocess.run(command, env=os.environ | {"CGO_ENABLED": "0", "GOBIN": scratch}, check=True)
            ready.mkdir(exist_ok=True)
            (Path(scratch) / "helm").rename(ready / "helm")
    return ready / "helm"


def cache_folder() -> Path:
    """Where the user's caches live (XDG_CACHE_HOME), made where it is not there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "raysweep-sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _given(folder: Path) -> Path:
    missing = [name for name in PROGRAMS if not (folder / name).is_file()]
    if missing:
        raise NoControlPlaneError(
            f"KUBEBUILDER_ASSETS={folder} lacks {', '.join(missing)}. "
            "Add the missing programs, or unset KUBEBUILDER_ASSETS to have them built from Go modules."
        )
    return folder


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PROGRAMS)


def _fingerprint() -> str:
    """Changes with the pinned modules, so that an upgrade builds anew and an old build is never taken for it."""
    pins = sorted(MODULES.glob("*/go.*"))
    return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()[:12]


@contextlib.contextmanager
def _only_one_builder(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(ready: Path, say: Say) -> None:
    if shutil.which("go") is None:
        raise NoControlPlaneError(
            "the sandbox needs a Kubernetes control plane and found neither KUBEBUILDER_ASSETS nor Go. "
            "Install Go 1.26 or later (the control plane is then built once, about 8 minutes), "
            "or point KUBEBUILDER_ASSETS at a folder with " + ", ".join(PROGRAMS) + "."
        )
    say(f"building the control plane (Kubernetes {KUBERNETES}, etcd): once, about 8 minutes on two cores")
    with tempfile.TemporaryDirectory(dir=ready.parent) as scratch:
        out = Path(scratch)
        _go_build(MODULES / "etcd", out / "etcd", ("go.etcd.io/etcd/server/v3",), say)
        programs = tuple(f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS[1:])
        _go_build(MODULES / "kubernetes", f"{out}{os.sep}", programs, say)
        ready.mkdir(exist_ok=True)
        for name in PROGRAMS:
            (out / name).rename(ready / name)
    say(f"control plane built: {ready}")


def _go_build(module: Path, out: Path | str, packages: tuple[str, ...], say: Say) -> None:
    environment = os.environ | {"CGO_ENABLED": "0"}
    command = ["go", "build", "-v", "-trimpath", "-ldflags", _linker_flags(), "-o", str(out), *packages]
    total = _packages_needed(module, packages, environment)
    with subprocess.Popen(command, cwd=module, env=environment, stderr=subprocess.PIPE, text=True) as build:
        assert build.stderr is not None
        tail = _report_progress(build.stderr, module.name, total, say)
    if build.returncode:
        raise NoControlPlaneError(f"go build of {module.name} failed:\n" + "\n".join(tail[-20:]))


def _packages_needed(module: Path, packages: tuple[str, ...], environment: dict[str, str]) -> int:
    listed = subprocess.run(
        ["go", "list", "-deps", *packages], cwd=module, env=environment, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise NoControlPlaneError(f"go list of {module.name} failed:\n{listed.stderr[-2000:]}")
    return len(listed.stdout.splitlines())


def _report_progress(lines: Iterator[str], what: str, total: int, say: Say) -> list[str]:
    """A line every 15 s: `go build -v` names each package it compiles, in an order and speed of its own."""
    seen: list[str] = []
    started = time.monotonic()
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(15):
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            say(f"  {what}: {len(seen)} of at most {total} packages compiled, {minutes}m{seconds:02d}s")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    for line in lines:
        seen.append(line.rstrip())  # noqa: PERF401 - the reporter counts them while they come
    finished.set()
    reporter.join()
    return seen


def _linker_flags() -> str:
    """The version, without which kubectl prints v0.0.0 and Helm refuses every chart that names a kubeVersion."""
    major, minor, _ = KUBERNETES.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "none",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return "-s -w " + " ".join(f"-X {p}.{key}={value}" for p in packages for key, value in values.items())


if __name__ == "__main__":
    sys.stdout.write(f"{find_or_build(print)}\n")
