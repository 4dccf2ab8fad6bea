"""Priorities: unhealthy endpoints, spill-over, the panic threshold."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, route, virtual_host)

NAME = "priorities"
NOTES = ["where one priority takes everything the picks are exact up to a phase; where the load "
         "spills over, or panics across priorities, it is random"]
U, D, DRAIN = "UNHEALTHY", "DEGRADED", "DRAINING"
# The health of the endpoints of each priority, and what else the cluster has.
CLUSTERS: dict[str, tuple[list[list], dict]] = {
    "all-healthy": ([[None, None], [None, None]], {}),
    "first-down": ([[U, U], [None, None]], {}),
    "first-two-down": ([[U], [U, U], [None, None]], {}),
    "enough-left": ([[None] * 5 + [U] * 2, [None, None]], {}),
    "spill": ([[None, U], [None, None]], {}),
    "spill-three": ([[None, U, U, U], [None, U, U, U], [None, None]], {}),
    "panic-one-of-four": ([[None, U, U, U]], {}),
    "no-panic-half": ([[None, U, None, U]], {}),
    "panic-all-down": ([[U, U, U]], {}),
    "panic-everywhere": ([[U, U], [U, U]], {}),
    "no-panic-zero": ([[None, U, U, U]], {"healthy_panic_threshold": {"value": 0}}),
    "nothing-left": ([[U, U]], {"healthy_panic_threshold": {"value": 0}}),
    "draining": ([[None, DRAIN, None]], {}),
    "all-draining": ([[DRAIN, DRAIN], [None]], {}),
    "degraded": ([[None, D, None, D]], {}),
    "degraded-only": ([[D, D]], {}),
    "degraded-first": ([[D, D], [None, None]], {}),
    "timeout": ([["TIMEOUT", None, None]], {}),
    "empty-first": ([[], [None, None]], {}),
    "empty": ([[]], {}),
}
SPILLING = ("spill", "spill-three", "panic-everywhere")


def config() -> dict:
    """A cluster and a virtual host for each."""
    clusters = []
    for name, (levels, common) in CLUSTERS.items():
        groups, number = [], 1
        for priority, level in enumerate(levels):
            groups.append({"priority": priority, "lb_endpoints": [
                endpoint(number + index, None, health) for index, health in enumerate(level)]})
            number += len(level)
        more = {"common_lb_config": common} if common else {}
        clusters.append(grouped(name, groups, **more))
    hosts = [virtual_host(name, [f"{name}.test"], [route({"prefix": "/"}, name)]) for name in CLUSTERS]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """Enough of each for a period or a share."""
    collected = Traffic()
    for name in CLUSTERS:
        for index in range(50 if name in SPILLING else 14):
            collected.add(f"/{index}", f"{name}.test")
    return collected.requests
