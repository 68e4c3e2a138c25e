"""YAML and JSON to values whose parts have a line and a column. Scalars are as kubectl reads them.

Hostile text raises UnreadableTextError too: aliases that multiply, deep nesting, characters that
YAML does not have. See docs/decisions/0028-yaml-positions.md for why no library does this.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import yaml

from raysweep.clients.parsing.yaml_text import scalar
from raysweep.core.text import quoted

DEEPEST = 100
MOST_PARTS = 1_000_000
"""Keys, values, lists and mappings of one text."""
MOST_ALIASED = 100_000
"""Parts that all aliases of a text may expand to. A few hundred characters can mean billions."""

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_RESOLVED_TAGS = frozenset(f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float"))
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JSON_STRING_OR_TAB = re.compile(r'"(?:[^"\\]|\\.)*"|\t', re.DOTALL)
_JSON_ESCAPE = re.compile(r"\\(u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_TEMPLATE = (
    "{{ makes this a template, such as Helm's: render it first, as with"
    " helm template CHART | raysweep lint -"
)


class Position(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int


class UnreadableTextError(Exception):
    """The text is not YAML, or exceeds a limit. The message is one sentence."""

    def __init__(self, problem: str, position: Position, *, is_template: bool = False) -> None:
        super().__init__(problem)
        self.position = position
        self.is_template = is_template


@dataclass(slots=True, eq=False)
class Node:
    """A part of a document as it is written.

    parts: the items of a sequence, or the keys and values of a mapping in turn. None for a scalar.
    """

    position: Position
    text: str = ""
    is_plain: bool = False  # a scalar whose text decides its type
    is_mapping: bool = False
    parts: list["Node"] | None = None
    size: int = 1  # with every alias counted as what it stands for
    pairs: dict[str, tuple["Node", "Node"]] | None = None  # see _pairs()

    @property
    def keys(self) -> list["Node"]:
        """The keys of a mapping. Empty for any other node."""
        return (self.parts or [])[::2] if self.is_mapping else []


@dataclass(frozen=True, slots=True)
class YamlValue:
    """A value with the positions of its parts. A live object has no node, and no positions."""

    value: Any
    node: Node | None = field(default=None, repr=False)

    def part(self, *path: str | int) -> "YamlValue":
        """The part at this path. Its value is None if there is none."""
        value, node = self.value, self.node
        for step in path:
            value = _member(value, step)
            node = _child(node, step)[1] if node else None
        return YamlValue(value, node)

    def position(self, path: Path, *, is_key: bool = False) -> Position | None:
        """The position of the value at this path, or of its key.

        A missing part has the position of what it is missing in, and an empty value that of its
        key.
        """
        if self.node is None:
            return None
        key, node = None, self.node
        for step in path:
            child_key, child = _child(node, step)
            if child is None:
                return node.position
            key, node = child_key, child
        is_empty = node.is_plain and not node.text
        return key.position if key and (is_key or is_empty) else node.position

    def text_at(self, path: Path) -> str:
        """A scalar as it is written. "" if there is none."""
        node = self.part(*path).node
        return node.text if node else ""

    def duplicate_keys(self) -> Iterator[tuple[str, Position]]:
        """Each key that its mapping has already, with its position."""
        visited: set[int] = set()
        queue = [self.node] if self.node else []
        while queue:
            node = queue.pop()
            if id(node) in visited or node.parts is None:
                continue
            visited.add(id(node))
            queue += node.parts
            earlier: set[str] = set()
            for key in node.keys:
                if key.text in earlier:
                    yield key.text, key.position
                earlier.add(key.text)


def read(text: str) -> list[YamlValue]:
    """Every document that is not empty. Raises UnreadableTextError."""
    try:
        return [YamlValue(_value(node, {}), node) for node in _compose(_as_yaml(text))]
    except UnreadableTextError as error:
        if "{{" not in text:
            raise
        remark = f" (line {error.position.line} as it is: {error})"
        raise template(text, remark) from error


def template(text: str, remark: str = "") -> UnreadableTextError:
    """The error for a text with placeholders."""
    position = _position_of_index(text, text.index("{{"))
    return UnreadableTextError(_TEMPLATE + remark, position, is_template=True)


def _as_yaml(text: str) -> str:
    """The text with what JSON allows and YAML does not replaced, at unchanged positions.

    Raises UnreadableTextError at a character that YAML does not have.
    """
    converted = _json_as_yaml(text) if text.lstrip().startswith(("{", "[")) else text
    invalid = _NOT_YAML.search(converted)
    if invalid:
        problem = f"not YAML: the character U+{ord(invalid[0]):04X} is not allowed"
        raise UnreadableTextError(problem, _position_of_index(converted, invalid.start()))
    return converted


def _json_as_yaml(text: str) -> str:
    """JSON is YAML except for tabs, and for characters that are written as two escapes."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _JSON_STRING_OR_TAB.sub(_yaml_token, text)


def _yaml_token(token: re.Match[str]) -> str:
    if token[0] == "\t":
        return " "
    return _NOT_YAML.sub("\ufffd", _JSON_ESCAPE.sub(_yaml_escape, token[0]))


def _yaml_escape(escape: re.Match[str]) -> str:
    is_surrogate = escape[1][0] == "u" and len(escape[1]) > 1
    return r"\ufffd" if is_surrogate else escape[0]


def _position_of_index(text: str, index: int) -> Position:
    return Position(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _compose(text: str) -> list[Node]:
    """The documents, from the parser's events: neither nesting nor an alias takes more time."""
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.add(event)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text) from None
    return [root for root in composer.roots if root.parts or root.text]


@dataclass
class _Composer:
    """Builds nodes from events. An alias becomes the node of its anchor."""

    roots: list[Node] = field(default_factory=list)
    _open: list[Node] = field(default_factory=list)
    _anchors: dict[str, Node] = field(default_factory=dict)
    _written: int = 0
    _expanded: int = 0

    def add(self, event: yaml.Event) -> None:
        """Takes the next event. Raises UnreadableTextError."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
        elif isinstance(event, yaml.NodeEvent):
            self._add_node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self._open.pop())
        elif isinstance(event, yaml.DocumentEndEvent):
            self._end_document(self.roots[-1])

    def _add_node(self, event: yaml.NodeEvent) -> None:
        if isinstance(event, yaml.AliasEvent):
            node = self._aliased(event)
        else:
            node = self._new_node(event)
            self._written += 1
        siblings = self._open[-1].parts if self._open else self.roots
        assert siblings is not None
        siblings.append(node)
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append(node)

    def _aliased(self, event: yaml.AliasEvent) -> Node:
        position, anchor = _position(event.start_mark), quoted(event.anchor)
        node = self._anchors.get(event.anchor or "")
        if node is None:
            problem = f"not YAML: the alias of {anchor} has no anchor before it"
            raise UnreadableTextError(problem, position)
        if any(node is parent for parent in self._open):
            raise UnreadableTextError(f"the anchor {anchor} contains itself", position)
        return node

    def _new_node(self, event: yaml.NodeEvent) -> Node:
        position = _position(event.start_mark)
        if len(self._open) >= DEEPEST:
            raise UnreadableTextError(f"nested more than {DEEPEST} deep", position)
        if isinstance(event, yaml.ScalarEvent):
            is_plain = event.implicit[0] if event.tag is None else event.tag in _RESOLVED_TAGS
            node = Node(position, event.value, is_plain=is_plain)
        else:
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            node = Node(position, is_mapping=is_mapping, parts=[])
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _close(self, node: Node) -> None:
        node.size = 1 + sum(part.size for part in node.parts or ())
        for key in node.keys:
            if key.parts is not None:
                raise UnreadableTextError("a key is not a text", key.position)

    def _end_document(self, root: Node) -> None:
        self._expanded += root.size
        if self._written > MOST_PARTS:
            raise UnreadableTextError(f"more than {MOST_PARTS} parts", root.position)
        if self._expanded - self._written > MOST_ALIASED:
            problem = f"aliases that stand for more than {MOST_ALIASED} parts"
            raise UnreadableTextError(problem, root.position)


def _not_yaml(error: yaml.YAMLError, text: str) -> UnreadableTextError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = _position(mark) if mark else Position(1, 1)
    if mark and text[mark.index : mark.index + 1] == "\t":
        return UnreadableTextError("not YAML: a tab where only spaces are allowed", position)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    context = getattr(error, "context", None)
    words = " ".join(part for part in (problem, context) if part)
    return UnreadableTextError(f"not YAML: {words}", position)


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _value(node: Node, built: dict[int, Any]) -> Any:
    """The value of a node. All aliases of an anchor share one value."""
    if id(node) not in built:
        build = partial(_value, built=built)
        if node.parts is None:
            built[id(node)] = scalar(node.text) if node.is_plain else node.text
        elif node.is_mapping:
            built[id(node)] = {key: build(value) for key, (_, value) in _pairs(node).items()}
        else:
            built[id(node)] = [build(part) for part in node.parts]
    return built[id(node)]


def _pairs(node: Node) -> dict[str, tuple[Node, Node]]:
    """Each key with the nodes of its key and value, merged mappings (`<<`) included.

    A mapping's own keys take precedence over merged ones. Of duplicate keys the last one counts.
    """
    if node.pairs is not None:
        return node.pairs
    own: dict[str, tuple[Node, Node]] = {}
    merged: dict[str, tuple[Node, Node]] = {}
    values = (node.parts or [])[1::2]
    for key, value in zip(node.keys, values, strict=True):
        if key.is_plain and key.text == "<<":
            for base in _bases(value):
                merged = _pairs(base) | merged
        else:
            own[key.text] = (key, value)
    node.pairs = merged | own
    return node.pairs


def _bases(value: Node) -> list[Node]:
    """The mappings that `<<` merges."""
    bases = [value] if value.is_mapping else value.parts
    if bases is None or not all(base.is_mapping for base in bases):
        raise UnreadableTextError("<< needs a mapping, or a list of mappings", value.position)
    return bases


def _member(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, Mapping) else None
    return value[step] if isinstance(value, list) and 0 <= step < len(value) else None


def _child(node: Node, step: str | int) -> tuple[Node | None, Node | None]:
    """The key and the value at that step."""
    if node.is_mapping:
        return _pairs(node).get(step, (None, None)) if isinstance(step, str) else (None, None)
    items = node.parts or []
    if isinstance(step, int) and 0 <= step < len(items):
        return None, items[step]
    return None, None
