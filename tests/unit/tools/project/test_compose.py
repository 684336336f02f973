"""The compose file and the Dockerfile: a Compose implementation reads the one, all names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import faust.cli.worker  # noqa: F401 - it adds its command to faust's own
import pytest
import yaml
from faust.cli.base import cli as faust_cli

from streams.settings.load import load_settings
from tools.main import build_parser

ROOT = Path(__file__).parents[4]
IMAGE = ROOT / "tools" / "project" / "image"
#: What each profile starts.
PROFILES = {
    "one-broker": {"kafka"},
    "three-brokers": {"kafka-1", "kafka-2", "kafka-3"},
    "apps": {"topics", "sequencer", "recommender"},
    "gpu": {"topics", "sequencer", "recommender-gpu"},
    "sample": {"artifact", "sample"},
    "serve": {"topics", "keys", "serve"},
    "watching": {"prometheus", "grafana"},
    "valkey": {"valkey"},
}
PROFILES["all"] = {
    service for profile in ("one-broker", "apps", "sample", "serve", "watching") for service in PROFILES[profile]
}
#: podman-compose asks podman for its version and starts nothing to print a configuration.
PODMAN = "#!/bin/sh\necho 'podman version 5.4.0'\n"


@cache
def services() -> dict[str, dict[str, Any]]:
    """Return the services as YAML holds them, before variables have values."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return found


def composed(folder: Path, profile: str | None, **variables: str) -> dict[str, dict[str, Any]]:
    """Return the services that podman-compose would start for a profile, or without one."""
    podman = folder / "podman"
    podman.write_text(PODMAN)
    podman.chmod(0o755)
    named = [] if profile is None else ["--profile", profile]
    program = [sys.executable, "-m", "podman_compose", "--podman-path", str(podman), *named, "config"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(program, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr and "WARNING" not in done.stderr, done.stderr
    found: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return {name: each for name, each in found.items() if (profile or "all") in each["profiles"]}


def ours() -> dict[str, dict[str, Any]]:
    """Return the services that run headrace's image."""
    return {name: each for name, each in services().items() if str(each["image"]).startswith("headrace:")}


@pytest.mark.parametrize("profile", list(PROFILES))
def test_each_profile_starts_its_services(profile: str, tmp_path: Path) -> None:
    """A Compose implementation takes the file; no service is without a profile."""
    assert composed(tmp_path, profile).keys() == PROFILES[profile]
    assert set().union(*(each["profiles"] for each in services().values())) == set(PROFILES)


def test_without_a_profile_the_whole_starts(tmp_path: Path) -> None:
    """A plain ``docker compose up`` brings everything: Compose reads the profiles of ``.env``."""
    lines = [line for line in (ROOT / ".env").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines == ["COMPOSE_PROFILES=all"]
    assert composed(tmp_path, None).keys() == PROFILES["all"]


def test_variables_reach_the_services(tmp_path: Path) -> None:
    """Three brokers are three variables of the shell."""
    given = {"HEADRACE_BROKER": "kafka-1:19092,kafka-2:19092", "HEADRACE_REPLICATION": "3"}
    found = composed(tmp_path, "apps", **given)["sequencer"]["environment"]
    assert {name: found[name] for name in given} == given


def test_the_server_takes_its_store_from_the_shell(tmp_path: Path) -> None:
    """It waits for the Valkey of the profile, which is named by digest and open to nobody else."""
    given = {"HEADRACE_SERVE_STORE": "valkey://valkey:6379"}
    serve = composed(tmp_path, "serve", **given)["serve"]["environment"]
    settings = load_settings({name: str(value) for name, value in serve.items()}, file=Path("absent.toml")).server
    assert (settings.store_address().host, settings.store_address().port) == ("valkey", 6379)
    valkey = services()["valkey"]
    assert re.fullmatch(r"valkey/valkey:[0-9.]+-alpine@sha256:[0-9a-f]{64}", valkey["image"]) and "ports" not in valkey
    assert services()["serve"]["depends_on"]["valkey"] == {"condition": "service_healthy", "required": False}


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    """Return a service's variables of headrace, with the defaults of the file."""
    given = service.get("environment", {}).items()
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in given}


@pytest.mark.parametrize("name", list(ours()))
def test_every_variable_of_our_services_is_a_setting(name: str) -> None:
    """A worker ends at once with a variable that it does not know, or a value out of range."""
    given = settings_of(ours()[name])
    assert all(each.startswith("HEADRACE_") for each in given)
    settings = load_settings(given, file=Path("absent.toml"))
    assert {f"HEADRACE_{each.upper()}" for each in settings.given} == given.keys()


def commands_of(service: dict[str, Any]) -> list[list[str]]:
    """Return the commands of a service; a shell's are those between its ``&&`` and ``||``."""
    command: list[str] = service["command"]
    if command[0] != "sh":
        return [command]
    parts = [part.removeprefix("exec ") for part in re.split(r"\s*(?:&&|\|\||;)\s*", command[-1])]
    found = [shlex.split(part) for part in parts if not part.startswith(("test ", "if test ", "then ", "fi", "chmod "))]
    return [[word for word in words if not word.startswith(">")] for words in found]


def parsed(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """Return the options that a command of click reads; it raises for one that it does not know."""
    values, rest, _ = command.make_parser(click.Context(command)).parse_args(arguments)
    assert rest == []
    return dict(values)


@pytest.mark.parametrize("name", list(ours()))
def test_every_command_of_our_services_is_one_that_its_program_takes(name: str) -> None:
    """The programs' own parsers read them."""
    for program, *arguments in commands_of(ours()[name]):
        if program == "headrace":
            assert build_parser(arguments[0]).parse_args(arguments).command == arguments[0]
            continue
        assert program == "faust"
        group: Any = faust_cli
        where = arguments.index("worker")
        told = parsed(group, arguments[:where])
        assert told["quiet"] is True and told["app"].startswith("streams.")
        assert int(parsed(group.commands["worker"], arguments[where + 1 :])["web_port"]) > 1_024


def test_every_file_that_is_mounted_exists() -> None:
    """Docker would make an empty folder in its place."""
    mounts = [mount for each in services().values() for mount in each.get("volumes", []) if mount.startswith("./")]
    assert len(mounts) >= 6
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (ROOT / source).exists() and mode == "ro"


def test_our_containers_may_do_little() -> None:
    """A root that is read-only, no capability, no new privilege; a port for the server alone."""
    for name, each in ours().items():
        assert (each["read_only"], each["cap_drop"], each["init"]) == (True, ["ALL"], True)
        assert each["security_opt"] == ["no-new-privileges:true"] and ("ports" in each) is (name == "serve")


def test_a_workers_health_is_asked_at_its_port_and_prometheus_asks_there_too() -> None:
    """Three places name a port: the command, the health check, and Prometheus' configuration."""
    jobs = yaml.safe_load((ROOT / "docs" / "watching" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    asked = {name: str(each["port"]) for job in jobs for each in job["dns_sd_configs"] for name in each["names"]}
    running = {name: each for name, each in ours().items() if each.get("stop_grace_period")}
    assert running.keys() == asked.keys()
    for name, each in running.items():
        port, *page = each["healthcheck"]["test"][4:]
        assert each["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "tools.project.image.health_check"]
        assert page == (["/readyz"] if name == "serve" else [])
        option = "--port" if name == "serve" else "--web-port"
        assert each["command"][each["command"].index(option) + 1] == port == asked[name]


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with its text."""
    text = re.sub(r"(?m)^#.*\n", "", (IMAGE / "Dockerfile").read_text("utf-8")).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def test_what_the_image_copies_exists_and_reaches_its_build() -> None:
    """The file of ignored paths lets nothing else of the checkout in."""
    kept = {
        line[1:] for line in (IMAGE / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = {source for each in copied for source in each}
    assert all((ROOT / source).exists() for source in sources)
    assert {source.split("/")[0] for source in sources} == kept


def test_the_image_runs_as_nobody_in_particular_and_has_the_targets_of_compose() -> None:
    found = instructions()
    stages = [rest.split(" AS ")[1] for name, rest in found if name == "FROM"]
    assert {each["build"]["target"] for each in ours().values()} == {"cpu", "cuda"} == set(stages[-2:])
    assert [rest for name, rest in found if name == "USER"] == ["10001:10001"]
    assert sum(name == "HEALTHCHECK" for name, _ in found) == 1
    assert {f"headrace:{each['build']['target']}" for each in ours().values()} == {
        each["image"] for each in ours().values()
    }
