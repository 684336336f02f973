"""Asks whether a locked package has a known vulnerability.

``.ci/long`` runs it as ``python -m tools.project.advisories PIP_AUDIT``, with the path of
pip-audit. Where no source of advisories answers, it says so and exits 0: nothing is known then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Final

from tools.cli import write_line
from tools.project.packages import LOCK_FILE

SOURCES: Final = ("pypi", "osv")
TIMEOUT_S: Final = 600
Found = dict[str, Any]  # one dependency, as pip-audit's JSON has it


def ask(program: str, source: str) -> list[Found] | None:
    """Return the packages with their advisories from one source, or None without an answer."""
    command = [program, "--require-hashes", "--disable-pip", "-r", str(LOCK_FILE), "-s", source]
    try:
        done = subprocess.run(
            [*command, "-f", "json", "--progress-spinner", "off"], capture_output=True, timeout=TIMEOUT_S, check=False
        )
        found: list[Found] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):  # without JSON it has failed
        return None
    return None if all("skip_reason" in one for one in found) else found


def verdict(source: str, found: Iterable[Found]) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print.

    The lines name each vulnerable package and each package that the source does not know.
    """
    packages = list(found)
    lines = [
        f"VULNERABLE: {one['name']} {one['version']}: {advisory['id']}; "
        f"corrected in {', '.join(advisory.get('fix_versions') or ['no version'])}"
        for one in packages
        for advisory in one.get("vulns") or []
    ]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if unknown:
        lines.append(f"not looked up, because {source} does not know them: {', '.join(unknown)}")
    n_asked = len(packages) - len(unknown)
    n_bad = sum(bool(one.get("vulns")) for one in packages)
    lines.append(f"advisories: {n_asked} packages looked up at {source}, {n_bad} of them vulnerable")
    return int(n_bad > 0), lines


def main(argv: list[str]) -> int:
    """Ask the sources in turn until one answers."""
    (program,) = argv
    for source in SOURCES:
        found = ask(program, source)
        if found is not None:
            code, lines = verdict(source, found)
            for line in lines:
                write_line(line)
            return code
    write_line(
        f"SKIPPED: advisories: neither {' nor '.join(SOURCES)} answers from here; nothing is known of the packages"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
