"""Rules about names, labels and annotation keys.

Sources: kuberay validation.go (ValidateRayJobMetadata); apimachinery util/validation.
"""

import re
from collections.abc import Mapping

from raysweep.core.text import quoted
from raysweep.core.validation.violation import Authority, Candidate, FieldError, FieldErrors, rule

LONGEST_NAME = 47
"""Characters of a RayJob's name. KubeRay adds to it for the RayCluster and its Services."""
GENERATED = 5
"""Characters that the API server appends to a generateName."""
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
"""A DNS-1035 label without its maximum length."""
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LONGEST_SUBDOMAIN = 253

_VALUE_HINT = "use at most 63 letters, digits, '-', '_' and '.', no sign at either end"
_NAME_HINT = "use lowercase letters, digits and '-', a letter first and no '-' at the end"


def is_subdomain(text: str) -> bool:
    """Whether it is a DNS-1123 subdomain."""
    return len(text) <= LONGEST_SUBDOMAIN and SUBDOMAIN.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether it is a key of a label or an annotation."""
    prefix, slash, name = text.rpartition("/")
    return (not slash or is_subdomain(prefix)) and _KEY_NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Whether it is the value of a label."""
    return LABEL_VALUE.fullmatch(text) is not None


@rule(Authority.KUBERAY)
def long_name(job: Candidate) -> FieldErrors:
    """A RayJob's name has at most 47 characters."""
    if len(job.name) > LONGEST_NAME:
        problem = f"{quoted(job.name)} has {len(job.name)} characters"
        yield FieldError(("metadata", "name"), problem, f"use at most {LONGEST_NAME} characters")


@rule(Authority.KUBERAY)
def invalid_name(job: Candidate) -> FieldErrors:
    """A RayJob's name is a DNS-1035 label."""
    if job.name and not NAME.fullmatch(job.name):
        problem = f"{quoted(job.name)} is not a DNS-1035 label"
        yield FieldError(("metadata", "name"), problem, _NAME_HINT)


@rule(Authority.KUBERAY)
def invalid_generate_name(job: Candidate) -> FieldErrors:
    """A name that the API server generates from generateName is a valid name of a RayJob."""
    prefix = job.metadata.get("generateName", "")
    if job.name or not prefix:
        return
    path = ("metadata", "generateName")
    if len(prefix) > LONGEST_NAME - GENERATED:
        problem = f"{quoted(prefix)} has {len(prefix)} characters"
        yield FieldError(path, problem, f"use at most {LONGEST_NAME - GENERATED} characters")
    if not NAME.fullmatch(f"{prefix}x"):
        yield FieldError(path, f"{quoted(prefix)} does not begin a DNS-1035 label", _NAME_HINT)


@rule(Authority.API_SERVER)
def invalid_key(job: Candidate) -> FieldErrors:
    """The keys of labels and annotations are qualified names."""
    for kind, pairs in (("labels", job.labels), ("annotations", job.annotations)):
        yield from _invalid_keys(kind, pairs)


def _invalid_keys(kind: str, pairs: Mapping[str, str]) -> FieldErrors:
    for key in pairs:
        if not is_key(key):
            hint = "use NAME or PREFIX/NAME, as team or example.com/team"
            yield FieldError(("metadata", kind, key), f"{quoted(key)} is not a valid key", hint)


@rule(Authority.API_SERVER)
def invalid_label_value(job: Candidate) -> FieldErrors:
    """The value of a label has at most 63 characters: letters, digits, '-', '_' and '.'."""
    for key, value in job.labels.items():
        if not is_label_value(value):
            problem = f"{quoted(value)} is not a valid value of a label"
            yield FieldError(("metadata", "labels", key), problem, _VALUE_HINT)


RULES = (long_name, invalid_name, invalid_generate_name, invalid_key, invalid_label_value)
