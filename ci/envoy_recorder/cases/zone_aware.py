"""Zone-aware routing: Envoy's own locality is preferred to others."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, route, virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group

NAME = "zone-aware"
NOTES = ["Envoy is in the zone a and in the cluster me; where all of the load goes to one zone, or to "
         "all alike, the picks are exact up to a phase, else in distribution"]
HEALTH = {"h": None, "u": "UNHEALTHY", "d": "DEGRADED"}


def zones(text: str, first: int = 1, priority: int = 0, weight: int | None = None) -> list[dict]:
    """A locality for each word: the zone's letter, then one for the health of each endpoint."""
    groups = []
    for word in text.split():
        endpoints = [endpoint(first + index, None, HEALTH[letter])
                     for index, letter in enumerate(word[1:])]
        groups.append(group(endpoints, priority, word[0], weight))
        first += len(endpoints)
    return groups


def aware(**config) -> dict:
    """A cluster's zone_aware_lb_config."""
    return {"common_lb_config": {"zone_aware_lb_config": config}}


def forced(text: str) -> dict:
    """A cluster whose traffic has to stay in the zone."""
    config = {"zone_aware_lb_config": {"force_locality_direct_routing": True}}
    return grouped("forced", zones(text),
                   **extension("round_robin.v3.RoundRobin", locality_lb_config=config))


def clusters() -> list[dict]:
    """A cluster for each case; Envoy's own first."""
    by_weight = {"common_lb_config": {"locality_weighted_lb_config": {}}}
    return [
        grouped("me", zones("ahh bhh", 100)),
        grouped("direct", zones("ahhh bhhh")),
        grouped("residual", zones("ahh bhhhh")),
        grouped("other-zones", zones("bhhh chhh")),
        grouped("small", zones("ahh bhh")),
        grouped("small-enough", zones("ahh bhh"), **aware(min_cluster_size=4)),
        grouped("half", zones("ahhh bhhh"), **aware(routing_enabled={"value": 50})),
        grouped("off", zones("ahhh bhhh"), **aware(routing_enabled={"value": 0})),
        grouped("degraded", zones("addd bddd")),
        grouped("panic", zones("ahuuu bhuuu")),
        grouped("weighted", zones("ah bh", weight=1), **by_weight),
        grouped("without-weights", zones("ahhh bhhh"), **by_weight),
        grouped("second", zones("auuu buuu") + zones("ahhh bhhh", 30, 1)),
        grouped("hashed", zones("ahhh bhhh"), lb_policy="RING_HASH"),
        forced("ah bhhhhh"),
    ]


def config() -> dict:
    """A virtual host for each cluster."""
    policy = [{"header": {"header_name": "x-user"}}]
    hosts = []
    for each in clusters():
        to_cluster = route({"prefix": "/"}, each["name"])
        to_cluster["route"]["hash_policy"] = policy
        hosts.append(virtual_host(each["name"], [f"{each['name']}.test"], [to_cluster]))
    result = bootstrap([listener("web", [http_chain("web", hosts)])], clusters())
    result["node"]["locality"] = {"region": "r", "zone": "a"}
    result["cluster_manager"] = {"local_cluster_name": "me"}
    return result


def traffic() -> list[dict]:
    """Some periods of each."""
    collected = Traffic()
    for each in clusters():
        for index in range(24):
            collected.add(f"/{index}", f"{each['name']}.test", [("x-user", f"u{index}")])
    return collected.requests
