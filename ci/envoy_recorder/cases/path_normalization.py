"""normalize_path, merge_slashes and path_with_escaped_slashes_action, alone and together."""

from envoy_recorder.cases.build import (
    PORT, Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "path-normalization"
NOTES = ["a listener for each combination of the options",
         "endpoints get the path as it is after normalisation, and routes match that"]
ACTIONS = ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")


def combinations() -> list[tuple[str, dict]]:
    """A name for each set of options."""
    found = []
    for normalize in (False, True):
        for merge in (False, True):
            for action in ACTIONS:
                name = f"{'n' if normalize else '-'}{'m' if merge else '-'}-{action.lower()}"
                found.append((name, {"normalize_path": normalize, "merge_slashes": merge,
                                     "path_with_escaped_slashes_action": action}))
    return found


ROUTES = [route({"path": "/a/b"}, "c", "exact"), route({"prefix": "/admin"}, "c", "admin"),
          {"match": {"prefix": "/old"}, "route": {"cluster": "c", "prefix_rewrite": "/new"}, "name": "old"},
          {"match": {"prefix": "/away"}, "redirect": {"prefix_rewrite": "/there"}, "name": "away"},
          route({"safe_regex": {"regex": "/rx/[a-z]+"}}, "c", "regex"),
          route({"prefix": "/"}, "c", "rest")]
PATHS = ("/", "/a/b", "/a//b", "/a/./b", "/a/c/../b", "/a/b/", "//a/b", "/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb",
         "/a\\b", "/a%62b", "/%61/b", "/a/%62", "/a/%2e/b", "/a/x/%2e%2e/b", "/a/x/%2E./b", "/a%2F..%2Fadmin",
         "/x/../admin", "/x/..%2fadmin", "/..", "/../a/b", "/../../a/b", "/a/b/..", "/a/b/.", "/.", "/a/..", "/a/b?x=/../y",
         "/a/b?%2F", "/a/./b?xy", "/rx/%61bc", "/rx/a%2525", "/old//x", "/old/../x", "/old%2Fx",
         "/away//x", "/away/./x?y", "/a%20b", "/a%", "/a%2", "/a%zz", "/a%00b", "/a%2500b", "/a%25", "/a%7e", "/a%7E",
         "/a%C3%BC", "/a%c3%bc", "/a%3Fb", "/a%23b", "/a%3B", "/a;b/../c", "/a/b;x=1", "/a'b", "/a\"b", "/a<b>",
         "/a{b}", "/a|b", "/a^b", "/a`b", "/a[b]", "/a%5Bb%5D", "/a%22b", "/a%3Cb", "/a%7Cb", "/a%2Cb", "/a%2B", "/a+b",
         "/a~b", "/a%40b", "/a%3Ab", "/a:b", "/a%21", "/a%24%26%27%28%29%2a%2A%3d", "/%2F", "/%2Fa", "/a%2F", "/a/%2Fb",
         "/a%2F%2Fb", "/a%5C%5Cb", "/a/\\b", "/a\\..\\b", "/a/%5C../b", "/a//../b", "/a/.//b", "/a///b", "/a/b//", "//",
         "///", "/a/...", "/a/.../b", "/a/..b", "/a/b..", "/.a/b", "/a/.%2e/b", "/a/%2e%2E/../b", "/a%2f%2e%2e%2fb",
         "/a%7Fb", "/a%80", "/a%fF", "/a%1f", "/a%0a", "/a%09b", "/A/B", "/A/%42", "/a%2d%5f%2e", "/a%30%41%5A%7A")
OTHER = (("http://h.test/a/../b", "h.test"), ("http://h.test", "h.test"), ("http://h.test/a//b?c", "o.test"),
         ("http://h.test/a%2Fb?c", "o.test"), ("http://h.test?a/../b", "h.test"), ("/a/../#b", "h.test"))


def config() -> dict:
    """A listener for each combination."""
    hosts = [virtual_host("h", ["*"], ROUTES)]
    listeners = [listener(name, [http_chain(name, hosts, **options)], port=PORT + number)
                 for number, (name, options) in enumerate(combinations())]
    return bootstrap(listeners, [cluster("c", 1)])


def traffic() -> list[dict]:
    """All paths to all listeners."""
    collected = Traffic()
    for number, _ in enumerate(combinations()):
        collected.destination = f"127.0.0.1:{PORT + number}"
        for path in PATHS:
            collected.add(path)
        for path, authority in OTHER:
            collected.add(path, authority)
        collected.add("*", method="OPTIONS")
        collected.add("/a%2Fb", headers=[("content-type", "application/grpc")])
        collected.add("/a%2Fb?q", "h.test:80", headers=[("x-forwarded-proto", "https")])
        collected.add("/a%2Fb", method="POST")
    return collected.requests
