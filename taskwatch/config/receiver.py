"""What every receiver can be told, whatever its kind. The notifiers' options build upon it."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PlainValidator, PrivateAttr, WithJsonSchema, model_validator

from taskwatch.config.fields import Duration, Name, RateOrOff, Switch, between, is_off
from taskwatch.config.section import Section, default
from taskwatch.config.template import LetterTemplates


def _no_template(value: object) -> None:
    if not (value is None or is_off(value)):
        raise ValueError("only email, apprise and webhook send what a template makes; leave it out")


NoTemplate = Annotated[Any, PlainValidator(_no_template), WithJsonSchema({"enum": ["off", None]})]
"""The key `template` of a kind that takes none."""


class Retry(Section):
    """When a delivery that failed is tried again, and when it is given up."""

    initial: Annotated[Duration, between(0.01, 3600)] = default("5s", "the delay after the first failure")
    max: Annotated[Duration, between(0.01, 86400)] = default("1h", "the longest delay")
    horizon: Annotated[Duration, between(0.01, 31 * 86400)] = default(
        "72h", "given up after so much time in which taskwatch ran"
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.initial > self.max:
            raise ValueError("initial is longer than max; write a max of at least initial")
        return self


class ReceiverOptions(Section):
    """The keys that all kinds share. A kind adds its own and narrows `type` to its Literal."""

    writes_to_people: ClassVar[bool] = False  # its messages are letters, and may tell several events
    keeps_alerts: ClassVar[bool] = False  # it is told of alerts and their ends, and of nothing else

    name: Name = Field(examples=["pipeline"], description="the receiver's name, by which routes know it")
    type: str = Field(description="the kind of receiver")
    timeout: Annotated[Duration, between(0.1, 600)] = default("10s", "the deadline of one attempt")
    retry: Retry = default({}, "when a failed delivery is tried again")
    rate: RateOrOff = default(None, "attempts in a time, at most, as 30/m; off")
    template: NoTemplate = None
    send_resolved: Switch = default(True, "tell also that an alert is over, or that something works again")
    _status_page: str | None = PrivateAttr(None)

    @property
    def status_page(self) -> str | None:
        """Where people find the daemon's page, for links to it: the server's external_url, no key of a receiver."""
        return self._status_page

    @property
    def text_type(self) -> str | None:
        """The media type of the text that is sent instead of an event; None: no template makes one."""
        return None

    def linked_to(self, status_page: str | None) -> Self:
        """Return the same with links to this page; None: with none."""
        linked = self.model_copy()
        linked._status_page = status_page  # noqa: SLF001 - of the same class
        return linked


class LetterOptions(ReceiverOptions):
    """The keys of kinds that write to people."""

    writes_to_people: ClassVar[bool] = True
    template: LetterTemplates = Field(
        None, description="other words than taskwatch's: that of the text, or subject, text and html"
    )
