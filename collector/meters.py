"""What the collector counts about itself. One registry per app: two apps in one process do not mix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GROUP_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """The collector's counters. Nothing is dropped or refused without one of them moving."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batches = Counter(
            "ucx_collector_batches_total", "Batches answered with a receipt", ["outcome"], registry=registry
        )
        self.turned_away = Counter(
            "ucx_collector_turned_away_total",
            "Batches without a receipt (the agent keeps them) and layouts not taken, by reason",
            ["request", "reason"],
            registry=registry,
        )
        self.frames = Counter("ucx_collector_frames_total", "Frames stored", registry=registry)
        self.samples = Counter(
            "ucx_collector_samples_total", "Values stored, without gaps", registry=registry
        )
        self.events = Counter("ucx_collector_events_total", "Events stored", registry=registry)
        self.commits = Counter(
            "ucx_collector_commits_total", "Ingest transactions by outcome", ["outcome"], registry=registry
        )
        self.commit_seconds = Histogram(
            "ucx_collector_commit_seconds",
            "Time of one ingest transaction",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self.group_size = Histogram(
            "ucx_collector_group_batches",
            "Batches in one transaction",
            buckets=_GROUP_SIZES,
            registry=registry,
        )
        self.queued = Gauge(
            "ucx_collector_queued_batches", "Batches that wait for a commit", registry=registry
        )
        self.queued_bytes = Gauge(
            "ucx_collector_queued_bytes", "Bytes of batches that wait for a commit", registry=registry
        )
        self.failing_rules = Counter(
            "ucx_collector_rule_failures_total",
            "Rules that raised on a host's data",
            ["rule"],
            registry=registry,
        )
        self.late = Counter(
            "ucx_collector_late_inputs_total",
            "Frames and events stored but not judged, because newer ones had been",
            registry=registry,
        )
        self.expired = Counter(
            "ucx_collector_ledger_expired_total", "Ledger rows deleted past the horizon", registry=registry
        )
        self.series_refused = Counter(
            "ucx_collector_series_refused_total",
            "Series that found no room, by the limit that was reached",
            ["limit"],
            registry=registry,
        )
        self.live_series = Gauge(
            "ucx_collector_live_series",
            "Series that count against the limits, as last counted",
            registry=registry,
        )
        self.job_failures = Gauge(
            "ucx_collector_upkeep_failures",
            "Rounds of a job of upkeep that failed in a row: alarm at 3",
            ["job", "table"],
            registry=registry,
        )
        self.unpacked = Gauge(
            "ucx_collector_unpacked_chunks",
            "Pieces of tables that could not be packed in the last round: alarm when above 0",
            registry=registry,
        )
