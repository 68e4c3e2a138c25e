"""Every problem of one RayJob before its creation. `submit` and `lint` share these rules."""

from collections.abc import Callable, Iterator

from raysweep.core.validation import deletion, kueue, metadata, raycluster, rayjob, schema
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldError,
    FieldErrors,
    Json,
    Path,
    Rule,
    Severity,
    Violation,
    rule,
)

ParseYaml = Callable[[str], object]


@rule(Authority.CRD)
def field_type(_: Candidate) -> FieldErrors:
    """A field of the spec has the type that the CRD asks for."""
    yield from ()


@rule(Authority.API_SERVER)
def metadata_type(_: Candidate) -> FieldErrors:
    """Names are texts; labels and annotations are mappings of texts."""
    yield from ()


RULES = (
    metadata_type,
    field_type,
    *metadata.RULES,
    *rayjob.RULES,
    *deletion.RULES,
    *raycluster.RULES,
    *kueue.RULES,
)
"""In the order in which problems are reported."""


def validate(body: Json, parse_yaml: ParseYaml) -> list[Violation]:
    """Every problem of a RayJob.

    parse_yaml: the object that a YAML text stands for; raises ValueError for any other text.
    If it is not clear what a mistyped field stands for, only types are judged.
    """
    of_metadata, of_spec = schema.Typing(), schema.Typing()
    metadata_path: Path = ("metadata",)
    typed = schema.well_typed(body.get("metadata"), schema.METADATA, metadata_path, of_metadata)
    spec = schema.well_typed(body.get("spec"), schema.SPEC, ("spec",), of_spec)
    problems = [
        *(_mistyped(metadata_type, one) for one in of_metadata.findings),
        *(_mistyped(field_type, one) for one in of_spec.findings),
    ]
    if of_metadata.is_clear and of_spec.is_clear:
        problems += _broken_rules(Candidate(spec or {}, parse_yaml, typed or {}))
    return problems


def validate_template(spec: object, parse_yaml: ParseYaml) -> list[Violation]:
    """Every problem of the spec of the RayJobs that a RayCronJob makes."""
    return validate({"spec": spec}, parse_yaml)


def _mistyped(broken: Rule, one: FieldError) -> Violation:
    return Violation(broken, one.path, f"{one.what}, {broken.verdict}; {one.hint}")


def _broken_rules(candidate: Candidate) -> Iterator[Violation]:
    for each in RULES:
        yield from each.problems(candidate)


__all__ = ["RULES", "Authority", "Path", "Severity", "Violation", "validate", "validate_template"]
