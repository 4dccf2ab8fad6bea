"""Header matchers of Connection and Upgrade, which only requests that ask for an upgrade have."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "upgrade-matchers"
NOTES = ["header matchers of connection, upgrade, keep-alive and proxy-connection, of requests that ask for an "
         "upgrade and of others"]
MATCHES = {
    "upgrade": {"name": "upgrade", "present_match": True},
    "connection": {"name": "connection", "present_match": True},
    "exact": {"name": "upgrade", "string_match": {"exact": "websocket"}},
    "value": {"name": "connection", "string_match": {"exact": "keep-alive, Upgrade"}},
    "joined": {"name": "connection", "string_match": {"exact": "close,upgrade"}},
    "none": {"name": "upgrade", "present_match": True, "invert_match": True},
    "keep": {"name": "keep-alive", "present_match": True},
    "proxy": {"name": "proxy-connection", "present_match": True},
}


def config() -> dict:
    """A route for each matcher."""
    routes = [route({"prefix": f"/{name}", "headers": [match]}, "a", name)
              for name, match in MATCHES.items()]
    chain = http_chain("web", [virtual_host("v", ["*"], [*routes, route({"prefix": "/"}, "a", "rest")])],
                       upgrade_configs=[{"upgrade_type": "websocket"}])
    return bootstrap([listener("web", [chain])], [cluster("a", 1)])


def traffic() -> list[dict]:
    """Every route, with each form of upgrade and without."""
    collected = Traffic()
    more = [("keep-alive", "5"), ("proxy-connection", "x")]
    for name in MATCHES:
        for headers in ([("connection", "upgrade"), ("upgrade", "websocket")],
                        [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")],
                        [("connection", "close"), ("connection", "upgrade"), ("upgrade", "websocket")],
                        [("connection", "upgrade"), ("upgrade", "foo")],
                        [("connection", "upgrade"), ("upgrade", "h2c")],
                        [("upgrade", "websocket")], [("connection", "keep-alive")], []):
            collected.add(f"/{name}", headers=[*headers, *more])
    return collected.requests
