"""Writes ``docs/watching/alerts.yml``, the alert rules for Prometheus.

Run it with ``python -m tools.project.watching.alerts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from tools.project.watching.metrics_page import FOLDER

DOCUMENT: Final = FOLDER / "alerts.yml"
HEAD: Final = (
    "# python -m tools.project.watching.alerts writes this file; docs/watching/README.md says how to use it.\n"
)


@dataclass(frozen=True)
class Alert:
    """One alert: what must hold, for how long, and what a person then does."""

    name: str
    expr: str
    lasts: str
    severity: Literal["page", "ticket"]
    summary: str
    remedy: str

    def as_rule(self) -> dict[str, Any]:
        """Return the alert as a rule of Prometheus."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "remedy": self.remedy},
        }


def _grew(name: str, span: str = "10m") -> str:
    """Return the expression for a counter that grew on a worker."""
    return f"increase(headrace_{name}_total[{span}]) > 0"


FLOW: Final = (
    Alert(
        "HeadraceWorkerDown",
        'up{job=~"headrace|headrace-serve"} == 0',
        "1m",
        "page",
        "{{ $labels.instance }} does not answer.",
        "Read its log: the last error line names the value, the limit and the remedy.",
    ),
    Alert(
        "HeadraceLagGrows",
        "min_over_time(headrace_lag[5m]) > 0 and deriv(headrace_lag[5m]) > 0",
        "10m",
        "page",
        "Partition {{ $labels.partition }} of {{ $labels.instance }} lags by {{ $value | humanize }} records, and the lag grows.",
        "Add workers, up to the number of partitions; if it is one partition alone, look for a user with very many events.",
    ),
    Alert(
        "HeadraceListsStop",
        "headrace_list_age_seconds > 60 and on (instance) headrace_pending_windows > 0",
        "1m",
        "page",
        "{{ $labels.instance }} delivered no list for {{ $value | humanize }} s while users wait.",
        "See 'A model in trouble' in docs/operations.md.",
    ),
    Alert(
        "HeadraceFreshnessSlow",
        "histogram_quantile(0.99, sum by (le) (rate(headrace_freshness_ms_bucket[5m]))) > 1000",
        "10m",
        "ticket",
        "The 99th percentile of freshness is {{ $value | humanize }} ms, above 1 s.",
        "headrace_stage_ms says which stage grew; a smaller model, a GPU or more recommenders help against a long queue.",
    ),
    Alert(
        "HeadraceEventsDoNotAddUp",
        'sum by (instance, partition) (headrace_events_total{outcome="read"}) != '
        'sum by (instance, partition) (headrace_events_total{outcome!="read"})',
        "1m",
        "page",
        "On partition {{ $labels.partition }} of {{ $labels.instance }} the outcomes do not add up to the events read.",
        "This must never happen: keep the log and the partition's offsets, and report it.",
    ),
    Alert(
        "HeadraceEventsDeleted",
        _grew("events_expired"),
        "0m",
        "page",
        "The broker deleted up to {{ $value | humanize }} records before {{ $labels.instance }} read them.",
        "See 'Events deleted before they were read' in docs/operations.md.",
    ),
    Alert(
        "HeadraceManyRejects",
        _grew("reject_alarms"),
        "0m",
        "ticket",
        "{{ $labels.instance }} rejects a tenth or more of a partition's records.",
        "Run headrace rejected list, then correct the producer.",
    ),
)
MODEL: Final = (
    Alert(
        "HeadraceFallbackLists",
        "rate(headrace_lists_degraded_total[5m]) > 0",
        "5m",
        "ticket",
        "{{ $labels.instance }} makes lists without the model.",
        "The model is late, hangs or fails: see 'A model in trouble' in docs/operations.md.",
    ),
    Alert(
        "HeadraceModelFails",
        "increase(headrace_model_failures_total[5m]) > 0 or increase(headrace_windows_poisoned_total[5m]) > 0",
        "0m",
        "ticket",
        "The model of {{ $labels.instance }} fails, or gives no usable number.",
        "The log says what it raised; roll back with headrace models rollback where a new artifact is the cause.",
    ),
    Alert(
        "HeadraceModelSwapFailed",
        _grew("model_swaps_failed"),
        "0m",
        "ticket",
        "{{ $labels.instance }} cannot serve the announced artifact; the one before serves on.",
        "Its /health and its log say why; publish another artifact, or roll back with headrace models rollback.",
    ),
    Alert(
        "HeadraceArtifactsDiffer",
        "count(count by (artifact) (headrace_artifact)) > 1",
        "30m",
        "ticket",
        "Recommenders make lists with {{ $value | humanize }} artifacts.",
        "headrace status names the artifact of each worker; /health of the one that did not follow says why.",
    ),
    Alert(
        "HeadraceReleasesDiffer",
        "count(count by (version) (headrace_build_info)) > 1",
        "1h",
        "ticket",
        "Workers of {{ $value | humanize }} releases run beside each other.",
        "End the upgrade: recommenders first, then sequencers.",
    ),
    Alert(
        "HeadraceRecallLow",
        "headrace_index_recall_percent < 98",
        "10m",
        "ticket",
        "Retrieval of {{ $labels.instance }} finds {{ $value | humanize }} % of the exact best 100.",
        "See docs/results/large-catalogues.md.",
    ),
)
DATA: Final = (
    Alert(
        "HeadraceUnknownItems",
        "sum(rate(headrace_events_unknown_item_total[10m])) > 0.5 * "
        'sum(rate(headrace_events_total{outcome="accepted"}[10m]))',
        "10m",
        "ticket",
        "More than half of the events are of items that the catalogue does not have.",
        "See 'Items that the catalogue lacks' in docs/operations.md.",
    ),
    Alert(
        "HeadraceRecordsMalformed",
        " or ".join(
            _grew(name) for name in ("items_left_out", "users_malformed", "rules_malformed", "privacy_malformed")
        ),
        "0m",
        "ticket",
        "{{ $labels.instance }} left out records that break the contract.",
        "The log has topic, partition, offset and field; publish them again.",
    ),
    Alert(
        "HeadraceForeignRecords",
        " or ".join(_grew(name) for name in ("windows_malformed", "keys_foreign")),
        "0m",
        "ticket",
        "Something else writes to a state topic that {{ $labels.instance }} reads.",
        "See 'Foreign or damaged records on state topics' in docs/operations.md.",
    ),
    Alert(
        "HeadraceStateDamaged",
        " or ".join(_grew(name) for name in ("windows_damaged", "vectors_damaged", "stores_rebuilt")),
        "0m",
        "ticket",
        "{{ $labels.instance }} found damaged state and rebuilt it.",
        "See 'Store damage' in docs/operations.md, and check the disk.",
    ),
    Alert(
        "HeadraceWindowsNewer",
        _grew("windows_newer"),
        "0m",
        "ticket",
        "{{ $labels.instance }} cannot read windows of a newer release.",
        "Upgrade the recommenders; next time upgrade them before the sequencers.",
    ),
)
SERVER: Final = (
    Alert(
        "HeadraceServeFails",
        'sum(rate(headrace_serve_requests_total{status="5xx"}[5m])) > '
        "0.01 * sum(rate(headrace_serve_requests_total[5m]))",
        "5m",
        "page",
        "More than one request in a hundred fails.",
        "The server's log names each failed request by its id.",
    ),
    Alert(
        "HeadraceServeNotReady",
        "headrace_serve_ready == 0",
        "5m",
        "page",
        "{{ $labels.instance }} is not ready.",
        "/readyz names what it waits for; a store of lists that does not answer is in its log.",
    ),
    Alert(
        "HeadraceServeBehind",
        "min_over_time(headrace_serve_lists_lag[5m]) > 1000",
        "5m",
        "ticket",
        "{{ $labels.instance }} has not read {{ $value | humanize }} records on recommendations.",
        "Its answers are old: give it a core of its own, or look at the broker.",
    ),
    Alert(
        "HeadraceServeSlow",
        "histogram_quantile(0.99, sum by (le) (rate(headrace_serve_latency_seconds_bucket[5m]))) > 0.1",
        "10m",
        "ticket",
        "The 99th percentile of an answer is {{ $value | humanize }} s, above 0.1 s.",
        "Start another server; headrace_serve_latency_seconds says which route is slow.",
    ),
)
GROUPS: Final = {"headrace-flow": FLOW, "headrace-model": MODEL, "headrace-data": DATA, "headrace-server": SERVER}


def document() -> str:
    """Return the rules as YAML."""
    groups = [{"name": name, "rules": [alert.as_rule() for alert in alerts]} for name, alerts in GROUPS.items()]
    text: str = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=1_000)
    return HEAD + text


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
