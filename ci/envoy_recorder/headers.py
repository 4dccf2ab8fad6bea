"""What of headers and copies a recording can see: the heads that endpoints and clients got."""

from envoy_recorder.topology import Topology

FIELDS = ("request_headers", "response_headers", "mirrors", "body")


def observed(answer, known: dict, outcome: str, by_filter: bool, topology: Topology,
             heads: dict) -> dict:
    """The fields of a decision that tell of headers, copies and bodies; `heads` are those that endpoints
    got, by request id, each with the endpoint's address."""
    levels = topology.levels(known)
    if levels is None:
        return {}
    route = levels["route"]
    found = {}
    if outcome == "forward":
        head = answer.body().split(b"\r\n")
        names = named(levels, "request", known, topology)
        # Where Envoy ends a tunnel, no head came; a route may take x-head off.
        if names and (answer.header("x-head") is not None or answer.body()):
            found["request_headers"] = values(head, names)
        copies = mirrors(head, known, levels, topology, heads)
        if copies:
            found["mirrors"] = copies
    if outcome == "direct_response" and not by_filter:
        try:
            found["body"] = answer.body().decode("utf-8")
        except UnicodeDecodeError:
            pass
    acts = "route" in route or not by_filter
    # A bad request with a route is an upgrade that is refused there.
    if outcome in ("forward", "redirect", "direct_response", "no_cluster", "no_healthy_upstream",
                   "overflow", "bad_request") and acts:
        names = named(levels, "response", known, topology)
        if names:
            head = answer.received.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
            found["response_headers"] = values(head, names)
    return found


def by_filters(levels: list[dict], topology: Topology, known: dict) -> list[dict]:
    """The configurations of the filters that change headers, and what these levels say to them."""
    found = []
    for chain in topology.listeners.get(known.get("listener"), {}).get("filter_chains", []):
        if chain.get("name", "") != (known.get("filter_chain") or ""):
            continue
        for each in chain["filters"][-1].get("typed_config", {}).get("http_filters", []):
            if not each["typed_config"]["@type"].endswith(".header_mutation.v3.HeaderMutation"):
                continue
            said = [level["typed_per_filter_config"][each["name"]] for level in levels
                    if each["name"] in level.get("typed_per_filter_config", {})]
            if said[0].get("disabled") if said else each.get("disabled"):
                continue
            found += [each["typed_config"], *said]
    return found


def named(levels: dict, of: str, known: dict, topology: Topology) -> set[str]:
    """The headers that mutations of these levels name."""
    weighted = levels["route"].get("route", {}).get("weighted_clusters", {}).get("clusters", [])
    entries = [entry for entry in weighted if entry.get("name") == known.get("cluster")]
    names = set()
    for level in [levels["route"], levels["host"], levels["table"], *entries]:
        names.update(option["header"]["key"] for option in level.get(f"{of}_headers_to_add", []))
        names.update(level.get(f"{of}_headers_to_remove", []))
    for each in by_filters([levels["route"], levels["host"], levels["table"], *entries], topology, known):
        for change in each.get("mutations", {}).get(f"{of}_mutations", []):
            names.add(change["remove"] if "remove" in change else change["append"]["header"]["key"])
    return {name.lower() for name in names}


def values(head: list[bytes], names: set[str]) -> dict[str, list[str]]:
    """The values of these headers in a head."""
    found: dict[str, list[str]] = {name: [] for name in sorted(names)}
    for line in head[1:]:
        name, _, value = line.partition(b":")
        lines = found.get(name.lower().decode("latin-1"))
        if lines is not None:
            lines.append(value.strip(b" \t").decode("utf-8", "replace"))
    return found


def mirrors(head: list[bytes], known: dict, levels: dict, topology: Topology,
            heads: dict) -> list[str]:
    """The clusters that got a copy, in the order of the policies."""
    identifier = values(head, {"x-request-id"})["x-request-id"]
    got = [address for address in heads.get(identifier[0] if identifier else "", [])]
    if known.get("endpoint") in got:
        got.remove(known["endpoint"])
    policies = next((level["request_mirror_policies"] for level in (
        levels["route"].get("route", {}), levels["host"], levels["table"])
        if level.get("request_mirror_policies")), [])
    copies = []
    for policy in policies:
        name = policy.get("cluster")
        if not name:
            header = policy["cluster_header"].lower()
            name = (values(head, {header})[header] or [""])[0]
        for address in topology.endpoints.get(name, {}):
            if address in got:
                got.remove(address)
                copies.append(name)
                break
    return copies


def blank(runs: list[list[dict]]) -> None:
    """Values that differ between runs are not known: ports, times."""
    for decisions in zip(*runs):
        for field in FIELDS[:2]:
            tables = [found.get(field, {}) for found in decisions]
            for name in tables[0]:
                if any(table.get(name) != tables[0][name] for table in tables):
                    for table in tables:
                        table[name] = None
