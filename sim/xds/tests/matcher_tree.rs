//! Routes in matcher trees: where a snapshot has them, what stays undecided inside them, and what
//! Envoy refuses.

mod common;

use common::{read_ok, read_text};
use rstest::rstest;
use twinmesh_xds::{ReadError, to_json};

const INPUT: &str = "{name: i, typed_config: {'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x}}";

fn read_error(name: &str, text: &str) -> ReadError {
    read_text(name, text).expect_err("Envoy refuses it")
}

fn route(name: &str, more: &str) -> String {
    format!(
        "{{action: {{name: a, typed_config: {{'@type': type.googleapis.com/envoy.config.route.v3.Route, name: {name}, match: {{prefix: /{more}}}, redirect: {{}}}}}}}}"
    )
}

/// A route configuration whose first virtual host has this matcher.
fn configuration(matcher: &str) -> String {
    format!("virtual_hosts: [{{name: a, domains: ['*'], matcher: {matcher}}}]")
}

fn nested(last: &str) -> String {
    let (b, a) = (route("b", ""), route("a", ""));
    let map = format!(
        "{{matcher_tree: {{input: {INPUT}, prefix_match_map: {{map: {{b: {b}, a: {a}}}}}}}, on_no_match: {}}}",
        route("c", "")
    );
    let list = "{action: {name: a, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.RouteList, routes: [{name: d, match: {prefix: /}, redirect: {}}, {name: e, match: {prefix: /}, redirect: {}}]}}}";
    let predicate = format!("{{single_predicate: {{input: {INPUT}, value_match: {{exact: v}}}}}}");
    configuration(&format!(
        "{{on_no_match: {last}, matcher_list: {{matchers: [{{predicate: {predicate}, on_match: {{matcher: {map}}}}}, {{predicate: {predicate}, on_match: {list}}}]}}}}"
    ))
}

#[test]
fn routes_are_listed_depth_first() {
    let snapshot = read_ok("f.yaml", &nested(&route("f", "")));
    let configuration = &snapshot.route_configurations[0];
    let host = &configuration.config.virtual_hosts[0];
    let names: Vec<&str> = host.routes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
    let marks = &configuration.virtual_hosts[0];
    assert_eq!(marks.unsupported, None);
    assert_eq!(marks.routes, vec![None; 6]);
    assert_eq!(
        configuration.route_path(0, 0),
        "virtual_hosts[0].matcher.matcher_list.matchers[0].on_match.matcher.matcher_tree.prefix_match_map.map[0].value.action.typed_config"
    );
    assert_eq!(
        configuration.route_path(0, 4),
        "virtual_hosts[0].matcher.matcher_list.matchers[1].on_match.action.typed_config.routes[1]"
    );
    assert_eq!(
        configuration.route_path(0, 5),
        "virtual_hosts[0].matcher.on_no_match.action.typed_config"
    );
}

#[test]
fn what_is_written_reads_back_as_the_same() {
    let before = read_ok("f.yaml", &nested(&route("f", "")));
    let after = read_ok("f.json", &to_json(&before));
    assert_eq!(before.route_configurations, after.route_configurations);
}

#[test]
fn what_is_undecided_in_a_route_stays_there() {
    let undecided = route("f", ", filter_state: [{key: k, string_match: {exact: v}}]");
    let snapshot = read_ok("f.yaml", &nested(&undecided));
    let marks = &snapshot.route_configurations[0].virtual_hosts[0];
    assert_eq!(marks.unsupported, None);
    let marked: Vec<bool> = marks.routes.iter().map(Option::is_some).collect();
    assert_eq!(marked, [false, false, false, false, false, true]);
}

#[rstest]
#[case::header_that_envoy_writes(
    "{matcher_tree: {input: {name: i, typed_config: {'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-request-id}}, exact_match_map: {map: {a: ROUTE}}}}",
    "virtual_hosts[0].matcher.matcher_tree.input.typed_config.header_name"
)]
#[case::regex_over_the_cap(
    "{matcher_list: {matchers: [{predicate: {single_predicate: {input: INPUT, value_match: {safe_regex: {google_re2: {}, regex: '.*a.{12}'}}}}, on_match: ROUTE}]}}",
    "virtual_hosts[0].matcher.matcher_list.matchers[0].predicate.single_predicate.value_match.safe_regex.regex"
)]
fn the_whole_is_undecided(#[case] matcher: &str, #[case] expected: &str) {
    let matcher = matcher
        .replace("ROUTE", &route("a", ""))
        .replace("INPUT", INPUT);
    let snapshot = read_ok("f.yaml", &configuration(&matcher));
    let marks = &snapshot.route_configurations[0].virtual_hosts[0];
    let path = marks.unsupported.as_ref().map(|it| it.path.as_str());
    assert_eq!(path, Some(expected));
}

#[rstest]
#[case::other_input(
    "{matcher_tree: {input: {name: i, typed_config: {'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestQueryParamMatchInput, query_param: q}}, exact_match_map: {map: {a: ROUTE}}}}",
    "matcher_tree.input.typed_config: Envoy refuses this: routes are matched by request headers only"
)]
#[case::other_action(
    "{on_no_match: {action: {name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}}}",
    "on_no_match.action.typed_config: Envoy refuses this: a Route or a RouteList was expected"
)]
#[case::keep_matching(
    "{on_no_match: {keep_matching: true, matcher: {on_no_match: ROUTE}}}",
    "virtual_hosts[0].matcher.on_no_match.keep_matching: "
)]
#[case::regex(
    "{matcher_list: {matchers: [{predicate: {single_predicate: {input: INPUT, value_match: {safe_regex: {google_re2: {}, regex: 'a**'}}}}, on_match: ROUTE}]}}",
    "value_match.safe_regex.regex: "
)]
#[case::route_of_one(
    "{on_no_match: {action: {name: a, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 0}]}}}}}}",
    "on_no_match.action.typed_config.route.weighted_clusters.clusters: Envoy refuses this: the sum of the weights"
)]
fn refused(#[case] matcher: &str, #[case] expected: &str) {
    let matcher = matcher
        .replace("ROUTE", &route("a", ""))
        .replace("INPUT", INPUT);
    let error = read_error("f.yaml", &configuration(&matcher)).to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn routes_beside_a_matcher_are_refused() {
    let text = "virtual_hosts: [{name: a, domains: ['*'], matcher: {}, routes: [{match: {prefix: /}, redirect: {}}]}]";
    let error = read_error("f.yaml", text).to_string();
    assert!(
        error.contains(
            "virtual_hosts[0].routes: Envoy refuses this: routes may not stand beside a matcher"
        ),
        "{error}"
    );
}
