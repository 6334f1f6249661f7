"""What the simulated cloud counted, for tests: who asked how often for what, and was refused."""

from collections import Counter
from typing import Final

NOBODY: Final = "(unknown)"  # whoever is not known here counts as one, so that the counters stay few


class Counters:
    """Plain numbers since the start. Nothing here decides anything."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()  # by kind: tasks, jobs, login, iam
        self.logins_granted: Counter[str] = Counter()  # by user
        self.logins_refused: Counter[str] = Counter()
        self.signatures_refused: Counter[str] = Counter()  # by access key
        self.accounts_locked: Counter[str] = Counter()  # by user: how often
        self.keys_locked: Counter[str] = Counter()
        self.throttled = 0

    def refuse_login(self, user: str | None) -> None:
        self.logins_refused[user or NOBODY] += 1

    def refuse_signature(self, access: str | None) -> None:
        self.signatures_refused[access or NOBODY] += 1
