"""What is left of load balancing: health by weight, dropped requests, the first known policy."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, grouped, http_chain, listener, route, virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group, plain

NAME = "load-balancing"
NOTES = ["weighted_priority_health, drop_overloads of nothing and everything, full scans, and lists "
         "of policies of which Envoy knows some"]
U, D = "UNHEALTHY", "DEGRADED"
BY_WEIGHT = {"weighted_priority_health": True}
UNKNOWN = {"typed_extension_config": {
    "name": "own", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct"}}}
TYPED_STRUCT = {"typed_extension_config": {"name": "own", "typed_config": {
    "@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "own.v1.Balancer"}}}


def assigned(each: dict, **policy) -> dict:
    """The cluster with a policy in its load assignment."""
    each["load_assignment"]["policy"] = policy
    return each


def dropping(name: str, numerator: int, denominator: str = "HUNDRED", **more) -> dict:
    """A cluster that drops some of its requests."""
    share = {"numerator": numerator, "denominator": denominator}
    return assigned(cluster(name, **more), drop_overloads=[
        {"category": "c", "drop_percentage": share}])


def behind(*before: dict, kind: str, **config) -> dict:
    """A policy behind others in the list."""
    result = extension(kind, **config)
    result["load_balancing_policy"]["policies"][:0] = before
    return result


def clusters() -> list[dict]:
    """A cluster for each case."""
    heavy = [endpoint(1, 9), endpoint(2, 1, U)]
    light = [endpoint(1, 1), endpoint(2, 9, U)]
    second = group(plain(1, first=9), 1)
    calm = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    return [
        assigned(grouped("heavy", [group(heavy), second], **calm), **BY_WEIGHT),
        assigned(grouped("light-alone", [group(light)], **calm), **BY_WEIGHT),
        assigned(grouped("degraded", [group([endpoint(1, 9, D), endpoint(2, 1, U)]), second],
                         **calm), **BY_WEIGHT),
        dropping("nothing", 0, endpoints=3),
        dropping("everything", 100, endpoints=3),
        dropping("everything-empty", 10_000, "TEN_THOUSAND", endpoints=[]),
        dropping("everything-missing-health", 1_000_000, "MILLION",
                 endpoints=[endpoint(1, None, U)]),
        grouped("behind-struct", [group(plain(3))], **behind(UNKNOWN, kind="round_robin.v3.RoundRobin")),
        grouped("behind-both", [group(plain(3))],
                **behind(UNKNOWN, TYPED_STRUCT, {}, kind="round_robin.v3.RoundRobin")),
        grouped("before-others", [group(plain(3))], **extension("round_robin.v3.RoundRobin") | {
            "lb_policy": "RANDOM"}),
        grouped("scan", [group(plain(3))],
                **extension("least_request.v3.LeastRequest", selection_method="FULL_SCAN")),
        grouped("scan-old", [group(plain(3))],
                **extension("least_request.v3.LeastRequest", enable_full_scan=True)),
        grouped("scan-weighted", [group([endpoint(1, 2), endpoint(2, 1)])],
                **extension("least_request.v3.LeastRequest", selection_method="FULL_SCAN")),
    ]


def config() -> dict:
    """A virtual host for each cluster."""
    hosts = [virtual_host(each["name"], [f"{each['name']}.test"],
                          [route({"prefix": "/"}, each["name"])]) for each in clusters()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], clusters())


def traffic() -> list[dict]:
    """Some of each; one as gRPC, whose replies have another status."""
    collected = Traffic()
    for each in clusters():
        for index in range(18):
            collected.add(f"/{index}", f"{each['name']}.test")
        collected.add("/", f"{each['name']}.test", [("content-type", "application/grpc")])
    return collected.requests
