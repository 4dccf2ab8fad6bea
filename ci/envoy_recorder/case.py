"""A case folder: what is read from it and what is written to it."""

import collections
import json
from pathlib import Path

from envoy_recorder import RecorderError, dump as dumps, headers
from envoy_recorder.decide import FIELDS, SCRIPTED
from envoy_recorder.install import VERSION
from envoy_recorder.record import RUNS

DUMP = "config_dump.json"
TRAFFIC = "requests.traffic.jsonl"
DECISIONS = "recorded.decisions.jsonl"
SETTINGS = "case.toml"
ENDPOINTS = "requests.endpoints.toml"
EXACT = ("outcome",) + FIELDS
LICENCE = "same as the project"


def read_traffic(folder: Path) -> list[dict]:
    """The requests; each needs an id of its own and a destination."""
    path = folder / TRAFFIC
    requests = []
    seen = set()
    for number, line in enumerate(lines(path), 1):
        try:
            request = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecorderError(f"{path}:{number}: {error}") from error
        for field in ("id", "destination"):
            if field not in request:
                raise RecorderError(f"{path}:{number}: no `{field}`; a recorded request needs one")
        if request["id"] in seen:
            raise RecorderError(f"{path}:{number}: id {request['id']!r} is used twice")
        seen.add(request["id"])
        requests.append(request)
    return requests


def lines(path: Path) -> list[str]:
    """A file's lines."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RecorderError(f"{path}: {error.strerror}") from error


def read_bootstrap(folder: Path) -> dict:
    """The static resources of the case's dump."""
    path = folder / DUMP
    try:
        return dumps.bootstrap(json.loads("\n".join(lines(path))))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise RecorderError(f"{path}: not a config dump with static resources: {error!r}") from error


def read_about(folder: Path) -> dict:
    """Notes and source of a recorded case."""
    import tomllib
    path = folder / SETTINGS
    if not path.is_file():
        return {"notes": [], "path": "-", "profile": None}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
        return {"notes": settings["notes"], "path": settings["source"]["path"],
                "profile": settings.get("profile")}
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise RecorderError(f"{path}: {error!r}") from error


def read_script(folder: Path) -> str | None:
    """What endpoints do, where the case says so."""
    path = folder / ENDPOINTS
    return path.read_text(encoding="utf-8") if path.is_file() else None


def files(folder: Path, recording, requests: list[dict], rules, about: dict,
          script: str | None = None) -> dict[Path, str]:
    """The texts of the case's files."""
    texts = {} if script is None else {folder / ENDPOINTS: script}
    return texts | {
        folder / DUMP: dumps.text(recording.dump),
        folder / TRAFFIC: json_lines(requests),
        folder / DECISIONS: json_lines(recording.runs[0]),
        folder / SETTINGS: settings(folder.name, recording.runs[0], rules, about,
                                      script is not None),
    }


def json_lines(values: list[dict]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def settings(name: str, decisions: list[dict], rules, about: dict, scripted: bool) -> str:
    """case.toml."""
    phases, distributions = rules
    told = tuple(field for field in headers.FIELDS if any(field in found for found in decisions))
    counts = collections.Counter(found["outcome"] for found in decisions)
    outcomes = ", ".join(f"{outcome} = {count}" for outcome, count in sorted(counts.items()))
    text = [
        f"name = {toml(name)}",
        'set = "fixtures"',
        *([f"profile = {toml(about['profile'])}"] if about["profile"] else []),
        f"requests = {len(decisions)}",
        f"outcomes = {{ {outcomes} }}",
        f"notes = {toml(about['notes'])}",
        "",
        "[source]",
        'repository = "written here"',
        f"path = {toml(about['path'])}",
        'commit = "-"',
        f"licence = {toml(LICENCE)}",
        "",
        "[envoy]",
        f"version = {toml(VERSION)}",
        "concurrency = 1",
        f"recorded_runs = {RUNS}",
        "instrumented_copy_equals_dump = true",
        "",
        "[comparison]",
        "# every field in exact is equal in both runs, save where a table below frees it",
        f"exact = {toml(EXACT + told + (SCRIPTED if scripted else ()))}",
        'ignored = ["engine", "reason"]',
    ]
    for rule in phases:
        text += ["", "[[comparison.phase]]", f"cluster = {toml(rule['cluster'])}",
                 f"fields = {toml(rule['fields'])}", f"period = {rule['period']}"]
        if "ids" in rule:
            text.append(f"ids = {toml(rule['ids'])}")
        if rule.get("observed"):
            text.append("observed = true  # period and cyclic sequence found in both runs, "
                        "not derived from the policy alone")
        text.append("# the sequence of picks of this cluster, in file order, is exact up to one "
                    "start phase")
    for rule in distributions:
        text += ["", "[[comparison.distribution]]"]
        text += [f"{key} = {toml(rule[key])}"
                 for key in ("cluster", "route_config", "virtual_host", "route", "fields")
                 if key in rule]
        if "weights" in rule:
            shares = ", ".join(f"{toml(key)} = {value}" for key, value in rule["weights"].items())
            text.append(f"weights = {{ {shares} }}")
        if "ids" in rule:
            text.append(f"ids = {toml(rule['ids'])}")
    return "\n".join(text) + "\n"


def toml(value) -> str:
    """A string or an array of strings."""
    if isinstance(value, str):
        # TOML's basic strings take JSON's escapes.
        return json.dumps(value, ensure_ascii=False)
    return "[" + ", ".join(toml(item) for item in value) + "]"
