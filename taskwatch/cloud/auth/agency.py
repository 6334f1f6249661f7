"""Tokens of an agency: what another account lets our own do in its projects."""

from typing import Protocol

from taskwatch.cloud.auth.account import Secrets
from taskwatch.cloud.auth.login import Login
from taskwatch.cloud.iam import Iam, Scope, Token


class Via(Login, Protocol):
    """A login by token, which assumes the agency."""

    def secrets(self) -> Secrets:
        """Return what it logs in with. Raises CloudError."""
        ...


class AgencySource:
    """Assumes an agency as another credential, for one scope."""

    def __init__(self, *, iam: Iam, via: Via, domain_name: str, agency_name: str, scope: Scope) -> None:
        self._iam = iam
        self._via = via
        self._domain_name = domain_name
        self._agency_name = agency_name
        self._scope = scope

    def secrets(self) -> Secrets:
        return self._via.secrets()

    async def obtain(self, secrets: Secrets) -> Token:  # noqa: ARG002  (`via` logs in with them, by itself)
        return await self._iam.token_by_agency(
            self._via, domain_name=self._domain_name, agency_name=self._agency_name, scope=self._scope
        )
