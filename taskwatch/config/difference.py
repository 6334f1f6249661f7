"""What a reload changes, in lines for people and the log.

They show names, which are printable, and of values only durations and words: never a secret.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Final

from taskwatch.config.configuration import Config, NamedProject, WatchedProject
from taskwatch.config.fields import spell_duration
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import Section
from taskwatch.core.route import Route

_AS_WRITTEN: Final = {"include": "tasks.include", "exclude": "tasks.exclude", "in_cloud": "project"}


def differences(old: Config, new: Config) -> tuple[str, ...]:
    """Say every difference in one printable line; none if a reload changes nothing."""
    return (
        *_projects(old.projects, new.projects),
        *_named_projects(old.named, new.named),
        *_receivers(old, new),
        *_named("credential", old.credentials, new.credentials),
        *(["route changed"] if _is_routed_otherwise(old, new) else []),
        *(["mute changed"] if old.mutes != new.mutes else []),
        *_settings(old, new),
    )


def _is_routed_otherwise(old: Config, new: Config) -> bool:
    if all(
        config.route == Route(receivers=tuple(one.name for one in config.receivers)) for config in (old, new)
    ):
        return False  # nobody wrote a route: everything goes to everybody, as before
    return _renamed(old.route, renamed_receivers(old, new)) != new.route


def renamed_receivers(old: Config, new: Config) -> dict[str, str]:
    """Return the new name of each receiver of which nothing but the name has changed.

    Of several that are alike the first that went is the first that came.
    """
    before, after = _by_name(old.receivers), _by_name(new.receivers)
    came = [receiver for name, receiver in after.items() if name not in before]
    renamed: dict[str, str] = {}
    for name, receiver in before.items():
        if name in after:
            continue
        for candidate in came:
            renamed_only = receiver.model_copy(update={"name": candidate.name})
            if renamed_only.linked_to(candidate.status_page) == candidate:  # the link is the server's
                renamed[name] = candidate.name
                came.remove(candidate)
                break
    return renamed


def _projects(old: Sequence[WatchedProject], new: Sequence[WatchedProject]) -> Iterator[str]:
    before = {watched.project.identity: watched for watched in old}
    after = {watched.project.identity: watched for watched in new}
    gone = {watched.project.name for identity, watched in before.items() if identity not in after}
    came = {watched.project.name for identity, watched in after.items() if identity not in before}
    for name in sorted(gone - came):
        yield f"project {name} removed"
    for name in sorted(gone & came):
        yield f"project {name}: endpoint or project_id changed, so it is another one, known from its first poll on"
    for name in sorted(came - gone):
        yield f"project {name} added"
    for identity, watched in after.items():
        if identity in before:
            yield from _project(before[identity], watched)


def _project(old: WatchedProject, new: WatchedProject) -> Iterator[str]:
    name = new.project.name
    if old.project.name != name:
        yield f"project {old.project.name} renamed to {name}"
    yield from _changed(f"project {name}", _keys(old), _keys(new))


def _named_projects(old: Sequence[NamedProject], new: Sequence[NamedProject]) -> Iterator[str]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in before:
        if name not in after:
            yield f"project {name} removed"
    for name, one in after.items():
        if name not in before:
            yield f"project {name} added"
        else:
            yield from _changed(f"project {name}", _values_of(before[name]), _values_of(one))


def _values_of(one: NamedProject) -> dict[str, object]:
    return {_AS_WRITTEN.get(field.name, field.name): getattr(one, field.name) for field in fields(one)}


def _keys(watched: WatchedProject) -> dict[str, object]:
    keys = {
        _AS_WRITTEN.get(field.name, field.name): getattr(watched, field.name) for field in fields(watched)
    }
    del keys["project"]
    return {**keys, "labels": watched.project.labels}


def _receivers(old: Config, new: Config) -> Iterator[str]:
    before, after = _by_name(old.receivers), _by_name(new.receivers)
    renamed = renamed_receivers(old, new)
    for name, successor in renamed.items():
        yield f"receiver {name} renamed to {successor}"
    left = {name: receiver for name, receiver in before.items() if name not in renamed}
    right = {name: receiver for name, receiver in after.items() if name not in renamed.values()}
    yield from _named("receiver", left, right)


def _by_name(receivers: Sequence[ReceiverOptions]) -> dict[str, ReceiverOptions]:
    return {receiver.name: receiver for receiver in receivers}


def _named(noun: str, old: Mapping[str, Section], new: Mapping[str, Section]) -> Iterator[str]:
    for name in old:
        if name not in new:
            yield f"{noun} {name} removed"
    for name, section in new.items():
        if name not in old:
            yield f"{noun} {name} added"
        else:
            yield from _changed(f"{noun} {name}", _values(old[name]), _values(section))


def _values(section: Section) -> dict[str, object]:
    return {field.alias or name: getattr(section, name) for name, field in type(section).model_fields.items()}


def _changed(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if keys:
        yield f"{what}: {', '.join(keys)} changed"


def _renamed(route: Route, names: Mapping[str, str]) -> Route:
    return replace(
        route,
        receivers=tuple(names.get(name, name) for name in route.receivers),
        routes=tuple(_renamed(child, names) for child in route.routes),
    )


def _settings(old: Config, new: Config) -> Iterator[str]:
    yield from _changed("server", _values(old.server), _values(new.server))
    if old.heartbeat != new.heartbeat:
        yield "heartbeat changed"
    if old.log.level != new.log.level:
        yield f"log.level changed: {old.log.level} -> {new.log.level}"
    if old.log.format != new.log.format:
        yield f"log.format changed: {old.log.format} -> {new.log.format}, from the next start on"
    if old.store.retention != new.store.retention:
        before, after = spell_duration(old.store.retention), spell_duration(new.store.retention)
        yield f"store.retention changed: {before} -> {after}"
    if old.store.path != new.store.path:
        yield "store.path changed: takes effect at the next start"
