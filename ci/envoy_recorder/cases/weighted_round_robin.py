"""Round robin: equal, weighted, interleaved, over localities."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, grouped, http_chain, listener, route, virtual_host)

NAME = "weighted-round-robin"
NOTES = ["round robin without weights, and with: the order of picks is that of Envoy's earliest "
         "deadline first scheduler, exact up to where it starts"]
WEIGHTS = {
    "equal": [None, None, None], "two": [1, 2], "classic": [5, 1, 1], "steep": [10, 1],
    "common-factor": [2, 4, 6], "same-weight": [7, 7, 7], "ascending": [1, 2, 3, 4],
    "descending": [4, 3, 2, 1], "primes": [2, 3, 5], "single": [9], "wide": [1, 20],
    "some-unset": [None, 3, None],
}


def config() -> dict:
    """A cluster and a virtual host for each weight set."""
    clusters = [cluster(name, [endpoint(index + 1, weight) for index, weight in enumerate(weights)])
                for name, weights in WEIGHTS.items()]
    clusters.append(grouped("localities", [
        {"locality": {"region": "r", "zone": zone}, "lb_endpoints": [endpoint(first),
                                                                      endpoint(first + 1, 2)]}
        for zone, first in (("z1", 1), ("z2", 3))]))
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters)


def traffic() -> list[dict]:
    """More than two periods of each, half of them interleaved."""
    collected = Traffic()
    for name, weights in WEIGHTS.items():
        period = sum(weight or 1 for weight in weights)
        for index in range(2 * period + 5):
            collected.add(f"/{index}", f"{name}.test")
    for index in range(20):
        for name in ("classic", "equal", "localities"):
            collected.add(f"/again/{index}", f"{name}.test")
    return collected.requests
