"""Redirects, direct responses and https-only virtual hosts as outcomes."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "redirect-direct-response"
NOTES = ["redirects (host, scheme, port, path, prefix, query, status), direct responses, "
         "require_tls; clusters that do not exist or have no endpoints"]


def redirect(match: dict, name: str | None = None, **how) -> dict:
    """A redirect route."""
    return route(match, None, name, redirect=how)


def direct(match: dict, status: int, **more) -> dict:
    """A direct response route."""
    return route(match, None, None, direct_response={"status": status, **more})


ROUTES = [
    redirect({"path": "/host"}, "host", host_redirect="other.test"),
    redirect({"path": "/path"}, path_redirect="/new"),
    redirect({"path": "/path-query"}, path_redirect="/new?fixed=1"),
    redirect({"prefix": "/prefix/"}, prefix_rewrite="/swapped/"),
    redirect({"path": "/https"}, https_redirect=True),
    redirect({"path": "/scheme"}, scheme_redirect="ftp"),
    redirect({"path": "/port"}, port_redirect=8443),
    redirect({"path": "/all"}, https_redirect=True, host_redirect="other.test", port_redirect=444,
             path_redirect="/x", response_code="PERMANENT_REDIRECT"),
    redirect({"path": "/strip"}, path_redirect="/new", strip_query=True),
    redirect({"path": "/301"}, host_redirect="o", response_code="MOVED_PERMANENTLY"),
    redirect({"path": "/302"}, host_redirect="o", response_code="FOUND"),
    redirect({"path": "/303"}, host_redirect="o", response_code="SEE_OTHER"),
    redirect({"path": "/307"}, host_redirect="o", response_code="TEMPORARY_REDIRECT"),
    redirect({"path": "/308"}, host_redirect="o", response_code="PERMANENT_REDIRECT"),
    redirect({"path": "/host-port"}, host_redirect="other.test:99"),
    direct({"path": "/ok"}, 200, body={"inline_string": "fine"}),
    direct({"path": "/teapot"}, 418),
    direct({"prefix": "/gone"}, 410),
    direct({"prefix": "/by-header", "headers": [{"name": "x-block", "present_match": True}]}, 403),
    route({"prefix": "/by-header"}, "c", "open"),
    route({"prefix": "/missing"}, "not-there", "missing"),
    route({"prefix": "/empty"}, "empty"),
    route({"prefix": "/fine"}, "c"),
]


def config() -> dict:
    """A host with all routes, and two that want TLS."""
    hosts = [virtual_host("main", ["main.test", "main.test:80", "main.test:443", "main.test:8080", "[::1]:80"],
                          ROUTES),
             virtual_host("secure", ["secure.test", "secure.test:80", "secure.test:8080"],
                          [route({"prefix": "/"}, "c", "all")], require_tls="ALL"),
             virtual_host("outside", ["outside.test"], [route({"prefix": "/"}, "c", "all")],
                          require_tls="EXTERNAL_ONLY"),
             virtual_host("secure-empty", ["secure-empty.test"], [], require_tls="ALL")]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("c", 1), cluster("empty", [])])


def traffic() -> list[dict]:
    """Each route with and without a query, under each authority."""
    collected = Traffic()
    paths = [match.get("path") or match["prefix"] for match in (each["match"] for each in ROUTES)]
    for path in dict.fromkeys(paths):
        collected.add(path, "main.test")
        collected.add(f"{path}?a=b", "main.test")
    for authority in ("main.test:80", "main.test:443", "main.test:8080", "MAIN.test", "[::1]:80"):
        for path in ("/host", "/path", "/https", "/port", "/all", "/scheme", "/ok", "/fine"):
            collected.add(path, authority)
    for path in ("/prefix/", "/prefix/a/b", "/prefix", "/prefix/?x", "/none", "/gonex", "/OK", "/ok/"):
        collected.add(path, "main.test")
    for headers in ([], [("x-block", "")], [("x-block", "1")]):
        collected.add("/by-header/x", "main.test", headers)
    for authority in ("secure.test", "secure.test:80", "secure.test:8080", "SECURE.test", "outside.test",
                      "secure-empty.test"):
        for headers in ([], [("x-forwarded-proto", "https")], [("x-forwarded-proto", "http")]):
            collected.add("/p?q=1", authority, headers)
    for proto in ("https", "HTTPS"):
        for path in ("/https", "/path", "/host", "/all", "/port"):
            collected.add(path, "main.test", [("x-forwarded-proto", proto)])
    collected.add("/ok", "main.test", method="POST")
    collected.add("/ok", "main.test", method="HEAD")
    collected.add("/path", "main.test", method="HEAD")
    return collected.requests
