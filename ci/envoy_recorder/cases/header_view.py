"""What header matchers see of a head: trimming, folding slots, hop-by-hop headers, additions."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "header-view"
NOTES = ["one virtual host for each header; its routes tell which value matchers see: `joined` "
         "(a,b), `first` (a), `empty`, `present` (anything else), `absent`"]
# Joined with a comma when repeated; matched one by one; removed or added before routing.
NAMES = ("accept", "accept-encoding", "authorization", "cache-control", "content-type", "user-agent",
         "referer", "origin", "via", "x-forwarded-for", "x-forwarded-host", "x-envoy-original-path",
         "accept-language", "cookie", "x-custom", "forwarded", "if-match", "range", "pragma",
         "connection", "keep-alive", "proxy-connection", "te", "upgrade", "expect",
         "x-request-id", "x-forwarded-proto", "x-envoy-internal", "x-envoy-retry-on", "x_under")


def host(name: str) -> dict:
    """The routes for one header."""
    def exact(value: str, route_name: str) -> dict:
        return route({"prefix": "/", "headers": [{"name": name, "string_match": {"exact": value}}]},
                     "c", route_name)
    return virtual_host(name, [f"{name}.test"], [
        exact("a,b", "joined"), exact("a", "first"), exact("", "empty"), exact("trailers", "trailers"),
        exact("http", "http"),
        route({"prefix": "/", "headers": [{"name": name, "present_match": True}]}, "c", "present"),
        route({"prefix": "/"}, "c", "absent")])


def config() -> dict:
    """A virtual host for each header."""
    return bootstrap([listener("web", [http_chain("web", [host(name) for name in NAMES])])],
                     [cluster("c", 1)])


def traffic() -> list[dict]:
    """Each header absent, once, twice, empty, with white space."""
    collected = Traffic()
    for name in NAMES:
        for values in ((), ("a",), ("a", "b"), ("b", "a"), ("",), ("", "a"), ("a", ""), ("  a\t",),
                       ("\u00fc",)):
            collected.add("/", f"{name}.test", [(name, value) for value in values])
    for value in ("trailers", "trailers, gzip", "gzip, trailers", "gzip", "Trailers", "trailers;q=1"):
        collected.add("/", "te.test", [("te", value)])
    for value in ("100-continue", "100-Continue"):
        collected.add("/", "expect.test", [("expect", value)])
    for value in ("http", "https", "HTTPS", "ftp"):
        collected.add("/", "x-forwarded-proto.test", [("x-forwarded-proto", value)])
    for nominated in ("x-custom", "X-Custom", "close, x-custom", "keep-alive,x-custom , x-b", "x-b",
                      "close", "", ","):
        collected.add("/", "x-custom.test", [("connection", nominated), ("x-custom", "a")])
        collected.add("/", "x-custom.test", [("x-custom", "a"), ("connection", nominated)])
    for nominated in ("cookie", "te", "user-agent", "x_under", "accept"):
        collected.add("/", f"{nominated}.test", [("connection", nominated), (nominated, "trailers")])
    for headers in ([("x-custom", "a"), ("x-b", "1"), ("X-Custom", "b")],
                    [("accept", "a"), ("x-b", "1"), ("ACCEPT", "b")]):
        collected.add("/", f"{headers[0][0]}.test", headers)
    # Whether a reply of Envoy's own is one to gRPC.
    grpc = "application/grpc"
    for values in ((grpc,), ("", grpc), (grpc, ""), ("", "", grpc + "+proto"), ("a", grpc), (grpc, "+a"),
                   (grpc + "+a", grpc)):
        collected.add("/", "none.test", [("content-type", value) for value in values])
    # Heads that are refused.
    for headers in ([("connection", "x-forwarded-for")], [("connection", ":path")],
                    [("content-length", "x")], [("content-length", "1"), ("content-length", "1")],
                    [("transfer-encoding", "gzip")], [("transfer-encoding", "chunked"),
                                                      ("content-length", "0")],
                    [("x custom", "a")], [("x-custom ", "a")], [("", "a")], [("x-custom", "a\x01")],
                    [("x-custom", "a\x7f")], [("connection", "a,b,c,d,e,f,g,h,i,j")]):
        collected.add("/", "x-custom.test", headers)
    for path in ("/#a", "/\u00fc", "/a b", "x", "*"):
        collected.add(path, "x-custom.test")
    collected.add("/", None)
    for method in ("get", "BREW", "PURGE", "M-SEARCH"):
        collected.add("/", "x-custom.test", method=method)
    return collected.requests
