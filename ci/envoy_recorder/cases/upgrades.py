"""Requests that ask for an upgrade: what allows it, what refuses it, and what the endpoint gets."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "upgrades"
NOTES = ["upgrade_configs of connection managers and of routes: upgrades that are allowed, disabled and "
         "unknown, in any case; several Connection and Upgrade lines; faults of the head beside them; "
         "routes that do not forward, and none"]

UPGRADES = (
    ("upgrade", "websocket"), ("Upgrade", "WebSocket"), ("keep-alive, Upgrade", "websocket"),
    (" upgrade ,close", "websocket"), ("upgrade, x-a", "websocket"), ("upgrade", "spdy/3.1"),
    ("upgrade", "off"), ("upgrade", "OFF"), ("upgrade", "foo"), ("upgrade", ""),
    ("upgrade", "websocket, foo"), ("upgrade", " websocket "), ("upgrade", "h2c"), ("upgrade", "H2C"),
    ("upgrade", "h2c, websocket"), ("upgrade;q=1", "websocket"), ("xupgrade", "websocket"),
    ("keep-alive", "websocket"), ("upgrade, http2-settings", "websocket"),
    ("upgrade, upgrade", "websocket"), ("a,b,c,d,e,f,g,h,upgrade", "websocket"),
    ("a,b,c,d,e,f,g,h,i,upgrade", "websocket"), ("upgrade,x-forwarded-for", "websocket"),
    ("upgrade, te", "websocket"), ("connection, upgrade", "websocket"))


def hosts() -> list[dict]:
    """Routes of each kind."""
    answer = {"direct_response": {"status": 204}}
    moved = {"redirect": {"path_redirect": "/z"}}

    def said(name: str, *configs: tuple[str, bool | None]) -> dict:
        found = route({"prefix": f"/{name}"}, "a", name)
        found["route"]["upgrade_configs"] = [
            {"upgrade_type": kind} | ({} if on is None else {"enabled": on}) for kind, on in configs]
        return found

    return [virtual_host("v", ["h.test"], [
        {"match": {"prefix": "/direct"}, "name": "direct", **answer},
        {"match": {"prefix": "/redirect"}, "name": "redirect", **moved},
        route({"prefix": "/missing"}, "nowhere", "missing"),
        said("foo", ("FOO", None)), said("mute", ("websocket", False)),
        said("on", ("off", True), ("spdy/3.1", False)),
        route({"prefix": "/plain"}, "a", "plain")]),
        virtual_host("s", ["s.test"], [route({"prefix": "/"}, "a", "s")], require_tls="ALL")]


def config() -> dict:
    """A connection manager that allows some upgrades, and one that allows none."""
    configs = [{"upgrade_type": "websocket"}, {"upgrade_type": "SPDY/3.1", "enabled": True},
               {"upgrade_type": "off", "enabled": False}]
    some = http_chain("some", hosts(), upgrade_configs=configs)
    none = http_chain("none", hosts())
    return bootstrap([listener("some", [some]), listener("none", [none], PORT + 1)],
                     [cluster("a", 1)])


def traffic() -> list[dict]:
    """To both."""
    listed = []
    for port in (PORT, PORT + 1):
        collected = Traffic(port)
        for connection, upgrade in UPGRADES:
            asks = [("connection", connection), ("upgrade", upgrade)]
            collected.add("/plain", headers=[*asks, ("x-a", "1"), ("te", "trailers")])
        websocket = [("connection", "upgrade"), ("upgrade", "websocket")]
        for asks in (websocket, [("connection", "upgrade"), ("upgrade", "foo")]):
            for path in ("/direct", "/redirect", "/missing", "/none", "*", "/plain#x"):
                collected.add(path, headers=asks)
            for authority in ("other.test", "s.test"):
                collected.add("/plain", authority=authority, headers=[*asks, ("x-a", "1")])
            collected.add("/plain", authority="127.0.0.1/", headers=asks)
            collected.add("/plain", authority=None, headers=asks)
            collected.add("/plain", method="POST", headers=[*asks, ("content-length", "0")])
            collected.add("/plain", headers=[*asks, ("content-type", "application/grpc")])
        collected.add("/plain", authority="127.0.0.1/", headers=[
            ("connection", "upgrade"), ("upgrade", ""), ("Connection", "keep-alive")])
        collected.add("/plain", headers=[("Connection", "close"), *websocket])
        collected.add("/plain", headers=[("upgrade", "foo"), *websocket])
        collected.add("/plain", headers=[("upgrade", ""), *websocket])
        collected.add("/plain", headers=[*websocket, ("upgrade", "websocket")])
        collected.add("/plain", headers=[*websocket, ("keep-alive", "5"), ("proxy-connection", "x")])
        for path in ("/foo", "/mute", "/on"):
            for kind in ("websocket", "foo", "Foo", "off", "spdy/3.1", "bar", ""):
                collected.add(path, headers=[("connection", "upgrade"), ("upgrade", kind)])
        for request in collected.requests:
            listed.append(request | {"id": f"r{len(listed):04}"})
    return listed
