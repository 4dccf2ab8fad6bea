"""RANDOM: what may be chosen, in shares."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, grouped, http_chain, listener, route, virtual_host)

NAME = "random-endpoints"
NOTES = ["RANDOM over one priority, with weights, which do not count, with unhealthy endpoints, and "
         "spilling over into a priority of 100 endpoints: one number chooses both, so that of the "
         "second priority only the last 30 get requests"]
RANDOM = {"lb_policy": "RANDOM"}
EXTENSION = {"load_balancing_policy": {"policies": [{"typed_extension_config": {
    "name": "random", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}}}]}}


def config() -> dict:
    """A cluster and a virtual host for each."""
    clusters = [
        cluster("three", 3, **RANDOM),
        cluster("one", 1, **RANDOM),
        cluster("extension", 4, **EXTENSION),
        cluster("weights", [endpoint(1, 1), endpoint(2, 100)], **RANDOM),
        cluster("unhealthy", [endpoint(1), endpoint(2, None, "UNHEALTHY"), endpoint(3)], **RANDOM),
        cluster("nothing", [], **RANDOM),
        grouped("spill", [
            {"lb_endpoints": [endpoint(1), endpoint(2, None, "UNHEALTHY")]},
            {"priority": 1, "lb_endpoints": [endpoint(10 + index) for index in range(100)]}],
            **RANDOM)]
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """Enough of each for a share."""
    collected = Traffic()
    for index in range(40):
        for name in ("three", "extension", "weights", "unhealthy", "spill"):
            collected.add(f"/{index}", f"{name}.test")
        if index < 3:
            collected.add(f"/{index}", "one.test")
            collected.add(f"/{index}", "nothing.test")
    return collected.requests
