"""What every receiver can be told, whatever its kind. The notifiers' options build upon it."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from taskwatch.config.fields import Duration, Name, NotYet, OnlyTrue, between
from taskwatch.config.section import Section, default


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

    name: Name = Field(examples=["pipeline"], description="the receiver's name, by which routes know it")
    type: str = Field(description="the kind of receiver")
    timeout: Annotated[Duration, between(0.1, 600)] = default("10s", "the deadline of one attempt")
    retry: Retry = default({}, "when a failed delivery is tried again")
    rate: NotYet = None
    template: NotYet = None
    send_resolved: OnlyTrue = default(True, "tell also that an alert has ended")
