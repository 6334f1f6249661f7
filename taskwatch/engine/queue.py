"""The pending deliveries of one receiver that are in memory.

Of each task they stand in the order of recording, and only the first may be tried. Among these first
ones the next is the one that is due first: of those that nobody has, or else of what is left of those that some have.
Bodies stay in the store.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from taskwatch.model.delivery import DeliveryId, Queued


@dataclass(slots=True, order=True)
class Item:
    """One pending delivery, and how it fared so far."""

    due: float  # monotonic; 0: at once
    id: DeliveryId
    in_part: bool = field(compare=False)  # some have it
    queued: Queued = field(compare=False)
    attempts: int = field(compare=False)
    poisoned: int = field(compare=False)
    tried_seconds: float = field(compare=False)
    loaded_at: float = field(compare=False)  # monotonic
    tried_at: float | None = field(compare=False, default=None)  # monotonic, the last attempt of this run
    successes: int = field(compare=False, default=0)  # of the lane, when this one was last judged


class Queue:
    """Holds items until they are finished, also those that are being tried."""

    def __init__(self) -> None:
        self.loaded = DeliveryId(0)  # the last number that was added; numbers only grow
        self._tasks: dict[str, deque[Item]] = {}  # per task, in the order of recording
        # Heaps of those that may be tried: that nobody has, and that some have.
        self._untold: list[Item] = []
        self._left: list[Item] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def heads(self) -> list[Item]:
        """The next to be tried, of those that nobody has, and of those that some have."""
        return [heap[0] for heap in (self._untold, self._left) if heap]

    @property
    def in_part(self) -> int:
        """How many may be tried of which some have what they tell."""
        return len(self._left)

    def add(self, queued: Queued, *, now: float, successes: int) -> None:
        item = Item(
            in_part=queued.in_part,
            due=0.0,
            id=queued.id,
            queued=queued,
            attempts=queued.attempts,
            poisoned=queued.poisoned,
            tried_seconds=queued.tried_seconds,
            loaded_at=now,
            successes=successes,
        )
        self.loaded = queued.id
        self._size += 1
        line = self._tasks.setdefault(queued.task, deque())
        line.append(item)
        if len(line) == 1:
            self.put_back(item)

    def take(self, head: Item) -> None:
        """Take one of the heads, to try it. It comes back by `put_back`, or it is finished."""
        heapq.heappop(self._heap(head))

    def put_back(self, item: Item) -> None:
        heapq.heappush(self._heap(item), item)

    def finish(self, item: Item) -> None:
        """Forget an item that was taken: the next of its task may be tried."""
        self._size -= 1
        line = self._tasks[item.queued.task]
        line.popleft()
        if line:
            self.put_back(line[0])
        else:
            del self._tasks[item.queued.task]

    def hasten(self) -> None:
        """Let those be due now that failed while the receiver was down: they were not at fault."""
        for heap in (self._untold, self._left):
            for item in heap:
                item.due = item.due if item.poisoned else 0.0
            heapq.heapify(heap)

    def _heap(self, item: Item) -> list[Item]:
        return self._left if item.in_part else self._untold
