"""The types of the fields that the rules read, as in KubeRay's CRDs 1.5 to 1.7.

The API server checks every field. This schema holds only the fields that a rule reads, so that no
rule gets a value of the wrong type.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raysweep.core.text import quoted
from raysweep.core.validation.violation import FieldError, Path

INT32 = 2**31
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """The type of a single value.

    convert: the value of this type that a value of another type means, as true for "true". None if
    it means none. is_optional: whether the rules still apply if a value means none.
    """

    name: str
    hint: str
    fits: Callable[[Any], bool]
    convert: Callable[[Any], Any]
    is_secret: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Texts:
    """A mapping of texts to texts."""

    text: Scalar


@dataclass(slots=True)
class Typing:
    """The values of the wrong type. is_clear: whether each of them means one of the right type."""

    errors: list[FieldError] = field(default_factory=list)
    is_clear: bool = True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_int32(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer() and -INT32 <= value < INT32


def _as_boolean(value: object) -> bool | None:
    return _BOOLEANS.get(str(value).lower()) if isinstance(value, str) else None


def _as_number(value: object) -> int | None:
    return int(value) if isinstance(value, str) and re.fullmatch("-?[0-9]{1,9}", value) else None


def _as_text(value: object) -> str | None:
    return str(value) if isinstance(value, bool | int | float) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


BOOLEAN = Scalar(
    "a boolean",
    "use true or false without quotes",
    lambda value: isinstance(value, bool),
    _as_boolean,
)
NUMBER = Scalar("a number", "use one without quotes", _is_number, _as_number)
INTEGER = Scalar("a whole number of 32 bits", "use one without quotes", _is_int32, _as_number)
TEXT = Scalar("a text", "use quotes", _is_text, _as_text)
SECRET = replace(TEXT, is_secret=True)
"""A text that is not shown, since it may be a secret."""
TEXTS = Texts(replace(TEXT, is_optional=True))
SECRETS = Texts(replace(SECRET, is_optional=True))
ANYTHING = Scalar(
    "a mapping",
    "use a mapping",
    lambda value: isinstance(value, Mapping),
    lambda _: None,
)

LIST = Scalar("a list", "use a list", lambda value: isinstance(value, list), lambda _: None)

ENV = [{"name": TEXT, "value": SECRET}]
CONTAINER = {"name": TEXT, "env": ENV, "command": [SECRET]}
TEMPLATE = {
    "metadata": {"labels": TEXTS, "annotations": TEXTS},
    "spec": {"containers": [CONTAINER], "restartPolicy": TEXT},
}
GROUP = {"rayStartParams": SECRETS, "labels": TEXTS, "resources": TEXTS, "template": TEMPLATE}
WORKER_GROUP = {
    **GROUP,
    "groupName": TEXT,
    "replicas": INTEGER,
    "minReplicas": INTEGER,
    "maxReplicas": INTEGER,
    "numOfHosts": INTEGER,
    "idleTimeoutSeconds": INTEGER,
    "priority": INTEGER,
    "suspend": BOOLEAN,
}
RAY_CLUSTER_SPEC = {
    "rayVersion": TEXT,
    "managedBy": TEXT,
    "suspend": BOOLEAN,
    "enableInTreeAutoscaling": BOOLEAN,
    "autoscalerOptions": {
        "version": TEXT,
        "upscalingMode": TEXT,
        "idleTimeoutSeconds": INTEGER,
        "env": ENV,
    },
    "authOptions": {"mode": TEXT, "secretName": TEXT, "enableK8sTokenAuth": BOOLEAN},
    "gcsFaultToleranceOptions": {"backend": TEXT, "redisAddress": TEXT, "storage": ANYTHING},
    "upgradeStrategy": {"type": TEXT},
    "networkPolicy": ANYTHING,
    "tlsOptions": ANYTHING,
    "historyServerOptions": ANYTHING,
    "headGroupSpec": GROUP,
    "workerGroupSpecs": [WORKER_GROUP],
}
CONDITION = {"jobStatus": TEXT, "jobDeploymentStatus": TEXT, "ttlSeconds": INTEGER}
SPEC = {
    "activeDeadlineSeconds": INTEGER,
    "backoffLimit": INTEGER,
    "clusterSelector": TEXTS,
    "deletionPolicy": TEXT,
    "deletionStrategy": {
        "onSuccess": {"policy": TEXT},
        "onFailure": {"policy": TEXT},
        "deletionRules": [{"policy": TEXT, "condition": CONDITION}],
    },
    "entrypoint": SECRET,
    "entrypointNumCpus": NUMBER,
    "entrypointNumGpus": NUMBER,
    "entrypointResources": SECRET,
    "jobId": TEXT,
    "managedBy": TEXT,
    "metadata": SECRETS,
    "preRunningDeadlineSeconds": INTEGER,
    "rayClusterSpec": RAY_CLUSTER_SPEC,
    "runtimeEnvYAML": SECRET,
    "shutdownAfterJobFinishes": BOOLEAN,
    "submissionMode": TEXT,
    "submitterConfig": {"backoffLimit": INTEGER},
    "submitterPodTemplate": TEMPLATE,
    "suspend": BOOLEAN,
    "ttlSecondsAfterFinished": INTEGER,
}
METADATA = {
    "name": TEXT,
    "generateName": TEXT,
    "namespace": TEXT,
    "labels": TEXTS,
    "annotations": TEXTS,
}

Shape = Scalar | Texts | list[Any] | dict[str, Any]


def well_typed(value: object, shape: Shape, path: Path, typing: Typing) -> Any:
    """The value with its mistyped fields converted. None if nothing is left.

    Fields that the shape does not name are left out, since no rule reads them. So are nulls, which
    the API server drops.
    """
    if value is None:
        return None
    if isinstance(shape, Scalar):
        return _scalar(value, shape, path, typing)
    if isinstance(shape, list):
        return _list(value, shape[0], path, typing)
    if not isinstance(value, Mapping):
        return _scalar(value, ANYTHING, path, typing)
    members = dict(_members(value, shape))
    typed = {
        key: well_typed(value[key], member, (*path, key), typing) for key, member in members.items()
    }
    return {key: member for key, member in typed.items() if member is not None}


def _scalar(value: object, shape: Scalar, path: Path, typing: Typing) -> Any:
    if shape.fits(value):
        return value
    is_shown = isinstance(value, str | int | float) and not shape.is_secret
    problem = f"{quoted(value) if is_shown else 'the value'} is not {shape.name}"
    typing.errors.append(FieldError(path, problem, shape.hint))
    converted = shape.convert(value)
    typing.is_clear &= converted is not None or shape.is_optional
    return converted


def _list(value: object, shape: Shape, path: Path, typing: Typing) -> list[Any] | None:
    """A list of the same length, so that every item keeps its number."""
    if not isinstance(value, list):
        _scalar(value, LIST, path, typing)
        return None
    empty: Any = {} if isinstance(shape, dict) else ""
    typed = [well_typed(item, shape, (*path, number), typing) for number, item in enumerate(value)]
    return [empty if item is None else item for item in typed]


def _members(value: Mapping[str, Any], shape: Shape) -> Iterator[tuple[str, Shape]]:
    if isinstance(shape, Texts):
        yield from ((key, shape.text) for key in value if isinstance(key, str))
    elif isinstance(shape, dict):
        yield from ((key, member) for key, member in shape.items() if key in value)
