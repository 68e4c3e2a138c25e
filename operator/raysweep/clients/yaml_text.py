"""YAML as Kubernetes reads it, from people's files: dates are text, and a short text cannot stand for a huge one."""

from typing import Any

import yaml

MOST_NODES = 200_000
"""Nodes of one text with every alias counted as what it stands for. An object in the cluster has at most 1.5 MiB."""


class YamlError(ValueError):
    """Text that is not usable YAML. The message says why, and in which line."""


class _Loader(yaml.SafeLoader):
    """Counts while it composes, so that a text that expands without bound ends before anything is built from it."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._nodes
        node = super().compose_node(parent, index)
        if is_alias:
            self._nodes += self._sizes.get(id(node), MOST_NODES)  # an alias inside of its own anchor has no end
        else:
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > MOST_NODES:
            raise YamlError(f"has more than {MOST_NODES} nodes, aliases included")
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_documents(text: str | bytes) -> list[Any]:
    """Every document of the text; an empty document is None. Raises YamlError."""
    try:
        return list(yaml.load_all(text, _Loader))
    except YamlError:
        raise
    except RecursionError:
        raise YamlError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise YamlError(f"is not valid YAML{line}") from None


def load(text: str | bytes) -> Any:
    """The only document of the text; None if there is none. Raises YamlError."""
    documents = load_documents(text)
    if len(documents) > 1:
        raise YamlError(f"has {len(documents)} YAML documents instead of one")
    return documents[0] if documents else None
