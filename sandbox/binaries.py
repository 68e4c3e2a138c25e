"""Provides the programs of the control plane: from KUBEBUILDER_ASSETS, or built from Go modules.

The modules are pinned, and the build is stored in the user's cache. controlplane.py starts them.
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
    """The programs are missing and cannot be built. The message says what to install."""


def find() -> Path | None:
    """The folder with all PROGRAMS. None if they are not built yet."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return _checked(Path(assets))
    folder = _build_folder()
    return folder if _is_complete(folder) else None


async def build(say: Say) -> Path:
    """Builds the programs if needed, which takes about 8 minutes on two cores."""
    folder = _build_folder()
    async with locked(folder.with_suffix(".lock")):
        # Another sandbox can have built them while this one waited for the lock.
        if not _is_complete(folder):
            await _build(folder, say)
    return folder


def find_or_build(say: Say) -> Path:
    """Finds or builds the programs outside an event loop."""
    return find() or asyncio.run(build(say))


def find_or_build_helm(say: Say) -> Path:
    """The pinned helm command. It is built once (about 5 minutes on two cores).

    Without Go it is the helm on the PATH.
    """
    ready = cache_folder() / f"helm-{HELM}"
    if (ready / "helm").is_file():
        return ready / "helm"
    if shutil.which("go"):
        return asyncio.run(_build_helm(ready, say))
    if installed := shutil.which("helm"):
        return Path(installed)
    raise NoControlPlaneError("helm is not installed: install it, or Go 1.26 or later to build it")


async def _build_helm(ready: Path, say: Say) -> Path:
    async with locked(ready.with_suffix(".lock")):
        if not (ready / "helm").is_file():
            say(f"building helm {HELM}: once, about 5 minutes on two cores")
            with _scratch(ready.parent) as scratch:
                flags = ("-trimpath", "-ldflags", "-s -w")
                package = f"helm.sh/helm/v4/cmd/helm@{HELM}"
                await Processes(scratch).run(
                    "go install of helm",
                    *("go", "install", *flags, package),
                    environment=_go_environment(scratch) | {"GOBIN": str(scratch / "bin")},
                )
                _install(scratch, ready, ("helm",))
    return ready / "helm"


def cache_folder() -> Path:
    """The sandbox's folder in the user's cache (XDG_CACHE_HOME). It is created if needed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "raysweep-sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _checked(folder: Path) -> Path:
    missing = [name for name in PROGRAMS if not (folder / name).is_file()]
    if missing:
        raise NoControlPlaneError(
            f"KUBEBUILDER_ASSETS={folder} lacks {', '.join(missing)}. "
            "Add the missing programs, or unset KUBEBUILDER_ASSETS to build them from Go modules."
        )
    return folder


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PROGRAMS)


def _fingerprint() -> str:
    """A hash of the pinned modules. An upgrade changes it, so that it needs a new build."""
    pins = sorted(MODULES.glob("*/go.*"))
    return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()[:12]


def _build_folder() -> Path:
    return cache_folder() / f"control-plane-{_fingerprint()}"


async def _build(ready: Path, say: Say) -> None:
    if shutil.which("go") is None:
        raise NoControlPlaneError(
            "the sandbox needs the programs of a Kubernetes control plane, or Go to build them. "
            "Install Go 1.26 or later (the build takes about 8 minutes, once), "
            "or set KUBEBUILDER_ASSETS to a folder with " + ", ".join(PROGRAMS) + "."
        )
    versions = f"Kubernetes {KUBERNETES}, etcd"
    say(f"building the control plane ({versions}): once, about 8 minutes on two cores")
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
    """A temporary folder in the cache for all that a build writes. The programs go into bin."""
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / "bin").mkdir()
        yield Path(scratch)


def _install(scratch: Path, ready: Path, programs: tuple[str, ...]) -> None:
    ready.mkdir(exist_ok=True)
    for name in programs:
        (scratch / "bin" / name).rename(ready / name)


def _go_environment(scratch: Path) -> dict[str, str]:
    return {"CGO_ENABLED": "0", "GOTMPDIR": str(scratch)}


async def _go_build(
    module: Path, packages: tuple[str, ...], scratch: Path, out: str, *, say: Say
) -> None:
    """Builds Go packages. `out` is the argument of `go build -o`, below `scratch`."""
    processes, environment = Processes(scratch), _go_environment(scratch)
    name = f"go build of {module.name}"
    listing = ("go", "list", "-deps", *packages)
    listed = await processes.run(
        f"go list of {module.name}", *listing, cwd=module, environment=environment
    )
    flags = ("-v", "-trimpath", "-ldflags", _linker_flags(), "-o", f"{scratch}/{out}")
    command = ("go", "build", *flags, *packages)
    async with watched() as watchers:
        total = len(listed.splitlines())
        watchers.create_task(_report_progress(processes.log(name), module.name, total, say))
        await processes.run(name, *command, cwd=module, environment=environment)


async def _report_progress(log: Path, module: str, total: int, say: Say) -> None:
    """Prints a line every 15 s. `go build -v` logs each package that it compiles."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(15)
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        compiled = f"{_count_lines(log)} of at most {total} packages compiled"
        say(f"  {module}: {compiled}, {minutes}m{seconds:02d}s")


def _count_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def _linker_flags() -> str:
    """Linker flags that set the version. Helm rejects charts with a kubeVersion on v0.0.0."""
    major, minor, _ = KUBERNETES.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "none",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{key}={value}" for package in packages for key, value in values.items()]
    return " ".join(["-s -w", *flags])


if __name__ == "__main__":
    sys.stdout.write(f"{find_or_build(print)}\n")
