"""Rules about the runtime environment of a RayJob, the same as for `submit`.

Values of a runtime environment are never shown, since they may be secrets.
"""

from collections.abc import Iterator

from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.subjects import Subject
from raysweep.cli.lint.yaml_positions import Path
from raysweep.submission.runtime_env import RuntimeEnvError, parse_spec
from raysweep.submission.runtime_env_schema import problems


def refused_by_ray(subject: Subject, spec: Path) -> Iterator[Problem]:
    """What Ray refuses in runtimeEnvYAML of this spec. A template is not checked."""
    path = (*spec, "runtimeEnvYAML")
    text = subject.part.part(*path).value
    if text is None or (isinstance(text, str) and "{{" in text):
        return
    try:
        parsed = parse_spec({"runtimeEnvYAML": text}, "")
    except RuntimeEnvError:
        return  # core/validation reports it: KubeRay refuses it before Ray reads it
    for problem in problems(parsed.env):
        is_unread = problem.is_unknown_key or problem.is_ignored
        rule = Rule.UNREAD_BY_RAY if is_unread else Rule.REFUSED_BY_RAY
        message = f"{problem.place}: {problem.message}: {problem.hint}"
        yield subject.problem(rule, message, path)
