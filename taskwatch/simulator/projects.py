"""The projects of the simulated cloud: names as operators give them, ids as the cloud does."""

from dataclasses import dataclass
from random import Random

from taskwatch.simulator.principals import REGION

_NAMES = ("shop", "billing", "analytics", "identity", "search", "logistics", "payments", "portal")
_STAGES = ("prod", "staging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project of the simulated cloud: what a configuration says about it."""

    name: str
    project_id: str

    @property
    def iam_name(self) -> str:
        """Its name as IAM has it, which begins with the region."""
        return f"{REGION}_{self.name}"


def new_projects(seed: int, count: int) -> tuple[Project, ...]:
    """Return so many projects; the same for the same seed."""
    random = Random(f"{seed}/projects")
    return tuple(
        Project(name=_project_name(number), project_id=f"{random.getrandbits(128):032x}")
        for number in range(count)
    )


def _project_name(number: int) -> str:
    stages, name = divmod(number, len(_NAMES))
    round_, stage = divmod(stages, len(_STAGES))
    suffix = f"-{round_ + 1}" if round_ else ""
    return f"{_NAMES[name]}-{_STAGES[stage]}{suffix}"
