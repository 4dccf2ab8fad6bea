"""Bodies of direct responses, and their formats."""

from envoy_recorder.cases.build import Traffic, bootstrap, cluster, http_chain, listener, virtual_host

NAME = "direct-response-bodies"
NOTES = ["body and body_format of direct responses, as text and as JSON",
         "formats see the request, and no response; HEAD and gRPC get no body"]

BODY = 'a\tb\n\u0001\u007f\u00e9 \\ " / <'
BODIES = [{}, {"body": {"inline_string": "hello\n"}}, {"body": {"inline_string": ""}}, {"body": {"inline_bytes": "aGk="}},
          {"body": {"inline_bytes": "/wA="}}]
TEXTS = ["", "fixed 100%%", "[%LOCAL_REPLY_BODY%]", "%REQ(x-a)%|%REQ(x-none)%|%REQ(x-empty)%", "%RESPONSE_CODE% %RESPONSE_FLAGS%",
         "%RESPONSE_CODE_DETAILS%|%RESP(x-r)%|%RESP(:status)%|%TRAILER(x)%", "%ROUTE_NAME% %PROTOCOL% %PATH(NQ)%",
         "%REQ(x-n)%|%UPSTREAM_CLUSTER%|%UPSTREAM_HOST%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%REQ(x-a):2%", "%QUERY_PARAM(q)%",
         "%METADATA(ROUTE:a:n)% %METADATA(ROUTE:a:s)%", "%DOWNSTREAM_LOCAL_PORT%", "[%QUERY_PARAMS%]"]
OBJECTS = [{}, {"z": "%RESPONSE_CODE%", "a": "%LOCAL_REPLY_BODY%", "m": {"y": "a%RESPONSE_CODE%", "b": "%REQ(x-none)%"}},
           {"n": None, "t": True, "f": False, "i": 3, "neg": -17, "big": 999999, "zero": 0},
           {"l": ["%REQ(x-none)%", None, "", {}, {"x": "%REQ(x-none)%"}, [], "%PROTOCOL%"], "o": {}, "e": []},
           {"port": "%DOWNSTREAM_LOCAL_PORT%", "up": "%UPSTREAM_REMOTE_PORT%", "count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "host": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
            "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "path": "%REQ(:path)%"},
           {"k\"%REQ(x-a)%": "%REQ(x-a)%%REQ(x-none)%", "cut": "%REQ(x-a):1%", "empty": "%REQ(x-empty)%", "pc": "100%%"},
           {"q": "%QUERY_PARAMS%", "m": "a%QUERY_PARAMS%", "p": "%QUERY_PARAM(q)%"},
           {"o": {"p": {"q": "%REQ(x-none)%"}}, "fixed": "\u0001\n\u007f\"\\/"}]


def answer(**action) -> dict:
    """A direct response."""
    return {"direct_response": {"status": 200, **action}}


def routes(actions: list[dict]) -> list[dict]:
    """A route for each action."""
    return [{"match": {"path": f"/r{number}"}, "name": f"route-{number}",
             "metadata": {"filter_metadata": {"a": {"n": 5, "s": "t"}}},
             "request_headers_to_add": [{"header": {"key": "x-n", "value": "new"}}],
             "response_headers_to_add": [{"header": {"key": "x-r", "value": "own"}}], **action}
            for number, action in enumerate(actions)]


def hosts() -> dict[str, list[dict]]:
    """The routes of each virtual host."""
    text = {"body": {"inline_string": BODY}}
    found = {"plain": routes([answer(**body) for body in BODIES]),
             "status": routes([{"direct_response": {"status": status, "body": {"inline_string": "x"}}}
                               for status in (201, 204, 301, 304, 404, 503)])}
    for omits in (False, True):
        more = {"omit_empty_values": omits}
        suffix = "-omit" if omits else ""
        found[f"text{suffix}"] = routes([
            answer(**text, body_format={"text_format_source": {"inline_string": each}, **more}) for each in TEXTS])
        found[f"json{suffix}"] = routes([
            answer(**text, body_format={"json_format": each, **more}) for each in OBJECTS])
    found["other"] = routes([
        answer(body_format={"text_format": "old %RESPONSE_CODE%"}),
        answer(body_format={"json_format": {"b": "%LOCAL_REPLY_BODY%"}, "json_format_options": {"sort_properties": True}}),
        answer(**text, body_format={"text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY%>"},
                                    "content_type": "text/html; charset=UTF-8"}),
        answer(**BODIES[4], body_format={"json_format": {"b": "fixed"}})])
    return found


def config() -> dict:
    """A virtual host for each kind of body."""
    found = [virtual_host(name, [f"{name}.test"], all_routes) for name, all_routes in hosts().items()]
    return bootstrap([listener("web", [http_chain("web", found)])], [cluster("c", 1)])


HEADERS = [("x-a", "\u00e9lan"), ("x-empty", "")]
GRPC = [("content-type", "application/grpc")]


def traffic() -> list[dict]:
    """Every route, with headers and without; some to HEAD and gRPC."""
    collected = Traffic()
    for name, all_routes in hosts().items():
        for number in range(len(all_routes)):
            collected.add(f"/r{number}?q=1", f"{name}.test", HEADERS)
            collected.add(f"/r{number}", f"{name}.test")
            collected.add(f"/r{number}?", f"{name}.test")
            if number < 3:
                collected.add(f"/r{number}", f"{name}.test", HEADERS, method="HEAD")
                collected.add(f"/r{number}", f"{name}.test", HEADERS + GRPC)
    return collected.requests
