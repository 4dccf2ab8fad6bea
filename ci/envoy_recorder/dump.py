"""Envoy's config dump: fetched, made reproducible, and turned back into a bootstrap."""

import json

from envoy_recorder.server import Envoy

EPOCH = "2026-01-01T00:00:00.000Z"
NODE = {"id": "twinmesh", "cluster": "twinmesh"}
PREFIX = "type.googleapis.com/envoy.admin.v3."


def fetch(envoy: Envoy) -> dict:
    """`/config_dump?include_eds`, less what differs from run to run or is no configuration: the
    times, the order of resources, the admin address, the list of built-in extensions."""
    dump = json.loads(envoy.get("/config_dump?include_eds"))
    for section in dump["configs"]:
        set_times(section)
        for entries in section.values():
            if isinstance(entries, list):
                entries.sort(key=resource_name)
        bootstrap = section.get("bootstrap")
        if bootstrap is not None:
            node = bootstrap["node"]
            node.pop("extensions", None)
            version = node["user_agent_build_version"]
            version["metadata"] = dict(sorted(version["metadata"].items()))
            bootstrap.pop("admin", None)
            # They come again, in full, in the sections below.
            bootstrap.pop("static_resources", None)
    return dump


def resource_name(entry: dict) -> str:
    """The name of the resource in a section's entry."""
    for value in entry.values():
        if isinstance(value, dict):
            return value.get("name") or value.get("cluster_name") or ""
    return ""


def set_times(value) -> None:
    """Replaces every `last_updated`."""
    if isinstance(value, dict):
        for key in value:
            if key == "last_updated":
                value[key] = EPOCH
            else:
                set_times(value[key])
    elif isinstance(value, list):
        for item in value:
            set_times(item)


def bootstrap(dump: dict) -> dict:
    """A bootstrap with the dump's static resources."""
    result = {"node": dict(NODE), "static_resources": {"listeners": [], "clusters": []}}
    for section in dump["configs"]:
        kind = section["@type"].removeprefix(PREFIX)
        if kind == "BootstrapConfigDump":
            for field in ("layered_runtime", "cluster_manager"):
                if field in section["bootstrap"]:
                    result[field] = section["bootstrap"][field]
            locality = section["bootstrap"].get("node", {}).get("locality")
            if locality is not None:
                result["node"]["locality"] = locality
        elif kind == "ClustersConfigDump":
            result["static_resources"]["clusters"] += [
                untyped(entry["cluster"]) for entry in section.get("static_clusters", [])]
        elif kind == "ListenersConfigDump":
            result["static_resources"]["listeners"] += [
                untyped(entry["listener"]) for entry in section.get("static_listeners", [])]
    return result


def untyped(resource: dict) -> dict:
    """A resource of an Any as a plain message."""
    return {key: value for key, value in resource.items() if key != "@type"}


def text(dump: dict) -> str:
    """As it is stored."""
    return json.dumps(dump, indent=1, ensure_ascii=False) + "\n"
