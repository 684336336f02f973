"""Malformed records of many kinds: those of the drills."""

from __future__ import annotations

from tools.drills.malformed import MALFORMED, malformed

__all__ = ["MALFORMED", "malformed"]
