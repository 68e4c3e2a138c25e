"""Builds the container image with podman, measures it and runs it as a cluster does.

Without a base image it creates one from Debian's packages (mmdebstrap), with the same Python and
other layers. What a test expects must not enter here.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.binaries import cache_folder
from sandbox.ports import free_port

ROOT = Path(__file__).parent.parent
DEBIAN_BASE = "localhost/raysweep-debian-base:bookworm"
HARDENED = (
    "--ulimit=nofile=20000:20000",
    "--ulimit=nproc=4096:4096",
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--user=65532:65532",
)
"""Runs the image as deploy/ does: no writable path, no capabilities, no root."""
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")
"""Files of this machine that a build needs to reach the package index, if they exist."""
NOWHERE = """\
apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
users: [{name: nobody, user: {}}]
"""

Say = Callable[[str], None]


class ImageError(RuntimeError):
    """The image cannot be built or run. The message says what to do."""


def name() -> str:
    """Name and tag of the image, such as `raysweep:0.1.0`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['name']}:{project['version']}"


def missing() -> list[str]:
    """The programs that this machine lacks."""
    return [
        program for program in ("podman", "runc", "mmdebstrap") if shutil.which(program) is None
    ]


def build(base: str | None, say: Say) -> str:
    """Builds the image and returns its name. Without `base` it creates one."""
    base = base or _debian_base(say)
    say(f"building {name()} on {base}")
    mounts = [f"--volume={path}:{path}:ro" for path in HOST_FILES if Path(path).exists()]
    options = ("--quiet", "--isolation=chroot", "--network=host", *mounts)
    _podman("build", *options, f"--build-arg=BASE_IMAGE={base}", "--tag", name(), str(ROOT))
    return name()


def size(image: str) -> int:
    """The size of all layers in bytes."""
    return int(json.loads(_podman("image", "inspect", image))[0]["Size"])


def seconds_to_help(image: str) -> float:
    """Seconds from `podman run` to the end of --help."""
    begun = time.monotonic()
    _podman(*run_words(image), "--help")
    return time.monotonic() - begun


def seconds_to_life(image: str) -> float:
    """Seconds from `podman run` to the first 200 of /livez, without an API server."""
    with readable_folder() as folder:
        (folder / "config").write_text(NOWHERE)
        address = f"127.0.0.1:{free_port()}"
        begun = time.monotonic()
        words = ("run", "--kubeconfig", f"{folder}/config", "--listen", address)
        with running(image, *words, options=(f"--volume={folder}:{folder}:ro",)):
            while not _lives(f"http://{address}/livez"):
                if time.monotonic() - begun > 60:
                    raise ImageError("the operator in the image did not answer /livez in a minute")
                time.sleep(0.05)
            return time.monotonic() - begun


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """A temporary folder that every user can read, as the user in the image must."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def run_words(image: str, *options: str) -> list[str]:
    """The arguments of a hardened `podman run` with more options."""
    return ["--runtime=runc", "run", "--rm", *HARDENED, *options, image]


@contextlib.contextmanager
def running(
    image: str, *words: str, options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the program in the image and ends it with SIGTERM."""
    command = ["podman", *run_words(image, *options), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _lives(url: str) -> bool:
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(url, timeout=1) as answer,
    ):
        return bool(answer.status == 200)
    return False


def _debian_base(say: Say) -> str:
    if programs := missing():
        install = "apt-get install buildah podman runc mmdebstrap"
        raise ImageError(f"{', '.join(programs)} not installed: on Debian, run {install}")
    if subprocess.run(["podman", "image", "exists", DEBIAN_BASE], check=False).returncode == 0:
        return DEBIAN_BASE
    tarball = cache_folder() / "debian-base.tar"
    if not tarball.exists():
        say("creating a base image from Debian's packages: once, about a minute")
        packages = "--include=python3,python3-venv,ca-certificates"
        temporary = tarball.with_suffix(".new")
        options = ("--quiet", "--variant=minbase", packages, "--format=tar")
        _run(["mmdebstrap", *options, "bookworm", str(temporary)])
        temporary.rename(tarball)
    _podman("import", "--quiet", str(tarball), DEBIAN_BASE)
    return DEBIAN_BASE


def _podman(*words: str) -> str:
    return _run(["podman", *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(command[:3])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m sandbox.image", description="Build the image and print its size and start times."
    )
    parser.add_argument(
        "--base",
        help="the base image (default: created from Debian's packages, without a registry)",
    )
    base = parser.parse_args().base
    try:
        image = build(base or None, print)
        times = (
            f"--help {seconds_to_help(image):.1f} s, /livez after {seconds_to_life(image):.1f} s"
        )
        print(f"{image}: {size(image) / 2**20:.0f} MiB; {times} (read-only, no capabilities)")
    except (ImageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
