"""Envoy's config dump: fetched, made reproducible, and turned back into a bootstrap."""

import json

from envoy_recorder.server import Envoy

EPOCH = "2026-01-01T00:00:00.000Z"
NODE = {"id": "twinmesh", "cluster": "twinmesh"}
PREFIX = "type.googleapis.com/envoy.admin.v3."
# Fields that are maps, whose keys Envoy writes in another order in each process.
MAPS = {"context_extensions", "map", "policies", "typed_dynamic_metadata", "typed_extension_protocol_options",
        "typed_filter_metadata", "typed_metadata", "typed_per_filter_config"}
# Fields that are maps all the way down: a google.protobuf.Struct, or a map of them.
STRUCTS = {"default_subset", "dynamic_metadata", "filter_context", "filter_metadata", "json_format", "static_layer",
           "transport_socket_match_criteria"}


def fetch(envoy: Envoy) -> dict:
    """`/config_dump?include_eds`, less what differs from run to run or is no configuration: the
    times, the order of resources and of maps, the admin address, the list of built-in extensions."""
    dump = json.loads(envoy.get("/config_dump?include_eds"))
    for section in dump["configs"]:
        set_times(section)
        sort_maps(section)
        for entries in section.values():
            if isinstance(entries, list):
                entries.sort(key=resource_name)
        bootstrap = section.get("bootstrap")
        if bootstrap is not None:
            node = bootstrap["node"]
            node.pop("extensions", None)
            for holder in (node, node["user_agent_build_version"]):
                sort_keys(holder.get("metadata"))
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


def sort_maps(value) -> None:
    """Puts the keys of every map into their order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in STRUCTS:
                sort_keys(inner)
                continue
            if key in MAPS and isinstance(inner, dict):
                sort_in_place(inner)
            sort_maps(inner)
    elif isinstance(value, list):
        for item in value:
            sort_maps(item)


def sort_keys(value) -> None:
    """Puts the keys of an object and of all objects in it into their order."""
    if isinstance(value, dict):
        sort_in_place(value)
        for inner in value.values():
            sort_keys(inner)
    elif isinstance(value, list):
        for item in value:
            sort_keys(item)


def sort_in_place(value: dict) -> None:
    """Puts the keys of an object into their order."""
    entries = sorted(value.items())
    value.clear()
    value.update(entries)


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
