"""The runtime environment in a RayJob's spec, by the rules of `submit`.

Its values are not shown, since they may be secrets.
"""

from collections.abc import Iterator

from raysweep.cli.lint.problems import Problem, Rule, Subject
from raysweep.cli.lint.yaml_positions import Path
from raysweep.submission.runtime_env import RuntimeEnvError, parse_spec
from raysweep.submission.runtime_env_schema import problems


def refused_by_ray(subject: Subject, spec: Path) -> Iterator[Problem]:
    """Everything that Ray refuses in runtimeEnvYAML of that spec; nothing if it is a template, or not a mapping."""
    path = (*spec, "runtimeEnvYAML")
    text = subject.part.part(*path).value
    if text is None or (isinstance(text, str) and "{{" in text):
        return
    try:
        found = parse_spec({"runtimeEnvYAML": text}, "")
    except RuntimeEnvError:
        return  # KubeRay refuses it before Ray reads it: core/validation
    for problem in problems(found.env):
        is_unread = problem.is_unknown_key or problem.is_ignored
        rule = Rule.UNREAD_BY_RAY if is_unread else Rule.REFUSED_BY_RAY
        yield subject.problem(rule, f"{problem.place}: {problem.message}; {problem.hint}", path)
