"""What a route may ask of a request besides path, headers and query: gRPC, cookies, TLS, metadata."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "route-matchers"
NOTES = ["a virtual host for each matcher: its first route has it and goes to `yes`, the second takes the "
         "rest to `no`", "the connections are plain: tls_context sees no certificate",
         "no filter writes metadata or filter state before a route is chosen"]


def cookie(name: str = "c", invert: bool = False, **how) -> dict:
    """A CookieMatcher."""
    return {"name": name, "string_match": how, **({"invert_match": True} if invert else {})}


COOKIES: dict[str, list[dict]] = {
    "exact": [cookie(exact="1")],
    "exact-empty": [cookie(exact="")],
    "exact-ignore-case": [cookie(exact="Ab", ignore_case=True)],
    "prefix": [cookie(prefix="1")],
    "suffix": [cookie(suffix="1")],
    "contains": [cookie(contains="1")],
    "regex": [cookie(safe_regex={"regex": "[0-9]*"})],
    "inverted": [cookie(invert=True, exact="1")],
    "two": [cookie(exact="1"), cookie("d", prefix="x")],
    "name-case": [cookie("C", exact="1")],
    "space": [cookie(exact="1 ")],
}
OTHERS: dict[str, dict] = {
    "grpc": {"grpc": {}},
    "presented": {"tls_context": {"presented": True}},
    "not-presented": {"tls_context": {"presented": False}},
    "validated": {"tls_context": {"validated": True}},
    "not-validated": {"tls_context": {"validated": False}},
    "neither": {"tls_context": {"presented": False, "validated": False}},
    "either": {"tls_context": {"presented": True, "validated": False}},
    "tls-empty": {"tls_context": {}},
}
METADATA_VALUES: dict[str, dict] = {
    "exact": {"string_match": {"exact": "v"}},
    "empty": {"string_match": {"exact": ""}},
    "null": {"null_match": {}},
    "present": {"present_match": True},
    "absent": {"present_match": False},
    "bool": {"bool_match": False},
    "list": {"list_match": {"one_of": {"string_match": {"exact": "v"}}}},
    "or": {"or_match": {"value_matchers": [{"null_match": {}}, {"present_match": True}]}},
}
COOKIE_LINES: tuple[tuple[str, ...], ...] = (
    (), ("",), ("c",), ("c=",), ("c=1",), ("c=12",), ("c=21",), ("c=2",), ("C=1",), ("c=ab",), ("c=\"1\"",), ("c=\"1",),
    ("c=1\"",), ("c=\"",), ("c=\"\"",), (" c=1",), ("c =1",), ("c= 1",), ("c=1 ;d=2",), ("c=1; d=x",), ("d=x;c=1",),
    ("c=2; c=1",), ("c=1; c=2",), ("c=2", "c=1"), ("c=1", "c=2"), ("c=1", "d=xy"), (";c=1",), (";;c=1",), ("c=1=2",),
    ("=1",), ("c;c=1",), ("\tc=1",), ("d=c=1",), ("c=a", "b"), ("x; c=1; d=x1; y",))


def metadata(value: dict, invert: bool) -> dict:
    """A route's MetadataMatcher."""
    return {"dynamic_metadata": [{"filter": "f", "path": [{"key": "k"}], "value": value,
                                  **({"invert": True} if invert else {})}]}


def matchers() -> dict[str, dict]:
    """Each virtual host's matcher."""
    found = {f"cookie-{name}": {"cookies": matcher} for name, matcher in COOKIES.items()}
    found |= OTHERS
    for name, value in METADATA_VALUES.items():
        found |= {f"metadata-{name}": metadata(value, False), f"metadata-not-{name}": metadata(value, True)}
    return found


def config() -> dict:
    """All matchers."""
    hosts = [virtual_host(name, [f"{name}.test"], [
        route({"prefix": "/", **matcher}, "yes"), route({"prefix": "/"}, "no")])
        for name, matcher in matchers().items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("yes", 1, first=1), cluster("no", 1, first=2)])


def traffic() -> list[dict]:
    """Each matcher at its boundaries."""
    collected = Traffic()
    for name in COOKIES:
        for lines in COOKIE_LINES:
            collected.add("/", f"cookie-{name}.test", [("cookie", line) for line in lines])
    types = ("application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc;x", "Application/grpc",
             "application/grpc+", "application/grpc ", "application/grp", "text/plain", "")
    for value in types:
        collected.add("/", "grpc.test", [("content-type", value)], method="POST")
    collected.add("/", "grpc.test", method="POST")
    collected.add("/", "grpc.test", [("content-type", "application/grpc")])
    collected.add("/", "grpc.test", [("content-type", "application/grpc"), ("content-type", "a")])
    collected.add("/", "grpc.test", [("content-type", "application/grpc+a"), ("content-type", "a")])
    for name in OTHERS:
        collected.add("/", f"{name}.test")
    for name in METADATA_VALUES:
        collected.add("/", f"metadata-{name}.test")
        collected.add("/", f"metadata-not-{name}.test")
    return collected.requests
