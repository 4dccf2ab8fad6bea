"""How strictly a recording can be compared: exactly, up to a phase, or in distribution only."""

import collections
import math
import re

from envoy_recorder import RecorderError
from envoy_recorder.instrument import TCP_PROXY, chains
from envoy_recorder.record import Recording

PICK = ("endpoint", "priority", "locality")
SPLIT = ("cluster",) + PICK + ("path", "authority")
# A period counts as observed if this many picks repeated it beyond the first.
REPEATED = 4


def comparison(recording: Recording, requests: list[dict]) -> tuple[list[dict], list[dict]]:
    """The phase rules and the distribution rules of a case."""
    splits = (random_splits(recording, requests) + random_routes(recording)
              + random_connections(recording))
    freed: dict[str, set] = {}
    for rule in splits:
        for identifier in rule["ids"]:
            freed.setdefault(identifier, set()).update(rule["fields"])
    phases, distributions = [], []
    for cluster in sorted(recording.topology.clusters):
        named = named_by(recording, cluster, requests)
        schedules = schedules_of(recording, cluster, named)
        for members in schedules:
            rule = picks_rule(recording, cluster, members)
            if rule is None:
                continue
            if named or len(schedules) > 1:
                rule["ids"] = [found["id"] for found in recording.runs[0] if found["id"] in members
                               and found["outcome"] == "forward"]
            for identifier in members:
                freed.setdefault(identifier, set()).update(PICK)
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
        if weighted is None or is_share(recording.topology.routes[key]):
            continue
        # Where a filter answered, nothing was drawn that shows.
        if found["outcome"] == "direct_response" or is_pinned(request, weighted) or (
                weighted.get("use_hash_policy") and are_equal(recording, key)):
            pinned[key] = pinned.get(key, 0) + 1
            continue
        rule = rules.setdefault(key, {
            "route_config": key[0], "virtual_host": key[1], "route": key[2], "fields": SPLIT,
            "weights": weights(weighted), "ids": [], "some": False})
        rule["ids"].append(request["id"])
    for key, rule in rules.items():
        rule["some"] = key in pinned
    return list(rules.values())


def random_connections(recording: Recording) -> list[dict]:
    """A rule for each TCP proxy with several weighted clusters."""
    rules = []
    for name, listener in recording.topology.listeners.items():
        for chain in chains(listener):
            config = chain["filters"][-1].get("typed_config", {})
            weighted = config.get("weighted_clusters")
            if config.get("@type") != TCP_PROXY or weighted is None or len(weighted["clusters"]) < 2:
                continue
            rules.append({
                "fields": SPLIT, "weights": weights(weighted), "some": True,
                "ids": [found["id"] for found in recording.runs[0]
                        if found.get("listener") == name
                        and found.get("filter_chain", "") == chain.get("name", "")]})
    return rules


def are_equal(recording: Recording, key: tuple) -> bool:
    """Whether both runs chose alike for a route: what a hash chooses does not change."""
    chosen = [[found.get("cluster") for found in run if route_key(found) == key]
              for run in recording.runs]
    return all(one == chosen[0] for one in chosen)


def route_key(found: dict) -> tuple:
    """What names a decision's route."""
    return found.get("route_config", ""), found.get("virtual_host"), found.get("route")


def random_routes(recording: Recording) -> list[dict]:
    """A rule for each virtual host some route of which takes a share of the requests. Where its
    routes match by nothing else, the shares of the clusters are known."""
    hosts: dict[tuple, list[dict]] = {}
    for (table, host, _), route in recording.topology.routes.items():
        hosts.setdefault((table, host), []).append(route)
    rules = []
    for (table, host), routes in hosts.items():
        if not any(is_share(route) for route in routes):
            continue
        rule = {"route_config": table, "virtual_host": host, "fields": ("route",) + SPLIT,
                "ids": [found["id"] for found in recording.runs[0]
                        if route_key(found)[:2] == (table, host)], "some": False}
        if all(set(route["match"]) <= {"prefix", "runtime_fraction"}
               and route["match"]["prefix"] == "/" for route in routes):
            rule["weights"] = shares(routes)
        rules.append(rule)
    return rules


def fraction(route: dict) -> tuple[int, int]:
    """Numerator and denominator of the share of the requests that a route takes."""
    found = route["match"].get("runtime_fraction", {}).get("default_value")
    if found is None:
        return 1, 1
    whole = {"TEN_THOUSAND": 10 ** 4, "MILLION": 10 ** 6}.get(found.get("denominator"), 100)
    return found.get("numerator", 0), whole


def is_share(route: dict) -> bool:
    """Whether a route takes some of the requests, neither none nor all."""
    numerator, denominator = fraction(route)
    return 0 < numerator < denominator


def shares(routes: list[dict]) -> dict[str, int]:
    """The weight of each cluster: one random number decides over the fractions of the routes and
    over their weighted clusters."""
    totals = [sum(entry["weight"] for entry in route["route"]["weighted_clusters"]["clusters"])
              for route in routes if "weighted_clusters" in route["route"]]
    counts: collections.Counter = collections.Counter()
    for number in range(math.lcm(*(fraction(route)[1] for route in routes), *totals)):
        route = next(route for route in routes
                     if number % fraction(route)[1] < fraction(route)[0])
        counts[forwarded(route["route"], number)] += 1
    divisor = math.gcd(*counts.values())
    return {cluster: count // divisor for cluster, count in sorted(counts.items())}


def forwarded(action: dict, number: int) -> str:
    """The cluster of a route for a random number."""
    if "cluster" in action:
        return action["cluster"]
    entries = action["weighted_clusters"]["clusters"]
    left = number % sum(entry["weight"] for entry in entries)
    for entry in entries:
        left -= entry["weight"]
        if left < 0:
            break
    return entry["name"]


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
        name = entry.get("name", "")
        result[name] = result.get(name, 0) + entry.get("weight", 0)
    return result


def schedules_of(recording: Recording, cluster: str, named: set[str]) -> list[set[str]]:
    """The requests to a cluster that do not name their endpoint, by the schedule that picks for them:
    each subset has its own."""
    config = recording.topology.clusters[cluster]
    schedules: dict[tuple, set[str]] = {}
    for run in recording.runs:
        for found in run:
            if found.get("cluster") != cluster or found["id"] in named:
                continue
            subset = asked_subset(recording, found) if has_subsets(config) else {}
            is_there = any(subset.items() <= labels(each).items()
                           for group in config.get("load_assignment", {}).get("endpoints", [])
                           for each in group.get("lb_endpoints", []))
            key = tuple(sorted((name, repr(value)) for name, value in subset.items()))
            schedules.setdefault(key if is_there else (), set()).add(found["id"])
    return list(schedules.values())


def asked_subset(recording: Recording, found: dict) -> dict:
    """The labels of the endpoints that a decision's route asks for."""
    levels = recording.topology.levels(found)
    matched = levels["route"].get("route", {}).get("metadata_match", {}) if levels else {}
    return matched.get("filter_metadata", {}).get("envoy.lb", {})


def labels(endpoint: dict) -> dict:
    """What subsets are made of."""
    return endpoint.get("metadata", {}).get("filter_metadata", {}).get("envoy.lb", {})


def picks_rule(recording: Recording, cluster: str, members: set[str]) -> dict | None:
    """How the picks of a schedule of a cluster compare; None: exactly."""
    picked = [[found for found in run if found["id"] in members and found["outcome"] == "forward"
               and found.get("cluster") == cluster] for run in recording.runs]
    sequences = [[tuple(found.get(field) for field in PICK) for found in run] for run in picked]
    if len({pick for sequence in sequences for pick in sequence}) <= 1:
        return None
    rule = {"cluster": cluster, "fields": PICK}
    if hashes(recording.topology.clusters[cluster]) and all(one == sequences[0] for one in sequences):
        return None
    period = common_period(sequences)
    if period is None:
        return rule
    rule["period"] = period
    if period != policy_period(recording.topology.clusters[cluster]):
        rule["observed"] = True
    return rule


def named_by(recording: Recording, cluster: str, requests: list[dict]) -> set[str]:
    """The requests of which a header names the endpoint that they went to (override_host). A header that
    does not get to the balancer names none, where they went there all the same."""
    config = recording.topology.clusters[cluster]
    headers = []
    for policy in config.get("load_balancing_policy", {}).get("policies", []):
        typed = policy.get("typed_extension_config", {}).get("typed_config", {})
        headers += [source["header"].lower() for source in typed.get("override_host_sources", [])
                    if "header" in source]
    addresses = {address(each) for group in config.get("load_assignment", {}).get("endpoints", [])
                 for each in group.get("lb_endpoints", [])}
    named = {}
    for request in requests:
        names = [name.strip() for header in headers
                 for name in first_value(request, header).split(",")]
        named[request["id"]] = next((name for name in names if name in addresses), None)
    return {found["id"] for together in zip(*recording.runs) for found in together[:1]
            if found.get("cluster") == cluster and named[found["id"]] is not None
            and sends(recording, found, headers)
            and all(each.get("endpoint") == named[found["id"]] for each in together)}


def sends(recording: Recording, found: dict, headers: list[str]) -> bool:
    """Whether a request's route keeps the headers; of a TCP connection there are none."""
    levels = recording.topology.levels(found)
    if levels is None:
        return False
    removed = {name.lower() for level in levels.values()
               for name in level.get("request_headers_to_remove", [])}
    return not removed.intersection(headers)


def first_value(request: dict, header: str) -> str:
    """The first value that a request has for a header; "" where it has none."""
    values = [value for name, value in request.get("headers", []) if name.lower() == header]
    return values[0] if values else ""


def address(endpoint: dict) -> str:
    """IP:PORT of an endpoint."""
    socket = endpoint["endpoint"]["address"]["socket_address"]
    return f"{socket['address']}:{socket['port_value']}"


def has_subsets(cluster: dict) -> bool:
    """Whether routes choose among the subsets of a cluster."""
    return "lb_subset_config" in cluster or any(kind.endswith(".Subset") for kind in types(cluster))


def types(cluster: dict) -> list[str]:
    """The types of a cluster's policies, and of those that they leave the choice to."""
    policies = list(cluster.get("load_balancing_policy", {}).get("policies", []))
    found = []
    while policies:
        config = policies.pop().get("typed_extension_config", {}).get("typed_config", {})
        found.append(config.get("@type", ""))
        # Of subsets, fallback_policy is a word.
        inner = [config.get("subset_lb_policy"), config.get("fallback_policy")]
        policies += [policy for each in inner if isinstance(each, dict)
                     for policy in each.get("policies", [])]
    return found


def hashes(cluster: dict) -> bool:
    """Whether the cluster's balancer looks at the request's hash: its picks do not change then."""
    return cluster.get("lb_policy") in ("RING_HASH", "MAGLEV") or any(
        kind.endswith((".RingHash", ".Maglev")) for kind in types(cluster))


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
