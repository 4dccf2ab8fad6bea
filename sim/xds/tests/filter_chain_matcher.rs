//! Listeners that choose a filter chain by a matcher tree, and those that have no address: what is decided, and
//! what Envoy 1.40 refuses (measured).

mod common;

use common::{read_ok, read_text};
use rstest::rstest;
use twinmesh_xds::Snapshot;

const TYPES: &str = "type.googleapis.com";
const COMMON: &str = "envoy.extensions.matching.common_inputs";

fn extension(kind: &str, more: &str) -> String {
    format!("{{name: x, typed_config: {{'@type': {TYPES}/{kind}{more}}}}}")
}

fn to(name: &str) -> String {
    let action = extension("google.protobuf.StringValue", &format!(", value: {name}"));
    format!("{{action: {action}}}")
}

/// A tree that goes by an input of this type.
fn by(kind: &str, more: &str) -> String {
    let (input, action) = (extension(kind, more), to("a"));
    format!("{{matcher_tree: {{input: {input}, exact_match_map: {{map: {{v: {action}}}}}}}}}")
}

fn network(name: &str) -> String {
    by(&format!("{COMMON}.network.v3.{name}"), "")
}

fn chain(fields: &str) -> String {
    let proxy = extension(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        ", stat_prefix: s, cluster: c",
    );
    format!("{{{fields}, filters: [{proxy}]}}")
}

/// A listener of these fields, with the filter chains.
fn listener(fields: &str, chains: &[String]) -> String {
    format!(
        "static_resources: {{clusters: [{{name: c}}], listeners: [{{name: l, {fields}, \
         filter_chains: [{}]}}]}}",
        chains.join(", ")
    )
}

const ADDRESS: &str = "address: {socket_address: {address: 127.0.0.1, port_value: 80}}";

fn with(matcher: &str) -> String {
    let fields = format!("{ADDRESS}, filter_chain_matcher: {matcher}");
    listener(&fields, &[chain("name: a"), chain("name: b")])
}

fn undecided(snapshot: &Snapshot) -> Option<(String, String)> {
    let found = snapshot.listeners[0].unsupported.clone();
    found.map(|found| (found.path, found.reason))
}

fn refused(text: &str) -> String {
    read_text("f.yaml", text)
        .expect_err("Envoy refuses it")
        .to_string()
}

#[rstest]
#[case("network.v3.ApplicationProtocolInput")]
#[case("network.v3.DestinationIPInput")]
#[case("network.v3.DestinationPortInput")]
#[case("network.v3.DirectSourceIPInput")]
#[case("network.v3.ServerNameInput")]
#[case("network.v3.SourceIPInput")]
#[case("network.v3.SourcePortInput")]
#[case("network.v3.SourceTypeInput")]
#[case("network.v3.TransportProtocolInput")]
#[case("ssl.v3.DnsSanInput")]
#[case("ssl.v3.SubjectInput")]
#[case("ssl.v3.UriSanInput")]
fn inputs_that_are_decided(#[case] name: &str) {
    let snapshot = read_ok("f.yaml", &with(&by(&format!("{COMMON}.{name}"), "")));
    assert_eq!(undecided(&snapshot), None);
    assert_eq!(
        snapshot.listeners[0].matcher_places,
        ["filter_chain_matcher.matcher_tree.exact_match_map.map[0].value.action.typed_config"]
    );
}

#[rstest]
#[case::filter_state(
    by(&format!("{COMMON}.network.v3.FilterStateInput"), ", key: k"),
    "matchers of the filter state are not decided"
)]
#[case::namespace(
    network("NetworkNamespaceInput"),
    "matchers of network namespaces are not decided"
)]
#[case::environment(
    by(&format!("{COMMON}.environment_variable.v3.Config"), ", name: HOME"),
    "Envoy's environment variables are not known here"
)]
#[case::cel(
    by("xds.type.matcher.v3.HttpAttributesCelMatchInput", ""),
    "conditions in CEL are not decided"
)]
#[case::ranges_of_a_port(
    format!("{{matcher_tree: {{input: {}, custom_match: {}}}}}",
        extension(&format!("{COMMON}.network.v3.DestinationPortInput"), ""),
        extension("xds.type.matcher.v3.IPMatcher", "")),
    "ranges are decided where the input is an address of the connection"
)]
#[case::keeps_matching(
    format!("{{on_no_match: {{keep_matching: true, {}}}", to("a").trim_start_matches('{')),
    "Envoy does not survive matching that goes on where a filter chain is chosen"
)]
#[case::typed_struct(
    format!("{{on_no_match: {{action: {}}}}}", extension("xds.type.v3.TypedStruct",
        ", type_url: type.googleapis.com/google.protobuf.StringValue, value: {value: a}")),
    "the name of a filter chain in a TypedStruct is not decided"
)]
fn what_makes_a_listener_undecided(#[case] matcher: String, #[case] expected: &str) {
    let snapshot = read_ok("f.yaml", &with(&matcher));
    let (path, reason) = undecided(&snapshot).expect("it is not decided");
    assert!(path.starts_with("filter_chain_matcher."), "{path}");
    assert_eq!(reason, expected);
    let findings = &snapshot.report.findings;
    assert!(findings.iter().any(|found| found.path == path), "{path}");
}

#[rstest]
#[case::metadata(
    by(&format!("{COMMON}.network.v3.DynamicMetadataInput"), ", filter: f, path: [{key: k}]"),
    "a listener does not match by"
)]
#[case::header(
    by(
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        ", header_name: x"
    ),
    "a listener does not match by"
)]
#[case::rbac_action(
    format!("{{on_no_match: {{action: {}}}}}", extension("envoy.config.rbac.v3.Action", ", name: a")),
    "the name of a filter chain was expected, \"envoy.config.rbac.v3.Action\" found"
)]
#[case::empty_map(
    format!("{{matcher_tree: {{input: {}, exact_match_map: {{}}}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), "")),
    "map"
)]
#[case::regex(
    format!("{{matcher_list: {{matchers: [{{predicate: {{single_predicate: {{input: {}, value_match: \
        {{safe_regex: {{google_re2: {{}}, regex: '('}}}}}}}}, on_match: {}}}]}}}}",
        extension(&format!("{COMMON}.network.v3.SourceIPInput"), ""), to("a")),
    "regex"
)]
fn trees_that_are_refused(#[case] matcher: String, #[case] expected: &str) {
    let error = refused(&with(&matcher));
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("filter_chain_matcher."), "{error}");
}

#[rstest]
#[case::no_name(&[chain("name: a"), chain("name: ''")], "needs a name")]
#[case::one_name(&[chain("name: a"), chain("name: a")], "has the same name, \"a\"")]
#[case::suffix(
    &[chain("name: a, filter_chain_match: {suffix_len: 8}")],
    "address_suffix and suffix_len are not implemented"
)]
fn chains_that_are_refused(#[case] chains: &[String], #[case] expected: &str) {
    let fields = format!(
        "{ADDRESS}, filter_chain_matcher: {{on_no_match: {}}}",
        to("a")
    );
    let error = refused(&listener(&fields, chains));
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("listeners[0].filter_chains["), "{error}");
}

/// What the chains ask for is not looked at, and the default one may have any name.
#[test]
fn chains_ask_for_nothing() {
    let fields = format!(
        "{ADDRESS}, filter_chain_matcher: {{on_no_match: {}}}, default_filter_chain: {}",
        to("gone"),
        chain("name: a")
    );
    let asks = "filter_chain_match: {destination_port: 80, source_ports: [1, 1], server_names: ['a*b'], \
                prefix_ranges: [{address_prefix: zz}]}";
    let chains = [
        chain(&format!("name: a, {asks}")),
        chain(&format!("name: b, {asks}")),
    ];
    let snapshot = read_ok("f.yaml", &listener(&fields, &chains));
    assert_eq!(undecided(&snapshot), None);
}

#[test]
fn internal_listeners_are_decided() {
    let text = listener("internal_listener: {}", &[chain("name: a")]);
    let snapshot = read_ok("f.yaml", &text);
    assert_eq!(undecided(&snapshot), None);
    assert_eq!(snapshot.listeners[0].name, "l");
    let text = listener(
        "internal_listener: {}, use_original_dst: true",
        &[chain("name: a")],
    );
    let (path, _) = undecided(&read_ok("f.yaml", &text)).expect("it is not decided");
    assert_eq!(path, "internal_listener");
}

#[rstest]
#[case::address(ADDRESS, "listeners[0].address")]
#[case::additional(
    "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}}]",
    "listeners[0].additional_addresses"
)]
#[case::transparent("transparent: false", "listeners[0].transparent")]
#[case::backlog("tcp_backlog_size: 1", "listeners[0].tcp_backlog_size")]
#[case::options(
    "socket_options: [{level: 1, name: 1, int_value: 1}]",
    "listeners[0].socket_options"
)]
fn what_needs_a_socket_is_refused(#[case] field: &str, #[case] path: &str) {
    let fields = format!("internal_listener: {{}}, {field}");
    let error = refused(&listener(&fields, &[chain("name: a")]));
    assert!(
        error.contains("an internal listener has no socket"),
        "{error}"
    );
    assert!(error.contains(path), "{error}");
}

#[test]
fn an_internal_address_is_no_listeners() {
    let fields = "address: {envoy_internal_address: {server_listener_name: l}}";
    let error = refused(&listener(fields, &[chain("name: a")]));
    assert!(error.contains("instead of an address"), "{error}");
}

#[rstest]
#[case("{endpoint_id: x}", "server_listener_name")]
#[case("{}", "server_listener_name")]
fn an_internal_endpoint_names_its_listener(#[case] address: &str, #[case] _expected: &str) {
    let text = format!(
        "static_resources: {{clusters: [{{name: c, load_assignment: {{cluster_name: c, endpoints: \
         [{{lb_endpoints: [{{endpoint: {{address: {{envoy_internal_address: {address}}}}}}}]}}]}}}}]}}"
    );
    refused(&text);
}
