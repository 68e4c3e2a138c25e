"""The versions of KubeRay's CRDs that this machine has."""

import os
import re
from pathlib import Path

from sandbox.binaries import KUBERAY

PINNED = f"v{KUBERAY.version}"


def crd_versions() -> list[Path | None]:
    """The folders below KUBERAY_CRDS, oldest version first. None: those of the pinned KubeRay."""
    root = os.environ.get("KUBERAY_CRDS")
    folders = [folder for folder in Path(root).iterdir() if folder.is_dir()] if root else []
    others = [folder for folder in folders if folder.name != PINNED]
    return [*sorted(others, key=_version_numbers), None]


def version_name(folder: Path | None) -> str:
    return folder.name if folder else PINNED


def _version_numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]
