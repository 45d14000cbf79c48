"""The queue in front of the commit: bounded, fair between tenants, in order within one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.queue import Admission, FairQueue

ITEMS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 50)), max_size=60)


def queue(items: int = 1000, size: int = 100_000, share: float = 1.0) -> FairQueue[int]:
    return FairQueue(most_items=items, most_bytes=size, tenant_share=share)


def test_a_tenants_backlog_does_not_make_others_wait_behind_it() -> None:
    """A thousand of one tenant are waiting: another's single batch is in the very next group."""
    line = queue()
    for n in range(900):
        line.offer(1, 10, n)
    line.offer(2, 10, 9999)
    assert 9999 in line.take(2, 1000)


def test_one_tenant_gets_no_more_than_its_share() -> None:
    """At half the queue the busy tenant is told to wait, the other is admitted."""
    line = queue(items=10, share=0.5)
    verdicts = [line.offer(1, 1, n) for n in range(6)]
    assert verdicts == [Admission.ADMITTED] * 5 + [Admission.TENANT_FULL]
    assert line.offer(2, 1, 0) is Admission.ADMITTED


def test_a_large_item_is_served_although_it_is_larger_than_a_group() -> None:
    """Nothing that was admitted can starve."""
    line = queue()
    line.offer(1, 5_000, 1)
    assert line.take(10, 100) == [1]


@given(ITEMS, st.integers(1, 10), st.integers(1, 120))
def test_nothing_is_lost_doubled_or_reordered(arrivals: list[tuple[int, int]], most: int, size: int) -> None:
    """Whatever the groups' bounds: each item comes out once, a tenant's in the order they came in."""
    line = queue()
    for number, (tenant, length) in enumerate(arrivals):
        assert line.offer(tenant, length, number) is Admission.ADMITTED
    assert line.bytes == sum(length for _, length in arrivals)
    out: list[int] = []
    while len(line):
        group = line.take(most, size)
        assert 1 <= len(group) <= most
        assert len(group) == 1 or sum(arrivals[n][1] for n in group) <= size
        out += group
    assert sorted(out) == list(range(len(arrivals)))
    assert line.bytes == 0
    for tenant in range(1, 5):
        mine = [n for n in out if arrivals[n][0] == tenant]
        assert mine == sorted(mine)


@given(ITEMS, st.integers(1, 8), st.integers(1, 100), st.floats(0.1, 1.0))
def test_it_never_holds_more_than_it_may(
    arrivals: list[tuple[int, int]], items: int, size: int, share: float
) -> None:
    """Items and bytes stay within their bounds, whatever is offered."""
    line = queue(items, size, share)
    for number, (tenant, length) in enumerate(arrivals):
        line.offer(tenant, length, number)
        assert len(line) <= items
        assert line.bytes <= size
