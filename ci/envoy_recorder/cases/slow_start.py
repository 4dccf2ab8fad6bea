"""Slow start of endpoints that all come at once, whose weights then stay in proportion."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, endpoint, grouped, http_chain, listener, route, virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group, plain

NAME = "slow-start"
NOTES = ["windows that hardly begin while the requests are sent: endpoints that came at once keep "
         "their turns by weight; and windows that are none"]
HALF = {"slow_start_window": "3600s", "min_weight_percent": {"value": 50}}
NONE = {"slow_start_window": "0.0009s"}
WEIGHTS = [endpoint(1, 4), endpoint(2, 2), endpoint(3, 1)]


def clusters() -> list[dict]:
    """A cluster for each case; weights that binary fractions hold."""
    round_robin = {"round_robin_lb_config": {"slow_start_config": HALF}}
    least_request = {"lb_policy": "LEAST_REQUEST",
                     "least_request_lb_config": {"slow_start_config": HALF}}
    return [
        grouped("equal", [group(plain(3))], **round_robin),
        grouped("weighted", [group(WEIGHTS)], **round_robin),
        grouped("alone", [group(plain(1))], **round_robin),
        grouped("least-equal", [group(plain(3))], **least_request),
        grouped("least-weighted", [group(WEIGHTS)], **least_request),
        grouped("extension", [group(WEIGHTS)],
                **extension("round_robin.v3.RoundRobin", slow_start_config=HALF)),
        grouped("least-extension", [group(plain(3))],
                **extension("least_request.v3.LeastRequest", slow_start_config=HALF,
                            selection_method="FULL_SCAN")),
        grouped("no-window", [group(plain(3))],
                round_robin_lb_config={"slow_start_config": NONE}),
        grouped("other-policy", [group(plain(3))], lb_policy="RANDOM", **round_robin),
    ]


def config() -> dict:
    """A virtual host for each cluster."""
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters())


def traffic() -> list[dict]:
    """Some turns of each."""
    collected = Traffic()
    for each in clusters():
        for index in range(24):
            collected.add(f"/{index}", f"{each['name']}.test")
    return collected.requests
