"""The labels of Gorse's items and users as the contract's fields, and back.

Gorse's labels are a tree: objects whose leaves are texts, numbers, and lists of either. A leaf is
named by its path, ``genre.main``. ``%``, ``.``, ``=`` and ``#`` in a name are written as in a URL.

=================  =================================  ==============================
leaf               of an item                         of a user
=================  =================================  ==============================
text or number     the feature ``PATH``               the feature ``PATH``
list of texts      a tag ``PATH=TEXT`` for each       a feature ``PATH=TEXT`` of 1
list of numbers    the vector ``PATH``                a feature ``PATH#PLACE`` for each
=================  =================================  ==============================

A list of texts that is all of an item's labels becomes its tags as they are.

References
----------
Gorse 0.5, ``ValidateLabels`` in ``storage/data/database.go``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

#: Deepest tree of labels.
MAX_DEPTH: Final = 16
#: Where labels that are one list of numbers are: no path is named so.
WHOLE: Final = "#"
_MARKS: Final = re.compile(r"[%.=#]")
_PLACE: Final = re.compile(r"(.*)#([0-9]{1,6})")


def item_fields(labels: Any) -> dict[str, Any]:
    """Return ``features``, ``tags`` and ``vectors`` of an item, those that are not empty.

    Raises
    ------
    ValueError
        When the labels are none that Gorse takes.
    """
    features: dict[str, Any] = {}
    tags: list[str] = []
    vectors: dict[str, list[float]] = {}
    for path, leaf in _leaves(labels):
        if not isinstance(leaf, list):
            features[path] = leaf
        elif isinstance(leaf[0], str):
            tags += [f"{path}={text}" if path else _quoted(text) for text in leaf]
        else:
            vectors[path or WHOLE] = leaf
    found = {"features": features, "tags": tags, "vectors": vectors}
    return {name: value for name, value in found.items() if value}


def user_features(labels: Any) -> dict[str, Any]:
    """Return the features of a user.

    Raises
    ------
    ValueError
        When the labels are none that Gorse takes.
    """
    features: dict[str, Any] = {}
    for path, leaf in _leaves(labels):
        if not isinstance(leaf, list):
            features[path] = leaf
        elif isinstance(leaf[0], str):
            features |= {f"{path}={text}": 1.0 for text in leaf}
        else:
            features |= {f"{path}#{place}": number for place, number in enumerate(leaf)}
    return features


def item_labels(features: Mapping[str, Any], tags: Sequence[str], vectors: Mapping[str, Sequence[float]]) -> Any:
    """Return the labels of an item; None without any.

    Tags of a shop's own, beside features, are the label ``tags``.
    """
    if tags and not features and not vectors and not any("=" in tag for tag in tags):
        return [unquote(tag) for tag in tags]
    if not features and not tags and vectors.keys() == {WHOLE}:
        return _plain(vectors[WHOLE])
    tree: dict[str, Any] = {}
    for path, leaf in features.items():
        _put(tree, path, _plain(leaf))
    for tag in tags:
        path, found, text = tag.partition("=")
        _add(tree, *((path, text) if found else ("tags", unquote(tag))))
    for path, numbers in vectors.items():
        _put(tree, path, _plain(numbers))
    return tree or None


def user_labels(features: Mapping[str, Any]) -> Any:
    """Return the labels of a user; None without any."""
    lists: dict[str, list[Any]] = {}
    tree: dict[str, Any] = {}
    for name, leaf in features.items():
        path, is_text, text = name.partition("=")
        place = _PLACE.fullmatch(name)
        if is_text:
            lists.setdefault(path, []).append(text)
        elif place is not None:
            lists.setdefault(place[1], []).append(_plain(leaf))
        else:
            _put(tree, name, _plain(leaf))
    if not tree and lists.keys() == {""}:
        return lists[""]
    for path, values in lists.items():
        _put(tree, path, values)
    return tree or None


def _leaves(labels: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path of each leaf, and the leaf: a text, a number or a list that is not empty."""
    if labels is not None and not isinstance(labels, dict | list):
        raise ValueError(f"Labels: {_shown(labels)}, must be an object or a list")
    yield from _walk("", labels, 0)


def _walk(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise ValueError(f"Labels: objects in objects, {depth} deep, limit {MAX_DEPTH}")
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _walk(f"{path}.{_quoted(name)}" if path else _quoted(name), below, depth + 1)
    elif isinstance(value, list):
        are_texts, are_numbers = all(isinstance(one, str) for one in value), all(map(_is_number, value))
        if not are_texts and not are_numbers:
            raise ValueError(f"Labels{_at(path)}: {_shown(value)}, must hold texts alone or numbers alone")
        if value:
            yield path, value
    elif isinstance(value, str) or _is_number(value):
        yield path, value
    elif value is not None:
        raise ValueError(f"Labels{_at(path)}: {_shown(value)}, must be a text, a number, a list or an object")


def _put(tree: dict[str, Any], path: str, leaf: Any) -> None:
    """Put a leaf at its path; where another leaf is in the way, under the path as one name."""
    *branches, last = [unquote(name) for name in path.split(".")]
    at = tree
    for name in branches:
        below = at.setdefault(name, {})
        if not isinstance(below, dict):
            tree[path] = leaf
            return
        at = below
    at[last if last not in at else path] = leaf


def _add(tree: dict[str, Any], path: str, text: str) -> None:
    """Add a text to the list at a path."""
    *branches, last = [unquote(name) for name in path.split(".")]
    at = tree
    for name in branches:
        below = at.setdefault(name, {})
        if not isinstance(below, dict):
            at, last = tree, path
            break
        at = below
    there = at.setdefault(last, [])
    if isinstance(there, list):
        there.append(text)
    else:
        tree.setdefault(f"{path}=", []).append(text)


def _plain(value: Any) -> Any:
    """Return numbers as Gorse writes them: 24, not 24.0."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _quoted(name: str) -> str:
    return _MARKS.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(path: str) -> str:
    return f".{path[:40]}" if path else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
