"""Writes letters: in the built-in words, or as the receiver's template says.

A template that makes no text is told once, and the built-in words go instead: nobody is told less for it.
"""

from dataclasses import dataclass
from typing import Final

from taskwatch.core.letters import Contents, facts, letter_of
from taskwatch.engine.ports import Renderer, TemplateFailedError
from taskwatch.model.letter import Letter
from taskwatch.telemetry import Logger, printable

SUBJECT: Final = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The templates of one receiver, as far as there are any."""

    subject: str | None = None
    text: str | None = None
    html: str | None = None


class Letters:
    """Writes the letters of one receiver."""

    def __init__(
        self,
        *,
        receiver: str,
        sources: Sources,
        renderer: Renderer,
        log: Logger,
        status_page: str | None = None,
    ) -> None:
        """`status_page` is where people find the daemon's page: the built-in words end with a link to it."""
        self._sources = sources
        self._status_page = status_page
        self._renderer = renderer
        self._log = log.bind(receiver=receiver)
        self._has_failed = False
        self._is_trusted = True

    def try_again(self) -> None:
        """Try the templates again, although they have failed: so often as this is called, not with each letter."""
        self._is_trusted = True

    async def write(self, contents: Contents) -> Letter:
        """Write a letter; never fails."""
        letter = self.built_in(contents)
        if self._sources == Sources() or not self._is_trusted:
            return letter
        try:
            letter = await self.filled_in(contents, letter)
        except TemplateFailedError as error:
            log = self._log.debug if self._has_failed else self._log.warning
            log("template_failed", error=str(error), instead="the built-in words")
            self._has_failed, self._is_trusted = True, False
        else:
            self._has_failed = False
        return letter

    def built_in(self, contents: Contents) -> Letter:
        """Return the letter in the built-in words."""
        return letter_of(contents, status_page=self._status_page)

    async def filled_in(self, contents: Contents, letter: Letter) -> Letter:
        """Return the letter with what the templates make. Raises TemplateFailedError.

        With a text of its own and no HTML there is no HTML: the two would not say the same.
        """
        known = facts(contents)
        sources = self._sources
        subject, text, html = letter.subject, letter.text, letter.html
        if sources.text is not None:
            text, html = await self._renderer.render(sources.text, known), None
        if sources.html is not None:
            html = await self._renderer.render(sources.html, known, is_html=True)
        if sources.subject is not None:
            rendered = await self._renderer.render(sources.subject, known)
            subject = printable(" ".join(rendered.split()), SUBJECT)
        return Letter(
            subject=subject,
            text=text,
            html=html,
            severity=letter.severity,
            at=letter.at,
            thread=letter.thread,
        )
