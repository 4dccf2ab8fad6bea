//! What a bootstrap says of all requests, beside its resources.

mod common;

use rstest::rstest;
use twinmesh_xds::{Effect, Profile, ReadOptions, Snapshot, read_bytes};

use common::{listeners, manager, read_ok};

/// A bootstrap with these fields, and with a manager that has these filters.
fn bootstrap(fields: &str, filters: &str) -> Snapshot {
    let text = listeners(&manager("", filters));
    read_ok(
        "f.yaml",
        &format!("{text}  clusters: [{{name: c}}, {{name: d.e}}]\n{fields}\n"),
    )
}

fn has(snapshot: &Snapshot, effect: Effect) -> bool {
    let mut findings = snapshot.report.findings.iter();
    findings.any(|finding| finding.effect == effect)
}

#[rstest]
#[case("header_prefix: x-envoy", None)]
#[case("header_prefix: x-foo", Some(Effect::Unsupported))]
#[case(
    "inline_headers: [{inline_header_name: x-foo}]",
    Some(Effect::Unsupported)
)]
#[case(
    "inline_headers: [{inline_header_name: x-foo, inline_header_type: RESPONSE_HEADER}]",
    Some(Effect::Unsupported)
)]
#[case(
    "inline_headers: [{inline_header_name: x-foo, inline_header_type: REQUEST_TRAILER}]",
    None
)]
#[case(
    "overload_manager: {resource_monitors: [{name: m, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue}}]}",
    Some(Effect::Caution)
)]
#[case(
    "default_regex_engine: {name: r, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2}}",
    None
)]
#[case(
    "default_regex_engine: {name: r, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue}}",
    Some(Effect::Unsupported)
)]
#[case("stats_flush_interval: 5s\nenable_dispatcher_stats: true", None)]
fn of_all_requests(#[case] fields: &str, #[case] effect: Option<Effect>) {
    let snapshot = bootstrap(fields, "");
    assert_eq!(
        snapshot.listeners[0].unsupported.is_some(),
        effect == Some(Effect::Unsupported)
    );
    for one in [Effect::Unsupported, Effect::Caution] {
        assert_eq!(has(&snapshot, one), effect == Some(one), "{one:?}");
    }
}

#[test]
fn a_dump_says_it_too() {
    let dump = r#"{"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"header_prefix": "x-foo"}},
        {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [{"route_config": {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "rc"}}]}
    ]}"#;
    let snapshot = read_ok("f.json", dump);
    let found = snapshot.route_configurations[0].unsupported.as_ref();
    let reason = found.map(|found| found.reason.as_str());
    assert!(
        reason.is_some_and(|reason| reason.contains("header_prefix")),
        "{reason:?}"
    );
}

const FAULT: &str = "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, \
                     abort: {http_status: 500, percentage: {numerator: 100}}}\n";
const LIMIT: &str = "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, \
                     stat_prefix: s, filter_enabled: {runtime_key: a.b, default_value: {numerator: 100}}, token_bucket: {max_tokens: 1, fill_interval: 1s}}\n";

/// Which of the listener and the two clusters are undecided, and whether decisions may be others.
#[rstest]
#[case("upstream.healthy_panic_threshold: 0", "", [false, true, true], false)]
#[case("upstream: {healthy_panic_threshold: {numerator: 5}}", "", [false, true, true], false)]
#[case("circuit_breakers.c.default.max_requests: 0", "", [false, true, false], false)]
#[case("circuit_breakers.d.e.default.max_requests: 0", "", [false, false, true], false)]
#[case("http_connection_manager.normalize_path: 100", "", [true, false, false], false)]
#[case("fault.http.abort.abort_percent: 0", FAULT, [true, false, false], false)]
#[case("fault.http.abort.abort_percent: 0", "", [false, false, false], false)]
#[case("a.b: 0", LIMIT, [true, false, false], false)]
#[case("a.b: 0", "", [false, false, false], true)]
#[case("envoy.reloadable_features.strip_dotdot_segments_with_parameters: false", "", [true, false, false], false)]
#[case("envoy.reloadable_features.match_headers_individually: false", "", [true, false, false], false)]
#[case("envoy.reloadable_features.match_headers_individually: true", "", [false, false, false], false)]
#[case("envoy.reloadable_features.http_reject_path_with_fragment: false", "", [false, false, false], true)]
#[case("overload.global_downstream_max_connections: 50000", "", [false, false, false], false)]
#[case("overload.global_downstream_max_connections: 0", "", [true, false, false], false)]
#[case("re2.max_program_size.error_level: 32768", "", [false, false, false], false)]
fn values_of_the_runtime(
    #[case] values: &str,
    #[case] filters: &str,
    #[case] undecided: [bool; 3],
    #[case] caution: bool,
) {
    let fields = format!(
        "layered_runtime: {{layers: [{{name: s, static_layer: {{{values}}}}}, {{name: a, admin_layer: {{}}}}]}}"
    );
    let snapshot = bootstrap(&fields, filters);
    let found = [
        snapshot.listeners[0].unsupported.is_some(),
        snapshot.clusters[0].unsupported.is_some(),
        snapshot.clusters[1].unsupported.is_some(),
    ];
    assert_eq!(found, undecided);
    assert_eq!(
        has(&snapshot, Effect::Unsupported),
        undecided.contains(&true)
    );
    assert_eq!(has(&snapshot, Effect::Caution), caution);
}

#[rstest]
#[case(Profile::Envoy138, false, false)]
#[case(Profile::Envoy138, true, true)]
#[case(Profile::Envoy140, false, true)]
#[case(Profile::Envoy140, true, false)]
fn the_runtime_may_say_what_the_profile_does(
    #[case] profile: Profile,
    #[case] value: bool,
    #[case] undecided: bool,
) {
    let text = format!(
        "static_resources: {{listeners: [{{name: l, address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, \
         filter_chains: [{{}}]}}]}}\nlayered_runtime: {{layers: [{{name: s, static_layer: \
         {{envoy.reloadable_features.match_headers_individually: {value}}}}}]}}\n"
    );
    let options = ReadOptions {
        profile,
        ..ReadOptions::default()
    };
    let snapshot = read_bytes("f.yaml", text.as_bytes(), &options).expect("it is read");
    let mut findings = snapshot.report.findings.iter();
    let found = findings.any(|it| it.resource == "bootstrap" && it.effect == Effect::Unsupported);
    assert_eq!(found, undecided);
}
