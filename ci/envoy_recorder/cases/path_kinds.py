"""The kinds of path matchers, with case, queries and RE2's peculiarities."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "path-kinds"
NOTES = ["path, prefix, path_separated_prefix and safe_regex, with case_sensitive; first match wins",
         "regexes are RE2 and match the whole path without its query"]


def regex(pattern: str) -> dict:
    """A safe_regex match."""
    return {"safe_regex": {"regex": pattern}}


ROUTES: dict[str, list[dict]] = {
    "path": [{"path": "/exact"}, {"path": "/exact/"}, {"path": "/Case"},
             {"path": "/loose", "case_sensitive": False}, {"path": "/"}, {"path": "/a%20b"}],
    "prefix": [{"prefix": "/api/v1/"}, {"prefix": "/api"}, {"prefix": "/Case"},
               {"prefix": "/loose", "case_sensitive": False}, {"prefix": "/q?x"}],
    "separated": [{"path_separated_prefix": "/seg/deep"}, {"path_separated_prefix": "/seg"},
                  {"path_separated_prefix": "/Loose", "case_sensitive": False},
                  {"path_separated_prefix": "/Case"}],
    "regex": [regex("/item/[0-9]+"), regex("/(a|ab)"), regex("/v1|/v10"), regex("/i/(?i)abc"),
              regex("/digits/\\d{2,3}"), regex("/word/\\w+"), regex("/space/\\s?x"),
              regex("/lit/\\Qa.b\\E"), regex("/class/[a-z&&[^b]]+"), regex("/rep/a{,3}"),
              regex("/dot/."), regex("/opt/(x)?"), regex("/nongreedy/.*?z"), regex("/end$"),
              regex("^/start"), regex("/bound/\\bx\\b"), regex("/uni/[\u00e4\u00fc]"),
              regex("/posix/[[:alpha:]]+"), regex("/any/.*"), regex("(?s)/dotall/.+"),
              regex("/hex/\\x41"), regex("/pl/\\pL+")],
    "order": [{"prefix": "/a/b"}, {"path": "/a/b/c"}, regex("/a/.*"), {"prefix": "/a"},
              {"path_separated_prefix": "/x"}, {"prefix": "/"}],
}
PATHS: dict[str, tuple] = {
    "path": ("/exact", "/exact/", "/exact?x=1", "/exact?", "/exact//", "/exac", "/exactx", "/EXACT",
             "/Case", "/case", "/loose", "/LOOSE", "/Loose?A=B", "/loose/", "/", "/?", "//", "/?/exact",
             "/a%20b", "/a b", "/exact;p=1", "/%65xact", "/a%2520b"),
    "prefix": ("/api", "/api/", "/apix", "/ap", "/api?x", "/api/v1", "/api/v1/", "/api/v1/x", "/api/v1?/",
               "/API", "/Case", "/case", "/CaseX", "/loose", "/LOOSEx", "/loos", "/q?x", "/q", "/q?xy",
               "/?/api", "//api", "/api/../x"),
    "separated": ("/seg", "/seg/", "/seg/x", "/segment", "/seg?x", "/seg/deep", "/seg/deeper",
                  "/seg/deep/", "/seg/deep?x", "/SEG", "/seg.x", "/seg//x", "/loose", "/LOOSE/x",
                  "/loosen", "/Loose?x=/", "/Case/x", "/case/x", "/se", "/seg%2Fx", "/seg;x"),
    "regex": ("/item/1", "/item/12345", "/item/", "/item/1/", "/item/1?x=y", "/item/x", "/Item/1", "/a",
              "/ab", "/abc", "/v1", "/v10", "/v100", "/i/abc", "/i/ABC", "/I/abc", "/digits/1",
              "/digits/12", "/digits/123", "/digits/1234", "/digits/%D9%A3", "/word/a_1", "/word/a-b",
              "/word/", "/space/x", "/space/%20x", "/lit/a.b", "/lit/axb", "/class/a", "/class/a&]",
              "/class/&]", "/class/ab]", "/class/b]", "/rep/aaa", "/rep/a{,3}", "/rep/",
              "/dot/x", "/dot/", "/dot/xx", "/opt/", "/opt/x", "/opt/xx", "/nongreedy/z",
              "/nongreedy/azbz", "/nongreedy/az?z", "/end", "/end/", "/start", "/startx", "/bound/x",
              "/bound/xx", "/posix/aZ", "/posix/a1", "/any/", "/any/x/y?z", "/any", "/dotall/x",
              "/hex/A", "/hex/x41", "/pl/abc", "/pl/1", "/none"),
    "order": ("/a/b", "/a/b/c", "/a/bx", "/a/x", "/a/", "/a", "/ax", "/x", "/x/y", "/xy", "/"),
}


def config() -> dict:
    """A virtual host for each kind; a route's index tells which matched."""
    hosts = [virtual_host(name, [f"{name}.test"], [route(match, "c") for match in matches])
             for name, matches in ROUTES.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])], [cluster("c", 1)])


def traffic() -> list[dict]:
    """Each matcher's boundaries."""
    collected = Traffic()
    for name, paths in PATHS.items():
        for path in paths:
            collected.add(path, f"{name}.test")
    for path in ("http://path.test/exact", "http://PATH.test", "http://path.test?x", "/exact#f"):
        collected.add(path, "path.test")
    collected.add("*", "path.test", method="OPTIONS")
    return collected.requests
