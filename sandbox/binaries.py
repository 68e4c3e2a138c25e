"""Where the control plane's programs come from: KUBEBUILDER_ASSETS, or one build of pinned Go modules into the user's cache.

Nothing here starts a program of the control plane; that is controlplane.py.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.lifetime import watched
from sandbox.lock import locked
from sandbox.processes import Processes, SandboxError

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
MODULES = Path(__file__).parent / "modules"
KUBERNETES = "1.36.3"
HELM = "v4.3.1"

Say = Callable[[str], None]


class NoControlPlaneError(SandboxError):
    """The programs are neither given nor can they be built; the text names the remedy."""


def find() -> Path | None:
    """The folder that holds PROGRAMS, if it is there already."""
    if given := os.environ.get("KUBEBUILDER_ASSETS"):
        return _given(Path(given))
    ready = _built()
    return ready if _is_complete(ready) else None


async def build(say: Say) -> Path:
    """The same, built where needed, which takes about 8 minutes on two cores."""
    ready = _built()
    async with locked(ready.with_suffix(".lock")):
        if not _is_complete(
            ready
        ):  # another sandbox may have built it while we waited for the lock
            await _build(ready, say)
    return ready


def find_or_build(say: Say) -> Path:
    """Both, for who has no event loop."""
    return find() or asyncio.run(build(say))


def find_or_build_helm(say: Say) -> Path:
    """The helm command, pinned. Built once, which takes about 5 minutes on two cores; without Go the one on the PATH."""
    ready = cache_folder() / f"helm-{HELM}"
    if (ready / "helm").is_file():
        return ready / "helm"
    if shutil.which("go"):
        return asyncio.run(_build_helm(ready, say))
    if given := shutil.which("helm"):
        return Path(given)
    raise NoControlPlaneError(
        "there is neither helm nor Go to build it; install Go 1.26 or later, or helm"
    )


async def _build_helm(ready: Path, say: Say) -> Path:
    async with locked(ready.with_suffix(".lock")):
        if not (ready / "helm").is_file():
            say(f"building helm {HELM}: once, about 5 minutes on two cores")
            with _scratch(ready.parent) as scratch:
                command = (
                    "go",
                    "install",
                    "-trimpath",
                    "-ldflags",
                    "-s -w",
                    f"helm.sh/helm/v4/cmd/helm@{HELM}",
                )
                environment = _for_go(scratch) | {"GOBIN": str(scratch / "bin")}
                await Processes(scratch).run(
                    "go install of helm", *command, environment=environment
                )
                _install(scratch, ready, ("helm",))
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


def _built() -> Path:
    return cache_folder() / f"control-plane-{_fingerprint()}"


async def _build(ready: Path, say: Say) -> None:
    if shutil.which("go") is None:
        raise NoControlPlaneError(
            "the sandbox needs a Kubernetes control plane and found neither KUBEBUILDER_ASSETS nor Go. "
            "Install Go 1.26 or later (the control plane is then built once, about 8 minutes), "
            "or point KUBEBUILDER_ASSETS at a folder with " + ", ".join(PROGRAMS) + "."
        )
    say(
        f"building the control plane (Kubernetes {KUBERNETES}, etcd): once, about 8 minutes on two cores"
    )
    with _scratch(ready.parent) as scratch:
        await _go_build(
            MODULES / "etcd", ("go.etcd.io/etcd/server/v3",), scratch, "bin/etcd", say=say
        )
        programs = tuple(f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS[1:])
        await _go_build(MODULES / "kubernetes", programs, scratch, "bin/", say=say)
        _install(scratch, ready, PROGRAMS)
    say(f"control plane built: {ready}")


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A folder beside what is to be ready, for all that a build writes: logs, temporary files, and the programs in bin."""
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / "bin").mkdir()
        yield Path(scratch)


def _install(scratch: Path, ready: Path, programs: tuple[str, ...]) -> None:
    ready.mkdir(exist_ok=True)
    for name in programs:
        (scratch / "bin" / name).rename(ready / name)


def _for_go(scratch: Path) -> dict[str, str]:
    return {"CGO_ENABLED": "0", "GOTMPDIR": str(scratch)}


async def _go_build(
    module: Path, packages: tuple[str, ...], scratch: Path, out: str, *, say: Say
) -> None:
    """out: where in the scratch folder the programs are put, in the words of `go build -o`."""
    processes, environment = Processes(scratch), _for_go(scratch)
    name = f"go build of {module.name}"
    listing = ("go", "list", "-deps", *packages)
    listed = await processes.run(
        f"go list of {module.name}", *listing, cwd=module, environment=environment
    )
    command = (
        "go",
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        _linker_flags(),
        "-o",
        f"{scratch}/{out}",
        *packages,
    )
    async with watched() as watchers:
        total = len(listed.splitlines())
        watchers.create_task(_report_progress(processes.log(name), module.name, total, say))
        await processes.run(name, *command, cwd=module, environment=environment)


async def _report_progress(log: Path, what: str, total: int, say: Say) -> None:
    """A line every 15 s: `go build -v` names each package it compiles, in an order and speed of its own."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(15)
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        say(
            f"  {what}: {_count_lines(log)} of at most {total} packages compiled, {minutes}m{seconds:02d}s"
        )


def _count_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


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
    return "-s -w " + " ".join(
        f"-X {p}.{key}={value}" for p in packages for key, value in values.items()
    )


if __name__ == "__main__":
    sys.stdout.write(f"{find_or_build(print)}\n")
