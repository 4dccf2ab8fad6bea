"""What routes make of headers: the levels and their order, how values are added, and formats."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, filter_config, filters, http_chain, http_filter,
    listener, virtual_host)

NAME = "header-mutations"
NOTES = ["header mutations of weighted clusters, routes, virtual hosts and route configurations",
         "format strings in requests, in responses of endpoints and in Envoy's own answers",
         "values that differ between two runs (ports, times) are null"]

APPEND = "APPEND_IF_EXISTS_OR_ADD"
ABSENT = "ADD_IF_ABSENT"
EXISTS = "OVERWRITE_IF_EXISTS"
OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"

FORMATS = [
    "plain", "100%%", "%REQ(x-a)%", "%REQ(X-None?x-b)%", "%REQ(x-none)%", "a-%REQ(x-none)%-b",
    "%REQ(x-b):2%", "%REQ(x-b):0%", "%REQ(x-two)%", "%REQ(x-empty?x-a)%", "%REQ(?x-a)%", "%REQ(accept)%",
    "%REQ(:path)%", "%REQ(host)%", "%REQ(:method)%", "%REQ(:scheme)%", "%REQ(x-forwarded-proto)%",
    "%REQ(x-envoy-original-path?:path)%", "%REQ(x-envoy-original-host)%", "%REQUEST_HEADER(x-a)%",
    "%STREAM_INFO_REQ(x-a)%", "%RESP(:status)%", "%RESPONSE_HEADER(location)%", "%TRAILER(a)%", "%PROTOCOL%",
    "%ROUTE_NAME%", "%UPSTREAM_CLUSTER%", "%UPSTREAM_CLUSTER_RAW%", "%UPSTREAM_HOST%", "%UPSTREAM_HOST_NAME%",
    "%UPSTREAM_REMOTE_ADDRESS%", "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%UPSTREAM_REMOTE_PORT%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_REMOTE_PORT%", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "%DOWNSTREAM_LOCAL_PORT%", "%DOWNSTREAM_DIRECT_LOCAL_PORT%",
    "%DOWNSTREAM_TLS_VERSION%", "%DOWNSTREAM_PEER_SUBJECT%", "%REQUESTED_SERVER_NAME%", "%FILTER_CHAIN_NAME%",
    "%RESPONSE_CODE%", "%RESPONSE_CODE_DETAILS%", "%RESPONSE_FLAGS%", "%QUERY_PARAM(q)%", "%QUERY_PARAM(enc)%",
    "%QUERY_PARAM(none)%", "%QUERY_PARAM(two)%", "%QUERY_PARAMS%", "%PATH%", "%PATH(NQ)%", "%PATH(NQ:ORIG)%",
    "%PATH(WQ:PATH)%", "%PATH(NQ):3%", "%METADATA(ROUTE:ns:s)%", "%METADATA(ROUTE:ns:n)%", "%METADATA(ROUTE:ns:b)%",
    "%METADATA(ROUTE:ns:o:k)%", "%METADATA(ROUTE:ns:none)%", "%METADATA(ROUTE:ns:z)%", "%METADATA(VIRTUAL_HOST:ns:s)%",
    "%METADATA(CLUSTER:ns:s)%", "%METADATA(UPSTREAM_HOST:ns:s)%", "%CLUSTER_METADATA(ns:s)%",
    "%UPSTREAM_METADATA(ns:s)%", "%START_TIME%", "%HOSTNAME%", "%UPSTREAM_LOCAL_ADDRESS%",
]


def option(name: str, value: str, action: str = APPEND, **more) -> dict:
    """A HeaderValueOption."""
    found = {"header": {"key": name, "value": value}, **more}
    if action != APPEND:
        found["append_action"] = action
    return found


def formatted() -> dict:
    """Every format, in a request's and a response's header."""
    added = [option(f"x-f{number}", text, keep_empty_value=True) for number, text in enumerate(FORMATS)]
    return {"request_headers_to_add": added, "response_headers_to_add": added}


def metadata(text: str) -> dict:
    """Metadata of one namespace."""
    return {"filter_metadata": {"ns": {"s": text, "n": 3, "b": True, "z": None, "o": {"k": "inner"}}}}


ACTIONS = {
    "forward": {"route": {"cluster": "c"}},
    "rewrite": {"route": {"cluster": "c", "prefix_rewrite": "/new", "host_rewrite_literal": "new.test"}},
    "redirect": {"redirect": {"path_redirect": "/moved"}},
    "prefix-redirect": {"redirect": {"prefix_rewrite": "/moved"}},
    "answer": {"direct_response": {"status": 203, "body": {"inline_string": "hello"}}},
    "missing": {"route": {"cluster": "missing", "prefix_rewrite": "/new"}},
    "nobody": {"route": {"cluster": "empty", "prefix_rewrite": "/new"}},
}

ADDED = [
    option("x-empty", "%REQ(x-none)%"), option("x-kept", "%REQ(x-none)%", keep_empty_value=True),
    option("x-chain", "1"), option("x-chain2", "%REQ(x-chain)%", keep_empty_value=True),
    option("x-absent", "n", ABSENT), option("x-a", "n", ABSENT), option("x-b", "n", EXISTS),
    option("x-none", "n", EXISTS), option("x-order", "first"), option("x-order", "second", OVERWRITE),
    option("x-order", "third"), option("Accept", "c"), option("x-gone", "%REQ(x-gone)%-again"),
    option("x-old", "o", append=False), option("x-old2", "o", append=True), option("x-space", "  a b\t"),
    option("x-twice", "1", ABSENT), option("x-twice", "2", ABSENT),
]


def level(name: str) -> dict:
    """What every level does."""
    added = [option("x-o", name), option("x-w", name, OVERWRITE), option("x-if", name, ABSENT),
             option(f"x-{name}", name)]
    removed = ["x-a"] if name == "host" else []
    return {"request_headers_to_add": added, "response_headers_to_add": added,
            "request_headers_to_remove": removed, "response_headers_to_remove": removed}


def weighted() -> dict:
    """One entry that has everything."""
    return {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1, **level("weighted")}]}}


def levels(name: str, domain: str) -> dict:
    """A virtual host whose levels all change the same headers."""
    return virtual_host(name, [domain], [
        {"match": {"prefix": "/weighted"}, "route": weighted(), **level("route")},
        {"match": {"prefix": "/answer"}, "direct_response": {"status": 200}, **level("route")},
        {"match": {"prefix": "/none"}, "route": {"cluster": "c"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}, **level("route")},
    ], **level("host"))


def redirects() -> list[dict]:
    """Redirects whose location mutations change."""
    action = {"redirect": {"path_redirect": "/moved"}}
    return [
        {"match": {"prefix": "/location"}, **action,
         "response_headers_to_add": [option("location", "/other", OVERWRITE)]},
        {"match": {"prefix": "/two"}, **action, "response_headers_to_add": [option("location", "/other")]},
        {"match": {"prefix": "/no"}, **action, "response_headers_to_remove": ["Location"]},
        {"match": {"prefix": "/managed"}, "route": {"cluster": "c"},
         "request_headers_to_add": [option("x-request-id", "own", OVERWRITE), option("x-forwarded-for", "1.2.3.4"),
                                    option("user-agent", ""), option("cookie", "z=1"), option("content-type", "a/b")],
         "request_headers_to_remove": ["x-envoy-expected-rq-timeout-ms"],
         "response_headers_to_add": [option("server", "own"), option("x-r", "1"), option("etag", "a"), option("etag", "b")],
         "response_headers_to_remove": ["x-envoy-upstream-service-time", "x-head"]},
    ]


def config() -> dict:
    """A virtual host for each kind, and two tables for the order of levels."""
    made = [{"name": f"n-{name}", "match": {"prefix": f"/{name}"}, "metadata": metadata("of route"), **action}
            for name, action in ACTIONS.items()]
    unnamed = {"match": {"prefix": "/"}, "route": {"cluster": "c", "host_rewrite_header": "x-host"},
               "request_headers_to_add": ADDED + [option("x-host", "of.mutation", OVERWRITE)],
               "request_headers_to_remove": ["x-gone", "X-Removed"], "response_headers_to_add": ADDED}
    hosts = [virtual_host("formats", ["formats.test"], made, metadata=metadata("of host"), **formatted()),
             virtual_host("actions", ["actions.test"], [unnamed]),
             virtual_host("redirects", ["redirects.test"], redirects())]
    fault = http_filter("fault", "fault.v3.HTTPFault", abort={"http_status": 418, "percentage": {"numerator": 100}},
                        headers=[{"name": "x-fault", "present_match": True}])
    order = [levels("levels", "levels.test")]
    named = endpoint(1)
    named["endpoint"]["hostname"] = "endpoint.test"
    named["metadata"] = metadata("of endpoint")
    clusters = [cluster("c", [named], metadata=metadata("of cluster"), alt_stat_name="alt"),
                cluster("empty", [])]
    chains = [http_chain("web", hosts)]
    faulty = [http_chain("faulty", hosts[:1], http_filters=filters(fault))]
    ordered = http_chain("ordered", order)
    wins = http_chain("wins", [levels("levels", "levels.test")])
    for chain, most in ((ordered, False), (wins, True)):
        table = chain["filters"][0]["typed_config"]["route_config"]
        table.update(level("table"), most_specific_header_mutations_wins=most)
    return bootstrap([listener("web", chains), listener("ordered", [ordered], port=18481),
                      listener("wins", [wins], port=18482),
                      listener("faulty", faulty, port=18483)], clusters)


HEADERS = [("x-a", "alpha"), ("x-b", "beta"), ("x-two", "t1"), ("x-two", "t2"), ("x-empty", ""), ("accept", "a"),
           ("accept", "b"), ("x-gone", "g"), ("x-removed", "r"), ("user-agent", "ua"), ("x-old", "was"), ("x-old2", "was")]


def traffic() -> list[dict]:
    """Every route, with headers and without."""
    collected = Traffic()
    for number, name in enumerate(ACTIONS):
        for path in (f"/{name}/p?q=1&enc=a%20b+c&two=1&two=2", f"/{name}", f"/{name}?"):
            collected.add(path, "formats.test", HEADERS)
        collected.add(f"/{name}", "formats.test", source=f"127.0.0.9:{18900 + number}")
        collected.add(f"/{name}", "formats.test", [("x-forwarded-for", "10.1.1.1")])
        collected.add(f"/{name}", "formats.test", [("x-envoy-original-path", "/sent")])
        collected.add(f"/{name}", "formats.test", [("content-type", "application/grpc")])
    for headers in ((), HEADERS, [("x-order", "sent")], [("x-absent", "sent"), ("x-none", "sent")], [("x-host", "sent.test")]):
        collected.add("/", "actions.test", headers)
    for path in ("/location", "/two", "/no?q", "/managed"):
        collected.add(path, "redirects.test", [("cookie", "a=1"), ("cookie", "b=2")])
        collected.add(path, "redirects.test")
    collected.add("/", "nowhere.test")
    for port in (18481, 18482):
        collected.destination = f"127.0.0.1:{port}"
        for path in ("/", "/weighted", "/answer", "/none"):
            collected.add(path, "levels.test")
            collected.add(path, "levels.test", [("x-a", "1"), ("x-o", "sent"), ("x-w", "sent"), ("x-if", "sent")])
    collected.destination = "127.0.0.1:18483"
    for name in ACTIONS:
        collected.add(f"/{name}", "formats.test", [("x-fault", "1")])
    return collected.requests
