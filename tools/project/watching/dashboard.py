"""Writes ``docs/watching/dashboard.json``, the dashboard for Grafana.

Run it with ``python -m tools.project.watching.dashboard``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef, LegendDisplayMode, LegendPlacement, TooltipDisplayMode

from tools.project.watching.metrics_page import FOLDER

DOCUMENT: Final = FOLDER / "dashboard.json"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: Grafana's grid is so many columns wide.
WIDTH: Final = 24
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One graph: its queries, each with the name of its series, and what it tells a person."""

    title: str
    meaning: str
    queries: dict[str, str]
    unit: str = "short"


@dataclass(frozen=True)
class Figure:
    """One figure of the first row, as it is now."""

    title: str
    meaning: str
    query: str
    unit: str = "short"


def _rate(name: str, by: str = "") -> str:
    """Return the rate of a counter over all workers."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate(headrace_{name}_total{RATE}))"


def _quantile(q: float, histogram: str, by: str = "le") -> str:
    return f"histogram_quantile({q}, sum by ({by}) (rate(headrace_{histogram}_bucket{RATE})))"


FIGURES: Final = (
    Figure(
        "Events a second", "Events that the sequencers read.", 'sum(rate(headrace_events_total{outcome="read"}[5m]))'
    ),
    Figure("Lists a second", "Full lists that the recommenders delivered.", "sum(rate(headrace_lists_total[5m]))"),
    Figure(
        "Freshness, p99",
        "From a window's write to the delivery of its list, in 99 of 100 lists.",
        "histogram_quantile(0.99, sum by (le) (rate(headrace_freshness_ms_bucket[5m])))",
        "ms",
    ),
    Figure(
        "Oldest last list",
        "Seconds since the quietest recommender delivered a list.",
        "max(headrace_list_age_seconds)",
        "s",
    ),
    Figure("Lag", "Records that are not committed, over all partitions of both topics.", "sum(headrace_lag)"),
    Figure(
        "Rejected a minute",
        "Events that break the contract.",
        '60 * sum(rate(headrace_events_total{outcome="rejected"}[5m]))',
    ),
)
ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "The stream": (
        Panel(
            "Events by outcome",
            "The five outcomes add up to what is read.",
            {"{{outcome}}": f'sum by (outcome) (rate(headrace_events_total{{outcome!="read"}}{RATE}))'},
            "eps",
        ),
        Panel(
            "Lag by partition", "A lag that grows needs more workers.", {"{{instance}} {{partition}}": "headrace_lag"}
        ),
        Panel(
            "Lists",
            "Fallback lists are made without the model; a full list follows.",
            {
                "full": _rate("lists"),
                "fallback": _rate("lists_degraded"),
                "first": _rate("lists_first"),
                "refreshed": _rate("lists_refreshed"),
            },
            "ops",
        ),
        Panel(
            "Freshness",
            "From a window's write to the delivery of its list.",
            {f"p{100 * q:g}": _quantile(q, "freshness_ms") for q in (0.5, 0.9, 0.99)},
            "ms",
        ),
    ),
    "Where the time goes": (
        Panel(
            "Stages, p99",
            "How long an event or its list is in each stage.",
            {"{{stage}}": _quantile(0.99, "stage_ms", "le, stage")},
            "ms",
        ),
        Panel(
            "Stages, mean",
            "The means add up to the mean time from event to list.",
            {
                "{{stage}}": f"sum by (stage) (rate(headrace_stage_ms_sum{RATE})) / "
                f"sum by (stage) (rate(headrace_stage_ms_count{RATE}))"
            },
            "ms",
        ),
    ),
    "The model": (
        Panel(
            "Users who wait",
            "Near max_pending_windows the recommender reads no further.",
            {"{{instance}} for the model": "headrace_pending_windows", "{{instance}} held": "headrace_windows_held"},
        ),
        Panel(
            "Windows in a batch",
            "Batches grow under load.",
            {"mean": f"{_rate('model_windows')} / {_rate('model_batches')}"},
        ),
        Panel(
            "Trouble of the model",
            "Late and failed batches, and windows without a usable number.",
            {"late": _rate("model_late"), "failed": _rate("model_failures"), "poisoned": _rate("windows_poisoned")},
            "ops",
        ),
        Panel(
            "Swaps of the model",
            "Announced artifacts that were put in force, or could not be; users who wait for a list of the new one.",
            {
                "in force": _rate("model_swaps"),
                "failed": _rate("model_swaps_failed"),
                "users who wait": "sum(headrace_refresh_waiting)",
            },
        ),
        Panel(
            "Artifacts",
            "Recommenders by the artifact that their lists are made with.",
            {"{{artifact}}": "count by (artifact) (headrace_artifact)"},
        ),
        Panel(
            "Releases",
            "Workers by app and release.",
            {"{{app}} {{version}}": "count by (app, version) (headrace_build_info)"},
        ),
    ),
    "Catalogue and users": (
        Panel(
            "Items",
            "Items that lists can show, hidden ones, and rows since the last rebuild of the index.",
            {
                "shown": "max(headrace_catalogue_items)",
                "hidden": "max(headrace_catalogue_hidden)",
                "tail": "max(headrace_catalogue_tail)",
            },
        ),
        Panel(
            "Recall of retrieval",
            "Share of the exact best 100 that retrieval finds.",
            {"{{instance}}": "headrace_index_recall_percent"},
            "percent",
        ),
        Panel(
            "Users",
            "Users of whom a record is known, and followed users of other workers.",
            {"known": "sum(headrace_users_known)", "followed": "sum(headrace_users_followed)"},
        ),
        Panel(
            "Events of unknown items",
            "Compare them with the accepted events.",
            {"events": _rate("events_unknown_item")},
            "eps",
        ),
    ),
    "The server": (
        Panel(
            "Requests by status",
            "Answers of headrace serve.",
            {"{{status}}": _rate("serve_requests", "status")},
            "reqps",
        ),
        Panel(
            "Latency by route, p99",
            "From the head of a request to the end of its answer.",
            {"{{route}}": _quantile(0.99, "serve_latency_seconds", "le, route")},
            "s",
        ),
        Panel(
            "Age of the lists that are answered",
            "A list is as old as its user's last event.",
            {f"p{100 * q:g}": _quantile(q, "serve_list_age_seconds") for q in (0.5, 0.9)},
            "s",
        ),
        Panel(
            "What the server has",
            "Lists in its store, items of its catalogue, and records that it has not read.",
            {
                "{{instance}} lists": "headrace_serve_lists",
                "{{instance}} items": "headrace_serve_items",
                "{{instance}} not read": "headrace_serve_lists_lag",
            },
        ),
        Panel(
            "Refused",
            "Requests without a known key or above the rate of their caller, and what the store of lists refused.",
            {
                "key": _rate("serve_refused_keys"),
                "rate": _rate("serve_refused_rates"),
                "store": _rate("serve_store_failures"),
            },
            "reqps",
        ),
        Panel(
            "Records that the server passes over",
            "They break the contract.",
            {name: _rate(f"serve_{name}_malformed") for name in ("lists", "items", "users", "windows")},
            "ops",
        ),
    ),
    "Trouble of the data": (
        Panel(
            "Records left out",
            "They break the contract; the log has topic, partition and offset.",
            {
                name: _rate(name)
                for name in ("items_left_out", "users_malformed", "rules_malformed", "privacy_malformed")
            },
            "ops",
        ),
        Panel(
            "Damage",
            "State that cannot be read, or that another program wrote.",
            {
                name: _rate(name)
                for name in (
                    "windows_damaged",
                    "vectors_damaged",
                    "windows_malformed",
                    "keys_foreign",
                    "stores_rebuilt",
                )
            },
            "ops",
        ),
        Panel(
            "Events deleted unread",
            "The broker deleted them before a worker read them.",
            {"records": "sum(increase(headrace_events_expired_total[1h]))"},
        ),
        Panel(
            "Users forgotten and expired",
            "Users whose data was erased on request, or after user_ttl_days.",
            {"forgotten": _rate("users_forgotten"), "expired": _rate("users_expired")},
            "ops",
        ),
    ),
}


def dashboard() -> Dashboard:
    """Return the dashboard: figures first, then a row of graphs for each subject."""
    ids = count(1)
    board = Dashboard("headrace").uid("headrace").tags(["headrace"]).refresh("30s").time("now-1h", "now").readonly()
    board = board.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for figure in FIGURES:
        board = board.with_panel(_figure(figure, next(ids), WIDTH // len(FIGURES)))
    for title, panels in ROWS.items():
        board = board.with_row(Row(title).id(next(ids)))
        for panel in panels:
            board = board.with_panel(_graph(panel, next(ids), WIDTH // 2))
    return board


def _figure(figure: Figure, number: int, width: int) -> stat.Panel:
    query = Dataquery().expr(figure.query).ref_id("A").instant()
    made = stat.Panel().id(number).title(figure.title).description(figure.meaning).unit(figure.unit)
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    return made.datasource(SOURCE).span(width).height(4).reduce_options(reduced).with_target(query)


def _graph(panel: Panel, number: int, width: int) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    made = timeseries.Panel().id(number).title(panel.title).description(panel.meaning).unit(panel.unit)
    made = made.datasource(SOURCE).span(width).height(8).min(0).fill_opacity(10)
    made = made.legend(legend.placement(LegendPlacement.BOTTOM))
    made = made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    for place, (name, query) in enumerate(panel.queries.items()):
        made = made.with_target(Dataquery().expr(query).legend_format(name).ref_id(chr(ord("A") + place)))
    return made


def queries() -> list[str]:
    """Return every query of the dashboard."""
    panels = [panel for row in ROWS.values() for panel in row]
    return [*(figure.query for figure in FIGURES), *(query for panel in panels for query in panel.queries.values())]


def document() -> str:
    """Return the dashboard as JSON that Grafana imports."""
    built: Any = dashboard().build()
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
