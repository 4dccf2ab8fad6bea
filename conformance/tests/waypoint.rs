//! A waypoint's snapshot: internal listeners, a matcher tree that chooses filter chains, endpoints that are
//! internal listeners.

mod common;

use std::path::{Path, PathBuf};

use common::twinmesh_in;
use rstest::rstest;
use twinmesh_engine::format::traffic;

fn snapshot() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waypoint.yaml")
}

/// What a command says of the snapshot.
fn said(command: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = "waypoint.yaml";
    std::fs::copy(snapshot(), folder.path().join(name)).expect("the snapshot");
    let mut all = vec![command];
    match command {
        "check" => all.push(name),
        _ => all.extend(["--snapshot", name]),
    }
    all.extend(arguments);
    let run = twinmesh_in(folder.path(), &all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

const VIP: &str = "inbound-vip|80|http|reviews.default.svc.cluster.local";

#[rstest]
#[case::a_service(&["--destination", "10.96.0.7:80"], VIP, "envoy://connect_originate/10.244.1.5:9080")]
#[case::a_subset(
    &["--destination", "10.96.0.7:80", "-H", "end-user: jason"],
    VIP,
    "envoy://connect_originate/10.244.2.9:9080"
)]
#[case::http_of_any_protocol(
    &["--destination", "10.96.0.7:90"],
    "inbound-vip|90|http|reviews.default.svc.cluster.local",
    "envoy://connect_originate/10.244.1.5:9080"
)]
#[case::tcp_of_any_protocol(
    &["--destination", "10.96.0.7:90", "--tls"],
    "inbound-vip|90|tcp|reviews.default.svc.cluster.local",
    "envoy://connect_originate/10.244.1.5:9090"
)]
#[case::a_workload(&["--destination", "10.244.2.9:1"], "direct-http", "envoy://connect_originate/")]
fn requests_are_decided(#[case] arguments: &[&str], #[case] chain: &str, #[case] endpoint: &str) {
    for engine in ["spec", "sim"] {
        let mut all = vec![
            "--listener",
            "main_internal",
            "--authority",
            "reviews",
            "--engine",
            engine,
        ];
        all.extend(arguments);
        let told = said("explain", &all);
        assert!(told.contains(&format!("filter_chain: {chain}\n")), "{told}");
        assert!(told.contains(&format!("endpoint: {endpoint}\n")), "{told}");
    }
}

/// Neither does another address lead anywhere, nor is there a filter chain for what the tree does not have.
#[test]
fn what_leads_nowhere_is_closed() {
    let arguments = [
        "--listener",
        "main_internal",
        "--destination",
        "10.96.0.8:80",
    ];
    let told = said("explain", &arguments);
    assert!(told.contains("no_filter_chain"), "{told}");
    assert!(
        told.contains("filter_chain_matcher leads nowhere, and there is no default_filter_chain"),
        "{told}"
    );
}

#[test]
fn the_way_down_the_tree_is_told() {
    let arguments = [
        "--listener",
        "main_internal",
        "--destination",
        "10.96.0.7:90",
    ];
    let told = said("explain", &arguments);
    let way = "DestinationIPInput is in 10.96.0.7/32; DestinationPortInput is \"90\"; \
               ApplicationProtocolInput is \"'http/1.1'\"; filter_chain_matcher.matcher_tree.custom_match.";
    assert!(told.contains(way), "{told}");
    assert!(told.contains("chain matcher"), "{told}");
}

/// A tunnel ends in an endpoint that is a listener; what becomes of it there is another request.
#[test]
fn tunnels_end_at_internal_listeners() {
    let arguments = [
        "--destination",
        "10.0.0.1:15008",
        "--method",
        "CONNECT",
        "--path",
        "10.96.0.7:80",
    ];
    let told = said("explain", &arguments);
    assert!(
        told.contains("endpoint: envoy://main_internal/\n"),
        "{told}"
    );
}

#[test]
fn check_says_what_the_kernel_leaves() {
    let told = said("check", &[]);
    assert!(told.contains("7 findings: 0 unsupported"), "{told}");
    assert!(
        told.contains("a decision ends at the internal listener"),
        "{told}"
    );
    let kernel = told.split_once("the kernel").expect("the kernel's part").1;
    assert!(
        kernel.contains(
            "1 × a matcher tree chooses the filter chain, which is done in userspace only"
        ),
        "{kernel}"
    );
    assert!(kernel.contains("listener \"main_internal\""), "{kernel}");
    assert!(
        kernel.contains("listeners                 2 / 3"),
        "{kernel}"
    );
}

#[test]
fn generated_traffic_reaches_every_filter_chain() {
    let made = said("generate", &[]);
    let requests = traffic::parse(Path::new("waypoint.traffic.jsonl"), made.as_bytes());
    let requests = requests.unwrap_or_else(|error| panic!("{error}"));
    let internal = requests
        .iter()
        .filter(|it| it.listener.as_deref() == Some("main_internal"));
    assert!(internal.count() > 20, "{made}");
    let snapshot = twinmesh_xds::read(&snapshot(), &twinmesh_xds::ReadOptions::default());
    let snapshot = std::sync::Arc::new(snapshot.expect("it is read"));
    let coverage = twinmesh::coverage::measure(&snapshot, &[requests], "spec", 0);
    let coverage = coverage.expect("it measures");
    let catalogue = twinmesh::reach::Catalogue::of(&snapshot);
    let missed: Vec<_> = catalogue
        .goals
        .iter()
        .filter(|goal| !coverage.reached.contains(goal))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}
