"""What the collector counts about itself. One registry per app: two apps in one process do not mix."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GROUP_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """The collector's counters. Nothing is dropped or refused without one of them moving."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)

        self.batches = counter("ucx_collector_batches_total", "Batches answered with a receipt", ["outcome"])
        self.turned_away = counter(
            "ucx_collector_turned_away_total",
            "Batches without a receipt (the agent keeps them) and layouts not taken, by reason",
            ["request", "reason"],
        )
        self.frames = counter("ucx_collector_frames_total", "Frames stored")
        self.samples = counter("ucx_collector_samples_total", "Values stored, without gaps")
        self.events = counter("ucx_collector_events_total", "Events stored")
        self.commits = counter("ucx_collector_commits_total", "Ingest transactions by outcome", ["outcome"])
        self.commit_seconds = histogram(
            "ucx_collector_commit_seconds", "Time of one ingest transaction", buckets=_COMMIT_SECONDS
        )
        self.group_size = histogram(
            "ucx_collector_group_batches", "Batches in one transaction", buckets=_GROUP_SIZES
        )
        self.queued = gauge("ucx_collector_queued_batches", "Batches that wait for a commit")
        self.queued_bytes = gauge("ucx_collector_queued_bytes", "Bytes of batches that wait for a commit")
        self.failing_rules = counter(
            "ucx_collector_rule_failures_total", "Rules that raised on a host's data", ["rule"]
        )
        self.late = counter(
            "ucx_collector_late_inputs_total",
            "Frames and events stored but not judged, because newer ones had been",
        )
        self.expired = counter("ucx_collector_ledger_expired_total", "Ledger rows deleted past the horizon")
        self.series_refused = counter(
            "ucx_collector_series_refused_total",
            "Series that found no room, by the limit that was reached",
            ["limit"],
        )
        self.live_series = gauge(
            "ucx_collector_live_series", "Series that count against the limits, as last counted"
        )
        self.job_failures = gauge(
            "ucx_collector_upkeep_failures",
            "Rounds of a job of upkeep that failed in a row: alarm at 3",
            ["job", "table"],
        )
        self.unpacked = gauge(
            "ucx_collector_unpacked_chunks",
            "Pieces of tables that could not be packed in the last round: alarm when above 0",
        )
