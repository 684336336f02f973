"""How tests run ``headrace``: as a process, or a command's code with parsed arguments."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType
from typing import Final

#: The program as a process, whatever lies on the path.
HEADRACE: Final = (sys.executable, "-m", "tools.main")


def arguments(command: ModuleType, *argv: str) -> argparse.Namespace:
    """Return the arguments of a command or benchmark as ``headrace`` parses them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker")
    parser.add_argument("--json", action="store_true")
    command.add_arguments(parser)
    return parser.parse_args(list(argv))
