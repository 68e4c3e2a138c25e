"""The versions of KubeRay's CRDs that this machine has."""

import os
import re
from pathlib import Path


def crd_versions() -> list[Path | None]:
    """The folders below KUBERAY_CRDS, oldest version first. None: the minimal CRDs."""
    root = os.environ.get("KUBERAY_CRDS")
    folders = [folder for folder in Path(root).iterdir() if folder.is_dir()] if root else []
    return [*sorted(folders, key=_version_numbers)] or [None]


def newest_crds() -> Path | None:
    return crd_versions()[-1]


def version_name(folder: Path | None) -> str:
    return folder.name if folder else "minimal-crds"


def _version_numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]
