"""How strictly a recording can be compared: exactly, up to a phase, or in distribution only."""

import math
import re

from envoy_recorder import RecorderError
from envoy_recorder.record import Recording

PICK = ("endpoint", "priority", "locality")
SPLIT = ("cluster",) + PICK + ("path", "authority")
# A period counts as observed if this many picks repeated it beyond the first.
REPEATED = 4


def comparison(recording: Recording, requests: list[dict]) -> tuple[list[dict], list[dict]]:
    """The phase rules and the distribution rules of a case."""
    splits = random_splits(recording, requests)
    freed: dict[str, set] = {}
    for rule in splits:
        for identifier in rule["ids"]:
            freed.setdefault(identifier, set()).update(rule["fields"])
    phases, distributions = [], []
    for cluster in sorted(recording.topology.clusters):
        rule = picks_rule(recording, cluster)
        if rule is None:
            continue
        for run in recording.runs:
            for found in run:
                if found.get("cluster") == cluster:
                    freed.setdefault(found["id"], set()).update(PICK)
        (phases if "period" in rule else distributions).append(rule)
    check(recording, freed)
    return phases, distributions + [
        {key: value for key, value in rule.items() if key != "ids" or rule["some"]}
        for rule in splits]


def random_splits(recording: Recording, requests: list[dict]) -> list[dict]:
    """A rule for each route whose weighted clusters some requests do not pin."""
    rules: dict[tuple, dict] = {}
    pinned: dict[tuple, int] = {}
    for request, found in zip(requests, recording.runs[0]):
        key = (found.get("route_config", ""), found.get("virtual_host"), found.get("route"))
        weighted = recording.topology.routes.get(key, {}).get("route", {}).get("weighted_clusters")
        if weighted is None:
            continue
        if is_pinned(request, weighted):
            pinned[key] = pinned.get(key, 0) + 1
            continue
        rule = rules.setdefault(key, {
            "route_config": key[0], "virtual_host": key[1], "route": key[2], "fields": SPLIT,
            "weights": weights(weighted), "ids": [], "some": False})
        rule["ids"].append(request["id"])
    for key, rule in rules.items():
        rule["some"] = key in pinned
    return list(rules.values())


def is_pinned(request: dict, weighted: dict) -> bool:
    """Whether the request's header is the random value: one header that absl::SimpleAtoi reads."""
    name = weighted.get("header_name")
    if name is None:
        return False
    values = [value for key, value in request.get("headers", []) if key.lower() == name.lower()]
    if len(values) != 1 or not re.fullmatch(r"\s*\+?[0-9]+\s*", values[0], re.ASCII):
        return False
    value = int(values[0])
    if value >= 2 ** 64:
        return False
    if request.get("random") != value:
        raise RecorderError(f"request {request['id']}: header {name} says {value}, so `random` must")
    return True


def weights(weighted: dict) -> dict[str, int]:
    """The weight of each cluster."""
    result: dict[str, int] = {}
    for entry in weighted["clusters"]:
        result[entry["name"]] = result.get(entry["name"], 0) + entry.get("weight", 0)
    return result


def picks_rule(recording: Recording, cluster: str) -> dict | None:
    """How the picks of a cluster compare; None: exactly."""
    sequences = [[tuple(found.get(field) for field in PICK) for found in run
                  if found.get("cluster") == cluster and found["outcome"] == "forward"]
                 for run in recording.runs]
    if len({pick for sequence in sequences for pick in sequence}) <= 1:
        return None
    rule = {"cluster": cluster, "fields": PICK}
    period = common_period(sequences)
    if period is None:
        return rule
    rule["period"] = period
    if period != policy_period(recording.topology.clusters[cluster]):
        rule["observed"] = True
    return rule


def common_period(sequences: list[list[tuple]]) -> int | None:
    """The period of all sequences, where each is a rotation of the others."""
    longest = max(sequences, key=len)
    for period in range(1, len(longest) - REPEATED + 1):
        cycle = longest[:period]
        if all(follows(sequence, cycle) for sequence in sequences):
            return period
    return None


def follows(sequence: list[tuple], cycle: list[tuple]) -> bool:
    """Whether some rotation of the cycle, repeated, is the sequence."""
    size = len(cycle)
    return len(sequence) >= size + REPEATED and any(
        all(pick == cycle[(start + index) % size] for index, pick in enumerate(sequence))
        for start in range(size))


def policy_period(cluster: dict) -> int | None:
    """The period that the policy has by itself: one priority, all healthy, localities unweighted."""
    if cluster.get("lb_policy", "ROUND_ROBIN") not in ("ROUND_ROBIN", "LEAST_REQUEST"):
        return None
    groups = cluster.get("load_assignment", {}).get("endpoints", [])
    found = []
    for group in groups:
        if group.get("priority", 0) or "load_balancing_weight" in group:
            return None
        for endpoint in group.get("lb_endpoints", []):
            if endpoint.get("health_status", "UNKNOWN") not in ("UNKNOWN", "HEALTHY"):
                return None
            found.append(endpoint.get("load_balancing_weight", 1))
    return sum(found) // math.gcd(*found) if found else None


def check(recording: Recording, freed: dict[str, set]) -> None:
    """What no rule frees must be equal in all runs."""
    first, *others = recording.runs
    for other in others:
        for one, two in zip(first, other):
            fields = freed.get(one["id"], set()) | {"reason", "engine"}
            different = {field for field in one.keys() | two.keys()
                         if field not in fields and one.get(field) != two.get(field)}
            if different:
                raise RecorderError(f"the runs differ in {sorted(different)} of {one['id']}, "
                                    f"which nothing random explains:\n{one}\n{two}")
