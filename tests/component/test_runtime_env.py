"""A runtime environment as it is read where a job is submitted: what KubeRay and Ray would read, or a clear refusal."""

import json

import pytest

from raysweep.submission.runtime_env import RuntimeEnvError, parse


def test_what_looks_like_a_date_is_text_as_kuberay_reads_it() -> None:
    found = parse("env_vars: {START: 2026-01-31, AT: 2026-01-31T08:00:00Z}", "--runtime-env")
    assert json.loads(json.dumps(found)) == {"env_vars": {"START": "2026-01-31", "AT": "2026-01-31T08:00:00Z"}}


@pytest.mark.parametrize("value", ["!!binary aGk=", "!!set {a, b}", ".nan", ".inf"])
def test_what_json_cannot_say_is_refused_before_anything_is_created(value: str) -> None:
    with pytest.raises(RuntimeEnvError, match=r"^spec.runtimeEnvYAML: what stands there is sent as JSON"):
        parse(f"config: {{it: {value}}}", "spec.runtimeEnvYAML")
