"""Timeouts and retries, with endpoints that follow a script."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, endpoint, http_chain, listener, route, virtual_host)

NAME = "attempts"
NOTES = ["endpoints follow a script: timeouts of route, attempt, idle stream and stream, retries by "
         "each condition over HTTP/1, and what an internal request asks by headers; attempts are "
         "counted by Envoy"]
LONG = {"latency_us": 400_000}
INTERNAL = {"use_remote_address": True, "internal_address_config": {
    "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}}


def retries(on: str, **more) -> dict:
    """An action with a retry policy."""
    return {"retry_policy": {"retry_on": on, "num_retries": 2, **more}}


def status(*codes: int) -> list[dict]:
    """An answer for each."""
    return [{"status": code} for code in codes]


AGAIN = {"headers": [["x-again", "1"]]}
LIMITED = {"headers": [["x-envoy-ratelimited", "true"]]}
BEFORE = {"reset": "before_headers"}
AFTER = {"reset": "after_headers"}
# Name, the route's action, what the endpoint answers in turns, headers of the request.
CASES: list[tuple[str, dict, list[dict], list[tuple[str, str]]]] = [
    ("plain", {}, status(503), []),
    ("plain-reset", {}, [BEFORE], []),
    ("plain-cut", {}, [AFTER], []),
    ("timeout", {"timeout": "0.200s"}, [LONG], []),
    ("timeout-grpc", {"timeout": "0.200s"}, [LONG], [("content-type", "application/grpc")]),
    ("timeout-none", {"timeout": "0s"}, [LONG], []),
    ("idle", {"timeout": "0s", "idle_timeout": "0.200s"}, [LONG], []),
    ("duration", {"max_stream_duration": {"max_stream_duration": "0.200s"}}, [LONG], []),
    ("grpc-most", {"max_grpc_timeout": "0.200s"}, [LONG],
     [("content-type", "application/grpc"), ("grpc-timeout", "1S")]),
    ("try", retries("5xx", per_try_timeout="0.100s"), [LONG], []),
    ("try-then", retries("reset", per_try_timeout="0.100s"), [LONG, {}], []),
    ("try-connect", retries("connect-failure", per_try_timeout="0.100s"), [LONG], []),
    ("try-idle", retries("gateway-error", per_try_idle_timeout="0.100s"), [LONG], []),
    ("5xx", retries("5xx"), status(503, 200), []),
    ("5xx-out", retries("5xx"), status(500), []),
    ("5xx-reset", retries("5xx"), [BEFORE], []),
    ("5xx-not", retries("5xx"), status(404), []),
    ("5xx-limited", retries("5xx"), [{"status": 503, **LIMITED}], []),
    ("gateway", retries("gateway-error"), status(502, 503, 504), []),
    ("gateway-not", retries("gateway-error"), status(500), []),
    ("reset", retries("reset"), [BEFORE, {}], []),
    ("reset-not", retries("reset"), status(503), []),
    ("connect-not", retries("connect-failure"), [BEFORE], []),
    ("before-not", retries("reset-before-request"), [BEFORE], []),
    ("conflict", retries("retriable-4xx"), status(409, 200), []),
    ("codes", retries("retriable-status-codes", retriable_status_codes=[418]), status(418, 503), []),
    ("header", retries("retriable-headers", retriable_headers=[{"name": "x-again"}]), [AGAIN, {}], []),
    ("limited", retries("envoy-ratelimited"), [{"status": 429, **LIMITED}, {}], []),
    ("grpc", retries("unavailable"), [{"grpc_status": 14}, {}], []),
    ("grpc-not", retries("unavailable"), [{"grpc_status": 2}, {}], []),
    ("request-not", retries("5xx", retriable_request_headers=[{"name": "x-may"}]), status(503), []),
    ("request", retries("5xx", retriable_request_headers=[{"name": "x-may"}]), status(503),
     [("x-may", "1")]),
    ("asks", {}, status(503), [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")]),
    ("asks-timeout", {}, [LONG], [("x-envoy-upstream-rq-timeout-ms", "100")]),
    ("asks-none", retries("5xx"), status(503), [("x-envoy-max-retries", "0")]),
    ("asks-other", {"timeout": "0.200s"}, [LONG], [("x-envoy-upstream-rq-timeout-alt-response", "1")]),
]
CLOSED = {"closed": {}, "closed-connect": retries("connect-failure"), "closed-reset": retries("reset"),
          "closed-before": retries("reset-before-request"), "closed-not": retries("retriable-4xx")}
AUTHORITIES = ("outside.test", "inside.test")


def config() -> dict:
    """The same routes behind two connection managers, of which one takes requests as internal."""
    routes = []
    for name, action, _, _ in CASES:
        routes.append(route({"path": f"/{name}"}, "one", name=name))
        routes[-1]["route"] |= action
    for name, action in CLOSED.items():
        routes.append(route({"path": f"/{name}"}, "closed", name=name))
        routes[-1]["route"] |= action
    hosts = [virtual_host("all", ["*"], routes)]
    listeners = [listener("outside", [http_chain("outside", hosts)]),
                 listener("inside", [http_chain("inside", hosts, **INTERNAL)], port=18481)]
    return bootstrap(listeners, [cluster("one", 1), cluster("closed", [endpoint(99)])])


def endpoints() -> str:
    """The script."""
    lines = ["[[endpoint]]", 'address = "127.0.20.99:9080"', 'outage = [{ kind = "refused" }]', "",
             "[[endpoint]]", 'address = "127.0.20.1:9080"']
    for name, _, answers, _ in CASES:
        inner = ", ".join(inline(it) for it in answers)
        lines += ["", "[[endpoint.rule]]", f'path = "/{name}"', f"answers = [{inner}]"]
    return "\n".join(lines) + "\n"


def inline(answer: dict) -> str:
    """An inline table."""
    def text(value) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(text(item) for item in value) + "]"
        return f'"{value}"' if isinstance(value, str) else str(value)
    return "{ " + ", ".join(f"{key} = {text(value)}" for key, value in answer.items()) + " }"


def traffic() -> list[dict]:
    """Each case from outside and from inside, over a connection of its own."""
    collected = Traffic()
    for index, port in enumerate((18480, 18481)):
        collected.destination = f"127.0.0.1:{port}"
        for name, _, _, headers in CASES:
            collected.add(f"/{name}", AUTHORITIES[index], headers)
        for name in CLOSED:
            collected.add(f"/{name}", AUTHORITIES[index])
    for index, request in enumerate(collected.requests):
        # Nothing of one is left when the next one comes.
        request["time_us"] = index * 60_000_000
        # By this the connection manager knows it from outside.
        request["source"] = f"127.1.{index // 250}.{index % 250 + 1}:{20000 + index}"
    return collected.requests
