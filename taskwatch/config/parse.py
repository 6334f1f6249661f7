"""YAML becomes text, lists and mappings, and every value keeps its place.

Invariants:
- Every scalar is text, whatever YAML would make of it: a project named `on` stays `on`. Fields that
  are not text parse theirs.
- Nothing is constructed: a tag is an error. Size, depth and expanded aliases are bounded.
- No value of the file stands in an error, only keys: a secret that YAML stumbles over is not shown.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from taskwatch.config.document import START, Document, KeyPath, Place, Problem, Value
from taskwatch.config.fields import is_off

MAX_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 100_000  # after aliases are expanded
MAX_DEPTH: Final = 50


def read(file: Path) -> Document:
    """Read one file. What cannot be understood as a whole is a document of one problem."""
    try:
        return _Reading(file, _text(file)).document()
    except _UnreadableError as error:
        problem = Problem(file=file, place=error.place, path=error.path, text=str(error))
        return Document(file=file, root={}, places={}, problems=(problem,), is_whole=False)


class _UnreadableError(Exception):
    """The rest of the file cannot be understood."""

    def __init__(self, place: Place | None, text: str, path: KeyPath = ()) -> None:
        super().__init__(text)
        self.place = place
        self.path = path


def _text(file: Path) -> str:
    try:
        if stat.S_ISFIFO(file.stat().st_mode):  # to open one waits for a writer, perhaps for ever
            raise _UnreadableError(None, "a pipe; write it to a file")
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _UnreadableError(None, f"cannot be read: {error.strerror}; {remedy(error)}") from error
    if len(content) > MAX_BYTES:
        raise _UnreadableError(START, "larger than 1 MiB; write what all projects share once, under defaults")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_after(content[: error.start].decode("utf-8", "replace"))
        raise _UnreadableError(place, "not UTF-8 text; save the file as UTF-8") from error


def remedy(error: OSError) -> str:
    """Say what to do about a file that cannot be read."""
    match error:
        case IsADirectoryError():
            return "name a file in it, as taskwatch.yaml"
        case PermissionError():
            return f"let user id {os.geteuid()} read it"
        case FileNotFoundError() | NotADirectoryError():
            return "write it, or name another"
        case _:
            return "mend that, and try again"


def _place_after(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


@dataclass(frozen=True, slots=True)
class _Collection:
    """A list or a mapping as it is written, before its aliases are expanded."""

    is_mapping: bool
    entries: tuple[tuple[str | int, Place, "_Node"], ...]


_Node = str | _Collection


class _Reading:
    """Reads one text: first the nodes as they are written, then the values with their places."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text
        self._events = self._parsed()
        self._anchors: dict[str, _Node] = {}
        self._problems: list[Problem] = []
        self._places: dict[KeyPath, Place] = {}
        self._values = 0

    def document(self) -> Document:
        node = self._root()
        if isinstance(node, str) and is_off(node):
            node = _Collection(is_mapping=True, entries=())
        root = self._value(node, ())
        if not isinstance(root, dict):
            raise _UnreadableError(START, "not a mapping; write keys, as in projects:")
        return Document(file=self._file, root=root, places=self._places, problems=tuple(self._problems))

    def _parsed(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self._text, Loader=yaml.CSafeLoader)
        except yaml.reader.ReaderError as error:
            before = self._text.encode()[: error.position].decode("utf-8", "replace")
            raise _UnreadableError(_place_after(before), f"not YAML: {error.reason}") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = START if mark is None else Place(mark.line + 1, mark.column + 1)
            said = " ".join(text for text in (error.problem, error.context) if text)
            raise _UnreadableError(place, f"not YAML: {said}") from error

    def _root(self) -> _Node:
        node: _Node | None = None
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if node is not None:
                raise _UnreadableError(_place(event), "a second document; write one in each file")
            node = self._node(next(self._events), ())
        return "" if node is None else node

    def _node(self, event: yaml.Event, path: KeyPath) -> _Node:
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(_place(event), f"nested deeper than {MAX_DEPTH} levels")
        self._refuse_tag(event, path)
        node: _Node
        match event:
            case yaml.ScalarEvent():
                node = event.value
            case yaml.SequenceStartEvent():
                node = _Collection(is_mapping=False, entries=tuple(self._items(path)))
            case yaml.MappingStartEvent():
                node = _Collection(is_mapping=True, entries=tuple(self._entries(path)))
            case _:  # no other event begins a value
                return self._aliased(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: yaml.Event, path: KeyPath) -> _Node:
        # An anchor is known once its node has ended: nothing can contain itself.
        node = self._anchors.get(getattr(event, "anchor", ""))
        if node is None:
            text = "an alias of nothing that stands before it; put text that begins with * in quotes"
            raise _UnreadableError(_place(event), text, path)
        return node

    def _items(self, path: KeyPath) -> Iterator[tuple[int, Place, _Node]]:
        for number, event in enumerate(self._until(yaml.SequenceEndEvent)):
            yield number, _place(event), self._node(event, (*path, number))

    def _entries(self, path: KeyPath) -> Iterator[tuple[str, Place, _Node]]:
        first: dict[str, Place] = {}
        for event in self._until(yaml.MappingEndEvent):
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent):
                text = "a key that is no text; put text that begins with { or [ in quotes"
                raise _UnreadableError(place, text, path)
            key = event.value
            here = (*path, key)
            self._refuse_tag(event, here)
            node = self._node(next(self._events), here)
            if key in first:
                self._wrong(place, here, f"written before, in line {first[key].line}; keep one of the two")
                continue
            first[key] = place
            yield key, place, node

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _refuse_tag(self, event: yaml.Event, path: KeyPath) -> None:
        if getattr(event, "tag", None) is not None:
            self._wrong(_place(event), path, "a tag is not allowed; put text that begins with ! in quotes")

    def _wrong(self, place: Place, path: KeyPath, text: str) -> None:
        self._problems.append(Problem(file=self._file, place=place, path=path, text=text))

    def _value(self, node: _Node, path: KeyPath) -> Value:
        self._values += 1
        if self._values > MAX_NODES or len(path) > MAX_DEPTH:
            text = f"with its aliases more than {MAX_NODES} values or {MAX_DEPTH} levels; write it out"
            raise _UnreadableError(self._places.get(path[:1], START), text, path[:1])
        if isinstance(node, str):
            return node
        values: list[tuple[str, Value]] = []
        for key, place, child in node.entries:
            here = (*path, key)
            self._places[here] = place
            values.append((str(key), self._value(child, here)))
        return dict(values) if node.is_mapping else [value for _, value in values]


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return START if mark is None else Place(mark.line + 1, mark.column + 1)
