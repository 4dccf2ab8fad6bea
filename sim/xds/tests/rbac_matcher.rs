//! Matcher trees of RBAC filters: what stays undecided, by name, and what Envoy 1.40 refuses (measured).

mod common;

use common::{read_ok, read_text};
use rstest::rstest;
use twinmesh_xds::{Snapshot, network_rbac::Judge};

const TYPES: &str = "type.googleapis.com";
const COMMON: &str = "envoy.extensions.matching.common_inputs";

fn extension(kind: &str, more: &str) -> String {
    format!("{{name: x, typed_config: {{'@type': {TYPES}/{kind}{more}}}}}")
}

fn action(name: &str) -> String {
    let action = extension("envoy.config.rbac.v3.Action", &format!(", name: {name}"));
    format!("{{action: {action}}}")
}

/// A tree that goes by an input of this type.
fn by(kind: &str, more: &str) -> String {
    let (input, action) = (extension(kind, more), action("a"));
    format!("{{matcher_tree: {{input: {input}, exact_match_map: {{map: {{v: {action}}}}}}}}}")
}

fn network(name: &str) -> String {
    by(&format!("{COMMON}.network.v3.{name}"), "")
}

fn listener(filters: &str) -> String {
    format!(
        "static_resources: {{clusters: [{{name: c}}], listeners: [{{name: l, address: {{socket_address: \
         {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [{{filters: [{filters}]}}]}}]}}"
    )
}

/// A network filter of these fields ahead of a TCP proxy.
fn of_connections(fields: &str) -> String {
    listener(&format!(
        "{{name: guard, typed_config: {{'@type': {TYPES}/envoy.extensions.filters.network.rbac.v3.RBAC, \
         stat_prefix: s, {fields}}}}}, {{name: tcp, typed_config: {{'@type': \
         {TYPES}/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}}}"
    ))
}

/// An HTTP filter of these fields; what a route says to it.
fn of_requests(fields: &str, said: &str) -> String {
    let filters = "envoy.extensions.filters.http";
    listener(&format!(
        "{{name: http, typed_config: {{'@type': \
         {TYPES}/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: s, http_filters: [{{name: f, typed_config: {{'@type': {TYPES}/{filters}.rbac.v3.RBAC, \
         {fields}}}}}, {{name: router, typed_config: {{'@type': {TYPES}/{filters}.router.v3.Router}}}}], \
         route_config: {{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, \
         redirect: {{}}, typed_per_filter_config: {{f: {{'@type': {TYPES}/{filters}.rbac.v3.RBACPerRoute, \
         rbac: {{{said}}}}}}}}}]}}]}}}}}}"
    ))
}

fn undecided(snapshot: &Snapshot) -> Option<(String, String)> {
    let found = snapshot.listeners[0].filter_chains[0].unsupported.clone();
    found.map(|found| (found.path, found.reason))
}

fn refused(text: &str) -> String {
    read_text("f.yaml", text)
        .expect_err("Envoy refuses it")
        .to_string()
}

#[rstest]
#[case::address(network("DirectSourceIPInput"))]
#[case::port(network("SourcePortInput"))]
#[case::server_name(network("ServerNameInput"))]
#[case::certificate(by(&format!("{COMMON}.ssl.v3.UriSanInput"), ""))]
fn inputs_of_both_are_decided(#[case] matcher: String) {
    let fields = format!("matcher: {matcher}");
    assert_eq!(
        undecided(&read_ok("f.yaml", &of_connections(&fields))),
        None
    );
    assert_eq!(
        undecided(&read_ok("f.yaml", &of_requests(&fields, &fields))),
        None
    );
}

#[rstest]
#[case::filter_state(by(&format!("{COMMON}.network.v3.FilterStateInput"), ", key: k"), "matchers of the filter state are not decided")]
#[case::namespace(
    network("NetworkNamespaceInput"),
    "matchers of network namespaces are not decided"
)]
#[case::environment(by(&format!("{COMMON}.environment_variable.v3.Config"), ", name: HOME"), "Envoy's environment variables are not known here")]
fn inputs_of_both_that_are_not(#[case] matcher: String, #[case] expected: &str) {
    let fields = format!("matcher: {matcher}");
    for text in [of_connections(&fields), of_requests(&fields, "")] {
        let (path, reason) = undecided(&read_ok("f.yaml", &text)).expect("it is not decided");
        assert!(path.contains("matcher.matcher_tree.input"), "{path}");
        assert_eq!(reason, expected);
    }
}

#[rstest]
#[case::metadata(
    by(&format!("{COMMON}.network.v3.DynamicMetadataInput"), ", filter: f, path: [{key: k}]"),
    "matchers of dynamic metadata are not decided"
)]
#[case::cel(
    by("xds.type.matcher.v3.HttpAttributesCelMatchInput", ""),
    "conditions in CEL are not decided"
)]
#[case::header_that_envoy_writes(
    by(
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        ", header_name: x-request-id"
    ),
    "Envoy itself writes or strips the header x-request-id before it chooses a route"
)]
#[case::ranges_of_a_header(
    format!("{{matcher_tree: {{input: {}, custom_match: {}}}}}",
        extension("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", ", header_name: x"),
        extension("xds.type.matcher.v3.IPMatcher", "")),
    "ranges are decided where the input is an address of the connection"
)]
#[case::by_a_fraction(
    format!("{{matcher_list: {{matchers: [{{predicate: {{single_predicate: {{input: {}, custom_match: {}}}}}, on_match: {}}}]}}}}",
        extension("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", ", header_name: x"),
        extension("envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing", ", modulo: 2"),
        action("a")),
    "the matcher envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing is not decided"
)]
fn inputs_and_matchers_of_requests_that_are_not(#[case] matcher: String, #[case] expected: &str) {
    let text = of_requests(&format!("matcher: {matcher}"), "");
    let (_, reason) = undecided(&read_ok("f.yaml", &text)).expect("it is not decided");
    assert_eq!(reason, expected);
}

#[test]
fn what_a_route_says_is_undecided_there() {
    let said = format!("matcher: {}", network("NetworkNamespaceInput"));
    let snapshot = read_ok("f.yaml", &of_requests("rules: {}", &said));
    assert_eq!(undecided(&snapshot), None);
    let host = &snapshot.route_configurations[0].virtual_hosts[0];
    assert!(host.routes[0].is_some());
}

#[test]
fn rules_beside_a_matcher_do_not_count() {
    let metadata = "rules: {policies: {p: {permissions: [{metadata: {filter: f, path: [{key: k}], value: {present_match: true}}}], principals: [{any: true}]}}}";
    let snapshot = read_ok(
        "f.yaml",
        &of_connections(&format!("matcher: {{}}, {metadata}")),
    );
    let chain = &snapshot.listeners[0].filter_chains[0];
    assert_eq!(chain.unsupported, None);
    assert!(matches!(chain.network_rbac[0].judge, Judge::Matcher(_)));
}

#[test]
fn actions_are_named_depth_first() {
    let input = extension(&format!("{COMMON}.network.v3.SourceIPInput"), "");
    let map = |otherwise: &str| {
        format!(
            "{{matcher_tree: {{input: {input}, exact_match_map: {{map: {{z: {}, b: {}}}}}}}, on_no_match: {otherwise}}}",
            action("z"),
            action("b")
        )
    };
    let custom = extension(
        "xds.type.matcher.v3.IPMatcher",
        &format!(
            ", range_matchers: [{{ranges: [{{address_prefix: '::'}}], on_match: {{matcher: {}}}}}, {{ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}], on_match: {}}}]",
            map(&action("c")),
            action("d")
        ),
    );
    let matcher = format!(
        "{{on_no_match: {}, matcher_tree: {{input: {input}, custom_match: {custom}}}}}",
        action("e")
    );
    let snapshot = read_ok("f.yaml", &of_connections(&format!("matcher: {matcher}")));
    let chain = &snapshot.listeners[0].filter_chains[0];
    assert_eq!(chain.network_rbac[0].policies, ["b", "z", "c", "d", "e"]);
}

#[rstest]
#[case::source_type(network("SourceTypeInput"), "RBAC filter does not match by")]
#[case::protocol(network("ApplicationProtocolInput"), "RBAC filter does not match by")]
#[case::query(
    by(
        "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput",
        ", query_param: q"
    ),
    "RBAC filter does not match by"
)]
#[case::response(
    by(
        "envoy.type.matcher.v3.HttpResponseHeaderMatchInput",
        ", header_name: x"
    ),
    "RBAC filter does not match by"
)]
#[case::other_action(
    format!("{{on_no_match: {{action: {}}}}}", extension("envoy.config.route.v3.Route", ", match: {prefix: /}, redirect: {}")),
    "an Action of RBAC was expected"
)]
#[case::nameless(format!("{{on_no_match: {{action: {}}}}}", extension("envoy.config.rbac.v3.Action", "")), "name")]
#[case::keep_matching(format!("{{on_no_match: {{keep_matching: true, matcher: {{on_no_match: {}}}}}}}", action("a")), "on_no_match.keep_matching: ")]
#[case::regex(
    format!("{{matcher_list: {{matchers: [{{predicate: {{single_predicate: {{input: {}, value_match: {{safe_regex: {{google_re2: {{}}, regex: 'a**'}}}}}}}}, on_match: {}}}]}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), ""), action("a")),
    "value_match.safe_regex.regex: "
)]
#[case::no_address(
    format!("{{matcher_tree: {{input: {}, custom_match: {}}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), ""),
        extension("xds.type.matcher.v3.IPMatcher", &format!(", range_matchers: [{{ranges: [{{address_prefix: x}}], on_match: {}}}]", action("a")))),
    "range_matchers[0].ranges[0]: "
)]
#[case::no_range(
    format!("{{matcher_tree: {{input: {}, custom_match: {}}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), ""),
        extension("xds.type.matcher.v3.IPMatcher", &format!(", range_matchers: [{{on_match: {}}}]", action("a")))),
    "range_matchers[0].ranges: "
)]
#[case::nowhere(
    format!("{{matcher_tree: {{input: {}, custom_match: {}}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), ""),
        extension("xds.type.matcher.v3.IPMatcher", ", range_matchers: [{ranges: [{address_prefix: '::'}]}]")),
    "range_matchers[0]: "
)]
fn refused_of_both(#[case] matcher: String, #[case] expected: &str) {
    for field in ["matcher", "shadow_matcher"] {
        let fields = format!("{field}: {matcher}");
        for text in [
            of_connections(&fields),
            of_requests(&fields, ""),
            of_requests("rules: {}", &fields),
        ] {
            let error = refused(&text);
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[rstest]
#[case(by(
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    ", header_name: x"
))]
#[case(by(&format!("{COMMON}.network.v3.DynamicMetadataInput"), ", filter: f, path: [{key: k}]"))]
fn connections_have_no_requests(#[case] matcher: String) {
    let error = refused(&of_connections(&format!("matcher: {matcher}")));
    assert!(
        error.contains("a network RBAC filter does not match by"),
        "{error}"
    );
}
