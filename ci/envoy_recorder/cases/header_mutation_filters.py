"""HTTP filters that change headers, and what routes say to them."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, filter_config, filters, http_chain, http_filter, listener, virtual_host)

NAME = "header-mutation-filters"
NOTES = ["header_mutation filters: the order of their changes, of levels and of several filters, and what each change sees",
         "answers of Envoy's own come by them, too"]
KIND = "header_mutation.v3."


def put(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **more) -> dict:
    """A header that is added."""
    return {"append": {"header": {"key": name, "value": value}, "append_action": action, **more}}


def mutations(request: list[dict], response: list[dict]) -> dict:
    """The changes of one level."""
    return {"mutations": {"request_mutations": request, "response_mutations": response}}


def per_route(**names: dict) -> dict:
    """What a level says to filters."""
    return {"typed_per_filter_config": {name: filter_config(f"{KIND}HeaderMutationPerRoute", **said)
                                        for name, said in names.items()}}


def off(name: str) -> dict:
    """A level that switches a filter off."""
    return {"typed_per_filter_config": {name: {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}}}


ONE = mutations(
    [put("x-a", "one"), put("x-a", "two"), {"remove": "x-gone"}, put("x-saw", "%REQ(x-a)%|%REQ(x-gone)%"),
     put("x-over", "new", "OVERWRITE_IF_EXISTS_OR_ADD"), put("x-absent", "a", "ADD_IF_ABSENT"),
     put("x-absent", "b", "ADD_IF_ABSENT"), put("x-there", "t", "OVERWRITE_IF_EXISTS"), put("x-empty", "%REQ(x-none)%"),
     put("x-kept", "%REQ(x-none)%", keep_empty_value=True), put("accept", "q"),
     put("x-known", "%ROUTE_NAME%|%UPSTREAM_CLUSTER%|%UPSTREAM_HOST%|%RESPONSE_CODE%|%RESPONSE_FLAGS%"),
     put("x-count", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%RESPONSE_CODE_DETAILS%|%PATH(NQ)%")],
    [put("x-r", "first"), put("x-known", "%ROUTE_NAME%|%UPSTREAM_CLUSTER%|%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%"),
     put("x-count", "%RESPONSE_FLAGS%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%RESP(:status)%"), put("x-saw", "%REQ(x-a)%|%RESP(x-r)%"),
     put("location", "added")])
TWO = mutations([put("x-a", "of the second"), put("x-two", "%REQ(x-a)%")], [put("x-r", "second"), {"remove": "x-route"}])
LEVEL = {name: mutations([put("x-level", name)], [put("x-level", name)]) for name in ("entry", "route", "host", "table")}


def hosts() -> list[dict]:
    """Routes of every kind."""
    def route(name: str, **more) -> dict:
        return {"name": name, "match": {"path_separated_prefix": f"/{name}"}, **more}
    to = {"route": {"cluster": "c"}}
    entry = {"name": "c", "weight": 1, **per_route(one=LEVEL["entry"])}
    return [
        virtual_host("main", ["main.test"], [
            route("plain", **to, request_headers_to_add=[{"header": {"key": "x-own", "value": "%REQ(x-a)%"}}],
                  response_headers_to_add=[{"header": {"key": "x-r", "value": "route"}}, {"header": {"key": "x-route", "value": "r"}}]),
            route("said", **to, **per_route(one=LEVEL["route"])),
            route("both", **to, **per_route(one=LEVEL["route"], two=mutations([put("x-a", "route")], [{"remove": "x-r"}]))),
            route("entry", route={"weighted_clusters": {"clusters": [entry]}}, **per_route(one=LEVEL["route"])),
            route("off", **to, **off("one")),
            route("late", **to, **per_route(late=LEVEL["route"])),
            route("host", route={"cluster": "c", "host_rewrite_header": "x-over"}),
            route("path", route={"cluster": "c", "path_rewrite": "/%REQ(x-a)%"}),
            route("by-header", route={"cluster_header": "x-over"}),
            route("direct", direct_response={"status": 200, "body": {"inline_string": "b"}, "body_format": {
                "text_format_source": {"inline_string": "%REQ(x-a)%|%REQ(x-gone)%"}}},
                response_headers_to_add=[{"header": {"key": "x-own", "value": "%REQ(x-saw)%|%RESPONSE_CODE%"}}]),
            route("redirect", redirect={"path_rewrite": "/%REQ(x-over)%"}),
            route("missing", route={"cluster": "missing"}),
            route("empty", route={"cluster": "empty"})],
            **per_route(one=LEVEL["host"])),
        virtual_host("bare", ["bare.test"], [route("plain", **to)])]


def config() -> dict:
    """Two listeners, one of which has the most specific level act last."""
    def chain(name: str, **more) -> dict:
        late = {**http_filter("late", f"{KIND}HeaderMutation", **mutations([put("x-late", "own")], [])), "disabled": True}
        made = http_chain(name, hosts(), http_filters=filters(
            http_filter("one", f"{KIND}HeaderMutation", **ONE, **more), http_filter("two", f"{KIND}HeaderMutation", **TWO), late))
        made["filters"][0]["typed_config"]["route_config"] |= per_route(one=LEVEL["table"])
        return made
    return bootstrap([listener("web", [chain("web")]),
                      listener("turned", [chain("turned", most_specific_header_mutations_wins=True)], port=18481)],
                     [cluster("c", 1), cluster("empty", [])])


HEADERS = [("x-gone", "1"), ("x-over", "old"), ("x-over", "old2"), ("x-there", "there"), ("accept", "p")]


def traffic() -> list[dict]:
    """Every route, with headers and without."""
    found = []
    for port in (18480, 18481):
        collected = Traffic(port)
        for each in hosts()[0]["routes"]:
            for headers in (HEADERS, [], [("x-a", "own"), ("x-absent", "own")]):
                collected.add(f"/{each['name']}/x?q", "main.test", headers)
        collected.add("/plain", "bare.test", HEADERS)
        found += collected.requests
    for number, request in enumerate(found):
        request["id"] = f"r{number:04}"
    return found
