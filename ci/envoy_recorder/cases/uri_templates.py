"""Paths by URI template: path_match_policy and path_rewrite_policy."""

from envoy_recorder.cases.build import (
    Traffic, bootstrap, cluster, http_chain, listener, route, virtual_host)

NAME = "uri-templates"
NOTES = ["a virtual host for each template: its first route has it and goes to `yes`, rewritten where "
         "there is a rewrite; the second takes the rest to `no`"]
EXTENSIONS = "type.googleapis.com/envoy.extensions.path."

# Template, and the rewrite behind it.
TEMPLATES: dict[str, tuple[str, str | None]] = {
    "root": ("/", None),
    "text": ("/a.b/c+d", "/fixed"),
    "slash": ("/a/", "/b/"),
    "one": ("/*", None),
    "one-inside": ("/a/*/b", None),
    "one-suffix": ("/a/*.mp4", None),
    "any": ("/**", "/x"),
    "any-below": ("/a/**", None),
    "any-suffix": ("/a/**.mp4", None),
    "variable": ("/{v}", "/to/{v}"),
    "variable-suffix": ("/{v}.js", "/{v}/js"),
    "two": ("/{one}/{two}", "/{two}/{one}"),
    "twice": ("/{one}/b", "/{one}/{one}-{one}"),
    "deep": ("/{v=a/*/b}/c", "/{v}"),
    "rest": ("/{v}/{rest=**}", "/{rest}/{v}"),
    "rest-suffix": ("/p/{rest=**}.ts", "/q{rest}"),
    "prefix": ("/a{v}", "/{v}"),
    "mixed": ("/a{one}c/{two}d", "/{two}{one}"),
    "mixed-rest": ("/x{v=**}y/z", "/{v}"),
    "equals": ("/a={v}", None),
    "given": ("/{v=fixed}/x", "/{v}y"),
    "five": ("/{a}/{b}/{c}/{d}/{e}", "/{e}{d}{c}{b}{a}"),
}
PATHS = ("/", "//", "/a", "/a/", "/a/b", "/a/b/", "/a//b", "/a/x/b", "/a/x/b/c", "/a/x/y/b", "/a/x.mp4", "/a/.mp4",
         "/a/x/y.mp4.mp4", "/a.b/c+d", "/axb/cccd", "/a.js", "/.js", "/a.js.js", "/a=b", "/a*b", "/a%20b", "/a/b?c=/d",
         "/?q", "/a:b@c", "/a'(b)", "/a;b,c", "/a~b_c-d", "/a\"b", "/A/x/B", "/p/.ts", "/p/a/b.ts", "/p/x.ts?y.ts",
         "/fixed/x", "/other/x", "/1/2/3/4/5", "/1/2/3/4/5/6", "/a|b", "/a{b}", "/a$b&c!d", "/abc/xd", "/abc/d",
         "/xy/z", "/x/yy/z", "/a==", "/axc/d?e=/f")


def match(template: str) -> dict:
    """A RouteMatch."""
    return {"path_match_policy": {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": {
        "@type": EXTENSIONS + "match.uri_template.v3.UriTemplateMatchConfig", "path_template": template}}}


def forwarding(template: str, rewrite: str | None) -> dict:
    """The route that a template leads to."""
    action: dict = {"cluster": "yes"}
    if rewrite is not None:
        action["path_rewrite_policy"] = {
            "name": "envoy.path.rewrite.uri_template.uri_template_rewriter", "typed_config": {
                "@type": EXTENSIONS + "rewrite.uri_template.v3.UriTemplateRewriteConfig",
                "path_template_rewrite": rewrite}}
    return {"match": match(template), "route": action}


def config() -> dict:
    """All templates."""
    hosts = [virtual_host(name, [f"{name}.test"], [
        forwarding(*pair), route({"prefix": "/"}, "no")]) for name, pair in TEMPLATES.items()]
    return bootstrap([listener("web", [http_chain("web", hosts)])],
                     [cluster("yes", 1, first=1), cluster("no", 1, first=2)])


def traffic() -> list[dict]:
    """Every path at every template."""
    collected = Traffic()
    for name in TEMPLATES:
        for path in PATHS:
            collected.add(path, f"{name}.test")
    return collected.requests
