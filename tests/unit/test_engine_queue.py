"""The queue of one receiver: which delivery is the next, among those that nobody has and those that some have."""

from taskwatch.engine.queue import Item, Queue
from taskwatch.model.delivery import DeliveryId, Queued
from taskwatch.model.event import EventId


def a_queue(*tasks: str) -> Queue:
    queue = Queue()
    for number, task in enumerate(tasks, 1):
        queued = Queued(id=DeliveryId(number), event_id=EventId(f"tw_{number}"), task=task)
        queue.add(queued, now=0.0, successes=0)
    return queue


def tried(queue: Queue, *, due: float, in_part: bool = False) -> Item:
    """Take the first head, and put it back as it is after an attempt."""
    item = queue.heads[0]
    queue.take(item)
    item.due, item.in_part = due, in_part
    queue.put_back(item)
    return item


def test_what_some_have_stands_behind_no_other_that_is_due_later() -> None:
    queue = a_queue("a", "b")
    left = tried(queue, due=5.0, in_part=True)
    untold = tried(queue, due=3600.0)
    assert queue.heads == [untold, left]
    assert queue.in_part == 1


def test_each_is_taken_from_among_its_own() -> None:
    queue = a_queue("a", "b")
    left = tried(queue, due=5.0, in_part=True)
    queue.take(left)
    queue.finish(left)
    (head,) = queue.heads
    assert (head.queued.task, queue.in_part, len(queue)) == ("b", 0, 1)


def test_all_are_due_at_once_where_the_receiver_was_at_fault() -> None:
    queue = a_queue("a", "b")
    tried(queue, due=50.0, in_part=True)
    tried(queue, due=40.0)
    queue.hasten()
    assert [head.due for head in queue.heads] == [0.0, 0.0]
