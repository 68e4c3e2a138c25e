"""The shape of the source tree, where a machine can check it."""

import ast
import operator
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "operator").rglob("*.py"))
CORE = sorted((ROOT / "operator" / "raysweep" / "core").rglob("*.py"))
WAITS_OR_ASKS = frozenset(
    {"asyncio", "logging", "os", "time", "random", "socket", "subprocess", "threading"}
)


def _name(module: Path) -> str:
    return str(module.relative_to(ROOT / "operator"))


def _imported(module: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_the_folder_operator_is_no_package_and_leaves_pythons_own_alone() -> None:
    assert [path.name for path in (ROOT / "operator").iterdir() if path.suffix == ".py"] == []
    assert operator.__file__ == str(Path(sysconfig.get_path("stdlib")) / "operator.py")


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_every_module_says_what_it_is_for(module: Path) -> None:
    told = ast.get_docstring(ast.parse(module.read_text())) or ""
    assert told.partition("\n")[0].endswith((".", ":", ";")) or "." in told


@pytest.mark.parametrize("module", CORE, ids=_name)
def test_the_core_imports_the_standard_library_and_itself_and_nothing_that_waits_or_asks(
    module: Path,
) -> None:
    imported = _imported(module)
    own = {name for name in imported if name == "raysweep" or name.startswith("raysweep.core")}
    assert {
        name for name in imported - own if name.partition(".")[0] not in sys.stdlib_module_names
    } == set()
    assert imported & WAITS_OR_ASKS == set()
