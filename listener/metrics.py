"""What Prometheus gets to know, named as its conventions have it: https://prometheus.io/docs/practices/naming.

Counts are of this process, from its start on; sizes are in bytes, times in seconds. What is not known at the moment is NaN.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import nan
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from listener.delivery import WAITS, Outcome
from listener.errors import NoMetrics

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

DOCUMENTS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    """One listener's figures."""

    def __init__(self, slot: str) -> None:
        self.registry = CollectorRegistry()
        self._slot = slot
        self.delivered = self._make(Counter, "documents_delivered", "Documents that the receiver accepted.")
        self.set_aside = self._make(Counter, "documents_set_aside", "Documents that became dead letters.")
        self.retries = self._make(Counter, "retries", "Calls that were not accepted and are to be made again as they are.")
        self.size = self._make(Histogram, "request_documents", "Documents in a call.", buckets=DOCUMENTS)
        self.duration = self._make(Histogram, "request_duration_seconds", "How long a call took.", buckets=SECONDS)
        self.connected = self._make(
            Gauge, "connected", "1 while the slot is streamed; 0: there is no connection, or nobody listens."
        )
        self.buffered = self._make(Gauge, "buffered_documents", "Documents that were received and not delivered.")
        self.lag_bytes = self._make(Gauge, "lag_bytes", "What the server has written beyond what is delivered.")
        self.lag_seconds = self._make(
            Gauge, "lag_seconds", "Age of the oldest document that is known and undelivered; 0: none is."
        )
        self.oldest = self._make(
            Gauge,
            "oldest_undelivered_timestamp_seconds",
            "When the oldest document that is known and undelivered was committed; 0: none is.",
        )
        self.dead_letters = self._make(Gauge, "dead_letters", "Dead letters that wait to be replayed or discarded.")
        self.unknown()

    @contextmanager
    def served(self, address: str, port: int | None) -> Iterator[None]:
        """Answer Prometheus for as long as the block runs, if there is a port."""
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, address, self.registry)
        except (OSError, UnicodeError) as error:  # the latter where a name cannot be one of a host
            said = getattr(error, "strerror", None) or "no host has such a name"
            raise NoMetrics(f"{NoMetrics()} ({said.lower()})") from None
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def unknown(self) -> None:
        """Nobody listens: what there is to deliver is not known."""
        self.connected.set(0)
        for gauge in (self.buffered, self.lag_bytes, self.lag_seconds, self.oldest, self.dead_letters):
            gauge.set(nan)

    def answered(self, outcome: Outcome) -> None:
        """A call was made."""
        self.size.observe(outcome.documents)
        self.duration.observe(outcome.seconds)
        if outcome.answer.verdict in WAITS:
            self.retries.inc()

    def waiting(self, documents: int, oldest: datetime | None, connected: bool) -> None:
        """So many documents wait, the oldest since then."""
        self.connected.set(connected)
        self.buffered.set(documents)
        if oldest is None:
            unknown = 0.0 if connected else nan
            self.oldest.set(unknown)
            self.lag_seconds.set(unknown)
        else:
            self.oldest.set(oldest.timestamp())
            self.lag_seconds.set(max(0.0, (datetime.now(UTC) - oldest).total_seconds()))

    def _make(self, kind: type[Metric], name: str, text: str, **options: Any) -> Metric:
        return kind(f"pgsegments_listener_{name}", text, ["slot"], registry=self.registry, **options).labels(self._slot)
