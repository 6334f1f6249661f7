"""`/_simulator/` for the cloud as a whole: how it behaves, what its accounts are, what it counted."""

from dataclasses import asdict, fields

from aiohttp import web

from taskwatch.simulator.asked import UnclearError, body, number, plainly, text
from taskwatch.simulator.behaviour import Behaviour
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.identity import Identity
from taskwatch.simulator.principals import KeyPair, User

_LONGEST_LOAN = 86_400.0
_SHORTEST_LOAN = 1.0


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """Return the routes that control this cloud."""
    controls = _Controls(cloud)
    return [
        web.get("/_simulator/behaviour", plainly(controls.behaviour)),
        web.patch("/_simulator/behaviour", plainly(controls.change_behaviour)),
        web.delete("/_simulator/behaviour", plainly(controls.end_behaviour)),
        web.get("/_simulator/counters", plainly(controls.counters)),
        web.get("/_simulator/accounts", plainly(controls.accounts)),
        web.patch("/_simulator/accounts", plainly(controls.change_password)),
        web.delete("/_simulator/accounts/tokens", plainly(controls.revoke_tokens)),
        web.post("/_simulator/accounts/keys", plainly(controls.change_keys)),
        web.post("/_simulator/accounts/temporary-keys", plainly(controls.lend_keys)),
    ]


class _Controls:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @property
    def _identity(self) -> Identity:
        if not self._cloud.has_accounts:
            raise UnclearError("this cloud has no accounts")
        return self._cloud.identity

    async def behaviour(self, _request: web.Request) -> dict[str, object]:
        return {"behaviour": asdict(self._cloud.behaviour)}

    async def change_behaviour(self, request: web.Request) -> dict[str, object]:
        changes = await body(request, {field.name for field in fields(Behaviour)})
        self._cloud.behave(**changes)
        return {"behaviour": asdict(self._cloud.behaviour)}

    async def end_behaviour(self, _request: web.Request) -> dict[str, object]:
        self._cloud.behaviour = Behaviour()
        return {"behaviour": asdict(self._cloud.behaviour)}

    async def counters(self, _request: web.Request) -> dict[str, object]:
        counters = self._cloud.counters
        return {
            "requests": dict(counters.requests),
            "logins_granted": dict(counters.logins_granted),
            "logins_refused": dict(counters.logins_refused),
            "accounts_locked": dict(counters.accounts_locked),
            "signatures_refused": dict(counters.signatures_refused),
            "keys_locked": dict(counters.keys_locked),
            "throttled": counters.throttled,
        }

    async def accounts(self, _request: web.Request) -> dict[str, object]:
        """Show everything that opens a door: nothing here protects anything."""
        identity = self._identity
        return {
            "user": _user(identity, identity.user),
            "agent": _user(identity, identity.agent),
            "agency": {"agency_name": identity.agency.name, "domain_name": identity.agency.domain.name},
            "projects": [
                {"id": project.id, "name": project.name, "domain_name": project.domain.name}
                for project in identity.projects
            ],
            "keys": _keys(identity.keys.permanent),
        }

    async def change_password(self, request: web.Request) -> dict[str, object]:
        """Give the user (or the agent) a new password, which ends its tokens."""
        identity = self._identity
        asked = await body(request, {"username", "password"})
        password, name = text(asked, "password"), text(asked, "username")
        if password is None:
            raise UnclearError("password is missing")
        user = next((user for user in identity.users if name in (None, user.name)), None)
        if user is None:
            raise UnclearError(f"no user has the name {name!r}")
        identity.change_password(password, user)
        return {"user": _user(identity, user)}

    async def revoke_tokens(self, _request: web.Request) -> dict[str, object]:
        return {"revoked": self._identity.tokens.revoke()}

    async def change_keys(self, _request: web.Request) -> dict[str, object]:
        return {"keys": _keys(self._identity.keys.change())}

    async def lend_keys(self, request: web.Request) -> dict[str, object]:
        identity = self._identity
        seconds = number(await body(request, {"seconds"}), "seconds")
        if seconds is not None and not _SHORTEST_LOAN <= seconds <= _LONGEST_LOAN:
            raise UnclearError(f"seconds must be {_SHORTEST_LOAN:.0f} to {_LONGEST_LOAN:.0f}")
        return {"keys": _keys(identity.lend_keys(seconds))}


def _user(identity: Identity, user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "username": user.name,
        "domain_name": user.domain.name,
        "domain_id": user.domain.id,
        "password": identity.password(user),
    }


def _keys(pair: KeyPair) -> dict[str, object]:
    shown: dict[str, object] = {"access_key": pair.access, "secret_key": pair.secret}
    if pair.expires_at is not None:
        shown |= {"security_token": pair.security_token, "expires_at": pair.expires_at.isoformat()}
    return shown
