//! Extensions and commands that the published Envoy does not have, where another Envoy may.

mod common;

use rstest::rstest;
use twinmesh_xds::{Effect, Snapshot};

use common::{clusters, listener, listeners, manager, read_ok, read_text};

fn cautions(snapshot: &Snapshot) -> Vec<String> {
    let findings = snapshot.report.findings.iter();
    let found = findings.filter(|finding| finding.effect == Effect::Caution);
    found.map(ToString::to_string).collect()
}

const FOREIGN: &str = "{name: x, typed_config: {\"@type\": type.googleapis.com/istio.foo.Bar}}";
const TYPED: &str = "{name: x, typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, \
                     type_url: type.googleapis.com/istio.foo.Bar}}";

#[rstest]
#[case::listener(
    listeners(&listener(&["{}"]).replacen("    filters:\n", &format!("    transport_socket: {FOREIGN}\n    filters:\n"), 1)),
    "listener \"l\": filter_chains[0].transport_socket.typed_config: Envoy 1.40 has no transport socket for listeners"
)]
#[case::cluster(
    clusters(&format!("- name: c\n  transport_socket: {TYPED}")),
    "cluster \"c\": transport_socket.typed_config: Envoy 1.40 has no transport socket for clusters"
)]
#[case::tracing(
    listeners(&manager(&format!("tracing: {{provider: {FOREIGN}}}"), "")),
    "listener \"l\": filter_chains[0].filters[0].typed_config.tracing.provider.typed_config: Envoy 1.40 has no tracing provider"
)]
#[case::access_log(
    listeners(&manager(&format!("access_log: [{FOREIGN}]"), "")),
    "listener \"l\": filter_chains[0].filters[0].typed_config.access_log[0].typed_config: Envoy 1.40 has no access logger"
)]
fn a_foreign_type_is_a_caution(#[case] text: String, #[case] start: &str) {
    let mut found = cautions(&read_ok("f.yaml", &text));
    found.retain(|it| it.contains("Envoy 1.40 has no"));
    let end = " of the type \"istio.foo.Bar\"; decided as by an Envoy that takes it";
    assert_eq!(found, [format!("{start}{end}")]);
}

fn dump(cluster: &str) -> String {
    let one = format!(
        "{{\"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\", \"name\": \"c\", {cluster}}}"
    );
    format!(
        "{{\"configs\": [{{\"@type\": \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\", \
         \"dynamic_active_clusters\": [{{\"cluster\": {one}}}]}}]}}"
    )
}

#[rstest]
#[case::by_name(
    "\"transport_socket\": {\"name\": \"envoy.transport_sockets.raw_buffer\"}",
    "transport_socket: typed_config is required"
)]
#[case::not_upstream(
    "\"typed_extension_protocol_options\": {\"x\": {\"@type\": \"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\", \
     \"explicit_http_config\": {\"http_protocol_options\": {}}, \"http_filters\": [\
     {\"name\": \"f\", \"typed_config\": {\"@type\": \"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault\"}}, \
     {\"name\": \"u\", \"typed_config\": {\"@type\": \"type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec\"}}]}}",
    "typed_extension_protocol_options[0].value.http_filters[0].typed_config: Envoy 1.40 has no upstream HTTP filter"
)]
fn what_an_envoy_wrote_is_a_caution(#[case] cluster: &str, #[case] start: &str) {
    let found = cautions(&read_ok("f.json", &dump(cluster)));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(&format!("cluster \"c\": {start}")),
        "{found:?}"
    );
}

/// Filters of these kinds are skipped where they are optional, and may come by discovery.
#[rstest]
#[case::optional("{name: x, is_optional: true}, CODEC")]
#[case::optional_and_none(
    "{name: x, is_optional: true, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}, CODEC"
)]
#[case::discovered_end("{name: x, config_discovery: {config_source: {ads: {}}, type_urls: [a]}}")]
#[case::foreign("{name: x, typed_config: {\"@type\": type.googleapis.com/istio.foo.Bar}}, CODEC")]
#[case::access_control(
    "{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}}, CODEC"
)]
#[case::codec("CODEC")]
fn upstream_filters_that_are_taken(#[case] filters: &str) {
    let codec = "{name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}";
    let filters = filters.replace("CODEC", codec);
    let text = listeners(&manager("", "").replace(
        "http.router.v3.Router\n",
        &format!("http.router.v3.Router\n            upstream_http_filters: [{filters}]\n"),
    ));
    read_ok("f.yaml", &text);
}

#[rstest]
#[case("format: \"%REQ(x)% %LISTENER_NAME% 100%%\"")]
#[case("json_format: {\"%NOPE%\": \"%PROTOCOL%\", b: 1}")]
#[case("log_format: {text_format_source: {filename: /f}}")]
#[case(
    "log_format: {text_format: \"%REQ_WITHOUT_QUERY(x)%\", formatters: [{name: r, typed_config: \
     {\"@type\": type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery}}]}"
)]
fn formats_that_are_taken(#[case] format: &str) {
    let log = format!(
        "access_log: [{{name: a, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, {format}}}}}]"
    );
    read_text("f.yaml", &listeners(&manager(&log, ""))).expect("it is taken");
}
