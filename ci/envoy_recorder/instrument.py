"""A copy of a configuration from which the decisions can be read: access logs, and names as
metadata for the logs to print. Nothing that a decision rests on is changed."""

import copy
import json
from pathlib import Path

from envoy_recorder import RecorderError

HCM = ("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
       "HttpConnectionManager")
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
NETWORK_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
MARK = "twinmesh"
BY_LISTENER = "listener"


def instrument(bootstrap: dict, folder: Path) -> dict:
    """The instrumented copy; its logs go to `folder`."""
    result = copy.deepcopy(bootstrap)
    for listener in result["static_resources"]["listeners"]:
        if any(is_rbac(each) for chain in chains(listener) for each in chain["filters"]):
            # What a network filter closes, only the listener tells of for all kinds of chains.
            names = {"listener": listener["name"], "filter_chain": "%FILTER_CHAIN_NAME%"}
            listener["access_log"] = [log(folder, {"by": BY_LISTENER}, names)]
        for chain in chains(listener):
            for network_filter in chain["filters"]:
                config = network_filter.get("typed_config", {})
                names = {"listener": listener["name"], "filter_chain": chain.get("name", "")}
                if config.get("@type") == HCM:
                    manager(config, names, folder)
                elif config.get("@type") == TCP_PROXY:
                    config["access_log"] = [log(folder, names)]
    return result


def is_rbac(network_filter: dict) -> bool:
    """Whether a network filter may close connections by rules."""
    return network_filter.get("typed_config", {}).get("@type") == NETWORK_RBAC


def is_closed(entry: dict) -> bool:
    """Whether a network filter closed the connection of a log entry."""
    return (entry["closed"] or "").startswith("rbac_access_denied")


def chains(listener: dict) -> list[dict]:
    """A listener's filter chains, the default one last."""
    default = listener.get("default_filter_chain")
    return listener.get("filter_chains", []) + ([default] if default else [])


def manager(config: dict, names: dict, folder: Path) -> None:
    """A connection manager: its log, and its route table's marks."""
    table = config.get("route_config")
    if table is None:
        raise RecorderError(f"listener {names['listener']}: only an inline route_config is recorded")
    config["access_log"] = [log(folder, {**names, "route_config": table.get("name", "")})]
    for host in table.get("virtual_hosts", []):
        mark(host, {"virtual_host": host["name"]})
        for index, route in enumerate(routes(host)):
            mark(route, {"route": route.get("name") or f"#{index}"})


def routes(host: dict) -> list[dict]:
    """A virtual host's routes; those of a matcher tree in the order in which twinmesh names them."""
    return in_matcher(host["matcher"]) if "matcher" in host else host.get("routes", [])


def in_matcher(matcher: dict) -> list[dict]:
    """The routes below a matcher: depth first, of a map in the order of its keys."""
    found = []
    for field in matcher.get("matcher_list", {}).get("matchers", []):
        found += in_on_match(field["on_match"])
    tree = matcher.get("matcher_tree", {})
    for kind in ("exact_match_map", "prefix_match_map"):
        for _, on_match in sorted(tree.get(kind, {}).get("map", {}).items()):
            found += in_on_match(on_match)
    return found + in_on_match(matcher.get("on_no_match", {}))


def in_on_match(on_match: dict) -> list[dict]:
    """The routes that a match leads to."""
    if "matcher" in on_match:
        return in_matcher(on_match["matcher"])
    action = on_match.get("action", {}).get("typed_config")
    if action is None:
        return []
    return action["routes"] if action["@type"].endswith(".RouteList") else [action]


def mark(resource: dict, names: dict) -> None:
    """Metadata that the access log can print."""
    resource.setdefault("metadata", {}).setdefault("filter_metadata", {})[MARK] = names


def log(folder: Path, names: dict, formats: dict | None = None) -> dict:
    """An access log with the names as they are, what these formats say, and what Envoy decided."""
    literal = {key: value.replace("%", "%%") for key, value in names.items()}
    return {"name": MARK, "typed_config": {
        "@type": FILE_LOG, "path": str(folder / "access"),
        "log_format": {"json_format": {
            **literal, **(formats or {}),
            "from": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "virtual_host": f"%METADATA(VIRTUAL_HOST:{MARK}:virtual_host)%",
            "route": f"%METADATA(ROUTE:{MARK}:route)%",
            "cluster": "%UPSTREAM_CLUSTER_RAW%",
            "endpoint": "%UPSTREAM_HOST%",
            "status": "%RESPONSE_CODE%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "closed": "%CONNECTION_TERMINATION_DETAILS%",
            "flags": "%RESPONSE_FLAGS%"}}}}


def strip(dump: dict) -> dict:
    """A dump of the instrumented copy without what `instrument` added."""
    result = copy.deepcopy(dump)
    for value in walk(result):
        if [entry.get("name") for entry in value.get("access_log", [])] == [MARK]:
            del value["access_log"]
        metadata = value.get("metadata", {}).get("filter_metadata", {})
        if metadata.pop(MARK, None) is not None and not metadata:
            del value["metadata"]
    return result


def walk(value):
    """Every object in a JSON value, inner ones after outer ones."""
    if isinstance(value, dict):
        yield value
        for inner in list(value.values()):
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def same(one: dict, other: dict) -> bool:
    """Whether two dumps hold the same configuration."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
