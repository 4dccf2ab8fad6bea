"""Header matchers as Envoy 1.38 has them: the lines of a repeated header are one value."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, filters, http_chain, http_filter, listener, route, virtual_host)

NAME = "profile-1.38"
NOTES = ["recorded with envoy.reloadable_features.match_headers_individually off, by which Envoy 1.40 "
         "matches headers as 1.38 does",
         "one virtual host for each matcher; its first route has the matcher and goes to `yes`, the "
         "second takes the rest to `no`"]
PROFILE = "envoy-1.38"
H = "x-h"
# What `x-h` may be on its lines.
VALUES = ((), ("a",), ("a", "b"), ("b", "a"), ("a,b",), ("a", ""), ("", "a"), ("", ""), ("",),
          ("a", "b", "c"), ("Abc", "x"), ("x", "Abc"), ("ab", "yz"), ("v1", "v2"), ("5", "99"), ("99", "5"),
          ("5",), ("a ", " b"))
KINDS = {
    "exact": {"string_match": {"exact": "a"}},
    "exact-joined": {"string_match": {"exact": "a,b"}},
    "exact-comma": {"string_match": {"exact": "a,"}},
    "exact-empty": {"string_match": {"exact": ""}},
    "ignore-case": {"string_match": {"exact": "ABC,X", "ignore_case": True}},
    "prefix": {"string_match": {"prefix": "ab"}},
    "suffix": {"string_match": {"suffix": "yz"}},
    "contains": {"string_match": {"contains": ","}},
    "regex": {"string_match": {"safe_regex": {"regex": "v[0-9](,v[0-9])*"}}},
    "range": {"range_match": {"start": "0", "end": "10"}},
    "present": {"present_match": True},
    "absent": {"present_match": False},
    "old-exact": {"exact_match": "a,b"},
    "empty-if-missing": {"string_match": {"exact": ""}, "treat_missing_header_as_empty": True},
}


def asks(name: str) -> dict:
    """A matcher of joined lines, for a filter."""
    return {"name": f"x-{name}", "string_match": {"exact": "a,b"}}


# Filters that look at headers, each at one of its own.
FILTERS = {
    "rbac": http_filter("rbac", "rbac.v3.RBAC", rules={"action": "DENY", "policies": {"p": {
        "permissions": [{"header": asks("rbac")}], "principals": [{"any": True}]}}}),
    "fault": http_filter("fault", "fault.v3.HTTPFault", headers=[asks("fault")], abort={
        "http_status": 418, "percentage": {"numerator": 100}}),
    "health": http_filter("health", "health_check.v3.HealthCheck", pass_through_mode=False,
                          headers=[asks("health")]),
}


def config() -> dict:
    """A virtual host for each matcher, as it stands and inverted, and one behind each filter."""
    hosts = []
    for kind, matcher in KINDS.items():
        for inverted in (False, True):
            name = f"{kind}-inverted" if inverted else kind
            asked = {"name": H, **matcher, **({"invert_match": True} if inverted else {})}
            hosts.append(host(name, [asked]))
    two = [{"name": H, "string_match": {"prefix": "a"}}, {"name": "x-i", "string_match": {"suffix": "a"}}]
    hosts.append(host("two", two))
    for name in ("accept", "cookie", "x-forwarded-host"):
        asked = {"name": name, "string_match": {"exact": "a,b"}}
        hosts.append(host(name, [asked]))
    behind = [http_chain(name, [host(name, [{"name": f"x-{name}", "present_match": True}])],
                         http_filters=filters(config)) for name, config in FILTERS.items()]
    result = bootstrap([listener("web", [http_chain("web", hosts)]),
                        *(listener(chain["name"], [chain], port=18481 + index)
                          for index, chain in enumerate(behind))],
                       [cluster("yes", 1), cluster("no", 1, first=2)])
    result["layered_runtime"] = {"layers": [{"name": "profile", "static_layer": {
        "envoy.reloadable_features.match_headers_individually": False}}]}
    return result


def host(name: str, headers: list[dict]) -> dict:
    """A virtual host with the matchers."""
    return virtual_host(name, [f"{name}.test"], [
        route({"prefix": "/", "headers": headers}, "yes", "yes"), route({"prefix": "/"}, "no", "no")])


def traffic() -> list[dict]:
    """Each matcher with each list of values."""
    collected = Traffic()
    names = [f"{kind}{more}" for kind in KINDS for more in ("", "-inverted")]
    for name in names:
        for values in VALUES:
            collected.add("/", f"{name}.test", [(H, value) for value in values])
    for values in VALUES:
        for beside in ((), ("a",), ("b", "a"), ("a", "b")):
            collected.add("/", "two.test", [(H, value) for value in values]
                          + [("x-i", value) for value in beside])
    for name in ("accept", "cookie", "x-forwarded-host"):
        for values in VALUES:
            collected.add("/", f"{name}.test", [(name, value) for value in values])
    for index, name in enumerate(FILTERS):
        behind = Traffic(18481 + index)
        for values in VALUES:
            behind.add("/", f"{name}.test", [(f"x-{name}", value) for value in values])
        for number, request in enumerate(behind.requests):
            collected.requests.append({**request, "id": f"{name}{number:02}"})
    return collected.requests
