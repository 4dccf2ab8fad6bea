"""The balancer override_host: endpoints that a request's headers name, before all others."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, endpoint, grouped, http_chain, listener, route, tcp_chain,
    virtual_host)
from envoy_recorder.cases.hash_balancers import extension, group, plain

NAME = "override-host"
NOTES = ["headers that name endpoints, one or several, known and unknown, of every health and "
         "priority; the balancer that is asked where they name none, and its turns; several "
         "sources, header mutations before the choice, subsets within, a TCP proxy",
         "wrr_locality and client_side_weighted_round_robin without any report of load"]
U, D = "UNHEALTHY", "DEGRADED"
HOST = "127.0.20.{}:9080"


def typed(kind: str, **config) -> dict:
    """A list of one policy."""
    return extension(kind, **config)["load_balancing_policy"]


def override(fallback: dict, *sources: dict) -> dict:
    """A cluster's policy."""
    sources = sources or ({"header": "x-host"},)
    return extension("override_host.v3.OverrideHost", override_host_sources=list(sources),
                     fallback_policy=fallback)


def clusters() -> list[dict]:
    """A cluster for each case."""
    turns = typed("round_robin.v3.RoundRobin")
    mixed = [group([endpoint(1), endpoint(2, None, U), endpoint(3, None, D)]),
             group([endpoint(4)], 1)]
    zones = [group([endpoint(1)], zone="a", weight=1),
             group([endpoint(2), endpoint(3)], zone="b", weight=3)]
    labelled = [endpoint(number) | {"metadata": {"filter_metadata": {"envoy.lb": {"v": str(number)}}}}
                for number in (1, 2, 3)]
    subsets = {"subset_selectors": [{"keys": ["v"]}], "fallback_policy": "ANY_ENDPOINT",
               "subset_lb_policy": turns}
    ring = typed("ring_hash.v3.RingHash", minimum_ring_size=64)
    weighted = typed("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin")
    drops = grouped("drops", [group(plain(2))], **override(turns))
    drops["load_assignment"]["policy"] = {"drop_overloads": [
        {"category": "c", "drop_percentage": {"numerator": 100}}]}
    return [
        grouped("turns", [group(plain(3))], **override(turns)),
        grouped("mixed", mixed, **override(turns)),
        grouped("zones", [group([endpoint(1), endpoint(2)], zone="a"), group([endpoint(3)], zone="b"),
                          group([endpoint(4)], 1, zone="c")], **override(turns)),
        grouped("sources", [group(plain(4))], **override(
            turns, {"header": "x-host"}, {"metadata": {"key": "m", "path": [{"key": "k"}]}},
            {"header": "X-Other"})),
        grouped("removed", [group(plain(3))], **override(turns, {"header": "x-changed"})),
        grouped("ring", [group(plain(5))], **override(ring)),
        grouped("nothing", [group([endpoint(1, None, U)])], **override(turns),
                common_lb_config={"healthy_panic_threshold": {"value": 0}}),
        grouped("empty", [], **override(turns)),
        grouped("labelled", [group(labelled)], **override(typed("subset.v3.Subset", **subsets))),
        grouped("within", [group(labelled)], **extension("subset.v3.Subset", **(
            subsets | {"subset_lb_policy": override(turns)["load_balancing_policy"]}))),
        grouped("nested", [group(plain(4))], **override(
            override(turns, {"header": "x-other"})["load_balancing_policy"])),
        drops,
        grouped("reports", [group(plain(3))], **extension(
            "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin")),
        grouped("both", zones, **extension("wrr_locality.v3.WrrLocality",
                                           endpoint_picking_policy=weighted)),
        grouped("all", zones, **override(typed("wrr_locality.v3.WrrLocality",
                                               endpoint_picking_policy=weighted))),
        grouped("tcp", [group(plain(3))], **override(turns)),
    ]


def config() -> dict:
    """A virtual host for each cluster; one changes the header before."""
    names = [each["name"] for each in clusters()]
    hosts = [virtual_host(name, [f"{name}.test"], [
        {"match": {"prefix": "/label-2"}, "route": {"cluster": name, "metadata_match": {
            "filter_metadata": {"envoy.lb": {"v": "2"}}}}},
        route({"prefix": "/"}, name)]) for name in names]
    hosts[names.index("removed")]["request_headers_to_remove"] = ["x-changed"]
    return bootstrap([listener("web", [http_chain("web", hosts)]),
                      listener("tcp", [tcp_chain("tcp", "tcp")], PORT + 1)], clusters())


def traffic() -> list[dict]:
    """What a header may name, with requests between that name nothing."""
    collected = Traffic()
    one, two, three, four = (HOST.format(number) for number in (1, 2, 3, 4))

    def ask(name: str, *lines: str, header: str = "x-host", path: str = "/", more=()) -> None:
        collected.add(path, f"{name}.test", [*((header, line) for line in lines), *more])

    for line in (one, two, three, four, "", ",", " , ", f"{four},{two}", f" {two} ", f"{four} , {three}",
                 f"{two},{one}", "127.0.20.2", "127.0.20.2:", "127.0.20.2:09080", "127.0.20.02:9080",
                 ":9080", "localhost:9080", f"{two};{one}", f"\"{two}\"", f",{two}", f"{two},,",
                 f"{two}\t", f"{two}/", f"http://{two}", f"[::ffff:127.0.20.2]:9080",
                 f"127.0.20.9:1,,{three}"):
        ask("turns", line)
        ask("turns")
    for lines in ((two, one), (four, one), ("", two), (four, four, two)):
        ask("turns", *lines)
        ask("turns")
    for name in ("mixed", "zones", "ring", "nothing", "empty", "labelled", "within", "nested", "drops",
                 "all"):
        for line in (one, two, three, four, f"{four},{two}", f"127.0.20.9:9080,{three}"):
            ask(name, line)
            ask(name)
            ask(name, line, path="/label-2")
            ask(name, path="/label-2")
    for first in ((), (one,), (four + "9",), ("",)):
        for second in ((), (two,), (f"{three},{two}",)):
            collected.add("/", "sources.test", [*(("x-host", it) for it in first),
                                                *(("x-other", it) for it in second)])
            collected.add("/", "nested.test", [*(("x-host", it) for it in first),
                                               *(("x-other", it) for it in second)])
    for line in (one, three, four):
        ask("removed", line, header="x-changed")
        ask("removed")
    for name in ("reports", "both", "all"):
        for _ in range(12):
            ask(name)
    collected.destination = f"127.0.0.1:{PORT + 1}"
    for line in (one, three, one):
        ask("tcp", line)
        ask("tcp")
    return collected.requests
