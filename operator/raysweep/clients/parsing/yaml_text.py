"""Untrusted YAML, with bounded memory: aliases cannot expand a short text to a huge one."""

import re
from enum import Enum
from typing import Any

import yaml

MOST_NODES = 200_000
"""Nodes of one text, with aliases expanded. An object in the cluster has at most 1.5 MiB."""

_TAG = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    form: word in ("y", "yes", "on", "true")
    for word in ("y", "yes", "on", "true", "n", "no", "off", "false")
    for form in (word, word.capitalize(), word.upper())
}
_INT = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F]{1,16}|0[oO]?[0-7]{1,21}|0[bB][01]{1,64}|0|[1-9][0-9]{0,18})",
)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
)
_TAG_OF = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str"}


class YamlError(ValueError):
    """The text is not YAML, or exceeds a limit. The message names the line."""


class Dialect(Enum):
    """How unquoted scalars are read."""

    KUBERNETES = "as by kubectl and KubeRay: 1e-5 is a number, 2026-01-01 and 1:30 are texts"
    PYYAML = "as by Ray's own client: 1e-5 is a text, 2026-01-01 is a date and 1:30 is 90"
    WRITTEN = "as texts, exactly as written"


class _Loader(yaml.SafeLoader):
    """Counts nodes while it composes them, so that it stops before it builds a huge object."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._nodes
        node = super().compose_node(parent, index)
        if is_alias:
            # An alias inside its own anchor has no size yet, and would never end.
            self._nodes += self._sizes.get(id(node), MOST_NODES)
        else:
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > MOST_NODES:
            raise YamlError(f"has more than {MOST_NODES} nodes, aliases included")
        return node


class _WrittenLoader(_Loader):
    """Keeps every unquoted scalar as its text."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0] and value != "<<":
            return self.plain_tag(value or "")
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def plain_tag(self, _text: str) -> str:
        """The tag of an unquoted scalar."""
        return f"{_TAG}str"

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Keys are texts in every Kubernetes object."""
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = f"{_TAG}str"
        return super().construct_mapping(node, deep)


class _KubernetesLoader(_WrittenLoader):
    """Reads unquoted scalars as the YAML library of kubectl and KubeRay does."""

    def plain_tag(self, text: str) -> str:
        return f"{_TAG}{_TAG_OF[type(scalar(text))]}"


def _construct_scalar(_loader: _KubernetesLoader, node: yaml.ScalarNode) -> object:
    return scalar(node.value)


for _kind in ("null", "bool", "int", "float"):
    _KubernetesLoader.add_constructor(f"{_TAG}{_kind}", _construct_scalar)

_LOADERS: dict[Dialect, type[_Loader]] = {
    Dialect.KUBERNETES: _KubernetesLoader,
    Dialect.PYYAML: _Loader,
    Dialect.WRITTEN: _WrittenLoader,
}


def scalar(text: str) -> bool | int | float | str | None:
    """An unquoted scalar, as the YAML library of kubectl reads it.

    Times stay texts, yes and on are booleans, and no number is in base 60.
    """
    if text in _NULL:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    number = text.replace("_", "")
    if _INT.fullmatch(number):
        digits = number.lstrip("+-").lower()
        octal = digits.isdecimal() and digits.startswith("0") and len(digits) > 1
        size = int(digits, 8 if octal else 0)
        return -size if number.startswith("-") else size
    if _FLOAT.fullmatch(number):
        return float(number.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def load_documents(text: str | bytes, dialect: Dialect = Dialect.KUBERNETES) -> list[Any]:
    """The documents of the text. An empty document is None. Raises YamlError."""
    try:
        return list(yaml.load_all(text, _LOADERS[dialect]))
    except YamlError:
        raise
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise YamlError(f"is not valid YAML{line}") from None


def load(text: str | bytes, dialect: Dialect = Dialect.KUBERNETES) -> Any:
    """The single document of the text. None if there is none. Raises YamlError."""
    documents = load_documents(text, dialect)
    if len(documents) > 1:
        raise YamlError(f"has {len(documents)} YAML documents instead of one")
    return documents[0] if documents else None
