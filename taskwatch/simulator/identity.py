"""The accounts of the simulated cloud as they stand: who may log in, as what, and for which project.

Two domains: the projects belong to the home domain and to its user; the agent is at home in a
partner domain, and what it may see of the projects it sees through the agency that trusts it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from random import Random

from taskwatch.simulator.counters import Counters
from taskwatch.simulator.keyring import Keyring
from taskwatch.simulator.locks import Lock
from taskwatch.simulator.principals import REGION, Accounts, Agency, Domain, IamProject, KeyPair, User
from taskwatch.simulator.tokens import Token, Tokens

_AGENT = "agent"
_AGENCY = "taskwatch-readers"


class LoginRefusedError(Exception):
    """Somebody did not get a token; the text is IAM's."""


class Identity:
    """Users, an agency, key pairs and tokens. `now` tells simulated time."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        projects: Mapping[str, str],
        seed: int,
        now: Callable[[], datetime],
        counters: Counters,
    ) -> None:
        """`projects`: the names that IAM has for the projects, by id."""
        random = Random(f"{seed}/accounts")
        self.accounts = accounts
        self.home = Domain(id=_id(random), name="OTC00000000001000000001")
        self.partner = Domain(id=_id(random), name="OTC00000000001000000002")
        self.user = User(id=_id(random), name=accounts.username, domain=self.home)
        self.agent = User(id=_id(random), name=_AGENT, domain=self.partner, is_agent=True)
        self.agency = Agency(id=_id(random), name=_AGENCY, domain=self.home, trusted=self.partner)
        self.projects = (
            *(IamProject(id=id_, name=name, domain=self.home) for id_, name in projects.items()),
            IamProject(id=_id(random), name=REGION, domain=self.partner),
        )
        self.tokens = Tokens(accounts=accounts, seed=seed)
        self.keys = Keyring(user=self.user, seed=seed, counters=counters)
        self._lock = Lock(limit=5, within=900.0, seconds=900.0)
        self._passwords = {self.user.id: accounts.password, self.agent.id: accounts.password}
        self._counters = counters
        self._now = now

    @property
    def users(self) -> tuple[User, ...]:
        return (self.user, self.agent)

    def password(self, user: User) -> str:
        return self._passwords[user.id]

    def change_password(self, password: str, user: User | None = None) -> None:
        """Give a user (the one of the home domain, unless told otherwise) a new password; its tokens die."""
        user = user or self.user
        self._passwords[user.id] = password
        self.tokens.revoke(user)

    def lend_keys(self, seconds: float | None = None) -> KeyPair:
        """Make a temporary pair of the user."""
        seconds = self.accounts.temporary_seconds if seconds is None else seconds
        return self.keys.lend(now=self._now(), seconds=seconds)

    def log_in(self, user: User | None, password: str) -> User:
        """Return the user if this is the password. Raises LoginRefusedError, and locks who tries too often."""
        moment = self._now().timestamp()
        if user is None:
            self._counters.refuse_login(None)
            raise LoginRefusedError("The username or password is wrong.")
        if self._lock.is_locked(user.id, moment):
            self._counters.refuse_login(user.name)
            raise LoginRefusedError("The account is locked.")
        if password != self._passwords[user.id]:
            self._counters.refuse_login(user.name)
            if self._lock.refuse(user.id, moment):
                self._counters.accounts_locked[user.name] += 1
            raise LoginRefusedError("The username or password is wrong.")
        self._lock.succeed(user.id)
        return user

    def refuse(self, user: User) -> None:
        """Count that somebody got no token although the password was right."""
        self._counters.refuse_login(user.name)

    def issue(
        self, user: User, *, domain: Domain, project: IamProject | None, agency: Agency | None = None
    ) -> Token:
        """Give out a token. Who may have it was found out before."""
        self._counters.logins_granted[user.name] += 1
        return self.tokens.issue(
            method="password" if agency is None else "assume_role",
            user=user,
            agency=agency,
            domain=domain,
            project=project,
            now=self._now(),
        )

    def projects_of(self, domain: Domain) -> list[IamProject]:
        return [project for project in self.projects if project.domain == domain]

    def find_user(self, *, id_: object = None, name: object = None, domain: object = None) -> User | None:
        """Return the user of this id, or of this name in the domain of this name or id."""
        return _first(
            user
            for user in self.users
            if user.id == id_ or (user.name == name and domain in (user.domain.name, user.domain.id))
        )


def _first(found: Iterable[User]) -> User | None:
    return next(iter(found), None)


def _id(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"
