"""Slices of a log: disjoint, without leakage from later events, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from models.interactions import Interactions
from models.training.log_slices import FUSION_USERS, Cut, Slices, cut
from tests.support.tiny_models import T0, tiny_log

pytestmark = pytest.mark.model

CUTS: tuple[Cut, ...] = ("time", "last")


def log_of(*user_ids: str) -> Interactions:
    """Return a log in which these users act one after the other, a second apart."""
    return Interactions.from_rows((user, f"i{i}", "view", T0 + 1_000 * i) for i, user in enumerate(user_ids))


def uneven_log() -> Interactions:
    """Return a log in which user ``u<n>`` has n events, mixed, some at equal times."""
    rows = [(f"u{n}", f"i{i}", "view", T0 + 1_000 * (i * 7 % 5)) for n in range(1, 10) for i in range(n)]
    return Interactions.from_rows(np.random.default_rng(0).permutation(np.array(rows, dtype=object)).tolist())


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("log", [tiny_log(), uneven_log()], ids=["even", "uneven"])
def test_slices_share_no_event_and_leave_none_out(log: Interactions, how: Cut) -> None:
    """Every event is in exactly one of the three; positions rise."""
    slices = cut(log, how, 1)
    assert slices.fit.shape == (len(log),)
    assert slices.fit.dtype == np.bool_
    together = np.concatenate([np.flatnonzero(slices.fit), slices.fusion, slices.validation])
    assert sorted(together.tolist()) == list(range(len(log)))
    assert (np.diff(slices.fusion) > 0).all()
    assert (np.diff(slices.validation) > 0).all()
    assert len(slices.fusion) and len(slices.validation)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("log", [tiny_log(), uneven_log()], ids=["even", "uneven"])
def test_no_event_is_asked_for_before_one_that_its_user_was_fitted_to(log: Interactions, how: Cut) -> None:
    """No leak: questions come after all fitted events of their user, in place and time."""
    slices = cut(log, how, 1)
    fitted = np.flatnonzero(slices.fit)
    for position in np.concatenate([slices.fusion, slices.validation]):
        own = fitted[log.users[fitted] == log.users[position]]
        assert (own < position).all()
        assert (log.ts_ms[own] <= log.ts_ms[position]).all()


def test_by_time_validation_is_the_newest_and_fusion_lies_between() -> None:
    """Eighty, fifteen and five in a hundred, in the order of time."""
    slices = cut(tiny_log(10, 10), "time", 1)
    assert slices.fit.tolist() == [True] * 80 + [False] * 20
    assert slices.fusion.tolist() == list(range(80, 95))
    assert slices.validation.tolist() == list(range(95, 100))


def test_by_last_event_users_with_few_events_stay_in_fit() -> None:
    """Of a user with three events the last is held back; with two or one, none."""
    slices = cut(log_of("a", "b", "c", "a", "a", "b"), "last", 1)
    assert np.flatnonzero(~slices.fit).tolist() == [4]
    assert slices.fusion.tolist() + slices.validation.tolist() == [4]


def test_by_last_event_each_user_gives_one() -> None:
    """About the share of users that is written down goes to fusion, the others validate."""
    log = tiny_log(200, 3)
    slices = cut(log, "last", 1)
    asked = np.concatenate([slices.fusion, slices.validation])
    assert sorted(log.users[asked].tolist()) == list(range(200))
    assert abs(len(slices.fusion) / 200 - FUSION_USERS) < 0.1
    for position in asked:
        assert not (log.users[position + 1 :] == log.users[position]).any()


def test_by_last_event_the_seed_says_which() -> None:
    """The same seed cuts alike, another one otherwise; the fit is the same in any case."""
    log = tiny_log()
    one, again, other = cut(log, "last", 1), cut(log, "last", 1), cut(log, "last", 2)
    assert (one.fusion.tolist(), one.validation.tolist()) == (again.fusion.tolist(), again.validation.tolist())
    assert one.fusion.tolist() != other.fusion.tolist()
    assert one.fit.tolist() == other.fit.tolist()


@pytest.mark.parametrize("how", CUTS)
def test_an_empty_log_has_empty_slices(how: Cut) -> None:
    """Nothing to cut is no error here."""
    slices: Slices = cut(Interactions.from_rows([]), how, 1)
    assert [len(slices.fit), len(slices.fusion), len(slices.validation)] == [0, 0, 0]


def test_users_whose_events_are_elsewhere_do_not_count() -> None:
    """In a part of a log, a user without events there has no last one."""
    log = log_of("a", "b", "b", "b").where(slice(1, 4))
    slices = cut(log, "last", 1)
    assert np.flatnonzero(~slices.fit).tolist() == [2]
