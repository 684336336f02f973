"""The page of metrics, the alert rules and the dashboard agree with what workers expose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streams.health.counters import Counts, Metrics
from streams.health.metric_names import MEASURED_LATER, PREFIX, App, exposed
from streams.server.gate.measures import Measures
from tools.project.watching import alerts, dashboard, metrics_page

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
RULE_TEST = Path(__file__).with_name("alert_rules_test.yml")
EVERY = [each for metrics in metrics_page.TABLES.values() for each in metrics]
#: What Prometheus itself knows of each worker.
PROMETHEUS_OWN = {"up"}
#: Grafana replaces it before it asks; any span stands for it here.
SPAN = "$__rate_interval"


def touched(app: App) -> Metrics:
    """Return the metrics of a worker of which everything is known."""
    metrics = Metrics(app)
    metrics.lag = {0: 5}
    if app == "sequencer":
        metrics.count_batch(0, Counts(read=1, accepted=1), 7)
    else:
        metrics.note_artifact("a1")
        for name in MEASURED_LATER:
            metrics.put(name, 99)
    return metrics


def shown(process: str) -> str:
    """Return the page of a process of which everything is known."""
    if process != "Server":
        return touched("sequencer" if process == "Sequencer" else "recommender").as_prometheus()
    measures = Measures()
    measures.note("/v1/popular", 200, 0.001)
    return measures.as_text().decode()


@pytest.mark.parametrize("process", list(metrics_page.TABLES))
def test_the_page_lists_what_a_process_exposes_and_nothing_else(process: str) -> None:
    """Names, kinds, labels and meanings are those of a real page."""
    families = {family.name: family for family in text_string_to_metric_families(shown(process))}
    known = metrics_page.TABLES[process]
    described = {f"{PREFIX}{each.name}{'_info' if each.kind == 'info' else ''}": each for each in known}
    assert set(families) == set(described)
    for name, each in described.items():
        family = families[name]
        assert family.documentation == each.meaning
        assert family.type == ("gauge" if each.kind == "info" else each.kind)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(each.labels)


def test_the_page_of_metrics_is_that_of_the_code() -> None:
    assert metrics_page.DOCUMENT.read_text("utf-8") == metrics_page.document()
    for each in EVERY:
        assert metrics_page.row(each) in metrics_page.document()


def test_the_alert_rules_and_the_dashboard_are_those_of_the_code() -> None:
    """Somebody who edits a file by hand loses it: the modules write them."""
    assert alerts.DOCUMENT.read_text("utf-8") == alerts.document()
    assert dashboard.DOCUMENT.read_text("utf-8") == dashboard.document()


def in_alerts() -> list[str]:
    """Return the queries of the written alert rules."""
    groups = yaml.safe_load(alerts.DOCUMENT.read_text("utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def in_dashboard() -> list[str]:
    """Return the queries of the written dashboard."""
    panels = json.loads(dashboard.DOCUMENT.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def selected(node: object) -> list[promql_parser.VectorSelector]:
    """Return the vector selectors of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")]
    parts += list(getattr(node, "args", None) or ())
    return [found for part in parts if part is not None for found in selected(part)]


@pytest.mark.parametrize("query", sorted({*in_alerts(), *in_dashboard()}))
def test_every_query_is_promql_over_metrics_and_labels_that_exist(query: str) -> None:
    """An alert on a name that no page has never rings."""
    found = selected(promql_parser.parse(query.replace(SPAN, "5m")))
    assert found
    labels_of = {name: set(each.labels) for each in EVERY for name in exposed([each])}
    for selector in found:
        assert selector.name in exposed(EVERY) | PROMETHEUS_OWN
        matched = {matcher.name for matcher in selector.matchers.matchers} - {"job"}
        assert matched <= labels_of.get(selector.name or "", set())


def test_queries_group_by_labels_that_exist() -> None:
    """A sum by a label that no series has is one series without it, and nobody notices."""
    known = {label for each in EVERY for label in each.labels} | {"le", "instance"}
    grouped = re.findall(r"(?:by|on) \(([a-z_, ]+)\)", "\n".join([*in_alerts(), *in_dashboard()]))
    assert grouped and {label for text in grouped for label in text.split(", ")} <= known


def test_the_dashboard_shows_most_of_the_metrics() -> None:
    """What no graph and no alert shows is listed here, so that a new metric is thought of."""
    shown = {
        selector.name
        for query in [*in_alerts(), *in_dashboard()]
        for selector in selected(promql_parser.parse(query.replace(SPAN, "5m")))
    }
    hidden = {each.name for each in EVERY if not exposed([each]) & shown}
    assert hidden == {
        "announcements_malformed", "catalogue_taken_in", "index_engine_failures", "index_generation", "index_rebuilds",
        "popularity_events", "serve_lists_read", "users_removed", "windows_older", "windows_read", "windows_superseded",
    }  # fmt: skip


def test_every_alert_says_what_to_do() -> None:
    """A section of the runbook that an alert names exists."""
    rules = [rule for group in alerts.GROUPS.values() for rule in group]
    assert len({rule.name for rule in rules}) == len(rules)
    headings = re.findall(r"(?m)^## (.+)$", OPERATIONS.read_text("utf-8"))
    for rule in rules:
        assert rule.summary.endswith(".") and rule.remedy
        for named in re.findall(r"See '([^']+)' in docs/operations.md", rule.remedy):
            assert any(heading.startswith(named) for heading in headings), named


CHECKERS = [path for path in [shutil.which("promtool")] if path]


@pytest.mark.parametrize("command", [["check", "rules"], ["check", "config", "--syntax-only"]])
def test_prometheus_takes_the_files(command: list[str]) -> None:
    """Where the machine has Prometheus' own tool, it reads them as its grammar does above."""
    named = alerts.DOCUMENT if command[1] == "rules" else metrics_page.FOLDER / "prometheus.yml"
    assert yaml.safe_load(named.read_text("utf-8"))
    for promtool in CHECKERS:
        done = subprocess.run([promtool, *command, str(named)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ring_for_what_they_name(tmp_path: Path) -> None:
    """Each series of the file leads to the alert that it must, and a quiet worker to none."""
    case = yaml.safe_load(RULE_TEST.read_text("utf-8"))
    rules = yaml.safe_load(alerts.DOCUMENT.read_text("utf-8"))
    every = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    asked = {each["alertname"] for test in case["tests"] for each in test["alert_rule_test"]}
    assert len(asked) >= 7 and asked <= every.keys()
    for rule in every.values():
        del rule["annotations"]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yml").write_text(yaml.safe_dump(case))
    for promtool in CHECKERS:
        done = subprocess.run([promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
