"""Who is next: a bounded queue that serves tenants in turn.

Pure: no clock, no waiting. Bounded in items and bytes as a whole, and per tenant, so that one customer's
backlog after an outage neither fills the memory nor makes the others wait behind it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Admission(StrEnum):
    """Whether an item may wait here, and if not, why."""

    ADMITTED = "admitted"
    FULL = "the queue is full"
    TENANT_FULL = "this tenant's share of the queue is full"


class FairQueue(Generic[T]):
    """First in, first out within a tenant; round robin between tenants."""

    def __init__(self, *, most_items: int, most_bytes: int, tenant_share: float) -> None:
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._tenant_items = max(1, int(most_items * tenant_share))
        self._tenant_bytes = max(1, int(most_bytes * tenant_share))
        self._lines: OrderedDict[int, deque[tuple[int, T]]] = OrderedDict()
        self._line_bytes: dict[int, int] = {}
        self._items = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._items

    @property
    def bytes(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def room_for(self, tenant_id: int, size: int) -> Admission:
        """Whether ``offer`` would admit an item of ``size`` bytes."""
        if self._items >= self._most_items or self._bytes + size > self._most_bytes:
            return Admission.FULL
        line = self._lines.get(tenant_id)
        if line is None:
            return Admission.ADMITTED
        if len(line) >= self._tenant_items or self._line_bytes[tenant_id] + size > self._tenant_bytes:
            return Admission.TENANT_FULL
        return Admission.ADMITTED

    def offer(self, tenant_id: int, size: int, item: T) -> Admission:
        """Put ``item`` at the end of its tenant's line, if there is room."""
        verdict = self.room_for(tenant_id, size)
        if verdict is Admission.ADMITTED:
            line = self._lines.get(tenant_id)
            if line is None:
                line = self._lines[tenant_id] = deque()
                self._line_bytes[tenant_id] = 0
            line.append((size, item))
            self._line_bytes[tenant_id] += size
            self._items += 1
            self._bytes += size
        return verdict

    def take(self, most_items: int, most_bytes: int) -> list[T]:
        """The next items, one per tenant in turn; at least one when any waits, however large it is."""
        taken: list[T] = []
        left = most_bytes
        while self._lines and len(taken) < most_items:
            tenant_id = next(iter(self._lines))
            size = self._lines[tenant_id][0][0]
            if taken and size > left:
                break
            left -= size
            taken.append(self._pop(tenant_id))
        return taken

    def _pop(self, tenant_id: int) -> T:
        """Serve the tenant's first item and send the tenant to the end of the round."""
        line = self._lines[tenant_id]
        size, item = line.popleft()
        self._items -= 1
        self._bytes -= size
        self._line_bytes[tenant_id] -= size
        if line:
            self._lines.move_to_end(tenant_id)
        else:
            del self._lines[tenant_id], self._line_bytes[tenant_id]
        return item
