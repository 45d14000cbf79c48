"""The shipper against a real server on loopback that behaves, and one that does not."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import delivery
from agent.clock import Timekeeper
from agent.packing import Packer, gzipped
from agent.shipper import Shipper
from agent.spool import Spool
from agent.token import TokenMaker
from agent.transport import Transport
from tests.agent.collector import AGENT, Collector, Handler, Ledger
from tests.agent.kit import DIGEST, LAYOUT, WoundClock, open_spool
from wire import batch as wire_batch
from wire.batch import Event, EventBatch, FrameBatch, Severity
from wire.clock import utcnow
from wire.layout import Layout, Series
from wire.receipt import Outcome, Receipt
from wire.validate import read_key

EVENT = Event(1_760_000_000_000, "ucx-agent", "agent.start", Severity.INFO, "hello")


class Bench:
    """An agent's delivering half and its collector."""

    def __init__(self, directory: Path, collector: Collector) -> None:
        self.clock = WoundClock()
        self.spool = open_spool(directory, self.clock)
        self.ledger = collector.ledger
        self.host_ahead_s = 0.0
        self.time = Timekeeper(lambda: utcnow() + timedelta(seconds=self.host_ahead_s))
        self.passed_s = 0.0
        key = Ed25519PrivateKey.generate()
        self.ledger.keys_by_agent[AGENT] = key.public_key()
        self.transport = Transport(collector.url, total_s=1.0)
        self.shipper = Shipper(
            self.spool,
            self.transport,
            TokenMaker(key, AGENT),
            self.time,
            longest_backoff_s=60.0,
            chance=lambda: 0.5,
            monotonic=lambda: self.passed_s,
        )

    def put(self, times: int = 1) -> None:
        for _ in range(times):
            self.spool.put_frames([self.clock.frame()], self.time.correction_ms)

    def run(self, steps: int = 40) -> list[float]:
        """Step until there is nothing to do; the pauses that were asked for."""
        pauses = []
        for _ in range(steps):
            pause = self.shipper.step()
            if pause.for_news and pause.seconds is None:
                break
            if pause.seconds:
                pauses.append(pause.seconds)
                self.passed_s += pause.seconds
        return pauses

    def waiting(self) -> int:
        return self.spool.total().batches


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Collector(ledger=Ledger()) as collector:
        bench = Bench(tmp_path, collector)
        yield bench
        bench.transport.close()
        bench.spool.close()


def test_a_batch_leaves_the_spool_on_its_receipt(bench: Bench) -> None:
    """Events first; the layout is uploaded when the collector asks for it."""
    bench.put()
    bench.spool.put_events([EVENT], 0)
    assert bench.run() == []
    assert bench.waiting() == 0
    assert bench.ledger.requests == [
        ("POST", "/v1/batches"),
        ("POST", "/v1/batches"),
        ("PUT", f"/v1/layouts/{DIGEST.hex()}"),
        ("POST", "/v1/batches"),
    ]
    assert bench.shipper.condition.delivered == 2


def page(
    body: bytes, status: int = 200, kind: str = "text/html", **headers: str
) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, body, kind, **headers)


def receipt(said_outcome: Outcome = Outcome.STORED, **wrong: object) -> Callable[[Handler], None]:
    """A receipt for the batch that was sent, parts of it replaced."""

    def answer(handler: Handler) -> None:
        key = read_key(handler.body)
        said = Receipt(
            key.agent, key.epoch, key.seq, wire_batch.digest(handler.body), said_outcome, "because"
        )
        handler.answer(200, msgspec.json.encode(msgspec.structs.replace(said, **wrong)))

    return answer


def cut_off(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A header that never ends, one byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(200):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.05)


def endless(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(4096):
        handler.wfile.write(b" " * 65_536)


def gigabyte(handler: Handler) -> None:
    """As much as the agent will read, declared as 1 GB."""
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n"
    )
    for _ in range(1024):
        handler.wfile.write(b" " * 1_048_576)
        handler.server.ledger.gave += 1


def endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1 << 20):
        handler.wfile.write(b"X-%d: %s\r\n" % (number, b"a" * 60_000) * 16)
        handler.server.ledger.gave += 1


def long_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(1024):
        handler.wfile.write(b"a" * 1_048_576)
        handler.server.ledger.gave += 1


def bomb(handler: Handler) -> None:
    """A megabyte that says of itself that it is compressed, and would be a gigabyte."""
    packed = gzipped(b" " * (1 << 25)) * 32
    handler.answer(200, packed, Content_Encoding="gzip")


def endless_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1024):
        handler.wfile.write(b"100000\r\n" + b" " * 1_048_576 + b"\r\n")
        handler.server.ledger.gave += 1


def lying_chunk(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 60_000 + b"\r\n{}")
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    handler.close_connection = True


def busy(status: int, asked: str) -> Callable[[Handler], None]:
    return lambda handler: handler.problem(status, "too-busy", retry_after=asked)


NO_RECEIPTS = {
    "a proxy's page with status 200": page(b"<html>Welcome to the guest network</html>"),
    "an empty 200": page(b"", kind="application/json"),
    "a 200 with other JSON": page(b'{"ok": true}', kind="application/json"),
    "a 200 with deep JSON": page(b"[" * 50_000, kind="application/json"),
    "a 204": page(b"", 204),
    "a receipt with another digest": receipt(digest="0" * 64),
    "a receipt with another seq": receipt(seq=999),
    "a receipt with another epoch": receipt(epoch=999),
    "a receipt for another agent": receipt(agent="ff" * 16),
    "an unknown outcome": receipt(outcome="perhaps"),
    "a redirect": page(b"", 302, Location="http://127.0.0.1:9/elsewhere"),
    "a permanent redirect": page(b"", 308, Location="/v1/batches"),
    "a proxy's 403": page(b"blocked by policy", 403),
    "a proxy's 401": page(b"log in", 401),
    "a proxy's 407": page(b"log in", 407),
    "a proxy's 404": page(b"", 404),
    "a 500": page(b"oops", 500),
    "a 502": page(b"", 502),
    "an answer that is cut off": cut_off,
    "an answer without end": endless,
    "a header that drips": drip,
    "a gigabyte": gigabyte,
    "headers without end": endless_headers,
    "a header without end": long_header,
    "a compression bomb": bomb,
    "chunks without end": endless_chunks,
    "a chunk that claims more bytes than there are": lying_chunk,
    "a connection that breaks": hang_up,
    "something that is not HTTP": garbage,
}


@pytest.mark.parametrize("answer", NO_RECEIPTS.values(), ids=NO_RECEIPTS.keys())
def test_what_is_no_receipt_keeps_the_batch(bench: Bench, answer: Callable[[Handler], None]) -> None:
    """It is sent again after a pause, and delivered once the collector itself answers.

    Broken twin: judge() that takes any 200 as delivered loses the batch at the first of these."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put()
    bench.ledger.script.append(answer)
    bench.shipper.step()
    assert bench.waiting() == 1
    assert bench.shipper.condition.trouble
    assert bench.ledger.batches == []
    assert bench.ledger.gave < 32, "megabytes that were read, or lie in the kernel's buffers"
    bench.run()
    assert bench.waiting() == 0
    assert len(bench.ledger.frames) == 1
    assert bench.shipper.condition.trouble == ""


def test_the_backoff_grows_and_is_bounded(bench: Bench) -> None:
    """Half (by the test's chance) of 1, 2, 4 ... 60 seconds."""
    bench.ledger.script += [page(b"", 500)] * 9
    bench.put()
    assert bench.run()[:9] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert bench.waiting() == 0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_but_bounded(bench: Bench, status: int) -> None:
    """A little more than asked for, so that not all agents come back at once; never for hours."""
    bench.ledger.script += [busy(status, asked) for asked in ("20", "86400", "soon", "-5")]
    bench.put()
    pauses = bench.run()
    assert pauses[0] == 21.0
    assert pauses[1] == pytest.approx(delivery.LONGEST_RETRY_AFTER_S * 1.05)
    assert pauses[2:4] == [2, 4], "what cannot be read leaves the backoff"
    assert bench.waiting() == 0


def test_a_permanent_refusal_drops_the_batch_counted_and_told(bench: Bench) -> None:
    """Only a receipt may refuse for good."""
    bench.put()
    bench.ledger.script.append(receipt(Outcome.REFUSED))
    bench.shipper.step()
    assert bench.waiting() == 0
    assert bench.spool.counters["batches_refused"] == 1
    assert "because" in bench.spool.take_incidents()[0].message


def test_a_taken_number_is_changed_and_the_content_arrives(bench: Bench) -> None:
    """A reverted machine: its old numbers are in the ledger with other bytes."""
    bench.put()
    batch = bench.spool.newest("frames")
    assert batch is not None
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.ledger.keys[AGENT, batch.epoch, batch.seq] = "0" * 64
    bench.run()
    assert bench.waiting() == 0
    assert len(bench.ledger.frames) == 1
    assert bench.spool.take_incidents()[0].event_id == "batch.renumbered"


def test_a_lost_answer_leads_to_no_double(bench: Bench) -> None:
    """Stored, but the receipt never came: the same bytes go again, the ledger knows them."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put()

    def store_and_hang_up(handler: Handler) -> None:
        bench.ledger.receive(handler.body)
        hang_up(handler)

    bench.ledger.script.append(store_and_hang_up)
    bench.run()
    assert len(bench.ledger.frames) == 1
    assert bench.waiting() == 0


def test_a_faulty_batch_does_not_hold_up_the_others(bench: Bench) -> None:
    """422 without a receipt: it waits, the rest goes on; later it is tried again."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put(3)
    bench.ledger.script.append(lambda handler: handler.problem(422, "invalid", detail="no"))
    for _ in range(6):
        bench.shipper.step()
    assert bench.waiting() == 1
    assert len(bench.ledger.frames) == 2
    bench.passed_s += delivery.HOLD_S + 1
    bench.run()
    assert bench.waiting() == 0


STOPPED = {
    "a proxy's 403": page(b"blocked by policy", 403),
    "a proxy's 413": page(b"too large", 413),
    "a 500": page(b"oops", 500),
    "a collector that cannot store it": busy(503, "1"),
    "a connection that breaks": hang_up,
}


@pytest.mark.parametrize("kind", ["frames", "events"])
@pytest.mark.parametrize("answer", STOPPED.values(), ids=STOPPED.keys())
def test_a_batch_that_never_gets_through_does_not_hold_up_the_others(
    bench: Bench, answer: Callable[[Handler], None], kind: Literal["frames", "events"]
) -> None:
    """A proxy that stops one batch for its size or its words: all others arrive, it alone waits on.

    Broken twin: without ``_passed_over`` all that waited stays behind it until it is too old, and is lost."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.spool.put_events([EVENT], 0)
    bench.put(20)
    stopped = bench.spool.oldest(kind)
    assert stopped is not None

    def proxy(handler: Handler) -> None:
        said = read_key(handler.plain())
        if (said.epoch, said.seq) == (stopped.epoch, stopped.seq):
            answer(handler)
        else:
            handler.behave()

    bench.ledger.script += [proxy] * 200
    for _ in range(60):
        bench.passed_s += bench.shipper.step().seconds or 0.0
    assert bench.waiting() == 1
    assert len(bench.ledger.batches) == 20
    asked = len(bench.ledger.requests)
    bench.passed_s += delivery.HOLD_S
    bench.shipper.step()
    bench.shipper.step()
    assert len(bench.ledger.requests) <= asked + 2, "it is tried now and then, not all the time"
    bench.ledger.script.clear()
    bench.run()
    assert bench.waiting() == 0


def test_while_nothing_gets_through_no_batch_is_put_aside(bench: Bench) -> None:
    """After an outage the newest still goes first, however often it failed."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put(5)
    newest = bench.spool.newest("frames")
    assert newest is not None
    bench.ledger.script += [page(b"", 502)] * 12
    while bench.ledger.script:
        bench.passed_s += bench.shipper.step().seconds or 0.0
    for _ in range(5):
        bench.passed_s += bench.shipper.step().seconds or 0.0
    assert bench.waiting() == 0
    assert newest.seq in [batch.seq for batch in bench.ledger.batches[:2]]


def test_a_number_that_cannot_be_changed_now_is_not_asked_for_in_a_tight_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was reverted and its disk is full: the batch waits, the others go on.

    Broken twin: a renumbering that fails in silence is sent again at once, as long as the disk is full."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put(2)
    batch = bench.spool.newest("frames")
    assert batch is not None
    bench.ledger.keys[AGENT, batch.epoch, batch.seq] = "0" * 64

    def full(*_: object) -> None:
        fault = sqlite3.OperationalError("database or disk is full")
        fault.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise fault

    assert bench.spool._disk is not None
    monkeypatch.setattr(bench.spool._disk, "renumber", full)
    for _ in range(10):
        bench.shipper.step()
    assert len(bench.ledger.requests) == 2
    monkeypatch.undo()
    bench.passed_s += delivery.HOLD_S + 1
    bench.run()
    assert bench.waiting() == 0
    assert len(bench.ledger.frames) == 2


def test_a_revoked_credential_means_slow_retries_and_keeps_everything(bench: Bench) -> None:
    """Nothing is deleted; once accepted again, all is delivered."""
    bench.put(2)
    known = bench.ledger.keys_by_agent.pop(AGENT)
    pauses = []
    for _ in range(6):
        pause = bench.shipper.step().seconds
        assert pause is not None
        pauses.append(pause)
    assert pauses[0] < 5, "the first time it may be the clock"
    assert min(pauses[1:]) >= 45
    assert max(pauses) <= 600
    assert bench.waiting() == 2
    bench.ledger.keys_by_agent[AGENT] = known
    bench.run()
    assert bench.waiting() == 0


def test_after_an_outage_the_newest_goes_first_and_the_old_trickle_behind(bench: Bench) -> None:
    """Oldest first among the old, in bursts that grow; a fresh one goes between."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    bench.put(12)
    assert bench.spool._disk is not None
    order = [wire_batch.digest(batch.body) for batch in bench.spool._disk.all()]
    for _ in range(5):
        bench.shipper.step()
    pause = bench.shipper.step()
    assert pause.for_news
    assert pause.seconds == delivery.BREATHER_S
    bench.put()
    bench.shipper.step()
    arrived = list(bench.ledger.keys.values())
    assert arrived[:5] == [order[11], *order[:4]]
    assert arrived[5] not in order, "the fresh one before the rest"
    bench.run()
    assert list(bench.ledger.keys.values())[6:] == order[4:11]


def test_what_happens_now_does_not_wait_behind_the_events_of_an_outage(bench: Bench) -> None:
    """A hundred events piled up; then a fresh event and fresh frames: these go first, the old ones in bursts.

    Broken twin: all events before all frames, oldest first: the fresh ones wait for the whole drain."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    for _ in range(100):
        bench.spool.put_events([EVENT], 0)
    bench.put()
    bench.ledger.script.append(hang_up)
    bench.passed_s += bench.shipper.step().seconds or 0.0
    fresh = msgspec.structs.replace(EVENT, event_id="fresh")
    bench.spool.put_events([fresh], 0)
    for _ in range(2):
        bench.shipper.step()
    first, second = bench.ledger.batches
    assert isinstance(first, EventBatch)
    assert first.events == [fresh]
    assert isinstance(second, FrameBatch)
    bench.run(400)
    assert bench.waiting() == 0
    assert len(bench.ledger.batches) == 102


def test_after_a_damaged_spool_was_replaced_the_newest_still_goes_first(bench: Bench) -> None:
    """The new file counts its batches from 1 again.

    Broken twin: remembered ids of the old file make everything in the new one look old."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    for _ in range(20):
        bench.put()
        bench.run()
    bench.spool._after_damage(lambda disk: None, sqlite3.DatabaseError("damaged"))
    bench.put(8)
    assert bench.spool._disk is not None
    newest = bench.spool._disk.last_id()
    assert newest < 20
    bench.shipper.step()
    assert bench.spool.newest("frames", ()) is not None
    assert bench.spool._disk.last_id() == newest - 1, "the newest is gone: delivered first"


def test_a_layout_that_does_not_arrive_is_not_asked_for_in_a_tight_loop(bench: Bench) -> None:
    """Something takes the upload and forgets it: the agent slows down."""
    bench.ledger.script += [
        lambda handler: handler.problem(409, "unknown-layouts", layouts=[DIGEST.hex()])
    ] * 5
    bench.put()
    pauses = bench.run()
    assert len(pauses) >= 4
    assert bench.waiting() == 0


def test_a_clock_that_is_far_off_is_corrected_and_the_token_signed_anew(bench: Bench) -> None:
    """The first answer, a 401, carries the collector's time; the second request is good. What was stamped
    before says so in its own time."""
    bench.host_ahead_s = -86_400.0
    bench.put()
    assert bench.run() == [pytest.approx(1.0)]
    assert bench.waiting() == 0
    assert bench.time.correction_ms == pytest.approx(86_400_000, abs=1500)
    offset = bench.time.offset_s()
    assert offset is not None
    assert offset == pytest.approx(-86_400, abs=1.5)
    assert bench.spool.get("correction_ms") == str(bench.time.correction_ms)
    sent_uncorrected = bench.ledger.sent_at[-1]
    assert abs(sent_uncorrected - (datetime.now(UTC).timestamp() - 86_400) * 1000) < 60_000
    bench.put()
    bench.run()
    assert abs(bench.ledger.sent_at[-1] - datetime.now(UTC).timestamp() * 1000) < 60_000


def test_a_proxys_date_is_not_believed(bench: Bench) -> None:
    """Only what is written as the collector writes teaches the clock."""
    bench.put()
    bench.ledger.clock_ahead_s = 5000
    bench.ledger.script.append(page(b"<html>"))
    bench.shipper.step()
    assert bench.time.offset_s() is None


def test_layouts_lost_with_a_damaged_spool_do_not_stop_the_rest(bench: Bench, tmp_path: Path) -> None:
    """The batch waits (and will be given up by age); the others are delivered."""
    bench.put(2)
    other = b"\x01" * 32
    bench.ledger.script.append(lambda handler: handler.problem(409, "unknown-layouts", layouts=[other.hex()]))
    for _ in range(4):
        bench.shipper.step()
    assert bench.waiting() == 1


def test_batches_travel_by_zstd_where_both_sides_have_it(bench: Bench) -> None:
    """A collector that does not take it says so once; from then on it is gzip, and nothing is lost."""
    bench.ledger.layouts[DIGEST] = Layout(1, 15.0, tuple(Series("a.b", {"n": str(n)}) for n in range(200)))
    wide = [0.25 * n for n in range(200)]
    for taken in ({"identity", "gzip", "zstd"}, {"identity", "gzip"}, {"identity", "gzip"}):
        bench.ledger.takes = taken
        bench.spool.put_frames([bench.clock.frame(*wide)], 0)
        bench.run()
    assert bench.ledger.encodings == ["zstd", "zstd", "gzip", "gzip"]
    assert len(bench.ledger.frames) == 3


def test_without_the_library_batches_travel_by_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: the agent needs it nowhere. Small bodies travel as they are."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    packer = Packer()
    assert packer.pack(b"a" * 511) == (b"a" * 511, {})
    body, headers = packer.pack(b"a" * 512)
    assert (zlib.decompress(body, 31), headers) == (b"a" * 512, {"Content-Encoding": "gzip"})
    assert not packer.give_way(415), "there is nothing else to try"


def test_the_layout_on_the_wire_is_the_one_in_the_spool(bench: Bench) -> None:
    """Byte for byte: its name is its hash."""
    bench.put()
    bench.run()
    assert bench.spool.layout(DIGEST) == LAYOUT
    assert list(bench.ledger.layouts) == [DIGEST]


def test_a_fault_of_our_own_does_not_end_delivery(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, it is logged and delivery goes on."""

    def stumble(*_: object) -> None:
        raise RuntimeError("ours")

    bench.put()
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "newest", stumble)
        assert bench.shipper._careful_step().seconds
    bench.run()
    assert bench.waiting() == 0
