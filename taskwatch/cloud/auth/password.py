"""Tokens by username and password."""

from taskwatch.cloud.auth.account import Secrets
from taskwatch.cloud.auth.login import revealed
from taskwatch.cloud.iam import Iam, Scope, Token, User
from taskwatch.secret import Secret


class PasswordSource:
    """Logs a user in for one scope. The password is read anew for each login."""

    def __init__(self, *, iam: Iam, user: User, password: Secret, scope: Scope) -> None:
        self._iam = iam
        self._user = user
        self._password = password
        self._scope = scope

    def secrets(self) -> Secrets:
        return (revealed(self._password, said="password"),)

    async def obtain(self, secrets: Secrets) -> Token:
        (password,) = secrets
        return await self._iam.token_by_password(self._user, password, self._scope)
