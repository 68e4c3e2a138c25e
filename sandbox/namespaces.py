"""The Linux namespaces of Ray heads and scripts, and the programs in them."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from sandbox.processes import SandboxError

RAY = Path(os.environ.get("SANDBOX_RAY") or Path(sys.executable).parent)
"""The folder with the programs `ray` and `python` of heads and submitters."""


class NoNamespacesError(SandboxError):
    """This machine does not allow namespaces. The message says what to do."""


@cache
def unshare() -> tuple[str, ...]:
    """The words before a command that runs it in its own network, PID and mount namespace.

    Its end kills all processes in them. Raises NoNamespacesError.
    """
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
    if os.getuid() != 0:
        command += ["--user", "--map-root-user"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        details = str(getattr(error, "stderr", error)).strip()
        raise NoNamespacesError(
            f"cannot create the network, PID and mount namespaces of a container: {details}. "
            "Run as root with CAP_SYS_ADMIN, or allow unprivileged user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0, "
            "kernel.apparmor_restrict_unprivileged_userns=0). unshare is in util-linux."
        ) from error
    return tuple(command)
