"""Every violation of one RayJob before its creation. `submit` and `lint` share these rules."""

from collections.abc import Callable

from raysweep.core.validation import deletion, kueue, metadata, raycluster, rayjob, schema
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldErrors,
    Json,
    Path,
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
"""All rules, in the order in which violations are reported."""


def validate(body: Json, parse_yaml: ParseYaml) -> list[Violation]:
    """Every violation of a RayJob.

    parse_yaml: returns the object that a YAML text means. Raises ValueError for any other text.
    If the meaning of a mistyped field is unclear, only types are checked.
    """
    of_metadata, of_spec = schema.Typing(), schema.Typing()
    metadata_path: Path = ("metadata",)
    typed = schema.well_typed(body.get("metadata"), schema.METADATA, metadata_path, of_metadata)
    spec = schema.well_typed(body.get("spec"), schema.SPEC, ("spec",), of_spec)
    violations = [metadata_type.violation(error) for error in of_metadata.errors]
    violations += [field_type.violation(error) for error in of_spec.errors]
    if of_metadata.is_clear and of_spec.is_clear:
        candidate = Candidate(spec or {}, parse_yaml, typed or {})
        for each in RULES:
            violations += each.violations(candidate)
    return violations


def validate_template(spec: object, parse_yaml: ParseYaml) -> list[Violation]:
    """Every violation in the spec of the RayJobs that a RayCronJob creates."""
    return validate({"spec": spec}, parse_yaml)


__all__ = ["RULES", "Authority", "Path", "Severity", "Violation", "validate", "validate_template"]
