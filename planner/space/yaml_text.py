"""YAML of any origin: safe, of bounded size, and without repeated keys where a loss would be silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

__all__ = ["LARGEST_TEXT", "YAML_ERRORS", "BoundedLoader", "UniqueKeysLoader", "compose", "scalars"]

LARGEST_TEXT: Final = 4_000_000
"""Characters of a YAML text. PyYAML reads some 250,000 a second; the longest study file here has 1,500."""
_MOST_NODES: Final = 250_000
"""Keys and values once every alias is written out. PyYAML reads some 40,000 a second: a study file that lists as many
is read in 6 s. An axis of all 100,000 values that one may have fits."""
_MOST_BITS: Final = 1024
"""Of a whole number: no float holds a larger one, and Python refuses to print one of 4,300 digits."""

YAML_ERRORS: Final = (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, ArithmeticError,
                      AttributeError)
"""What reading raises: PyYAML's own errors, and those of its constructors of explicit types (`!!int ''`)."""


class BoundedLoader(yaml.SafeLoader):
    """YAML of plain values. Aliases of aliases, ten lines of which may stand for billions of values, are refused."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > _MOST_NODES:
            problem = f"holds more than {_MOST_NODES:,} keys and values once its aliases (*) are written out"
            raise yaml.constructor.ConstructorError(None, None, problem, None)
        return node


    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > _MOST_BITS:
            problem = "a whole number has hundreds of digits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return number


BoundedLoader.add_constructor("tag:yaml.org,2002:int", BoundedLoader.construct_yaml_int)


class UniqueKeysLoader(BoundedLoader):
    """A repeated key is an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            if key_node.value in seen:
                problem = f"the key '{key_node.value}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return node


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, each with its place in it. Raises YAML_ERRORS."""
    loader = BoundedLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Every scalar once, however many aliases it has."""
    seen: set[int] = set()
    left = [] if node is None else [node]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, yaml.ScalarNode):
            yield one
        else:
            left += _children(one)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes below and including this one, an alias counted as what it stands for. known: sizes by identity."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "an alias stands within its own value", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
