"""locality_weighted_lb_config: which locality is next, for each balancer."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, route, virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group, plain

NAME = "locality-weights"
NOTES = ["localities by weight, health and overprovisioning; where each has one endpoint that may "
         "be used the order is that of Envoy's scheduler, exact up to where it starts"]
BY_LOCALITY = {"common_lb_config": {"locality_weighted_lb_config": {}}}
IN_EXTENSION = {"locality_lb_config": {"locality_weighted_lb_config": {}}}
U, D, DRAIN = "UNHEALTHY", "DEGRADED", "DRAINING"
RANDOM = {"lb_policy": "RANDOM"}


def ones(*weights: int | None) -> list[dict]:
    """A locality with one endpoint for each weight."""
    return [group(plain(1, first=index + 1), zone=f"z{index}", weight=weight)
            for index, weight in enumerate(weights)]


def clusters() -> list[dict]:
    """A cluster for each case."""
    mixed = [group(plain(3, health={0: U, 1: U}), zone="z0", weight=3),
             group(plain(1, first=4), zone="z1", weight=1)]
    return [
        grouped("ones", ones(3, 1, 2), **BY_LOCALITY),
        grouped("order", list(reversed(ones(2, 1, 1))), **BY_LOCALITY),
        grouped("some", ones(2, None, 1), **BY_LOCALITY),
        grouped("none", ones(None, None, None), **BY_LOCALITY),
        grouped("off", ones(3, 1, 2)),
        grouped("nowhere", [group(plain(1), weight=3), group(plain(1, first=2), zone="z", weight=1)],
                **BY_LOCALITY),
        grouped("twice", [group(plain(1), zone="z0", weight=3), group(plain(1, first=2), zone="z1", weight=2),
                          group([], zone="z0", weight=1)], **BY_LOCALITY),
        grouped("unhealthy", mixed, **BY_LOCALITY),
        grouped("overprovisioned", [group(plain(2, health={1: U}), zone="z0", weight=10),
                                    group(plain(1, first=4), zone="z1", weight=7)], **BY_LOCALITY),
        grouped("draining", [group(plain(2, health={0: DRAIN}), zone="z0", weight=2),
                             group(plain(1, first=4), zone="z1", weight=1)], **BY_LOCALITY),
        grouped("degraded", [group(plain(1, health={0: D}), zone="z0", weight=2),
                             group(plain(1, first=4, health={0: D}), zone="z1", weight=1)],
                **BY_LOCALITY),
        grouped("gone", [group(plain(1, health={0: U}), zone="z0", weight=5),
                         group(plain(1, first=2), zone="z1", weight=2),
                         group(plain(1, first=3), zone="z2", weight=1)], **BY_LOCALITY),
        grouped("panic", [group(plain(2, health={0: U, 1: U}), zone="z0", weight=2),
                          group(plain(2, first=4, health={0: U}), zone="z1", weight=1)],
                **BY_LOCALITY),
        grouped("second", [group(plain(1, health={0: U}), zone="z0", weight=2),
                           group(plain(1, first=2), 1, zone="z0", weight=1),
                           group(plain(1, first=3), 1, zone="z1", weight=2)], **BY_LOCALITY),
        grouped("several", [group(plain(3), zone="z0", weight=2),
                            group(plain(2, first=4), zone="z1", weight=1)], **BY_LOCALITY),
        grouped("weighted", [group([endpoint(1, 2), endpoint(2, 1)], zone="z0", weight=2),
                             group([endpoint(3, 5)], zone="z1", weight=1)], **BY_LOCALITY),
        grouped("random", ones(3, 1), **RANDOM, **BY_LOCALITY),
        grouped("least", ones(3, 1), lb_policy="LEAST_REQUEST", **BY_LOCALITY),
        grouped("ext-round", ones(1, 2), **extension("round_robin.v3.RoundRobin", **IN_EXTENSION)),
        grouped("ext-least", ones(1, 2), **extension("least_request.v3.LeastRequest", **IN_EXTENSION)),
        grouped("ext-random", ones(1, 2), **extension("random.v3.Random", **IN_EXTENSION)),
        grouped("ext-off", ones(1, 2), **extension("round_robin.v3.RoundRobin")),
    ]


def config() -> dict:
    """A virtual host for each cluster."""
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters())


def traffic() -> list[dict]:
    """Some periods of each."""
    collected = Traffic()
    for each in clusters():
        for index in range(30):
            collected.add(f"/{index}", f"{each['name']}.test")
    return collected.requests
