"""From a log entry and an answer to a line of a decisions file."""

from envoy_recorder import RecorderError, headers
from envoy_recorder.client import Answer
from envoy_recorder.instrument import chains, is_closed
from envoy_recorder.topology import Topology, split

FIELDS = ("listener", "filter_chain", "route_config", "virtual_host", "route", "cluster",
          "endpoint", "priority", "locality", "status", "location", "path", "authority")
# Where endpoints follow a script.
SCRIPTED = ("attempts", "response_flags")


def decision(request: dict, answer: Answer, entry: dict | None, topology: Topology,
             heads: dict, scripted: bool = False) -> dict:
    """The decision that Envoy took, in the project's format."""
    found = {"id": request["id"]}
    if answer.received is None:
        return found | {"outcome": "no_listener", "engine": "envoy",
                        "reason": "nothing listens at the destination"}
    if entry is None:
        if answer.received:
            raise RecorderError(f"request {request['id']}: answered, but not logged: {answer.received!r}")
        name = taking(request, topology)
        return found | {"outcome": "no_filter_chain", "listener": name, "engine": "envoy",
                        "reason": "connection closed: no filter chain match"}
    known = {key: entry.get(key) for key in FIELDS}
    if is_closed(entry):
        found["outcome"] = "direct_response"
        found |= {key: known[key] for key in UP_TO_MANAGER if known[key]}
        return found | {"engine": "envoy", "reason": entry["closed"]}
    known["status"] = entry["status"] or None
    if scripted and entry["attempts"]:
        outcome, keep = followed(entry, known)
    else:
        outcome, keep = classify(request, answer, entry, known, topology)
    if known["endpoint"] is not None:
        place = topology.endpoints.get(known["cluster"], {}).get(known["endpoint"])
        if place is None:
            raise RecorderError(f"request {request['id']}: {known['endpoint']} is no endpoint of "
                                f"cluster {known['cluster']}")
        known["priority"], known["locality"] = place
    if outcome == "no_cluster":
        known["cluster"] = named_cluster(request, known, topology)
    sent(request, answer, known)
    found["outcome"] = outcome
    for key in FIELDS + SCRIPTED:
        if key in keep and known.get(key) not in (None, ""):
            found[key] = known[key]
    if not scripted:
        by_filter = (entry["details"] or "").startswith(BY_FILTER)
        found |= headers.observed(answer, known, outcome, by_filter, topology, heads)
    found["engine"] = "envoy"
    found["reason"] = " ".join(part for part in (entry["details"], entry["flags"])
                               if part not in (None, "-", ""))
    return found


# The latter: the endpoint answered, and did not switch protocols.
FORWARDED = ("via_upstream", "websocket_handshake_unsuccessful")
# What the details of an HTTP filter's answer start with.
BY_FILTER = ("cors_response", "fault_filter_abort", "health_check", "local_rate_limited",
             "rbac_access_denied")
UP_TO_MANAGER = ("listener", "filter_chain")
UP_TO_TABLE = UP_TO_MANAGER + ("route_config",)
UP_TO_HOST = UP_TO_TABLE + ("virtual_host",)
UP_TO_ROUTE = UP_TO_HOST + ("route",)


def followed(entry: dict, known: dict) -> tuple[str, tuple]:
    """The same of a request that was followed through its attempts."""
    known["attempts"] = entry["attempts"]
    known["response_flags"] = None if entry["flags"] == "-" else entry["flags"]
    fields = UP_TO_ROUTE + ("cluster", "endpoint", "priority", "locality", "status", "path",
                            "authority") + SCRIPTED
    if "{overflow}" in entry["details"]:
        return "overflow", fields
    return "no_healthy_upstream" if "UH" in entry["flags"] else "forward", fields


def classify(request: dict, answer: Answer, entry: dict, known: dict,
             topology: Topology) -> tuple[str, tuple]:
    """The outcome, and which fields say how far the decision got."""
    details, status = entry["details"], known["status"]
    if "route_config" not in entry:
        if entry["endpoint"] is not None:
            return "forward", UP_TO_MANAGER + ("cluster", "endpoint", "priority", "locality")
        if "NC" in entry["flags"]:
            return "no_cluster", UP_TO_MANAGER + ("cluster",)
        if "UH" in entry["flags"]:
            return "no_healthy_upstream", UP_TO_MANAGER + ("cluster",)
    elif details in FORWARDED or (details == "downstream_remote_disconnect" and tunnel(request, entry)):
        return "forward", UP_TO_ROUTE + ("cluster", "endpoint", "priority", "locality", "path",
                                         "authority")
    elif details == "path_normalization_failed":
        # Before there is a route: refused, or sent to the unescaped path.
        location = answer.header("location")
        if location is None:
            return "bad_request", UP_TO_TABLE + ("status",)
        known["location"] = location
        return "redirect", UP_TO_TABLE + ("status", "location")
    elif details == "direct_response" and known["route"] is None:
        # The virtual host requires TLS.
        known["location"] = answer.header("location")
        return "redirect", UP_TO_HOST + ("status", "location")
    elif details == "direct_response":
        location = answer.header("location")
        levels = topology.levels(known) or {"route": {}}
        # Mutations may take a redirect's location away. To gRPC, and where TLS is required, it is
        # inside a 200.
        has_moved = location is not None and (300 < status < 400 or status == 200)
        if "redirect" in levels["route"] or (
                has_moved and "direct_response" not in levels["route"]):
            known["location"] = location
            return "redirect", UP_TO_ROUTE + ("status", "location")
        return "direct_response", UP_TO_ROUTE + ("status",)
    elif details is not None and details.startswith(BY_FILTER):
        return "direct_response", UP_TO_ROUTE + ("status",)
    elif details == "route_not_found" and known["virtual_host"] is not None:
        return "no_route", UP_TO_HOST + ("status",)
    elif details == "route_not_found":
        return "no_virtual_host", UP_TO_TABLE + ("status",)
    elif details == "cluster_not_found":
        return "no_cluster", UP_TO_ROUTE + ("cluster", "status")
    elif details == "no_healthy_upstream":
        return "no_healthy_upstream", UP_TO_ROUTE + ("cluster", "status")
    elif details in ("drop_overload", "unconditional_drop_overload"):
        return "overflow", UP_TO_ROUTE + ("cluster", "status")
    elif details is not None and "{overflow}" in details:
        return "overflow", UP_TO_ROUTE + ("cluster", "endpoint", "priority", "locality", "status")
    elif details == "upgrade_failed":
        return "bad_request", UP_TO_ROUTE + ("status",)
    elif details is not None and details.startswith(("http1.", "http.invalid_authority")):
        return "bad_request", UP_TO_MANAGER + ("status",)
    elif status in (400, 404, 426):
        return "bad_request", UP_TO_TABLE + ("status",)
    raise RecorderError(f"request {request['id']}: no outcome is known for {entry}")


def tunnel(request: dict, entry: dict) -> bool:
    """Whether the request has become a tunnel, which its client has closed."""
    return request.get("method") in ("CONNECT", "POST") and entry["endpoint"] is not None


def named_cluster(request: dict, known: dict, topology: Topology) -> str | None:
    """The missing cluster that the route or the TCP proxy names, or that a header of the request names."""
    if known["route_config"] is None:
        all_chains = chains(topology.listeners[known["listener"]])
        own = [it for it in all_chains if it.get("name", "") == (known["filter_chain"] or "")]
        return own[0]["filters"][-1]["typed_config"].get("cluster") if len(own) == 1 else None
    route = topology.routes.get((known["route_config"], known["virtual_host"], known["route"]), {})
    action = route.get("route", {})
    if "cluster" in action:
        return action["cluster"]
    headers = {entry.get("cluster_header", "").lower()
               for entry in (action, *action.get("weighted_clusters", {}).get("clusters", []))}
    headers.discard("")
    if not headers:
        raise RecorderError(f"route {known['route']}: cannot tell which cluster is missing")
    # Of several headers it is not known which one was asked.
    if len(headers) != 1 or is_taken_off(next(iter(headers)), known, topology):
        return None
    return first_value(request, headers.pop())


def is_taken_off(header: str, known: dict, topology: Topology) -> bool:
    """Whether the connection manager takes the header off: cases have it name a cluster that there is."""
    owners = [it for it in chains(topology.listeners[known["listener"]])
              if it.get("name", "") == (known["filter_chain"] or "")] if known["listener"] else []
    managers = [it["filters"][-1]["typed_config"] for it in owners]
    drops = any(it.get("common_http_protocol_options", {}).get("headers_with_underscores_action")
                == "DROP_HEADER" for it in managers)
    internal = [name.lower() for it in managers
                for name in it.get("route_config", {}).get("internal_only_headers", [])]
    return header in internal or drops and "_" in header


def first_value(request: dict, name: str) -> str | None:
    """The first value of a header or pseudo header; None too where it is empty."""
    if request.get("method") == "CONNECT" and name in ("host", ":authority", ":path"):
        return None if name == ":path" else request["path"]
    if name in ("host", ":authority"):
        return request.get("authority")
    if name in (":path", ":method"):
        return request.get(name[1:], "/" if name == ":path" else "GET")
    values = [value.strip() for key, value in request.get("headers", []) if key.lower() == name]
    return values[0] or None if values else None


def taking(request: dict, topology: Topology) -> str:
    """The listener that has the connection in the end: the one of the destination, by address or
    as any address, or the one that the request names and that hands nothing on."""
    named = request.get("listener")
    if named is not None and not topology.listeners[named].get("use_original_dst"):
        return named
    target = split(request["destination"])
    for ip in (target[0], "0.0.0.0"):
        for name, listener in topology.listeners.items():
            address = listener["address"]["socket_address"]
            if (address["address"], address["port_value"]) == (ip, target[1]):
                return name
    if named is None:
        raise RecorderError(f"request {request['id']}: no listener has address "
                            f"{request['destination']}")
    return named


def sent(request: dict, answer: Answer, known: dict) -> None:
    """Path and authority as the endpoint got them, where they differ."""
    head = answer.header("x-head")
    if head is None:
        return
    path, authority = (bytes.fromhex(part).decode("utf-8", "replace") for part in head.split(","))
    if path != request.get("path", "/"):
        known["path"] = path
    if authority != request.get("authority"):
        known["authority"] = authority
