"""Asks before a training replaces the artifact that is live."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.files.served_folder import is_served
from streams.settings.load import load_settings
from tools.cli import check_consent


def add_consent(parser: argparse.ArgumentParser) -> None:
    """Add the option with which a user agrees beforehand."""
    parser.add_argument("--yes", action="store_true", help="replace the live artifact without a question")


def check_live(out: Path, is_agreed: bool) -> None:
    """Go on only where ``out`` is not the live artifact, or the user agrees to replace it.

    An artifact is live where a running recommender of this machine has loaded it, or where it lies
    in the folder that the setting ``artifact`` names: the next worker loads that one.

    Raises
    ------
    InputError
        When the user does not agree, or nobody is there to be asked.
    """
    if not out.is_dir():
        return
    if is_served(out):
        why = "a running recommender serves this artifact; after a restart it serves what replaces it"
    elif out.resolve() == Path(load_settings().recommender.artifact).expanduser().resolve():
        why = (
            "this is the artifact that workers serve by the settings (artifact); the next start serves what replaces it"
        )
    else:
        return
    check_consent(is_agreed, f"{out}: {why}")
