"""Answers of ``headrace`` without a command.

They are help, version, and a script for the shell's completion.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.hostile_text import unfit
from tests.support.programs import HEADRACE
from tools.cli import Parser
from tools.main import COMMANDS, main

#: Calls the script's function as bash does when a user types the last word; prints what it offers.
TYPED = """
source "$1"; shift
complete -p headrace >/dev/null || exit 1
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_headrace headrace "${@: -1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def answer(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a call prints that ends at once with exit code 0."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def on_a_terminal(*argv: str) -> str:
    """Return what a terminal of 80 columns gets from a call."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "xterm-256color", "COLUMNS": "80"}
    done = subprocess.run([*HEADRACE, *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=env, check=False)
    os.close(theirs)
    assert done.returncode in (0, 2)
    text = b""
    while chunk := read(ours):
        text += chunk
    os.close(ours)
    return text.decode()


def read(terminal: int) -> bytes:
    """Return what is there to read; nothing at the end, which Linux reports as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=lambda argv: argv[0])
def test_help_in_a_file_is_plain(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(argv, capsys)
    assert text.startswith("usage: headrace") and unfit(text) == set()


@pytest.mark.model
def test_help_on_a_terminal_is_coloured() -> None:
    assert "\x1b[" in on_a_terminal("--help")


@pytest.mark.model
def test_an_error_of_usage_on_a_terminal_is_plain() -> None:
    """It goes to standard error, which may be a file while standard output is a terminal."""
    text = on_a_terminal("completion", "cmd.exe\x1b[2J")
    assert "invalid choice" in text and unfit(text.replace("\r", "")) == set()


def test_help_shows_brackets_and_colons_as_they_are() -> None:
    parser = Parser(prog="p", description="[red]a[/red] :bomb:")
    parser.add_argument("--x", help="[bold]b[/bold] :bomb:")
    assert "[red]a[/red] :bomb:" in parser.format_help() and "[bold]b[/bold] :bomb:" in parser.format_help()


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the script for bash as a file, as a user makes it."""
    path = tmp_path_factory.mktemp("completion") / "headrace.bash"
    path.write_bytes(subprocess.run([*HEADRACE, "completion", "bash"], stdout=subprocess.PIPE, check=True).stdout)
    subprocess.run(["bash", "-n", str(path)], check=True)
    return path


@pytest.mark.model
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sta", {"status"}),
        ("", {*COMMANDS}),
        ("drill slo", {"slow-model"}),
        ("items pu", {"put"}),
        ("train --enco", {"--encoder", "--encoding"}),
        ("completion z", {"zsh"}),
        ("up --artifact art", {"artifact"}),
        ("train his", {"history.csv"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str], bash_script: Path, tmp_path: Path) -> None:
    """Bash completes commands, their parts, options and choices.

    It offers folders and files where an option wants a folder or a file.
    """
    (tmp_path / "artifact").mkdir()
    (tmp_path / "history.csv").touch()
    command = ["bash", "-c", TYPED, "bash", str(bash_script), "headrace", *typed.split(" ")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert offered <= set(done.stdout.split())
    assert typed == "" or set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_too(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` holds the same script."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS) and unfit(script) == set()
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"].splitlines() == script.splitlines()
