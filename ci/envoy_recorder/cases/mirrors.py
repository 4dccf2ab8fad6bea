"""Which clusters get a copy of a request."""

from envoy_recorder.cases.build import Traffic, bootstrap, cluster, http_chain, listener, virtual_host

NAME = "mirrors"
NOTES = ["request_mirror_policies of routes, virtual hosts and route configurations",
         "a cluster_header is read after header mutations; a cluster that is not there gets nothing"]


def share(numerator: int) -> dict:
    """A runtime fraction."""
    return {"default_value": {"numerator": numerator}}


def mirroring(prefix: str, policies: list[dict] | None, to: str = "c", **more) -> dict:
    """A route with policies of its own, or without."""
    action = {"cluster": to}
    if policies is not None:
        action["request_mirror_policies"] = policies
    return {"match": {"prefix": prefix}, "route": action, **more}


ROUTES = [
    mirroring("/one", [{"cluster": "m1"}]),
    mirroring("/two", [{"cluster": "m2"}, {"cluster": "m1"}]),
    mirroring("/twice", [{"cluster": "m1"}, {"cluster": "m1", "disable_shadow_host_suffix_append": True}]),
    mirroring("/none", [{"cluster": "m1", "runtime_fraction": share(0)}, {"cluster": "m2", "runtime_fraction": share(100)}]),
    mirroring("/missing", [{"cluster": "missing"}, {"cluster": "m1"}]),
    mirroring("/self", [{"cluster": "c"}]),
    mirroring("/header", [{"cluster_header": "x-mirror"}, {"cluster": "m2"}]),
    mirroring("/written", [{"cluster_header": "x-mirror"}], request_headers_to_add=[
        {"header": {"key": "x-mirror", "value": "m1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]),
    mirroring("/nobody", [{"cluster": "m1"}], "empty"),
    mirroring("/nowhere", [{"cluster": "m1"}], "missing"),
    {"match": {"prefix": "/answer"}, "direct_response": {"status": 204}},
    {"match": {"prefix": "/weighted"}, "route": {
        "weighted_clusters": {"clusters": [{"name": "c", "weight": 1}]}, "request_mirror_policies": [{"cluster": "m2"}]}},
    mirroring("/", None),
]


def config() -> dict:
    """Two virtual hosts: one has policies of its own."""
    hosts = [virtual_host("own", ["own.test"], ROUTES, request_mirror_policies=[{"cluster": "m2"}]),
             virtual_host("plain", ["plain.test"], ROUTES)]
    chain = http_chain("web", hosts)
    table = chain["filters"][0]["typed_config"]["route_config"]
    table["request_mirror_policies"] = [{"cluster": "m1"}, {"cluster": "m2"}]
    clusters = [cluster("c", 1), cluster("m1", 1, 2), cluster("m2", 1, 3), cluster("empty", [])]
    return bootstrap([listener("web", [chain])], clusters)


def traffic() -> list[dict]:
    """Every route."""
    collected = Traffic()
    for host in ("own.test", "plain.test"):
        for path in ("/one", "/two", "/twice", "/none", "/missing", "/self", "/header", "/written", "/nobody", "/nowhere",
                     "/answer", "/weighted", "/"):
            collected.add(path, host)
            collected.add(f"{path}?q", host, [("x-mirror", "m1")])
            collected.add(path, host, [("x-mirror", "missing")])
    return collected.requests
