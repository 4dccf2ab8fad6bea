"""The fault filter: delays and aborts, by configuration and by header."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener, route,
    virtual_host)

NAME = "faults"
NOTES = ["faults of all requests or none: aborts with an HTTP or gRPC status, delays, both by "
         "header, with shares that a header lowers to nothing; upstream_cluster, headers, "
         "downstream_nodes and a limit of active faults"]
ALL = {"numerator": 100}
ABORT = {"http_status": 418, "percentage": ALL}
ASK = "x-envoy-fault-"
FAULTS = {
    "abort": {"abort": ABORT},
    "grpc": {"abort": {"grpc_status": 14, "percentage": ALL}},
    "by-header": {"abort": {"header_abort": {}, "percentage": ALL}},
    "no-share": {"abort": {"http_status": 418}},
    "delay": {"delay": {"fixed_delay": "0.01s", "percentage": ALL}},
    "delay-by-header": {"delay": {"header_delay": {}, "percentage": ALL}},
    "both": {"delay": {"fixed_delay": "0.01s", "percentage": ALL}, "abort": ABORT},
    "cluster": {"abort": ABORT, "upstream_cluster": "a"},
    "other-cluster": {"abort": ABORT, "upstream_cluster": "b"},
    "nodes": {"abort": ABORT, "downstream_nodes": ["n1", "n2"]},
    "headers": {"abort": ABORT, "headers": [
        {"name": "x-a", "string_match": {"exact": "1"}}, {"name": "x-b", "present_match": True}]},
    "none-active": {"abort": ABORT, "max_active_faults": 0},
    "one-active": {"abort": ABORT, "max_active_faults": 1},
}
STATUSES = ("555", "199", "200", "599", "600", "x", "+555", "0555", "555.0", "", "-1")
SHARES = ("0", "100", "200", "x", "-1", "", "+0", "4294967296")


def said(fault: dict) -> dict:
    """What a route says to the filter."""
    return {"fault": filter_config("fault.v3.HTTPFault", **fault)}


def config() -> dict:
    """A route for each fault."""
    routes = [route({"prefix": f"/{name}/"}, "a", name, typed_per_filter_config=said(fault))
              for name, fault in FAULTS.items()]
    to_a = {"abort": ABORT, "upstream_cluster": "a"}
    routes += [
        {"match": {"prefix": "/named/"}, "route": {"cluster_header": "x-c"}, "name": "named",
         "typed_per_filter_config": said(to_a)},
        {"match": {"prefix": "/redirect/"}, "redirect": {"path_redirect": "/z"},
         "name": "redirect", "typed_per_filter_config": said(to_a)},
        route({"prefix": "/"}, "b", "else")]
    chain = http_chain("web", [virtual_host("faults", ["*"], routes)],
                       http_filters=filters(http_filter("fault", "fault.v3.HTTPFault")))
    return bootstrap([listener("web", [chain])], [cluster("a", 1), cluster("b", 1, first=2)])


def traffic() -> list[dict]:
    """Each fault, and each form of each header."""
    collected = Traffic()
    for name in FAULTS:
        collected.add(f"/{name}/")
        collected.add(f"/{name}/", headers=[("x-a", "1")])
        collected.add(f"/{name}/", headers=[("x-a", "1"), ("x-b", "")])
        collected.add(f"/{name}/", headers=[("content-type", "application/grpc")])
        collected.add(f"/{name}/", headers=[(f"{ASK}abort-request-percentage", "0")])
    for value in STATUSES:
        collected.add("/by-header/", headers=[(f"{ASK}abort-request", value)])
        collected.add("/by-header/", headers=[(f"{ASK}abort-grpc-request", value)])
        collected.add("/by-header/", headers=[(f"{ASK}abort-request", value),
                                              (f"{ASK}abort-grpc-request", "5")])
    for values in (("555", "556"), ("x", "555")):
        collected.add("/by-header/", headers=[(f"{ASK}abort-request", value) for value in values])
    for share in SHARES:
        collected.add("/by-header/", headers=[(f"{ASK}abort-request", "555"),
                                              (f"{ASK}abort-request-percentage", share)])
    for node in ("n1", "n2", "n3", "n1,n2", "N1", ""):
        collected.add("/nodes/", headers=[("x-envoy-downstream-service-node", node)])
    for delay in ("5", "0", "x", "+5", "5.5"):
        collected.add("/delay-by-header/", headers=[(f"{ASK}delay-request", delay)])
    for name in ("a", "b", "nowhere"):
        collected.add("/named/", headers=[("x-c", name)])
    collected.add("/named/")
    collected.add("/redirect/")
    collected.add("/else")
    # One after the other: faults are active until their requests end.
    for index, request in enumerate(collected.requests):
        request["time_us"] = index * 1_000_000
    return collected.requests
