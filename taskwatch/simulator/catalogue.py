"""What tasks look like in this cloud: how often each kind runs, how long, and how it fails.

The names are those of the service's documentation; numbers and texts are what operators see.
"""

from dataclasses import dataclass
from typing import Final

BACKUP: Final = "BackupSnapshotGaussDBV5InInstance"
CREATE: Final = "CreateGaussDBV5Instance"
CLONE: Final = "CloneGaussDBV5NewInstance"
DELETE: Final = "DeleteGaussDBV5Instance"
RESTORE: Final = "RestoreGaussDBV5InInstance"
RESTORE_ELSEWHERE: Final = "RestoreGaussDBV5InInstanceToExistedInst"
ENLARGE: Final = "EnlargeGaussDBV5Volume"
RESIZE: Final = "ResizeGaussDBV5Flavor"
RESTORES: Final = frozenset({RESTORE, RESTORE_ELSEWHERE})
MAKERS: Final = frozenset({CREATE, CLONE})  # they bring an instance of their own into being
# The documentation of `GET /v3/{project_id}/jobs?id=` names these; of the others it knows nothing.
WITH_JOB: Final = frozenset({CREATE, BACKUP, CLONE, RESTORE, DELETE, ENLARGE, RESIZE})

RUNNING: Final = "Running"
COMPLETED: Final = "Completed"
FAILED: Final = "Failed"
STATUSES: Final = frozenset({RUNNING, COMPLETED, FAILED})

_ANYWHERE = (
    "The agent on the DB instance cannot be reached.",
    "Task execution timed out.",
)
_COMPUTE = (
    "An exception occurs when the ECS processes services.",
    "The ECS resources are insufficient in the availability zone.",
    "The quota of vCPUs is insufficient.",
)
_VOLUME = (
    "Attaching the EVS disk timed out.",
    "The quota of EVS disk capacity is insufficient.",
)
_NETWORK = (
    "Failed to create a port: the subnet has no free IP address.",
    "The security group of the VPC does not exist.",
)
_RESTORE = (
    "The checksum of the backup file does not match.",
    "Failed to download the backup file from OBS.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of task. `weight` is its share among the tasks that are not backups."""

    name: str
    weight: float
    minutes: tuple[float, float]
    while_running: str  # instance_status, as the three below opaque text to every client
    when_completed: str = "normal"
    when_failed: str = "normal"
    progress: float = 0.6  # how many of them report any
    reasons: tuple[str, ...]


_BACKUP_KIND = Kind(
    name=BACKUP,
    weight=0,
    minutes=(3, 20),
    while_running="backing up",
    progress=0.3,
    reasons=(
        "Failed to upload the backup file to OBS.",
        "The checksum of the backup file does not match.",
        *_ANYWHERE,
    ),
)

KINDS: Final = {
    kind.name: kind
    for kind in (
        _BACKUP_KIND,
        Kind(
            name=CREATE,
            weight=5,
            minutes=(10, 25),
            while_running="creating",
            when_failed="creating",  # so in the documentation's own example
            reasons=_COMPUTE + _VOLUME + _NETWORK + _ANYWHERE,
        ),
        Kind(
            name=CLONE,
            weight=2,
            minutes=(20, 90),
            while_running="creating",
            when_failed="createfail",
            reasons=_COMPUTE + _VOLUME + _RESTORE + _ANYWHERE,
        ),
        Kind(
            name=RESTORE,
            weight=1.5,
            minutes=(20, 90),
            while_running="restoring",
            when_failed="abnormal",
            reasons=_RESTORE + _ANYWHERE,
        ),
        Kind(
            name=RESTORE_ELSEWHERE,
            weight=1,
            minutes=(20, 90),
            while_running="restoring",
            when_failed="abnormal",
            reasons=_RESTORE + _ANYWHERE,
        ),
        Kind(
            name=DELETE,
            weight=4,
            minutes=(1, 6),
            while_running="deleting",
            when_completed="deleted",
            when_failed="abnormal",
            progress=0.1,
            reasons=("Failed to delete the port of the DB instance.", *_ANYWHERE),
        ),
        Kind(
            name=ENLARGE,
            weight=3,
            minutes=(2, 12),
            while_running="enlarging",
            reasons=_VOLUME + _ANYWHERE,
        ),
        Kind(
            name=RESIZE,
            weight=3,
            minutes=(8, 30),
            while_running="resizing",
            when_failed="abnormal",
            reasons=_COMPUTE + _ANYWHERE,
        ),
        Kind(
            name="GaussDBV5ExpandClusterCN",
            weight=1,
            minutes=(15, 40),
            while_running="expanding",
            reasons=_COMPUTE + _NETWORK + _ANYWHERE,
        ),
        Kind(
            name="GaussDBV5ExpandClusterDN",
            weight=1,
            minutes=(25, 80),
            while_running="expanding",
            reasons=_COMPUTE + _VOLUME + _NETWORK + _ANYWHERE,
        ),
    )
}
