"""The container image: built with podman, measured, and run as a cluster would run it. What is expected must not enter here.

Where no registry is reached, a stand-in for its base is made from Debian's packages (mmdebstrap): the same Python, other layers.
"""

import argparse
import contextlib
import json
import shutil
import socket
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

ROOT = Path(__file__).parent.parent
STAND_IN = "localhost/raysweep-stand-in-base:bookworm"
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
"""As deploy/ runs it: no writable path, no capability, no root."""
FROM_HERE = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a build needs of this machine to reach the package index, where it is there; the Dockerfile names none."""
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
    """It cannot be built or run; the text names the remedy."""


def name() -> str:
    """`raysweep:0.1.0`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['name']}:{project['version']}"


def missing() -> list[str]:
    """The programs that this machine lacks."""
    return [
        program for program in ("podman", "runc", "mmdebstrap") if shutil.which(program) is None
    ]


def build(base: str | None, say: Say) -> str:
    """Builds the image and says what came of it. base: None is the stand-in, made where it is not there yet."""
    base = base or _stand_in(say)
    say(f"building {name()} on {base}")
    mounts = [f"--volume={path}:{path}:ro" for path in FROM_HERE if Path(path).exists()]
    chosen = [f"--build-arg=BASE_IMAGE={base}"]
    _podman(
        "build",
        "--quiet",
        "--isolation=chroot",
        "--network=host",
        *mounts,
        *chosen,
        "--tag",
        name(),
        str(ROOT),
    )
    return name()


def size(image: str) -> int:
    """In bytes, all layers."""
    return int(json.loads(_podman("image", "inspect", image))[0]["Size"])


def seconds_to_help(image: str) -> float:
    """From `podman run` to the end of --help."""
    begun = time.monotonic()
    _podman(*run_words(image), "--help")
    return time.monotonic() - begun


def seconds_to_life(image: str) -> float:
    """From `podman run` to the first 200 of /livez; the API server it is sent to does not exist."""
    with readable_folder() as folder:
        (folder / "config").write_text(NOWHERE)
        address = f"127.0.0.1:{_free_port()}"
        begun = time.monotonic()
        words = ("run", "--kubeconfig", f"{folder}/config", "--listen", address)
        with running(image, *words, options=(f"--volume={folder}:{folder}:ro",)):
            while not _lives(f"http://{address}/livez"):
                if time.monotonic() - begun > 60:
                    raise ImageError(
                        "the operator in the image does not answer /livez within a minute"
                    )
                time.sleep(0.05)
            return time.monotonic() - begun


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """For what the program in the image is to read: it is nobody's on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def run_words(image: str, *options: str) -> list[str]:
    """The words of a hardened `podman run`, with these options besides."""
    return ["--runtime=runc", "run", "--rm", *HARDENED, *options, image]


@contextlib.contextmanager
def running(
    image: str, *words: str, options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """The program in the image as a process, ended with SIGTERM."""
    command = ["podman", *run_words(image, *options), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lives(url: str) -> bool:
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(url, timeout=1) as answer,
    ):
        return bool(answer.status == 200)
    return False


def _stand_in(say: Say) -> str:
    if lacking := missing():
        raise ImageError(
            f"{', '.join(lacking)} missing; on Debian: apt-get install buildah podman runc mmdebstrap"
        )
    if subprocess.run(["podman", "image", "exists", STAND_IN], check=False).returncode == 0:
        return STAND_IN
    tarball = cache_folder() / "stand-in-base.tar"
    if not tarball.exists():
        say("making a stand-in for the base image from Debian's packages: once, about a minute")
        packages = "--include=python3,python3-venv,ca-certificates"
        made = tarball.with_suffix(".new")
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            packages,
            "--format=tar",
            "bookworm",
            str(made),
        ]
        _run(command)
        made.rename(tarball)
    _podman("import", "--quiet", str(tarball), STAND_IN)
    return STAND_IN


def _podman(*words: str) -> str:
    return _run(["podman", *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{' '.join(command[:3])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m sandbox.image", description="Build the image, and print its size and start time."
    )
    parser.add_argument(
        "--base",
        help="the base image; default: a stand-in from Debian's packages, no registry needed",
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
