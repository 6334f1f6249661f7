"""How each receiver is told: event by event, in letters, or in the words of its template; and a sample of that."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from taskwatch.clock import Clock
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.template import LetterTemplate
from taskwatch.core.events import receiver_test_event
from taskwatch.core.letters import contents_of, facts
from taskwatch.core.route import Routing
from taskwatch.engine.groups import Groups
from taskwatch.engine.lane import Supply
from taskwatch.engine.letters import Letters, Sources
from taskwatch.engine.ports import Renderer
from taskwatch.engine.templated import TemplatedOutbox
from taskwatch.model.delivery import Message
from taskwatch.model.letter import written
from taskwatch.model.rendered import Rendered
from taskwatch.store.sqlite import SqliteStore
from taskwatch.telemetry import Logger


def supply(
    options: ReceiverOptions,
    *,
    store: SqliteStore,
    routing: Callable[[], Routing],
    renderer: Renderer,
    clock: Clock,
    log: Logger,
) -> Supply:
    """Return where the lane of a receiver finds what it delivers."""
    if options.writes_to_people:
        groups = Groups(
            receiver=options.name,
            book=store.post,
            routing=routing,
            letters=_letters(options, renderer, log),
            clock=clock,
        )
        return Supply(store.post, groups)
    if options.text_type is not None:
        templated = TemplatedOutbox(
            store,
            receiver=options.name,
            source=options.template.source,
            content_type=options.text_type,
            renderer=renderer,
            log=log,
        )
        return Supply(templated)
    return Supply(store)


async def sample(options: ReceiverOptions, *, renderer: Renderer, at: datetime, log: Logger) -> Message:
    """Return the message by which a receiver is tried. Raises TemplateFailedError: a trial hides nothing."""
    is_templated = options.writes_to_people or options.text_type is not None
    event = receiver_test_event(options.name, at=at, sample=is_templated)
    body = event.body
    if options.writes_to_people:
        contents = contents_of(event.body)
        letters = _letters(options, renderer, log)
        letter = await letters.filled_in(contents, letters.built_in(contents))
        body = written(letter)
    elif options.text_type is not None:
        text = await renderer.render(options.template.source, facts(contents_of(event.body)))
        body = msgspec.json.encode(Rendered(content_type=options.text_type, text=text))
    return Message(event_id=event.id, body=body)


def _letters(options: ReceiverOptions, renderer: Renderer, log: Logger) -> Letters:
    return Letters(
        receiver=options.name,
        sources=_sources(options.template),
        renderer=renderer,
        log=log,
        status_page=options.status_page,
    )


def _sources(template: object) -> Sources:
    """Return the templates of letters, as far as the configuration has any."""
    if not isinstance(template, LetterTemplate):
        return Sources()
    subject, text, html = (
        None if one is None else one.source for one in (template.subject, template.text, template.html)
    )
    return Sources(subject=subject, text=text, html=html)
