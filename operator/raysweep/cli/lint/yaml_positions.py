"""YAML and JSON text to values, scalars as Kubernetes reads them, each with its line and column. Nothing is opened or judged.

Hostile text ends in UnreadableTextError too: anchors that multiply, nesting without end, characters that YAML does not have.
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
"""Of one text: keys, values, lists and mappings."""
MOST_ALIASED = 100_000
"""Parts that all aliases of a text may stand for; a few hundred characters can stand for billions."""

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_RESOLVED = frozenset(f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float"))
_ODD = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JSON_STRING_OR_TAB = re.compile(r'"(?:[^"\\]|\\.)*"|\t', re.DOTALL)
_JSON_ESCAPE = re.compile(r"\\(u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")


class Position(NamedTuple):
    """Both are counted from 1."""

    line: int
    column: int


class UnreadableTextError(Exception):
    """No YAML that could be checked; the text is one sentence."""

    def __init__(self, problem: str, at: Position, *, is_template: bool = False) -> None:
        super().__init__(problem)
        self.at = at
        self.is_template = is_template


@dataclass(slots=True, eq=False)
class Node:
    """A part of a document as it was written: a scalar, or a sequence or mapping with its parts one after the other."""

    at: Position
    text: str = ""
    is_plain: bool = False  # a scalar that may be no text
    is_mapping: bool = False
    parts: list["Node"] | None = None
    size: int = 1  # with every alias counted as what it stands for
    pairs: dict[str, tuple["Node", "Node"]] | None = None  # see _pairs


@dataclass(frozen=True, slots=True)
class Marked:
    """A value, and where its parts stand. Without a node, as for a live object, they stand nowhere."""

    value: Any
    node: Node | None = field(default=None, repr=False)

    def part(self, *path: str | int) -> "Marked":
        """The part at that path; a value of None where there is none."""
        value, node = self.value, self.node
        for step in path:
            value = _member(value, step)
            node = _child(node, step)[1] if node else None
        return Marked(value, node)

    def at(self, path: Path, *, key: bool = False) -> Position | None:
        """Where the value at that path stands, or its key; of what is not there, what is around it. Nothing stands at its key."""
        if self.node is None:
            return None
        key_node, node = None, self.node
        for step in path:
            own_key, child = _child(node, step)
            if child is None:
                return node.at
            key_node, node = own_key, child
        return key_node.at if key_node and (key or (node.is_plain and not node.text)) else node.at

    def text_at(self, path: Path) -> str:
        """A scalar as it was written; "" where there is none."""
        found = self.part(*path).node
        return found.text if found else ""

    def repeated(self) -> Iterator[tuple[str, Position]]:
        """Keys that stand in one mapping for a second time."""
        seen, left = set(), [self.node] if self.node else []
        while left:
            node = left.pop()
            if id(node) in seen or node.parts is None:
                continue
            seen.add(id(node))
            left += node.parts
            own: set[str] = set()
            for key in node.parts[::2] if node.is_mapping else ():
                if key.text in own:
                    yield key.text, key.at
                own.add(key.text)


def read(text: str) -> list[Marked]:
    """Every document that is not empty. Raises UnreadableTextError."""
    try:
        whole = _as_yaml(text)
        odd = _ODD.search(whole)
        if odd:
            raise UnreadableTextError(
                f"no YAML: the character U+{ord(odd[0]):04X} may not stand in it",
                _place(whole, odd.start()),
            )
        return [Marked(_value(node, {}), node) for node in _compose(whole)]
    except UnreadableTextError as error:
        if "{{" not in text:
            raise
        raise template(text, f" (as it stands, line {error.at.line}: {error})") from error


def template(text: str, remark: str = "") -> UnreadableTextError:
    """A text in which something is still to be filled in."""
    told = "{{ makes this a template, as Helm's are; render it first: helm template CHART | raysweep lint -"
    return UnreadableTextError(told + remark, _place(text, text.index("{{")), is_template=True)


def _as_yaml(text: str) -> str:
    """JSON is YAML but for tabs, and for characters written as two escapes; every column stays what it was."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _JSON_STRING_OR_TAB.sub(_token, text)


def _token(found: re.Match[str]) -> str:
    if found[0] == "\t":
        return " "
    escaped = _JSON_ESCAPE.sub(
        lambda one: r"\ufffd" if one[1][0] == "u" and len(one[1]) > 1 else one[0], found[0]
    )
    return _ODD.sub("\ufffd", escaped)


def _place(text: str, index: int) -> Position:
    return Position(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _compose(text: str) -> list[Node]:
    """From the parser's events, one after the other: neither nesting nor an alias makes this take longer."""
    roots: list[Node] = []
    open_now: list[Node] = []
    anchors: dict[str, Node] = {}
    written = whole = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                anchors.clear()
            elif isinstance(event, yaml.NodeEvent):
                node = _node(event, anchors, open_now)
                written += not isinstance(event, yaml.AliasEvent)
                (open_now[-1].parts if open_now else roots).append(node)  # type: ignore[union-attr]
                if isinstance(event, yaml.CollectionStartEvent):
                    open_now.append(node)
            elif isinstance(event, yaml.CollectionEndEvent):
                _close(open_now.pop())
            elif isinstance(event, yaml.DocumentEndEvent):
                whole += roots[-1].size
                _check(written, whole - written, roots[-1].at)
    except yaml.YAMLError as error:
        raise _no_yaml(error, text) from None
    return [root for root in roots if root.parts or root.text]


def _node(event: yaml.NodeEvent, anchors: dict[str, Node], open_now: list[Node]) -> Node:
    at = _position(event.start_mark)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise UnreadableTextError(
                f"no YAML: there is no anchor {quoted(event.anchor)} before this alias", at
            )
        if any(anchors[event.anchor] is one for one in open_now):
            raise UnreadableTextError(f"the anchor {quoted(event.anchor)} contains itself", at)
        return anchors[event.anchor]
    if len(open_now) >= DEEPEST:
        raise UnreadableTextError(f"nested more than {DEEPEST} deep", at)
    if isinstance(event, yaml.ScalarEvent):
        node = Node(
            at,
            event.value,
            is_plain=event.implicit[0] if event.tag is None else event.tag in _RESOLVED,
        )
    else:
        node = Node(at, is_mapping=isinstance(event, yaml.MappingStartEvent), parts=[])
    if event.anchor:
        anchors[event.anchor] = node
    return node


def _close(node: Node) -> None:
    """All its parts are known now."""
    assert node.parts is not None
    node.size = 1 + sum(part.size for part in node.parts)
    for key in node.parts[::2] if node.is_mapping else ():
        if key.parts is not None:
            raise UnreadableTextError("a key that is no text", key.at)


def _check(written: int, aliased: int, at: Position) -> None:
    if written > MOST_PARTS:
        raise UnreadableTextError(f"more than {MOST_PARTS} parts", at)
    if aliased > MOST_ALIASED:
        raise UnreadableTextError(f"aliases that stand for more than {MOST_ALIASED} parts", at)


def _no_yaml(error: yaml.YAMLError, text: str) -> UnreadableTextError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    at = _position(mark) if mark else Position(1, 1)
    if mark and text[mark.index : mark.index + 1] == "\t":
        return UnreadableTextError("no YAML: a tab, where only spaces may stand", at)
    words = getattr(error, "problem", None) or "it cannot be parsed"
    while_doing = getattr(error, "context", None)
    return UnreadableTextError(f"no YAML: {words}{f' {while_doing}' if while_doing else ''}", at)


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _value(node: Node, known: dict[int, Any]) -> Any:
    """What an alias stands for is made once, and shared."""
    if id(node) not in known:
        build = partial(_value, known=known)
        if node.parts is None:
            known[id(node)] = scalar(node.text) if node.is_plain else node.text
        elif node.is_mapping:
            known[id(node)] = {key: build(value) for key, (_, value) in _pairs(node).items()}
        else:
            known[id(node)] = [build(part) for part in node.parts]
    return known[id(node)]


def _pairs(node: Node) -> dict[str, tuple[Node, Node]]:
    """Key to key and value, those of merged mappings (`<<`) included; its own count first, then the last of several."""
    if node.pairs is not None:
        return node.pairs
    own: dict[str, tuple[Node, Node]] = {}
    merged: dict[str, tuple[Node, Node]] = {}
    parts = node.parts or []
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        if key.is_plain and key.text == "<<":
            for base in _merged(value):
                merged = _pairs(base) | merged
        else:
            own[key.text] = (key, value)
    node.pairs = merged | own
    return node.pairs


def _merged(value: Node) -> list[Node]:
    bases = [value] if value.is_mapping else value.parts
    if bases is None or not all(base.is_mapping for base in bases):
        raise UnreadableTextError("<< merges a mapping, or a list of them", value.at)
    return bases


def _member(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, Mapping) else None
    return value[step] if isinstance(value, list) and 0 <= step < len(value) else None


def _child(node: Node, step: str | int) -> tuple[Node | None, Node | None]:
    """The key and the value at that step."""
    if node.is_mapping and isinstance(step, str):
        return _pairs(node).get(step, (None, None))
    if (
        node.parts is not None
        and not node.is_mapping
        and isinstance(step, int)
        and 0 <= step < len(node.parts)
    ):
        return None, node.parts[step]
    return None, None
