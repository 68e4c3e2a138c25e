"""Compares the documents with the code and the manifests."""

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
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
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
DECISIONS = sorted(ROOT.glob("docs/decisions/0*.md"))
ALL_RIGHTS = (*RIGHTS, *lease_rights(LeaseName("raysweep", "raysweep")))
LOCKS = sorted(ROOT.glob("requirements*.txt"))
CODE_FOLDERS = "core|cleanup|clients|controller|cli|docs|deploy|sandbox|tests|operator"


def page(name: str) -> str:
    return (ROOT / name).read_text()


def anchors(path: Path) -> set[str]:
    """The anchors of a page, made from its headings as Markdown renderers make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_every_link_within_the_repository_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for path in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text()):
            if "://" in target:
                continue
            linked = (path.parent / target).resolve() if target else path
            is_anchor = not anchor or linked.suffix != ".md" or anchor in anchors(linked)
            if not linked.exists() or not is_anchor:
                broken.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert broken == []


def test_every_file_that_a_page_names_exists() -> None:
    roots = (ROOT, ROOT / "operator" / "raysweep")
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in PAGES
        for name in re.findall(rf"`((?:{CODE_FOLDERS})/[\w./-]+\.\w+)`", path.read_text())
        if not any((root / name).exists() for root in roots)
    ]
    assert missing == []


def test_the_index_links_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target).resolve()
        for target in re.findall(r"\]\(([^)#\s]+)", index.read_text())
    }
    pages = {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - {index, *DECISIONS}
    assert pages - linked == set()


def test_every_decision_has_the_same_form_and_a_row_in_the_index() -> None:
    index = page("docs/decisions/README.md")
    for path in DECISIONS:
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name
        assert re.search(r"^Date: \d{4}-\d\d-\d\d$", path.read_text(), re.MULTILINE), path.name
        assert f"]({path.name})" in index, path.name


def test_every_yaml_example_parses() -> None:
    for path in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            assert list(yaml.safe_load_all(block)), path.name


def test_every_make_verb_that_a_page_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", page("Makefile"), re.MULTILINE))
    for path in PAGES:
        verbs = re.findall(r"(?:`|^\$ )make ([a-z0-9-]+)", path.read_text(), re.MULTILINE)
        assert set(verbs) <= targets, path.name


def test_every_reason_setting_annotation_and_metric_is_documented() -> None:
    reasons, settings = page("docs/reference/reasons.md"), page("docs/reference/settings.md")
    annotations, metrics = page("docs/reference/annotations.md"), page("docs/reference/metrics.md")
    missing = [str(reason) for reason in Reason if f"| `{reason}` |" not in reasons]
    missing += [
        field
        for field in Settings.model_fields
        if f"| `{flag(field)}` | `{variable(field)}` |" not in settings
    ]
    missing += [key for key in names.ANNOTATIONS if f"| `{key}` |" not in annotations]
    missing += [
        family.name for family in Metrics().registry.collect() if f"| `{family.name}" not in metrics
    ]
    assert missing == []


@pytest.mark.parametrize(
    "command", [["docs/generate.py"], ["-m", "deploy.render"]], ids=["pages", "manifests"]
)
def test_generated_files_are_current(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_recording_of_the_demo_is_a_picture_without_anything_from_the_network() -> None:
    picture = page("docs/assets/demo.svg")
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert "@font-face" not in picture
    assert page("docs/assets/demo.txt").startswith("$ make demo\n")


def granted() -> Iterator[Right]:
    """Every right of the operator's own ClusterRole and Role in deploy/manifests."""
    for manifest in sorted(ROOT.glob("deploy/manifests/*.yaml")):
        for body in yaml.safe_load_all(manifest.read_text()):
            if body["metadata"]["name"] == "raysweep-policy-reader":
                continue
            for rule in body.get("rules", ()):
                namespace = body["metadata"].get("namespace", "")
                assert bool(namespace) == (body["kind"] == "Role")
                yield from rights_of_rule(rule, namespace)


def rights_of_rule(rule: dict[str, list[str]], namespace: str) -> Iterator[Right]:
    known_keys = {"apiGroups", "resources", "resourceNames", "verbs"}
    assert {*rule, "resourceNames"} == known_keys
    combinations = itertools.product(
        rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""])
    )
    for verb, group, resource, name in combinations:
        kind, _, subresource = resource.partition("/")
        yield Right(verb, group, kind, subresource, namespace, name)


def test_the_manifests_grant_exactly_the_rights_that_the_operator_uses() -> None:
    assert sorted(map(str, granted())) == sorted(map(str, ALL_RIGHTS))


def test_the_table_of_rights_has_every_resource_and_verb() -> None:
    verbs: dict[str, set[str]] = {}
    resource = ""
    for line in page("docs/reference/rights.md").splitlines():
        if line.startswith("|"):
            first, second = (cell.strip() for cell in line.split("|")[1:3])
            resource = first.split(" ")[0] or resource
            verbs.setdefault(resource, set()).update(second.split(", "))
    for right in ALL_RIGHTS:
        name = "/".join(part for part in (right.resource, right.subresource) if part)
        assert right.verb in verbs.get(name, set()), right


def pins(lock: str) -> dict[str, frozenset[str]]:
    """`name==version` to its hashes."""
    blocks = re.findall(
        r"^([A-Za-z0-9_.-]+==\S+)[^\n]*\\\n((?:    --hash=\S+[^\n]*\n)+)", page(lock), re.MULTILINE
    )
    return {pin: frozenset(re.findall(r"--hash=(\S+)", hashes)) for pin, hashes in blocks}


def test_lock_files_name_no_registry() -> None:
    options = r"^--?(?:i|f|index-url|extra-index-url|find-links|trusted-host)\b.*"
    for lock in LOCKS:
        assert re.findall(rf"[a-z+]+://\S+|{options}", lock.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt"])
def test_the_image_has_the_packages_that_the_tests_ran_with(lock: str) -> None:
    shipped, tested = pins(lock), pins("requirements-dev.txt")
    assert shipped
    differing = [pin for pin in shipped if not shipped[pin] <= tested.get(pin, frozenset())]
    assert differing == []
