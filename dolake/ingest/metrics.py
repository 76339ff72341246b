"""What the lake counts of its sources, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class IngestMetrics:
    """The counters of one lake in this process; each has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changes = Counter(
            "dolake_changes", "Changes accepted.", ["source"], registry=self.registry
        )
        self.bytes = Counter(
            "dolake_received_bytes",
            "Bytes of messages accepted.",
            ["source"],
            registry=self.registry,
        )
        self.acks = Counter("dolake_acks", "Acks by status.", ["status"], registry=self.registry)
        self.nacks = Counter("dolake_nacks", "Nacks by reason.", ["reason"], registry=self.registry)
        self.flushes = Counter(
            "dolake_flushes",
            "Snapshots written, by what made them due.",
            ["reason"],
            registry=self.registry,
        )
        self.flush_failures = Counter(
            "dolake_flush_failures",
            "Flushes that failed and are tried again.",
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "dolake_dead_letters",
            "Batches the tables could not take.",
            ["source"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "dolake_dropped_changes",
            "Changes of tier P3 that were dropped.",
            ["source"],
            registry=self.registry,
        )
        self.flush_seconds = Histogram(
            "dolake_flush_seconds",
            "How long a snapshot takes to write.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.freshness_seconds = Histogram(
            "dolake_freshness_seconds",
            "From a commit in the source to the snapshot that holds it.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.accepted_lsn = Gauge(
            "dolake_accepted_lsn", "Last LSN accepted.", ["source"], registry=self.registry
        )
        self.committed_lsn = Gauge(
            "dolake_committed_lsn", "Last LSN in a snapshot.", ["source"], registry=self.registry
        )
        self.memory_bytes = Gauge(
            "dolake_memory_bytes", "Unwritten changes in memory, about.", registry=self.registry
        )
        self.log_bytes = Gauge(
            "dolake_log_bytes", "What the event log holds.", registry=self.registry
        )
        self.connections = Gauge(
            "dolake_connections", "Open connections of sources.", registry=self.registry
        )

    def exposition(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self.registry)
