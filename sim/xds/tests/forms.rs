//! All forms, and arbitrary input.

mod common;

use common::{read_ok, read_text, routes};
use envoy_types::pb::{
    envoy::{
        config::{
            endpoint::v3::ClusterLoadAssignment,
            route::v3::{RouteConfiguration, VirtualHost},
        },
        service::discovery::v3::DiscoveryResponse,
    },
    google::protobuf::Any,
};
use proptest::prelude::*;
use prost::Message as _;
use twinmesh_xds::{Effect, FindingKind, ReadError, ReadOptions, Snapshot, read_bytes, to_json};

fn route_names(snapshot: &Snapshot) -> Vec<&str> {
    let configurations = snapshot.route_configurations.iter();
    configurations.map(|one| one.name.as_str()).collect()
}

fn response(names: &[&str]) -> DiscoveryResponse {
    let url = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    let resources = names.iter().map(|name| {
        let configuration = RouteConfiguration {
            name: (*name).to_owned(),
            virtual_hosts: vec![VirtualHost {
                name: "host".to_owned(),
                domains: vec!["*".to_owned()],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        };
        Any {
            type_url: url.to_owned(),
            value: configuration.encode_to_vec(),
        }
    });
    DiscoveryResponse {
        version_info: "1".to_owned(),
        resources: resources.collect(),
        type_url: url.to_owned(),
        ..DiscoveryResponse::default()
    }
}

#[test]
fn one_binary_response() {
    let bytes = response(&["a", "b"]).encode_to_vec();
    let snapshot = read_bytes("f.pb", &bytes, &ReadOptions::default()).expect("it is read");
    assert_eq!(route_names(&snapshot), ["a", "b"]);
}

#[test]
fn a_stream_of_binary_responses_in_which_later_ones_replace() {
    let mut bytes = response(&["a", "b"]).encode_length_delimited_to_vec();
    bytes.extend(response(&["b", "c"]).encode_length_delimited_to_vec());
    let snapshot = read_bytes("f.pb", &bytes, &ReadOptions::default()).expect("it is read");
    assert_eq!(route_names(&snapshot), ["a", "b", "c"]);
}

#[test]
fn binary_with_an_unknown_field_reports_it() {
    let mut assignment = ClusterLoadAssignment {
        cluster_name: "c".to_owned(),
        ..ClusterLoadAssignment::default()
    }
    .encode_to_vec();
    // Field 1000, a varint.
    assignment.extend([0xc0, 0x3e, 1]);
    let cluster = envoy_types::pb::envoy::config::cluster::v3::Cluster {
        name: "c".to_owned(),
        ..Default::default()
    };
    let mut cluster = cluster.encode_to_vec();
    cluster.extend([0xc0, 0x3e, 1]);
    let bytes = DiscoveryResponse {
        version_info: "1".to_owned(),
        resources: vec![Any {
            type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
            value: cluster,
        }],
        ..DiscoveryResponse::default()
    }
    .encode_to_vec();
    let snapshot = read_bytes("f.pb", &bytes, &ReadOptions::default()).expect("it is read");
    let finding = snapshot.report.findings.first().expect("a finding");
    assert_eq!(finding.kind, FindingKind::UnknownField);
    assert_eq!(finding.path, "#1000");
    assert!(snapshot.clusters[0].unsupported.is_some());
}

const JSON_RESPONSE: &str = r#"{"versionInfo": "1", "resources": [{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "NAME", "virtualHosts": []}]}"#;

#[test]
fn responses_in_json_alone_in_lines_and_in_an_array() {
    let [a, b] = ["a", "b"].map(|name| JSON_RESPONSE.replace("NAME", name));
    assert_eq!(route_names(&read_ok("f.json", &a)), ["a"]);
    let lines = format!("{a}\n{b}\n");
    assert_eq!(route_names(&read_ok("f.json", &lines)), ["a", "b"]);
    let array = format!("[{a}, {b}]");
    assert_eq!(route_names(&read_ok("f.json", &array)), ["a", "b"]);
}

#[test]
fn a_dump_takes_what_is_in_force() {
    let listener = |port: u16| {
        format!(
            r#"{{"listener": {{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l",
            "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}, "filter_chains": [{{}}]}}}}"#
        )
    };
    let text = format!(
        r#"{{"configs": [{{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
        "dynamic_listeners": [{{"name": "l", "active_state": {}, "warming_state": {}}}]}}]}}"#,
        listener(1),
        listener(2)
    );
    let snapshot = read_ok("f.json", &text);
    assert_eq!(snapshot.listeners.len(), 1);
    let mut warming = snapshot.report.findings.iter();
    assert!(warming.any(|finding| {
        finding.path.ends_with("warming_state") && finding.effect == Effect::Caution
    }));
}

#[test]
fn a_cluster_that_is_warming_is_not_in_force() {
    let cluster = |name: &str| {
        format!(
            r#"{{"cluster": {{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "{name}"}}}}"#
        )
    };
    let text = format!(
        r#"{{"configs": [{{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
        "dynamic_active_clusters": [{}], "dynamic_warming_clusters": [{}, {}]}}]}}"#,
        cluster("a"),
        cluster("a"),
        cluster("b"),
    );
    let snapshot = read_ok("f.json", &text);
    let names: Vec<&str> = snapshot.clusters.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["a"]);
    assert!(snapshot.warming_clusters.iter().eq(["b"]));
    let findings = snapshot.report.findings.iter();
    let cautions: Vec<&str> = findings
        .filter(|finding| finding.effect == Effect::Caution)
        .map(|finding| finding.resource.as_str())
        .collect();
    assert_eq!(cautions, [r#"cluster "a""#, r#"cluster "b""#]);
}

#[test]
fn strict_refuses_what_is_only_reported_otherwise() {
    let text = routes(
        "- match: {prefix: /, filter_state: [{key: k, string_match: {exact: v}}]}\n  redirect: {}",
    );
    let strict = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let error = read_bytes("f.yaml", text.as_bytes(), &strict).expect_err("it is refused");
    assert!(matches!(error, ReadError::Strict { .. }));
    insta::assert_snapshot!(error.to_string());
    let text = routes("- match: {prefix: /}\n  redirect: {}");
    assert!(read_bytes("f.yaml", text.as_bytes(), &strict).is_ok());
}

#[test]
fn an_unknown_field_of_a_dump_makes_its_route_undecided_also_when_written_again() {
    let text = r#"{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "new_section": 1,
      "dynamic_route_configs": [{"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "rc", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [
          {"match": {"prefix": "/a"}, "redirect": {}},
          {"match": {"prefix": "/", "new_matcher": {"a": 1}}, "redirect": {}}]}]}}]}]}"#;
    let mut snapshot = read_ok("f.json", text);
    let unknown = snapshot.report.findings.iter();
    let unknown: Vec<&str> = unknown.map(|finding| finding.path.as_str()).collect();
    assert_eq!(
        unknown,
        [
            "configs[0].new_section",
            "virtual_hosts[0].routes[1].match.new_matcher"
        ]
    );
    // The route moves to the front, as when a case is made smaller.
    snapshot.route_configurations[0].virtual_hosts[0]
        .routes
        .remove(0);
    snapshot.route_configurations[0].config.virtual_hosts[0]
        .routes
        .remove(0);
    let again = read_ok("f.json", &to_json(&snapshot));
    let routes = &again.route_configurations[0].virtual_hosts[0].routes;
    let path = routes[0].as_ref().map(|found| found.path.as_str());
    assert_eq!(path, Some("virtual_hosts[0].routes[0].match.new_matcher"));
}

#[test]
fn what_a_bootstrap_says_around_its_resources_is_written() {
    let text = r#"{
      "node": {"locality": {"region": "r", "sub_zone": "s"}},
      "cluster_manager": {"local_cluster_name": "c"},
      "static_resources": {"clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "1s"}]}}"#;
    let snapshot = read_ok("f.json", text);
    let again = read_ok("f.json", &to_json(&snapshot));
    assert_eq!(again.local_cluster.as_deref(), Some("c"));
    assert!(again.node_locality.is_some());
    assert_eq!(again, snapshot);
}

#[test]
fn the_same_in_json_and_yaml() {
    let yaml = routes(
        "- match: {prefix: /, headers: [{name: a, range_match: {start: -5, end: 0x10}}]}\n  route: {cluster: c, timeout: 1.5s}",
    );
    let from_yaml = read_ok("f.yaml", &yaml);
    let json = r#"{"name": "rc", "virtualHosts": [{"name": "host", "domains": ["*"], "routes": [
        {"match": {"prefix": "/", "headers": [{"name": "a", "rangeMatch": {"start": "-5", "end": 16}}]},
         "route": {"cluster": "c", "timeout": {"seconds": 1, "nanos": 500000000}}}]}]}"#;
    assert_eq!(from_yaml, read_ok("f.json", json));
}

#[test]
fn aliases_are_followed_and_bounded() {
    let text = "name: &n rc\nvirtual_hosts:\n- {name: *n, domains: &d [a.test]}\n";
    let snapshot = read_ok("f.yaml", text);
    assert_eq!(
        snapshot.route_configurations[0].config.virtual_hosts[0].name,
        "rc"
    );
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let items = vec![before; 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(matches!(
        read_text("f.yaml", &bomb),
        Err(ReadError::Syntax { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_bytes("f", &bytes, &ReadOptions::default());
    }

    #[test]
    fn arbitrary_text_is_refused_or_read(text in "[\\[\\]{}:,\"a-z0-9 \n@&*-]{0,100}") {
        let _ = read_text("f.json", &text);
        let _ = read_text("f.yaml", &text);
    }

    #[test]
    fn a_binary_response_with_changed_bytes_is_refused_or_read(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = response(&["a", "b"]).encode_length_delimited_to_vec();
        for (index, byte) in changes {
            let place = index.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read_bytes("f.pb", &bytes, &ReadOptions::default());
        bytes.truncate(end.index(bytes.len()));
        let _ = read_bytes("f.pb", &bytes, &ReadOptions::default());
    }

    #[test]
    fn a_text_with_a_piece_cut_out_is_refused_or_read(
        from in any::<prop::sample::Index>(),
        length in 1_usize..40,
    ) {
        let text = routes("- match: {prefix: /, headers: [{name: a, string_match: {exact: b}}]}\n  route: {weighted_clusters: {clusters: [{name: c, weight: 1}]}}");
        let start = from.index(text.len());
        let end = (start + length).min(text.len());
        let cut = format!("{}{}", &text[..start], &text[end..]);
        let _ = read_text("f.yaml", &cut);
    }
}

/// A dump with a cluster `c` of type EDS and load assignments of these names.
fn dump_with_endpoints(names: &[&str]) -> String {
    let endpoints: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "{{\"endpoint_config\": {{\"@type\": \
                 \"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\", \
                 \"cluster_name\": \"{name}\"}}}}"
            )
        })
        .collect();
    format!(
        "{{\"configs\": [{{\"@type\": \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\", \
         \"static_clusters\": [{{\"cluster\": {{\"@type\": \
         \"type.googleapis.com/envoy.config.cluster.v3.Cluster\", \"name\": \"c\", \"type\": \"EDS\", \
         \"eds_cluster_config\": {{\"service_name\": \"s\", \"eds_config\": {{\"ads\": {{}}}}}}}}}}]}}, \
         {{\"@type\": \"type.googleapis.com/envoy.admin.v3.EndpointsConfigDump\", \
         \"dynamic_endpoint_configs\": [{}]}}]}}",
        endpoints.join(", ")
    )
}

#[test]
fn load_assignments_that_no_cluster_takes_are_told_of() {
    let found = |names: &[&str]| -> Vec<String> {
        let snapshot = read_ok("f.json", &dump_with_endpoints(names));
        let findings = snapshot.report.findings.iter();
        findings.map(ToString::to_string).collect()
    };
    assert_eq!(found(&["s"]), [""; 0]);
    assert_eq!(
        found(&["s", "c", "d", "e", "f"]),
        [
            "load assignments: configs[1].dynamic_endpoint_configs[1].endpoint_config: \
             4 ClusterLoadAssignments name no cluster here: \"c\", \"d\", \"e\" and 1 more"
        ]
    );
}

/// Two sources may have given an Envoy route configurations of one name.
#[test]
fn route_configurations_of_one_name_in_a_dump_are_undecided() {
    let table = |name: &str| {
        format!(
            "{{\"route_config\": {{\"@type\": \
             \"type.googleapis.com/envoy.config.route.v3.RouteConfiguration\", \"name\": \"{name}\"}}}}"
        )
    };
    let text = format!(
        "{{\"configs\": [{{\"@type\": \"type.googleapis.com/envoy.admin.v3.RoutesConfigDump\", \
         \"dynamic_route_configs\": [{}, {}, {}]}}]}}",
        table("a"),
        table("b"),
        table("a")
    );
    let snapshot = read_ok("f.json", &text);
    let configurations = snapshot.route_configurations.iter();
    let undecided: Vec<_> = configurations
        .map(|it| (it.name.as_str(), it.unsupported.is_some()))
        .collect();
    assert_eq!(undecided, [("a", true), ("b", false), ("a", true)]);
}

/// A dump has one load assignment of each cluster, by the name that the cluster asks for.
#[test]
fn load_assignments_of_one_name_that_differ_are_undecided() {
    let text = dump_with_endpoints(&["s", "s", "s"]);
    let alike = read_ok("f.json", &text);
    assert_eq!(alike.clusters[0].unsupported, None);
    let other = "\"cluster_name\": \"s\", \"policy\": {\"overprovisioning_factor\": 120}";
    let text = text.replacen("\"cluster_name\": \"s\"", other, 1);
    let differ = read_ok("f.json", &text);
    let found = differ.clusters[0]
        .unsupported
        .as_ref()
        .map(ToString::to_string);
    let expected = "load_assignment: several ClusterLoadAssignments are named s, and differ";
    assert_eq!(found.as_deref(), Some(expected));
}

#[test]
fn a_snapshot_without_anything_to_decide_says_so() {
    for (name, text) in [
        ("f.json", "{\"configs\": []}"),
        ("f.yaml", "static_resources: {}"),
        ("f.json", "{\"version_info\": \"1\", \"resources\": []}"),
    ] {
        let snapshot = read_ok(name, text);
        let findings = snapshot.report.findings.iter();
        let findings: Vec<String> = findings.map(ToString::to_string).collect();
        assert_eq!(
            findings,
            ["snapshot: no listener, route configuration or cluster: there is nothing to decide"],
            "{text}"
        );
    }
}
