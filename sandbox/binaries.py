"""Provides the programs of the sandbox, each built from a pinned Go module.

They are stored in the user's cache. KUBEBUILDER_ASSETS and KUBERAY_OPERATOR name folders with
other ones. controlplane.py and kuberay.py start them.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.lifetime import watched
from sandbox.lock import locked
from sandbox.processes import Processes, SandboxError

MODULES = Path(__file__).parent / "modules"
CRDS = "crds"
"""The folder with the CRDs beside an operator."""

Say = Callable[[str], None]


class NoProgramError(SandboxError):
    """Programs are missing and cannot be built. The message says what to install."""


@dataclass(frozen=True)
class Build:
    """Programs of one Go module, and how long their first build takes on two cores."""

    name: str
    module: str
    packages: tuple[str, ...]
    minutes: int
    override: str = ""
    """The environment variable that names a folder with other programs."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Folders of the module that are copied beside the programs, by the name of the copy."""

    @property
    def version(self) -> str:
        """The version that go.mod pins."""
        text = (MODULES / self.module / "go.mod").read_text()
        pinned: list[tuple[str, str]] = re.findall(
            r"^(?:require)?\s*(\S+) v(\S+)", text, re.MULTILINE
        )
        package = f"{self.packages[0]}/"
        return next(version for path, version in pinned if package.startswith(f"{path}/"))

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(_program(package) for package in self.packages)

    @property
    def folder(self) -> Path:
        """The folder of the programs: that of the environment, or in the cache."""
        if given := os.environ.get(self.override):
            return Path(given)
        return cache_folder() / f"{self.module}-{self._fingerprint()}"

    def _fingerprint(self) -> str:
        """A hash of the pinned modules. An upgrade changes it, so that it needs a new build."""
        pins = sorted((MODULES / self.module).glob("go.*"))
        return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()[:12]

    @property
    def is_built(self) -> bool:
        return not self.missing

    @property
    def missing(self) -> list[str]:
        return [name for name in self.programs if not (self.folder / name).is_file()]


_ASSETS = "KUBEBUILDER_ASSETS"
_KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kubectl")

ETCD = Build("etcd", "etcd", ("go.etcd.io/etcd/server/v3",), 2, _ASSETS)
KUBERNETES = Build(
    "Kubernetes",
    "kubernetes",
    tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES_PROGRAMS),
    6,
    _ASSETS,
)
KUBERAY = Build(
    "KubeRay",
    "kuberay",
    ("github.com/ray-project/kuberay/ray-operator",),
    3,
    "KUBERAY_OPERATOR",
    files={CRDS: "config/crd/bases"},
)
KUEUE = Build(
    "Kueue",
    "kueue",
    ("sigs.k8s.io/kueue/cmd/kueue",),
    4,
    files={CRDS: "config/components/crd/bases", "webhook": "config/components/webhook"},
)
HELM = Build("Helm", "helm", ("helm.sh/helm/v4/cmd/helm",), 2)
CONTROL_PLANE = (ETCD, KUBERNETES)
SANDBOX = (*CONTROL_PLANE, KUBERAY)
OF_TESTS = (HELM, KUEUE)
"""Programs that only tests run."""


def cache_folder() -> Path:
    """The sandbox's folder in the user's cache (XDG_CACHE_HOME). It is created if needed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "raysweep-sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def provide(builds: Sequence[Build], say: Say) -> None:
    """Builds what is not built yet. Says first what it builds and how long that takes."""
    missing = [build for build in builds if not build.is_built]
    for build in missing:
        _check(build)
    if missing:
        minutes = sum(build.minutes for build in missing)
        titles = ", ".join(build.title for build in missing)
        say(f"building {titles}: once, about {minutes} minutes on two cores")
    for build in missing:
        async with locked(build.folder.with_name(f"{build.folder.name}.lock")):
            # Another sandbox can have built them while this one waited for the lock.
            if not build.is_built:
                await _build(build, say)


def program(build: Build, name: str, say: Say = print) -> Path:
    """The path of one program. It is built if needed. Call it outside an event loop."""
    asyncio.run(provide([build], say))
    return build.folder / name


def kuberay_crds() -> Path:
    """The folder with the CRDs of the KubeRay operator."""
    return KUBERAY.folder / CRDS


def _check(build: Build) -> None:
    if os.environ.get(build.override):
        raise NoProgramError(
            f"{build.override}={build.folder} lacks {', '.join(build.missing)}. "
            f"Add the missing programs, or unset {build.override} to build them from Go modules."
        )
    if shutil.which("go") is None:
        instead = f", or set {build.override} to a folder with {', '.join(build.programs)}"
        raise NoProgramError(
            f"the sandbox needs {build.title}, or Go to build it. Install Go 1.26 or later "
            f"(the build takes about {build.minutes} minutes, once)"
            f"{instead if build.override else ''}."
        )


async def _build(build: Build, say: Say) -> None:
    module = MODULES / build.module
    with _scratch(build.folder.parent) as scratch:
        processes, environment = Processes(scratch), {"CGO_ENABLED": "0", "GOTMPDIR": str(scratch)}
        listed = await processes.run(
            f"go list of {build.module}",
            *("go", "list", "-deps", *build.packages),
            cwd=module,
            environment=environment,
        )
        name = f"go build of {build.module}"
        async with watched() as watchers:
            total = len(listed.splitlines())
            watchers.create_task(_report_progress(processes.log(name), build.module, total, say))
            only = build.programs[0] if len(build.programs) == 1 else ""
            flags = (
                "-v",
                "-trimpath",
                "-ldflags",
                _linker_flags(build.version),
                "-o",
                f"{scratch}/bin/{only}",
            )
            command = ("go", "build", *flags, *build.packages)
            await processes.run(name, *command, cwd=module, environment=environment)
        if build.files:
            await _copy_files(build, processes, scratch / "bin")
        build.folder.mkdir(exist_ok=True)
        for made in (scratch / "bin").iterdir():
            made.rename(build.folder / made.name)
    say(f"built {build.title}: {build.folder}")


async def _copy_files(build: Build, processes: Processes, target: Path) -> None:
    listing = ("go", "list", "-f", "{{.Module.Dir}}", build.packages[0])
    folder = await processes.run(
        f"go list of the files of {build.module}", *listing, cwd=MODULES / build.module
    )
    for name, path in build.files.items():
        # Files of the module cache are read-only.
        shutil.copytree(Path(folder.strip()) / path, target / name, copy_function=shutil.copyfile)


def _program(package: str) -> str:
    names = {"v3": "etcd", "ray-operator": "kuberay-operator"}
    last = package.rpartition("/")[2]
    return names.get(last, last)


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A temporary folder in the cache for all that a build writes. The programs go into bin."""
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        (Path(scratch) / "bin").mkdir()
        yield Path(scratch)


async def _report_progress(log: Path, module: str, total: int, say: Say) -> None:
    """Prints a line every 15 s. `go build -v` logs each package that it compiles."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(15)
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        compiled = f"{_count_lines(log)} of at most {total} packages compiled"
        say(f"  {module}: {compiled}, {minutes}m{seconds:02d}s")


def _count_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _linker_flags(version: str) -> str:
    """Linker flags that set the version. Helm rejects charts with a kubeVersion on v0.0.0."""
    major, minor, _ = version.split(".")
    values = {
        "gitVersion": f"v{version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "none",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{key}={value}" for package in packages for key, value in values.items()]
    return " ".join(["-s -w", *flags])
