"""The job of the model's thread: from a batch of windows to its encoded lists."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from streams.recommender.list_encoding import ListEncoder, MadeList, UserWindow
from streams.recommender.list_records import behaviours
from streams.recommender.served import Served
from streams.recommender.users.model_inputs import model_inputs
from streams.recommender.users.records import UserFacts

ModelStage = Literal["embed", "retrieve", "score"]


@dataclass
class Answer:
    """The model's answer to a batch.

    Parameters
    ----------
    began_s : when the job began, in seconds of the monotonic clock
    made : one for each window, in order; None for a list with a number that is not finite
    ended_s : each stage, and when it ended; ``score`` includes the encoding
    """

    began_s: float
    made: list[MadeList | None] = field(default_factory=list)
    ended_s: list[tuple[ModelStage, float]] = field(default_factory=list)

    def note(self, stage: ModelStage) -> None:
        """Note that a stage ends now."""
        self.ended_s.append((stage, time.monotonic()))


def make_lists(
    served: Served,
    users: Sequence[UserWindow],
    encoder: ListEncoder,
    facts: Sequence[UserFacts | None] | None = None,
) -> Answer:
    """Return the lists of users, encoded.

    Parameters
    ----------
    facts : per user, what is known beside the window; None for nothing
    """
    answer = Answer(time.monotonic())
    windows = [behaviours(state) for _, state in users]
    seen = [served.left_out(state) for _, state in users]
    rows, followed = model_inputs(facts, served.model.artifact)
    lists = served.model.pipeline.recommend(
        served.catalogue,
        windows,
        seen,
        rows,
        note=answer.note,
        followed=followed,
        seeds=served.seeds(users),
        repeats=served.repeats,
        weights=served.weights(users),
    )
    made = encoder.full(users, lists, served.versions, facts)
    answer.made = [one if is_usable else None for one, is_usable in zip(made, lists.is_finite().tolist(), strict=True)]
    if answer.ended_s:
        answer.ended_s[-1] = ("score", time.monotonic())
    return answer


def answers(served: Served) -> bool:
    """Whether the model gives finite numbers for a window without items."""
    lists = served.model.pipeline.recommend(served.catalogue, [[]], [set()])
    return bool(lists.is_finite().all())
