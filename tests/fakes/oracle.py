"""The one oracle: what was told, held against what the cloud served and where it ended.

Per task a chain without a gap from the baseline to the cloud's last status; nothing told that was
not served; first deliveries in order; the same id means the same bytes. It shares no code with taskwatch.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Told = tuple[str, bytes]  # id and body, in the order in which one receiver took them


def violations(
    receivers: Mapping[str, Iterable[Told]],
    *,
    last: Mapping[str, str],  # job id → the cloud's last status
    served: set[tuple[str, str]],  # (job id, status)
    silent: Mapping[str, str],  # job id → status, of tasks that the baseline held
) -> list[str]:
    """Return every broken promise in one line each; none is the only good answer."""
    found: list[str] = []
    bodies: dict[str, bytes] = {}
    for name, told in receivers.items():
        chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
        seen: set[str] = set()
        for id_, body in told:
            if bodies.setdefault(id_, body) != body:
                found.append(f"{name}: two bodies under the id {id_}")
            if id_ in seen:
                continue  # a copy, which receivers drop
            seen.add(id_)
            event = json.loads(body)
            if event["id"] != id_:
                found.append(f"{name}: webhook-id {id_} carries the event {event['id']}")
            if "task" in event["data"]:
                chains[event["subject"]].append(event)
        for job_id, status in last.items():
            found += _broken_chain(f"{name}: {job_id}", chains.pop(job_id, []), status, silent.get(job_id))
        found += [f"{name}: told of {job_id}, which never was" for job_id in chains]
        found += [f"{name}: {what}" for what in _never_served((bodies[id_] for id_ in seen), served)]
    return found


def _never_served(bodies: Iterable[bytes], served: set[tuple[str, str]]) -> list[str]:
    steps = [event for body in bodies if "transition" in (event := json.loads(body))["data"]]
    told = [(event["subject"], event["data"]["transition"]["to"]) for event in steps]
    return [
        f"told that {job_id} is {to}, which was never served"
        for job_id, to in told
        if (job_id, to) not in served
    ]


def _broken_chain(where: str, chain: list[dict[str, Any]], last: str, silent: str | None) -> list[str]:
    found = []
    at = silent
    revision = 0 if silent is None else 1
    for number, event in enumerate(chain, start=1):
        if event["data"]["sequence"] != number:
            found.append(
                f"{where}: event {number} has sequence {event['data']['sequence']}: lost or out of order"
            )
        step = event["data"].get("transition")
        if step is None:  # that it is gone, or that an alert is over
            continue
        if step["from"] != at:
            found.append(f"{where}: from {step['from']} although it was {at}")
        if step["revision"] != revision + 1:
            found.append(f"{where}: revision {step['revision']} after {revision}")
        at, revision = step["to"], step["revision"]
    if at != last:
        found.append(f"{where}: last told {at}, but the cloud says {last}")
    return found
