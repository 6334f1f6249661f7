"""What matchers see of an event that is on record: read from its body, and the same as when it was made."""

from typing import Any

import msgspec

from taskwatch.model.event import LABEL_PREFIX


def attributes_of(body: bytes) -> dict[str, str]:
    """Return the attributes of the event with this body, a CloudEvent of taskwatch."""
    event: dict[str, Any] = msgspec.json.decode(body)
    data = event["data"]
    attributes = {"type": event["type"], "severity": data["severity"]}
    if (project := data.get("project")) is not None:
        attributes |= {"project": project["name"], "project_id": project["project_id"]}
    if (task := data.get("task")) is not None:
        attributes |= {
            "task": task["name"],
            "job_id": task["job_id"],
            "instance_name": task["instance"]["name"] or "",
            "instance_id": task["instance"]["id"] or "",
            "fail_reason": task["fail_reason"] or "",
        }
    if (transition := data.get("transition")) is not None:
        attributes |= {"from": transition["from"] or "", "to": transition["to"]}
    projects = [project] if project is not None else data.get("projects", [])
    labels = [set(one["labels"].items()) for one in projects]
    common = set.intersection(*labels) if labels else set()
    return attributes | {LABEL_PREFIX + name: value for name, value in sorted(common)}
