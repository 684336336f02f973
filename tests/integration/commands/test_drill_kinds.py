"""Short drills of the other kinds against a real broker.

No event is lost, wrong or counted twice.
"""

from __future__ import annotations

import shutil

import pytest

from tests.integration.commands.drills import assert_all_well, assert_nothing_left, run_drill
from tests.support.shared_run import best_engine
from tools.broker.local_broker import BrokerInfo
from tools.drills import session as drill_session
from tools.drills.acts import asking as drill_asking
from tools.drills.acts import operator_acts
from tools.drills.kinds import broker_restart as drill_broker
from tools.drills.kinds import forget as drill_forget
from tools.drills.kinds import model_swap as drill_swap
from tools.drills.kinds import overload as drill_overload
from tools.drills.kinds import poison as drill_poison
from tools.drills.kinds import rebalance as drill_rebalance
from tools.drills.kinds import replay as drill_replay
from tools.drills.kinds import rules as drill_rules
from tools.drills.kinds import serve as drill_serve
from tools.drills.kinds import slow_model as drill_model
from tools.drills.kinds import soak as drill_soak
from tools.drills.malformed import MALFORMED

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(480), pytest.mark.long]
#: Longest pause of the flow, in seconds, that a slow machine may show.
LONGEST_S = 90.0


def test_a_model_that_is_slow_hangs_or_crashes_delays_no_list(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists go on, marked degraded, while the model is away; full ones follow for all."""
    monkeypatch.setattr(drill_model, "LASTS_S", 3.0)
    monkeypatch.setenv("HEADRACE_MODEL_TIMEOUT_MS", "500")
    outcome = run_drill(broker, capsys, monkeypatch, "slow-model")
    assert_all_well(outcome)
    report = outcome.report
    assert [fault["name"] for fault in report["faults"]] == ["model slow", "model hang", "model crash"]
    assert all(report[mode]["lists"] > 0 for mode in ("slow", "hang", "crash"))
    assert report["hang"]["degraded"] > 0 and report["crash"]["degraded"] > 0
    assert report["degraded_lists"] >= report["hang"]["degraded"] + report["crash"]["degraded"]
    assert report["restarts"] == 0, "the model comes back: no worker has to end"
    assert_nothing_left(outcome)


def test_poison_of_every_kind_is_rejected_and_disturbs_nobody(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of poison is refused at its place.

    Each malformed event is on the dead-letter topic; catalogue and artifact are refused; a NaN
    makes a degraded list.

    Events that are deleted unread are counted to the last one, and more partitions end in a
    deployment that has every event.
    """
    monkeypatch.setattr(drill_poison, "READ_WITHIN_S", 1.0)
    monkeypatch.setattr(drill_poison, "NAN_S", 2.0)
    outcome = run_drill(broker, capsys, monkeypatch, "poison")
    assert_all_well(outcome)
    report = outcome.report
    n_huge = 1
    n_malformed = n_huge + drill_poison.N_EACH * len(MALFORMED) + outcome.drill.load.source.sent["malformed"]
    assert report["rejected"] == n_malformed > 80, "all of them, and no good event"
    assert report["events"] == report["sent"], "nothing is restarted, so nothing is sent twice"
    assert report["damaged_artifact_exit"] == 1
    assert report["nan_degraded_lists"] > 0
    assert report["restarts"] == 0 and report["ended_by_themselves"] == []
    assert (
        report["events_expired"] == report["expired_committed"] == report["events_deleted"] == operator_acts.N_DELETED
    )
    grown = report["grown"]
    assert (grown["partitions"], grown["exit"]) == (6, 1) and grown["end_s"] < operator_acts.ENDS_WITHIN_S
    assert grown["events"] > operator_acts.N_AFTER and grown["users"] > 0
    assert grown["switch"]["HEADRACE_PARTITIONS"] == "6"
    assert_nothing_left(outcome)


@pytest.mark.usefixtures("several_workers")
def test_workers_that_join_and_leave_lose_nothing(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker of each app joins and leaves again: partitions move twice, under load."""
    monkeypatch.setattr(drill_rebalance, "N_JOINING", 1)
    monkeypatch.setattr(drill_rebalance, "PAUSE_S", 0.2)
    outcome = run_drill(broker, capsys, monkeypatch, "rebalance")
    assert_all_well(outcome)
    report = outcome.report
    assert [fault["name"] for fault in report["faults"]] == [
        f"{what} {app}" for app in ("sequencer", "recommender") for what in ("join", "leave")
    ]
    assert len(report["join_s"]) == len(report["leave_s"]) == 2
    assert all(0.0 <= pause_s < LONGEST_S for pause_s in report["join_s"] + report["leave_s"])
    assert report["restarts"] == 0 and report["ended_by_themselves"] == []
    assert_nothing_left(outcome)


def test_a_broker_that_dies_and_then_stands_still_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drill kills its own broker and starts it again, then puts it out of reach.

    All records flow again both times.
    """
    if best_engine() != "kafka":
        pytest.skip("only a real Kafka keeps its records when it is killed")
    monkeypatch.setattr(drill_broker, "DEAD_S", 0.5)
    monkeypatch.setattr(drill_broker, "UNREACHABLE_S", 3.0)
    outcome = run_drill(None, capsys, monkeypatch, "broker-restart")
    assert_all_well(outcome)
    report = outcome.report
    assert report["broker"].startswith("kafka")
    assert len(report["flows_again_s"]) == 2
    assert all(0.0 < seconds < LONGEST_S for seconds in report["flows_again_s"])
    killed, unreachable = report["faults"]
    assert killed["downtime_s"] > 0.5 and unreachable["downtime_s"] >= 3.0, "nothing flows without a broker"
    assert_nothing_left(outcome)


def test_a_short_soak_goes_through_its_cycle_and_judges_nobody(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soak makes a wave, a burst and a pause in short windows.

    It measures memory, and its report says that the run is too short to be judged.
    """
    for name, seconds in {"WAVE_S": 1.0, "BURST_S": 0.8, "PAUSE_S": 0.8, "TICK_S": 0.2}.items():
        monkeypatch.setattr(drill_soak, name, seconds)
    outcome = run_drill(broker, capsys, monkeypatch, "soak", "--minutes", "0.1")
    assert_all_well(outcome)
    report = outcome.report
    assert {life["worker"] for life in report["lives"]} == {"sequencer-0", "recommender-0"}
    assert all(10.0 < life["rss_mb"] <= life["max_rss_mb"] and life["max_files"] > 0 for life in report["lives"])
    assert report["max_sum_rss_mb"] > 0.0 and set(report["max_lag"]) == {"sequencer", "recommender"}
    assert "memory not judged" in report["soak_note"]
    assert_nothing_left(outcome)


def test_an_overload_is_bounded_for_a_hot_user_and_a_crawler(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users cause most of an overload.

    Their lists stay below the setting, and the workers recover.
    """
    lists_per_minute = 60
    monkeypatch.setenv("HEADRACE_LISTS_PER_MINUTE", str(lists_per_minute))
    monkeypatch.setattr(drill_overload, "RECOVERY_S", 1.5)
    # other tests share the processors, so this one does not judge the rate that the drill reaches
    monkeypatch.setattr(drill_overload, "MIN_ACHIEVED", 0.0)
    outcome = run_drill(broker, capsys, monkeypatch, "overload", "--minutes", "0.1")
    assert_all_well(outcome)
    report = outcome.report
    assert report["overload_per_s"] > outcome.drill.plan.rate_per_s
    for name in ("hot_lists_per_minute", "crawler_lists_per_minute"):
        assert 2 <= report[name] <= 15, "six seconds of one list a second, and no more"
    assert report["recovered_freshness_ms"]["n"] > 0 and report["growth_mb"]
    assert_nothing_left(outcome)


def test_history_that_is_rebuilt_equals_the_live_one(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drill kills the rebuild on the way, and promotes it in the end.

    Windows and lists equal the live ones, and no consumer takes a list twice.
    """
    monkeypatch.setattr(drill_replay, "N_KILLS", 1)
    monkeypatch.setattr(drill_replay, "EVENTS_PER_USER", 3)
    monkeypatch.setattr(drill_replay, "KILL_PAUSE_S", (0.0, 0.5))
    outcome = run_drill(broker, capsys, monkeypatch, "replay")
    assert_all_well(outcome)
    report = outcome.report
    zeros = ("rebuilt_wrong_windows", "rebuilt_wrong_lists", "rebuilt_duplicate_lists")
    assert {name: report[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert report["rebuilt_users"] == report["users"] and report["rebuilt_lists"] >= report["users"]
    assert report["rebuilt_events"] > 400, "prefill and history, the malformed ones too"
    assert report["promoted_windows"] > 0, "events go on while nobody works, and the run has them first"
    assert [fault["name"] for fault in report["faults"]] == ["promotion"]
    assert_nothing_left(outcome)


def test_a_crash_without_degraded_lists_is_found(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No list is marked degraded while the model crashes: the drill fails and names the mode."""
    monkeypatch.setattr(drill_model, "LASTS_S", 1.0)
    monkeypatch.setattr(drill_model, "MODES", ("crash",))
    monkeypatch.setattr(drill_model, "write_fault", lambda _path, _fault: None)
    outcome = run_drill(broker, capsys, monkeypatch, "slow-model")
    shutil.rmtree(outcome.folder)  # a failed drill keeps its logs
    assert outcome.code == 1 and outcome.report["degraded_lists"] == 0
    assert "model crash: no degraded list within 1 s" in outcome.report["problems"]


def test_lists_beyond_the_limit_of_one_user_are_found(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recommenders make more lists of a user than the setting allows.

    The drill fails for both users.
    """
    monkeypatch.setenv("HEADRACE_LISTS_PER_MINUTE", "1")
    monkeypatch.setattr(drill_overload, "RECOVERY_S", 1.5)
    real = drill_session.variables_of
    monkeypatch.setattr(drill_session, "variables_of", lambda *args: real(*args) | {"HEADRACE_LISTS_PER_MINUTE": "600"})
    outcome = run_drill(broker, capsys, monkeypatch, "overload", "--minutes", "0.1")
    shutil.rmtree(outcome.folder)  # a failed drill keeps its logs
    assert outcome.code == 1
    assert {"crawler", "hot"} <= {line.split(":")[0] for line in outcome.report["problems"]}


@pytest.mark.usefixtures("several_workers")
def test_rules_that_change_under_load_are_obeyed_from_the_receipt_on(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a receipt no list names older rules, and none breaks its own; the oracle agrees."""
    monkeypatch.setattr(drill_rules, "N_CHANGES", 4)
    outcome = run_drill(broker, capsys, monkeypatch, "rules", "--lists", "400")
    assert_all_well(outcome)
    report = outcome.report
    assert report["checked_lists"] >= 400 and len(report["lists_by_rules"]) == 4
    assert report["broken_lists"] == report["stale_rules"] == 0
    assert_nothing_left(outcome)


@pytest.mark.usefixtures("several_workers")
def test_lists_under_a_swap_are_each_of_the_artifact_that_they_name(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers take another artifact and go back; every list equals the oracle's."""
    monkeypatch.setattr(drill_swap, "ROUNDS", 1)
    monkeypatch.setattr(drill_swap, "BETWEEN_S", 2.0)
    # the other tests share the processors, so this test judges no time
    monkeypatch.setattr(drill_swap, "MAX_GAP_S", LONGEST_S)
    monkeypatch.setattr(drill_swap, "MAX_ROLLBACK_S", LONGEST_S)
    outcome = run_drill(broker, capsys, monkeypatch, "model-swap", "--workers", "2")
    assert_all_well(outcome)
    report = outcome.report
    assert [fault["name"] for fault in report["faults"]] == ["publish 1", "rollback 1"]
    zeros = ("lists_unlike_their_artifact", "lists_of_no_artifact", "lists_of_another_artifact", "lists_of_no_window")
    assert {name: report[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert report["lists_judged"] == report["lists_compared"] + report["lists_without_model"] > report["users"]
    assert report["lists_compared"] > report["users"]
    assert_nothing_left(outcome)


@pytest.mark.usefixtures("several_workers")
def test_users_who_are_forgotten_under_load_leave_nothing(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers and the command are killed on the way; a run is rebuilt and promoted in between."""
    monkeypatch.setattr(drill_forget, "N_FORGOTTEN", 12)
    monkeypatch.setattr(drill_forget, "N_WAVES", 2)
    outcome = run_drill(broker, capsys, monkeypatch, "forget")
    assert_all_well(outcome)
    report = outcome.report
    assert report["forgotten_users"] == 12 and report["receipts"] == 2 * 12
    assert report["traces_left"] == 0 and report["files_read"] > 0
    assert len(report["faults"]) == 3, "two waves and a promotion"
    assert_nothing_left(outcome)


@pytest.mark.usefixtures("several_workers")
def test_servers_answer_rightly_while_they_are_killed_and_everything_changes(
    broker: BrokerInfo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One store is deleted; users, an item, rules and the model change meanwhile."""
    monkeypatch.setattr(drill_serve, "HARM_S", (0.0, 1.0))
    monkeypatch.setattr(drill_serve, "RANKS", (True, False))
    monkeypatch.setattr(drill_asking, "RATE_PER_S", 20.0)
    outcome = run_drill(broker, capsys, monkeypatch, "serve", "--kills", "2")
    assert_all_well(outcome)
    report = outcome.report
    assert report["wrong_answers"] == 0 and report["server_kills"] == 2
    assert all(report["answers_by_kind"][kind] > 20 for kind in ("pushed", "on_demand", "session"))
    assert report["compared_on_demand"] > 40 and report["forgotten_users"] > 10
    assert {name for name in report["changes_s"]} >= {"forget", "delete an item", "rules", "publish"}
    assert all(n >= len(drill_serve.RANKS) - 1 for n in report["server_receipts"]), "of servers that were live"
    assert_nothing_left(outcome)
