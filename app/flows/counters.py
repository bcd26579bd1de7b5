"""What the node counts about itself, for `/metrics`. Nothing here is knowledge: a restart begins at zero."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.domain.lines import Clicked, Converted, Entry, Feedback, Line, Noticed, Shown, Ticked
from app.flows.histograms import Histogram
from app.rules.calibration import BUCKET_RATES
from app.state.apply import Outcome
from app.state.calibration import WHOLE
from app.state.state import State

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0)
STAGE_SECONDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.5)
CANDIDATES = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
EVENT_KINDS = {
    "Shown": "impression", "Clicked": "click", "Converted": "conversion", "Dismissed": "dismissal",
    "Refunded": "refund", "Returned": "return",
}  # fmt: skip


class Counters:
    """The metrics of API.md, on a registry of the node's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Answers by route and outcome", ["route", "outcome"])
        self.request_seconds = self._histogram("request_duration_seconds", "Time to answer", "route")
        self.stage_seconds = self._histogram(
            "stage_duration_seconds", "Time of a stage of an ad request", "stage", STAGE_SECONDS
        )
        self.choose_seconds = self.stage_seconds.labels("choose")
        self.candidates = self._histogram("candidates", "Ads that may win, per placement", None, CANDIDATES)
        self.position = self._gauge("journal_position", "Last journal position applied")
        self.commit_seconds = self._histogram(
            "journal_commit_duration_seconds", "Time of a commit with its sync"
        )
        self.visible_seconds = self._histogram(
            "event_visible_seconds", "From an event's arrival to its effect on decisions"
        )
        self.events = self._counter("events", "Feedback events by kind and status", ["kind", "status"])
        self.predicted_clicks = self._counter("predicted_clicks", "Clicks predicted for impressions")
        self.clicks = self._counter("clicks", "Clicks counted")
        self.predicted_conversions = self._counter(
            "predicted_conversions", "Conversions predicted for clicks on ads paid by conversions"
        )
        self.conversions = self._counter("conversions", "Conversions counted")
        self.open_clicks = self._gauge("open_clicks", "Clicks of the last week that may yet convert")
        self.spend = self._counter("spend_micros", "Billed, in micros of the account currency")
        self.conversion_spend = self._counter(
            "conversion_spend_micros", "Of it, billed for conversions (cpa)"
        )
        self.unbilled = self._counter("unbilled_micros", "Delivered beyond budgets, not billed, in micros")
        self.invalid = self._counter("invalid", "Invalid events by reason", ["reason"])
        self.shed = self._counter("shed", "Work refused under load, by reason", ["reason"])
        self.lost = self._counter("lost", "Decision records and feedback dropped")
        self._of_what_is_known()
        self._of_what_is_kept()

    def _of_what_is_known(self) -> None:
        self.log_loss = self._gauge("log_loss", "Mean log loss of impressions whose click window is closed")
        self.exploration_cost = self._gauge(
            "exploration_cost", "Share of expected eCPM that exploring cost lately, of the decisions measured"
        )
        self.exploration_factor = self._gauge(
            "exploration_factor", "1; less while exploring cost more than its ceiling"
        )
        self.reliability_clicks = self._gauge(
            "reliability_clicks", "Lately, clicks on impressions of about this raw pCTR", ["pctr"]
        )
        self.reliability_predicted = self._gauge(
            "reliability_predicted_clicks", "Lately, raw clicks predicted for such impressions", ["pctr"]
        )
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the loop was at the last tick")
        self.learning = self._gauge(
            "learning", "1 while impressions are learned, 0 where the node's whole click stream is silent"
        )
        self.silent = self._gauge(
            "silent_click_streams", "Publishers and placements whose clicks stopped to come"
        )
        self.held_clicks = self._counter(
            "held_predicted_clicks", "Of the clicks predicted, those of impressions held from learning"
        )
        self.clusters = self._gauge("clusters", "Clusters of people that light a row")
        self.cluster_changes = self._gauge(
            "cluster_changes", "Share of people, or placements, that the last fit put elsewhere", ["of"]
        )
        self.user_counters = self._gauge("user_counters", "Counters of frequency caps and views")
        self.user_counters_lost = self._gauge(
            "user_counters_lost", "Impressions not counted to a person, for want of room"
        )
        self.throttled = self._gauge("throttled_campaigns", "Campaigns that pacing holds back at present")
        self.pacing_error = self._gauge(
            "pacing_error", "Spend off the hour's plans, but for lack of traffic, as a share of what is due"
        )

    def _of_what_is_kept(self) -> None:
        self.snapshot_position = self._gauge("snapshot_position", "Position of the newest snapshot")
        self.snapshot_seconds = self._gauge(
            "snapshot_timestamp_seconds", "Time of the newest snapshot; before the first, of the start"
        )
        self.snapshot_failures = self._counter("snapshot_failures", "Snapshots that could not be made")
        self.trimmed = self._gauge("journal_trimmed_position", "Position up to which lines are trimmed")
        self.journal_bytes = self._gauge("journal_bytes", "Size of the journal's file")
        self.journal_waiting = self._gauge("journal_waiting_lines", "Lines that wait to be written")
        self.disk_free = self._gauge("disk_free_bytes", "Room left on the data directory's disk")
        self.disk_size = self._gauge("disk_size_bytes", "Size of that disk")
        self.build_info = self._gauge("build_info", "1, labelled with the build", ["version"])

    def applied(self, state: State, entry: Entry, outcome: Outcome) -> None:
        """Count what one applied line did."""
        receipt, line = outcome.receipt, entry.line
        self.position.set(entry.position)
        told_of = receipt.event_id if receipt is not None else b""
        for event, verdict in outcome.verdicts:
            if verdict.code and event != told_of and verdict.fate != "refunded":
                self.invalid.labels(verdict.code).inc()  # an earlier event, judged now
        if receipt is None:
            if isinstance(line, Ticked):
                self._look_at(state)
            return
        kind = line.kind if isinstance(line, Noticed) else EVENT_KINDS[type(line).__name__]
        self.events.labels(kind, receipt.status).inc()
        if kind != "refund":
            self._billed(line, outcome)
        # A refund tells of its click: by which rule, or by an accident, it was taken back.
        code = outcome.verdicts[0][1].code if kind == "refund" else receipt.code
        if code:
            self.invalid.labels(code).inc()
        if outcome.verdicts[0][1].fate not in {"learned", "skipped"}:
            return
        match line:
            case Shown():
                self.predicted_clicks.inc(line.ad.pctr)
                if outcome.verdicts[0][1].fate == "skipped":
                    self.held_clicks.inc(line.ad.pctr)
            case Clicked():
                self.clicks.inc()
                self.predicted_conversions.inc(line.ad.pcvr)
            case Converted():
                self.conversions.inc()
            case _:
                pass

    def _billed(self, line: Line, outcome: Outcome) -> None:
        """Count money. An impression may settle a click that waited for it, a click its conversions."""
        billed_now = outcome.verdicts[: outcome.first_count]
        billed = sum(verdict.billed_micros for _, verdict in billed_now)
        self.spend.inc(billed)
        if isinstance(line, Feedback) and line.ad.price_kind == "cpa":
            self.conversion_spend.inc(billed)
        self.unbilled.inc(sum(verdict.unbilled_micros for _, verdict in billed_now))

    def _look_at(self, state: State) -> None:
        """Take over what the state knows of itself, once a tick."""
        if state.progress.closed:
            self.log_loss.set(state.progress.log_loss())
        self._reliability(state)
        self.open_clicks.set(state.delays.next - state.delays.first)
        self.exploration_cost.set(state.exploration.cost)
        self.exploration_factor.set(state.exploration.factor)
        silent = state.silence.silent()
        self.learning.set(0 if WHOLE in silent else 1)
        self.silent.set(len(silent) - (WHOLE in silent))
        self.clusters.set(state.clusters.lit)
        self.cluster_changes.labels("people").set(state.clusters.changed)
        self.cluster_changes.labels("placements").set(state.clusters.placements_changed)
        self.user_counters.set(state.user_counters.total)
        self.user_counters_lost.set(state.user_counters.lost)
        self.throttled.set(int((state.pacing.of("throttle") < 1.0).sum()))
        self.pacing_error.set(state.pacing.error)

    def _reliability(self, state: State) -> None:
        clicks, predicted = state.calibration.counts[WHOLE].tolist()
        for pctr, came, said in zip(BUCKET_RATES, clicks, predicted, strict=True):
            if said:
                self.reliability_clicks.labels(pctr).set(came)
                self.reliability_predicted.labels(pctr).set(said)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"adjudge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"adjudge_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, label: str | None = None, edges: Sequence[float] = SECONDS
    ) -> Histogram:
        return Histogram(f"adjudge_{name}", text, edges, label, self.registry)
