"""What the recommender serves: one model, one catalogue and rules, and what follows from them.

A :class:`Served` never changes. The list maker replaces it in one assignment, between two
micro-batches. Whatever makes a list takes a :class:`Served` as an argument, so no list mixes two
catalogues or two models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from models.artifact.artifact import Artifact
from models.base.device import tame_pytorch
from models.base.event_types import DEFAULT_TYPES, EventTypes, WindowTypes
from models.base.types import AnyArray, Float32
from models.ranking.again import policy_of
from models.ranking.catalogue.ruled import ruled, with_popularity_of
from models.ranking.fallback import WithoutModel
from models.ranking.golden import golden_difference
from models.ranking.pipeline import Catalogue, Pipeline
from models.ranking.warm_up import warm_up
from models.rules.repeats import Repeats
from models.rules.row_rules import Rules
from models.text.cleaned_texts import CleanedTexts
from streams.catalogue.seen_index import SeenIndex
from streams.contract.announcements import GoldenState, ModelAnnouncement
from streams.contract.windows import BaseWindow
from streams.errors import HeadraceError
from streams.recommender.list_encoding import UserWindow, Versions, list_seeds
from streams.recommender.list_records import left_out, weights_of_shown
from streams.recommender.model.artifact_encoder import ArtifactEncoder, usable_artifact, usable_device
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model.stored_artifact import place_of
from streams.settings.load import RecommenderSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Model:
    """An artifact and what works with it.

    Parameters
    ----------
    pipeline : makes full lists, on the model's thread
    fallback : makes fallback lists, on any thread
    embed : returns one vector per text, (n, dim) float32, on the thread of texts; None where the
        artifact takes no text
    order : of two models, the one announced later has the higher one; 0 where none was announced
    golden : whether it gives the lists of its golden windows on this machine
    cleaned : keeps cleaned texts for the next start; None keeps none
    """

    artifact: Artifact
    pipeline: Pipeline
    fallback: WithoutModel
    embed: Callable[[list[str]], Float32] | None
    order: int = 0
    golden: GoldenState = "none"
    cleaned: CleanedTexts | None = None

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        settings: RecommenderSettings,
        embed: Callable[[list[str]], Float32] | None,
        order: int = 0,
    ) -> Model:
        """Return the model of an artifact; the settings give the sizes of lists."""
        manifest, config = artifact.manifest, artifact.sequence.config
        return cls(
            artifact,
            Pipeline(artifact, k=settings.list_size, n_candidates=settings.n_candidates),
            WithoutModel(
                settings.list_size,
                settings.n_candidates,
                config.max_length,
                manifest.alpha,
                manifest.regularisation,
                artifact.kinds,
            ),
            embed,
            order,
        )


@dataclass(frozen=True, eq=False)
class Served:
    """A model, a catalogue that was built for it, and the index of items that users have seen.

    Parameters
    ----------
    catalogue : what lists are made of: ``whole`` without what the rules deny
    whole : the catalogue as ``items`` says; events and popularity are compared with it
    rules : None for none
    """

    model: Model
    catalogue: Catalogue
    seen: SeenIndex
    whole: Catalogue
    rules: Rules | None = None

    @classmethod
    def of(cls, model: Model, catalogue: Catalogue, seen: SeenIndex | None = None) -> Served:
        """Return a model with its catalogue.

        Parameters
        ----------
        seen : an index with the catalogue's items, and maybe others; None makes one
        """
        return cls(model, catalogue, SeenIndex(catalogue.item_ids) if seen is None else seen, catalogue)

    def with_catalogue(self, whole: Catalogue, now_ms: int) -> Served:
        """Return the same model and rules with another catalogue.

        Parameters
        ----------
        now_ms : the time from which the ages of items count, since 1970
        """
        return replace(self, catalogue=ruled(whole, self.rules, now_ms, self.catalogue), whole=whole)

    def under(self, rules: Rules | None, now_ms: int) -> Served:
        """Return the same under other rules.

        Parameters
        ----------
        now_ms : as in :meth:`with_catalogue`
        """
        return replace(self, rules=rules, catalogue=ruled(self.whole, rules, now_ms, self.catalogue))

    def with_popularity(self, whole: Catalogue) -> Served:
        """Return the same with a catalogue of the same items and other popularity."""
        if whole is self.whole:
            return self
        return replace(self, catalogue=with_popularity_of(whole, self.catalogue), whole=whole)

    def seeds(self, users: Sequence[UserWindow]) -> AnyArray | None:
        """Return the seeds of users' lists, where the rules leave something to chance."""
        return None if self.rules is None or not self.rules.document.exploration else list_seeds(users)

    @property
    def repeats(self) -> Repeats:
        """Which items that a user has had lists may hold."""
        return policy_of(self.model.artifact, self.catalogue)

    def left_out(self, state: BaseWindow) -> set[str]:
        """Return the items beyond a window's own that no list of its user may hold."""
        return left_out(state, self.seen, self.repeats, self.rules)

    def weights(self, users: Sequence[UserWindow]) -> list[dict[str, float]] | None:
        """Return per user what scores of items are multiplied by; None where rules do not ask."""
        if self.rules is None or self.rules.decay == 1.0:
            return None
        return [weights_of_shown(state, self.seen, self.rules) for _, state in users]

    @property
    def versions(self) -> Versions:
        """The artifact, the catalogue generation and the rules that each list names."""
        rules = "" if self.rules is None else self.rules.version
        return Versions(self.model.artifact.version, self.catalogue.generation, rules, self.model.order)


async def load_model(
    settings: RecommenderSettings,
    thread: ModelThread,
    types: EventTypes = DEFAULT_TYPES,
    announced: ModelAnnouncement | None = None,
    order: int = 0,
) -> Model:
    """Prepare PyTorch and text cleaning, and return the model of an artifact.

    Parameters
    ----------
    types : the deployment's table of event types; the artifact of the settings may be trained with
        another
    announced : names the artifact; None takes that of the settings
    order : of the announcement

    Raises
    ------
    HeadraceError
        When the artifact is missing or damaged, or its encoder cannot be opened; when an announced
        one is not the file that was announced, does not know the deployment's event types, or gives
        other lists here than where it was trained.
    SettingsError
        When this machine lacks the device, or the segmenter or the user words are unusable.
    """
    tame_pytorch()
    device = usable_device(settings.device)
    path, roots = await thread.run(place_of, settings, announced)
    artifact = await thread.run(usable_artifact, path, device, roots, "" if announced is None else announced.sha256)
    artifact = artifact.beside(types.window_types)
    if told := strange_types(artifact.kinds, types.window_types):
        _complain(announced, f"artifact {artifact.version}: {told}")
    encoder = await thread.run(ArtifactEncoder.of, artifact, device, settings)
    await thread.run(warm_up, artifact)
    told = await thread.run(golden_difference, artifact)
    if told:
        _complain(
            announced,
            f"artifact {artifact.version} gives other lists on this machine ({device}) than in training: {told}",
        )
    if announced is not None and artifact.golden is None:
        log.warning("artifact %s has no golden windows: its lists are not compared", artifact.version)
    texts = "item ids alone" if encoder is None else f"texts by {artifact.encoder_name}"
    log.info("artifact %s on %s, %s", artifact.version, device, texts)
    model = Model.of(artifact, settings, None if encoder is None else encoder.embed, order)
    golden: GoldenState = "none" if artifact.golden is None else "unlike" if told else "equal"
    return replace(model, golden=golden, cleaned=None if encoder is None else encoder.cleaned)


def _complain(announced: ModelAnnouncement | None, problem: str) -> None:
    """Refuse an announced artifact; of the settings' one only tell, as there is no other."""
    if announced is not None:
        raise HeadraceError(problem)
    log.warning("%s", problem)


def strange_types(known: WindowTypes, deployment: WindowTypes) -> str:
    """Return how the models take types that the artifact does not know; ``""`` where there is none.

    Parameters
    ----------
    known : the artifact's types, beside those of the deployment
    """
    strange = [name for name in deployment.names if name not in known.row_of]
    wishes = [name for name in strange if name not in known.left_out]
    parts = [f"{', '.join(wishes)} count as {known.names[known.fallback]}"] if wishes else []
    parts += [f"{', '.join(sorted(known.left_out))} are left out"] if known.left_out else []
    return f"it does not know some event types: {'; '.join(parts)}; train it again" if parts else ""
