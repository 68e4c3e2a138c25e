"""The documents against the code and the manifests. What the code itself does right or wrong is tested elsewhere."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raysweep import names
from raysweep.clients.kubernetes.leases import LeaseName
from raysweep.clients.kubernetes.rights import Right
from raysweep.controller.metrics import Metrics
from raysweep.controller.preflight import RIGHTS, lease_rights
from raysweep.core.model.reasons import Reason
from raysweep.settings import Settings, flag, variable

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
ALL_RIGHTS = (*RIGHTS, *lease_rights(LeaseName("raysweep", "raysweep")))
LOCKS = sorted(ROOT.glob("requirements*.txt"))


def page(name: str) -> str:
    return (ROOT / name).read_text()


def granted() -> Iterator[Right]:
    """Every right of the operator's own ClusterRole and Role in deploy/manifests."""
    for manifest in sorted(ROOT.glob("deploy/manifests/*.yaml")):
        for body in yaml.safe_load_all(manifest.read_text()):
            is_others = body["metadata"]["name"] == "raysweep-policy-reader"
            for rule in () if is_others else body.get("rules", ()):
                assert {*rule, "resourceNames"} == {
                    "apiGroups",
                    "resources",
                    "resourceNames",
                    "verbs",
                }, "not understood here"
                namespace = body["metadata"].get("namespace", "")
                assert bool(namespace) == (body["kind"] == "Role")
                every = itertools.product(
                    rule["verbs"],
                    rule["apiGroups"],
                    rule["resources"],
                    rule.get("resourceNames", [""]),
                )
                for verb, group, resource, name in every:
                    kind, _, subresource = resource.partition("/")
                    yield Right(verb, group, kind, subresource, namespace, name)


def pins(lock: str) -> dict[str, frozenset[str]]:
    """`name==version` to its hashes."""
    blocks = re.findall(
        r"^([A-Za-z0-9_.-]+==\S+)[^\n]*\\\n((?:    --hash=\S+[^\n]*\n)+)", page(lock), re.MULTILINE
    )
    return {pin: frozenset(re.findall(r"--hash=(\S+)", hashes)) for pin, hashes in blocks}


@pytest.mark.parametrize("key", sorted(names.ANNOTATIONS))
def test_every_annotation_has_a_row(key: str) -> None:
    assert f"| `{key}` |" in page("docs/reference/annotations.md")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_told_with_meaning_and_remedy(reason: Reason) -> None:
    row = next(
        line
        for line in page("docs/reference/reasons.md").splitlines()
        if line.startswith(f"| `{reason}` |")
    )
    assert reason.description in row
    assert reason.hint in row


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_every_setting_is_told_as_flag_and_as_variable(field: str) -> None:
    assert f"| `{flag(field)}` | `{variable(field)}` |" in page("docs/reference/settings.md")


def test_every_metric_is_told() -> None:
    told = page("docs/reference/metrics.md")
    assert [
        family.name for family in Metrics().registry.collect() if f"| `{family.name}" not in told
    ] == []


def test_the_generated_pages_are_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_manifests_are_what_the_chart_says_and_the_chart_what_the_code_says() -> None:
    command = [sys.executable, "-m", "deploy.render", "--check"]
    checked = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_table_of_verbs_in_the_readme_is_the_makefile() -> None:
    told = re.findall(r"^\| `make ([a-z0-9-]+)` \|", page("README.md"), re.MULTILINE)
    there = re.findall(r"^([a-z0-9-]+):.*## ", page("Makefile"), re.MULTILINE)
    assert sorted(told) == sorted(there)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    assert [
        target for target in targets if "://" not in target and not (path.parent / target).exists()
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_are_there(path: Path) -> None:
    named = re.findall(
        r"`((?:core|cleanup|clients|controller|docs|deploy|sandbox|tests|operator)/[\w./-]+\.\w+)`",
        path.read_text(),
    )
    roots = (ROOT, ROOT / "operator" / "raysweep")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_the_manifests_grant_exactly_what_the_operator_says_it_uses() -> None:
    given = list(granted())
    assert sorted(map(str, given)) == sorted(map(str, ALL_RIGHTS))


@pytest.mark.parametrize("right", ALL_RIGHTS, ids=str)
def test_the_table_of_rights_has_every_resource_and_verb(right: Right) -> None:
    rights = page("docs/reference/rights.md")
    resource, verbs = "", []
    for cells in (
        [cell.strip() for cell in line.split("|")[1:3]]
        for line in rights.splitlines()
        if line.startswith("|")
    ):
        resource = cells[0] or resource
        if resource.split(" ")[0] == "/".join(
            part for part in (right.resource, right.subresource) if part
        ):
            verbs += cells[1].split(", ")
    assert right.verb in verbs


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_pinned_packages_name_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert (
        re.findall(
            r"[a-z+]+://\S+|^--?(?:i|f|index-url|extra-index-url|find-links|trusted-host)\b.*",
            text,
            re.MULTILINE,
        )
        == []
    )


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt"])
def test_what_ships_and_what_builds_it_is_what_the_tests_ran_with(lock: str) -> None:
    here, tested = pins(lock), pins("requirements-dev.txt")
    assert here
    assert {
        pin: hashes for pin, hashes in here.items() if not hashes <= tested.get(pin, frozenset())
    } == {}
