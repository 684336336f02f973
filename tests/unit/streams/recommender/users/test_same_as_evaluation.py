"""Evaluation and serving give a thousand users the same lists, from their own inputs."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.base.types import Int64
from models.evaluation.newcomers import Asked, NewcomerData
from models.features.columns import Row
from models.interactions import Interactions
from models.training.leaning import leaning_until
from streams.contract.records import Recommendation, User, encode
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.recommender.list_encoding import ListEncoder, UserWindow
from streams.recommender.model_job import make_lists
from streams.recommender.served import Model, Served
from streams.recommender.users.first_lists import first_window
from streams.recommender.users.records import UserFacts, UserRecords, followed_keys
from streams.settings.load import RecommenderSettings
from tests.support import tiny_models
from tests.support.tiny_models import N_GROUPS

pytestmark = pytest.mark.model

N_USERS = 1_000


def new_users(known: Interactions) -> tuple[NewcomerData, dict[str, User]]:
    """Return known users and a thousand others: events, features and follows, some of each."""
    rng, n_known = np.random.default_rng(4), len(known.user_ids)
    users: dict[str, User] = {}
    items: list[Int64] = []
    for n in range(N_USERS):
        items.append(rng.choice(len(known.item_ids), 4, replace=False).astype(np.int64))
        features: dict[str, float | str | None] | None = {"group": f"g{n % N_GROUPS}"} if n % 3 else None
        others = rng.choice(known.user_ids, 3, replace=False).tolist() if n % 5 < 3 else None
        users[f"n{n}"] = User(1, f"n{n}", features, others and [*others, "stranger", f"n{n}"])
    n_new = 4 * N_USERS
    log = replace(
        known,
        user_ids=(*known.user_ids, *users),
        users=np.concatenate([known.users, n_known + np.repeat(np.arange(N_USERS), 4)]),
        items=np.concatenate([known.items, *items]),
        types=np.concatenate([known.types, np.full(n_new, known.types[0])]),
        ts_ms=np.concatenate([known.ts_ms, known.ts_ms[-1] + np.arange(n_new)]),
    )
    told: dict[str, Row] = {key: {"features.group": str(u.features["group"])} for key, u in users.items() if u.features}
    follows = {key: user.follows for key, user in users.items() if user.follows}
    hidden = np.array([row for row, user_id in enumerate(log.user_ids) if user_id in users], dtype=np.int64)
    return NewcomerData(log, told, follows, hidden), users


def window_of(user_id: str, item_ids: list[str]) -> UserWindow:
    """Return a user's window of views, as the sequencer would write it."""
    items = [WindowItem(0, f"{user_id}-{at}", item_id, "view") for at, item_id in enumerate(item_ids)]
    state = ListWindow(1, len(items), len(items), items, Trigger("e", len(items), 1))
    return user_id.encode(), state if items else first_window(7, 0)


def served_lists(
    served: Served, asked: list[tuple[str, list[str]]], data: NewcomerData, users: dict[str, User]
) -> list[Recommendation]:
    """Return the lists that the recommender publishes, from records as they are on the topics."""
    records = UserRecords()
    for offset, (user_id, user) in enumerate(users.items()):
        records.put(0, user_id.encode(), offset, msgspec.msgpack.decode(encode(user), type=User))
    log, encoder = data.rest, ListEncoder()
    had: dict[str, list[str]] = {}
    for user, item in zip(log.users.tolist(), log.items.tolist(), strict=True):
        had.setdefault(log.user_ids[user], []).append(log.item_ids[item])
    known = [window_of(user_id, items) for user_id, items in had.items()]
    vectors = {
        key: one.vector for (key, _), one in zip(known, make_lists(served, known, encoder).made, strict=True) if one
    }
    facts: list[UserFacts | None] = []
    for user_id, _ in asked:
        fact = records.get(0, user_id.encode())
        assert fact is not None
        values = (vectors.get(key) for key in followed_keys(fact.user))
        facts.append(fact._replace(followed=tuple(value for value in values if value)))
    windows = [window_of(user_id, items) for user_id, items in asked]
    made = make_lists(served, windows, encoder, facts).made
    return [msgspec.msgpack.decode(one.record, type=Recommendation) for one in made if one]


@pytest.mark.parametrize("until", [0.0, 3.0])
def test_a_thousand_users_get_the_same_lists(until: float) -> None:
    """Item by item, probabilities and sources within 1e-5, after 0 to 3 events.

    Also where lists lean on popularity until the third event.
    """
    artifact = leaning_until(tiny_models.homophily_artifact(), until)
    data, users = new_users(tiny_models.homophily_log())
    asked = Asked.of(data, artifact, seed=1)
    revealed: list[Int64] = [had[: i % 4] for i, had in enumerate(asked.histories)]
    evaluated = asked.lists(revealed, [np.zeros(0, dtype=np.int64)] * N_USERS)
    settings = RecommenderSettings(list_size=10)
    model = Model.of(artifact, settings, None)
    served = Served.of(model, asked.catalogue)
    ids = artifact.manifest.item_ids
    questions = [
        (data.log.user_ids[user], [ids[row] for row in had]) for user, had in zip(data.hidden, revealed, strict=True)
    ]
    published = served_lists(served, questions, data, users)
    assert len(published) == N_USERS
    kinds = {"newcomer": 0, "popular": 0, "none": 0}
    for one, other in zip(evaluated, published, strict=True):
        kinds[other.degraded] += 1
        assert one.degraded == other.degraded
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
        for mine, theirs in zip(one.items, other.items, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=1e-5)
            assert mine.sources.keys() == theirs.sources.keys()
            for name, (rank, score) in mine.sources.items():
                assert theirs.sources[name].rank == rank and theirs.sources[name].score == pytest.approx(
                    score, abs=1e-5
                )
    assert kinds["newcomer"] > 150 and kinds["none"] > 700 and kinds["popular"] > 10
