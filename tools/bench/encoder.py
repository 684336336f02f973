"""``headrace bench encoder``: headrace's encoder beside a plain loop, on one thread.

The loop takes 32 texts at a time in their order, pads them to the longest and averages. headrace's
encoder sorts the texts by length and bounds the tokens and the padding of a batch. The benchmark
measures the processor time of this process, so that a busy machine does not change the ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.base.types import Float32
from streams.errors import InputError
from tools.bench.subject import Subject
from tools.cli import progress
from tools.training.inputs import encoder_access

if TYPE_CHECKING:
    from models.text.encoder import TransformerEncoder

NAIVE_BATCH: Final = 32
#: Share of long texts, as in a shop where most items have only a title.
SHARE_OF_DESCRIPTIONS: Final = 0.1
TITLE_WORDS: Final = (3, 20)
DESCRIPTION_WORDS: Final = (100, 400)
N_WORDS: Final = 2_000

_SYLLABLES: Final = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo za".split()

Encode = Callable[[Sequence[str]], Float32]


@dataclass(frozen=True)
class Options:
    """What a person asked for: ``repeats`` pairs of runs over ``n_texts`` texts each."""

    encoder: str
    n_texts: int
    repeats: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    from models.text.encoder import MINILM_ENCODER

    parser.add_argument("--encoder", default=MINILM_ENCODER, help=f"a transformer model (default: {MINILM_ENCODER})")
    parser.add_argument("--texts", type=int, default=640, help="texts of each run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, interleaved (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    if args.texts < NAIVE_BATCH or args.repeats < 1:
        raise InputError(
            f"--texts {args.texts}, --repeats {args.repeats}: at least {NAIVE_BATCH} texts and 1 repeat; raise them"
        )
    return Options(args.encoder, args.texts, args.repeats)


def synthetic_texts(n_texts: int, seed: int) -> list[str]:
    """Return seeded texts in random order: 3 to 20 words, a tenth of them 100 to 400 words."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(N_WORDS)]
    n_long = round(n_texts * SHARE_OF_DESCRIPTIONS)
    bounds = [DESCRIPTION_WORDS] * n_long + [TITLE_WORDS] * (n_texts - n_long)
    rng.shuffle(bounds)
    return [" ".join(rng.choices(words, k=rng.randint(*bound))) for bound in bounds]


def naive_encoder(encoder: TransformerEncoder) -> Encode:
    """Return the plain loop, for a model with mean pooling."""
    import torch

    model, tokenizer = encoder.model, encoder.tokenizer

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Float32:
        vectors = []
        for start in range(0, len(texts), NAIVE_BATCH):
            batch = [encoder.prefix + text for text in texts[start : start + NAIVE_BATCH]]
            inputs = tokenizer(batch, padding=True, truncation=True, max_length=encoder.max_length, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vectors.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(vectors)

    return encode


def measure(ours: Encode, naive: Encode, batches: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Run both on each list of texts; return times, the median ratio and the smallest cosine.

    The order within a pair alternates, so that neither of the two always runs second.
    """
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    smallest = 1.0
    with progress() as bar:
        task = bar.add_task("bench encoder", total=len(batches))
        for i, texts in enumerate(batches):
            found: dict[str, Float32] = {}
            pair = [("ours", ours), ("naive", naive)]
            for name, encode in pair if i % 2 == 0 else reversed(pair):
                started = time.process_time()
                found[name] = encode(texts)
                seconds[name].append(time.process_time() - started)
            smallest = min(smallest, float((found["ours"] * found["naive"]).sum(axis=1).min()))
            bar.advance(task)
    ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds["naive"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "min_cosine": smallest,
        **{f"{name}_cpu_s": statistics.median(runs) for name, runs in seconds.items()},
    }


def run(options: Options) -> dict[str, Any]:
    """Measure both encoders on the same texts."""
    # set before the tokenizer starts threads: both sides use one
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    from models.text.encoder import TransformerEncoder, load_encoder
    from models.text.huggingface import EncoderError

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = load_encoder(options.encoder, "cpu", encoder_access())
        if not isinstance(encoder, TransformerEncoder) or encoder.pooling != "mean":
            raise InputError(f"--encoder {options.encoder}: is no transformer with mean pooling; name another")
        naive = naive_encoder(encoder)
        for encode in (encoder.encode, naive):
            encode(synthetic_texts(NAIVE_BATCH, 0))
        batches = [synthetic_texts(options.n_texts, seed) for seed in range(1, options.repeats + 1)]
        result = measure(encoder.encode, naive, batches)
    except EncoderError as exc:
        raise InputError(f"--encoder {options.encoder}: {exc}") from exc
    finally:
        torch.set_num_threads(n_threads)
    return result | {
        "encoder": options.encoder,
        "texts": options.n_texts,
        "repeats": options.repeats,
        "texts_per_cpu_s": options.n_texts / result["ours_cpu_s"],
        "naive_texts_per_cpu_s": options.n_texts / result["naive_cpu_s"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    return [
        f"{'loop':<8} {'texts per CPU second':>21}",
        f"{'ours':<8} {result['texts_per_cpu_s']:>21,.0f}",
        f"{'naive':<8} {result['naive_texts_per_cpu_s']:>21,.0f}",
        f"ours / naive: {result['ratio']:.2f} ({result['ratio_min']:.2f} to {result['ratio_max']:.2f})",
        f"smallest cosine between the two: {result['min_cosine']:.6f}",
        f"{result['encoder']}; {result['texts']} texts, {result['repeats']} interleaved pairs, one thread; "
        f"{result['machine']}; {result['date']}",
    ]


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
