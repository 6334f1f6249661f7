"""The tokens that IAM gave out, dead ones included: the gateway tells an expired one from one it never saw."""

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from typing import Final

from taskwatch.simulator.principals import Accounts, Agency, Domain, IamProject, User

_MAX_KEPT: Final = 1_000  # the oldest go first


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of a user, or of an agency that the user assumed; for a project, or for a domain alone."""

    text: str = field(repr=False)
    method: str
    user: User
    agency: Agency | None
    domain: Domain
    project: IamProject | None
    issued_at: datetime
    expires_at: datetime


class TokenState(Enum):
    """Whether a token still opens anything."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Tokens:
    """Gives out tokens and tells what became of them."""

    def __init__(self, *, accounts: Accounts, seed: int) -> None:
        self._accounts = accounts
        self._random = Random(f"{seed}/tokens")
        self._tokens: dict[str, Token] = {}
        self._revoked: set[str] = set()

    def issue(
        self,
        *,
        method: str,
        user: User,
        domain: Domain,
        project: IamProject | None,
        now: datetime,
        agency: Agency | None = None,
    ) -> Token:
        token = Token(
            text=self._text(),
            method=method,
            user=user,
            agency=agency,
            domain=domain,
            project=project,
            issued_at=now,
            expires_at=now + timedelta(seconds=self._accounts.token_seconds),
        )
        self._tokens[token.text] = token
        if len(self._tokens) > _MAX_KEPT:
            oldest = next(iter(self._tokens))
            del self._tokens[oldest]
            self._revoked.discard(oldest)
        return token

    def pasted(self, text: str, *, user: User, now: datetime) -> Token:
        """Return what is said of a token that was not given out: one for the domain of this user, and fresh."""
        return Token(
            text=text,
            method="password",
            user=user,
            agency=None,
            domain=user.domain,
            project=None,
            issued_at=now,
            expires_at=now + timedelta(seconds=self._accounts.token_seconds),
        )

    def find(self, text: str) -> Token | None:
        """Return the token of this text, dead or alive."""
        return self._tokens.get(text)

    def state(self, token: Token, now: datetime) -> TokenState:
        if token.text in self._revoked:
            return TokenState.REVOKED
        return TokenState.VALID if now < token.expires_at else TokenState.EXPIRED

    def revoke(self, user: User | None = None) -> int:
        """Revoke all tokens, or those of one user; return how many."""
        found = {text for text, token in self._tokens.items() if user in (None, token.user)}
        before = len(self._revoked)
        self._revoked |= found
        return len(self._revoked) - before

    def revoke_one(self, token: Token) -> None:
        self._revoked.add(token.text)

    def _text(self) -> str:
        length = self._accounts.token_length
        return ("MII" + base64.b64encode(self._random.randbytes(length)).decode())[:length]
