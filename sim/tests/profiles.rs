//! What profiles decide: `spec` and `sim` alike, and as the rules say.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{Effect, Profile, ReadOptions, Snapshot, read_bytes};

fn read(config: &Value, profile: Profile) -> Arc<Snapshot> {
    let options = ReadOptions {
        profile,
        ..ReadOptions::default()
    };
    let read = read_bytes("t.json", config.to_string().as_bytes(), &options);
    Arc::new(read.expect("it is read"))
}

/// A dump with one route configuration of these routes, and these clusters.
fn dump(routes: &Value, clusters: &[Value], assignments: &[Value]) -> Value {
    let admin = "type.googleapis.com/envoy.admin.v3";
    let config = "type.googleapis.com/envoy.config";
    let typed = |kind: &str, value: &Value| {
        let mut value = value.clone();
        value["@type"] = json!(format!("{config}.{kind}"));
        value
    };
    let clusters: Vec<Value> = clusters
        .iter()
        .map(|it| json!({"cluster": typed("cluster.v3.Cluster", it)}))
        .collect();
    let assignments: Vec<Value> = assignments
        .iter()
        .map(|it| json!({"endpoint_config": typed("endpoint.v3.ClusterLoadAssignment", it)}))
        .collect();
    let routes = json!({"name": "rc", "virtual_hosts": [
        {"name": "v", "domains": ["h.test"], "require_tls": "ALL", "routes": routes}]});
    let routes = typed("route.v3.RouteConfiguration", &routes);
    json!({"configs": [
        {"@type": format!("{admin}.ClustersConfigDump"), "dynamic_active_clusters": clusters},
        {"@type": format!("{admin}.RoutesConfigDump"), "dynamic_route_configs": [{"route_config": routes}]},
        {"@type": format!("{admin}.EndpointsConfigDump"), "dynamic_endpoint_configs": assignments},
    ]})
}

fn eds(name: &str, policy: &str) -> Value {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    json!({"name": name, "type": "EDS", "connect_timeout": "1s", "lb_policy": policy,
        "eds_cluster_config": {"eds_config": source}})
}

/// A load assignment: of each locality the priority, the weight, and its endpoints' health.
fn assignment(name: &str, localities: &[(u32, u32, &[&str])]) -> Value {
    let groups: Vec<Value> = localities
        .iter()
        .enumerate()
        .map(|(group, (priority, weight, health))| {
            let endpoints: Vec<Value> = health
                .iter()
                .enumerate()
                .map(|(index, health)| {
                    let address = format!("10.0.{group}.{}", index + 1);
                    json!({"health_status": health, "load_balancing_weight": index + 1,
                        "endpoint": {"address": {
                            "socket_address": {"address": address, "port_value": 80}}}})
                })
                .collect();
            json!({"priority": priority, "load_balancing_weight": weight,
                "locality": {"zone": format!("z{group}")}, "lb_endpoints": endpoints})
        })
        .collect();
    json!({"cluster_name": name, "endpoints": groups})
}

fn call(path: &str, headers: &[(&str, &str)]) -> Request {
    serde_json::from_value(json!({"id": "r", "authority": "h.test", "path": path,
        "route_config": "rc", "headers": headers, "random": 0}))
    .expect("a request")
}

/// What both engines make of a request, which is the same.
fn decide(snapshot: &Arc<Snapshot>, request: &Request) -> Decision {
    let mut decided = [
        Box::new(Spec::default()) as Box<dyn Engine>,
        Box::new(Sim::default()),
    ]
    .map(|mut engine| {
        engine.load(snapshot).expect("it loads");
        let answer = engine.decide(request, 0, 0, true).expect("it decides");
        let mut decision = answer.decision;
        (decision.engine, decision.reason) = (None, None);
        (decision, answer.trace)
    });
    let (spec, sim) = (
        std::mem::take(&mut decided[0]),
        std::mem::take(&mut decided[1]),
    );
    assert_eq!(spec, sim);
    spec.0
}

/// Whether gRPC's client takes a route of this match, which goes to a cluster that is not there.
fn takes(matched: &Value, request: &Request) -> Option<bool> {
    let routes = json!([{"match": matched, "route": {"cluster": "none"}}]);
    let snapshot = read(&dump(&routes, &[], &[]), Profile::Grpc);
    let decision = decide(&snapshot, request);
    match decision.outcome {
        Outcome::NoCluster => Some(true),
        Outcome::NoRoute => Some(false),
        Outcome::Unsupported => None,
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::path(json!({"path": "/s/m"}), Some(true))]
#[case::other_path(json!({"path": "/s/n"}), Some(false))]
#[case::prefix(json!({"prefix": "/s/"}), Some(true))]
#[case::regex(json!({"safe_regex": {"regex": "/s/.*"}}), Some(true))]
#[case::separated_prefix(json!({"path_separated_prefix": "/s"}), None)]
#[case::any_case(json!({"path": "/S/m", "case_sensitive": false}), None)]
#[case::left_out(json!({"prefix": "", "query_parameters": [{"name": "q", "present_match": false}]}), Some(false))]
#[case::nobody(json!({"prefix": "", "runtime_fraction": {"default_value": {"numerator": 0}}}), Some(false))]
#[case::everybody(json!({"prefix": "", "runtime_fraction": {"default_value": {"numerator": 100}}}), Some(true))]
#[case::some(json!({"prefix": "", "runtime_fraction": {"default_value": {"numerator": 50}}}), None)]
#[case::not_looked_at(json!({"prefix": "", "tls_context": {"presented": true}}), Some(true))]
#[case::content_type(json!({"prefix": "", "headers": [{"name": "content-type", "string_match": {"exact": "application/grpc"}}]}), Some(true))]
#[case::no_other(json!({"prefix": "", "headers": [{"name": "content-type", "string_match": {"suffix": "json"}}]}), Some(false))]
#[case::joined(json!({"prefix": "", "headers": [{"name": "x-a", "string_match": {"exact": "1,,2"}}]}), Some(true))]
#[case::not_one_by_one(json!({"prefix": "", "headers": [{"name": "x-a", "string_match": {"exact": "2"}}]}), Some(false))]
#[case::accept_is_joined_whole(json!({"prefix": "", "headers": [{"name": "accept", "string_match": {"exact": "a,"}}]}), Some(true))]
#[case::binary(json!({"prefix": "", "headers": [{"name": "t-bin", "present_match": true}]}), Some(false))]
#[case::no_binary(json!({"prefix": "", "headers": [{"name": "t-bin", "present_match": true, "invert_match": true}]}), Some(true))]
#[case::no_binary_value(json!({"prefix": "", "headers": [{"name": "t-bin", "string_match": {"exact": "x"}, "invert_match": true}]}), Some(false))]
#[case::missing(json!({"prefix": "", "headers": [{"name": "x-b", "string_match": {"exact": "x"}, "invert_match": true}]}), Some(false))]
#[case::never_as_empty(json!({"prefix": "", "headers": [{"name": "x-b", "string_match": {"exact": ""}, "treat_missing_header_as_empty": true}]}), Some(false))]
#[case::an_empty_exact_match(json!({"prefix": "", "headers": [{"name": "x-c", "exact_match": ""}]}), Some(false))]
#[case::range(json!({"prefix": "", "headers": [{"name": "x-c", "range_match": {"start": 1, "end": 9}}]}), Some(true))]
#[case::its_own(json!({"prefix": "", "headers": [{"name": "user-agent", "present_match": true}]}), None)]
#[case::pseudo_header(json!({"prefix": "", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}), None)]
fn what_grpc_matches(#[case] matched: Value, #[case] expected: Option<bool>) {
    let headers = [
        ("X-A", "1"),
        ("x-a", ""),
        ("x-a", "2"),
        ("accept", "a"),
        ("accept", ""),
        ("content-type", "application/json"),
        ("t-bin", "x"),
        ("x-c", "5"),
    ];
    assert_eq!(takes(&matched, &call("/s/m", &headers)), expected);
}

#[rstest]
#[case::query("/s/m?q", "h.test", &[])]
#[case::port("/s/m", "h.test:80", &[])]
#[case::not_metadata("/s/m", "h.test", &[("te", "trailers")])]
#[case::no_value("/s/m", "h.test", &[("x", "\u{1}")])]
fn no_call_is_decided(#[case] path: &str, #[case] host: &str, #[case] headers: &[(&str, &str)]) {
    let mut request = call(path, headers);
    request.authority = Some(host.to_owned());
    assert_eq!(takes(&json!({"prefix": ""}), &request), None);
}

#[test]
fn a_call_that_fails_has_no_status() {
    let routes = json!([{"match": {"path": "/s/m"}, "route": {"cluster": "none"}}]);
    let snapshot = read(&dump(&routes, &[], &[]), Profile::Grpc);
    assert_eq!(decide(&snapshot, &call("/s/m", &[])).status, None);
    let nowhere = decide(&snapshot, &call("/s/n", &[]));
    assert_eq!((nowhere.outcome, nowhere.status), (Outcome::NoRoute, None));
}

#[test]
fn grpc_rewrites_nothing() {
    let routes = json!([{"match": {"prefix": "/"}, "request_headers_to_add": [
        {"header": {"key": "x", "value": "1"}}], "route": {"cluster": "c", "prefix_rewrite": "/x",
        "host_rewrite_literal": "other", "request_mirror_policies": [{"cluster": "c"}]}}]);
    let held = assignment("c", &[(0, 1, &["HEALTHY"])]);
    let snapshot = read(
        &dump(&routes, &[eds("c", "ROUND_ROBIN")], &[held]),
        Profile::Grpc,
    );
    let decision = decide(&snapshot, &call("/s/m", &[]));
    assert_eq!(decision.endpoint.as_deref(), Some("10.0.0.1:80"));
    assert_eq!((decision.path, decision.authority), (None, None));
    assert_eq!((decision.request_headers, decision.mirrors), (None, vec![]));
    let mut findings = snapshot.report.findings.iter();
    assert!(findings.any(|it| it.effect == Effect::ReadOver && it.path.ends_with("routes[0]")));
}

/// Where ten calls go.
fn picks(policy: &str, localities: &[(u32, u32, &[&str])]) -> Vec<String> {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]);
    let held = assignment("c", localities);
    let snapshot = read(&dump(&routes, &[eds("c", policy)], &[held]), Profile::Grpc);
    let (mut spec, mut sim) = (Spec::default(), Sim::default());
    spec.load(&snapshot).expect("it loads");
    sim.load(&snapshot).expect("it loads");
    let calls = (0..10).map(|random| {
        let request = call("/s/m", &[]);
        let mut decided = [&mut spec as &mut dyn Engine, &mut sim].map(|engine| {
            let answer = engine.decide(&request, random, 0, false);
            let decision = answer.expect("it decides").decision;
            decision
                .endpoint
                .unwrap_or(format!("{:?}", decision.outcome))
        });
        assert_eq!(decided[0], decided[1]);
        std::mem::take(&mut decided[0])
    });
    let mut calls: Vec<String> = calls.collect();
    calls.sort();
    calls.dedup();
    calls
}

#[rstest]
#[case::without_weights("ROUND_ROBIN", &[(0, 1, &["HEALTHY", "UNKNOWN"][..])], &["10.0.0.1:80", "10.0.0.2:80"])]
#[case::no_panic("ROUND_ROBIN", &[(0, 1, &["HEALTHY", "UNHEALTHY", "TIMEOUT"][..])], &["10.0.0.1:80"])]
#[case::no_spill_over("ROUND_ROBIN", &[(0, 1, &["HEALTHY", "UNHEALTHY", "UNHEALTHY"][..]), (1, 1, &["HEALTHY"])], &["10.0.0.1:80"])]
#[case::fail_over("ROUND_ROBIN", &[(0, 1, &["UNHEALTHY"][..]), (1, 1, &["HEALTHY"])], &["10.0.1.1:80"])]
#[case::degraded_is_not_there("ROUND_ROBIN", &[(0, 1, &["DEGRADED", "DRAINING"][..])], &["NoHealthyUpstream"])]
#[case::two_localities("ROUND_ROBIN", &[(0, 1, &["HEALTHY"][..]), (0, 2, &["HEALTHY"])], &["Unsupported"])]
#[case::one_has_no_weight("ROUND_ROBIN", &[(0, 0, &["HEALTHY"][..]), (0, 2, &["HEALTHY"])], &["10.0.1.1:80"])]
#[case::least_request("LEAST_REQUEST", &[(0, 1, &["HEALTHY"][..])], &["10.0.0.1:80"])]
#[case::ring_hash("RING_HASH", &[(0, 1, &["HEALTHY"][..])], &["Unsupported"])]
fn which_endpoint_grpc_chooses(
    #[case] policy: &str,
    #[case] localities: &[(u32, u32, &[&str])],
    #[case] expected: &[&str],
) {
    assert_eq!(picks(policy, localities), expected);
}

#[test]
fn listeners_of_grpc_are_not_decided() {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s", "route_config": {"name": "rc", "virtual_hosts": []},
        "http_filters": [{"name": "router",
            "typed_config": {"@type": format!("{types}.http.router.v3.Router")}}],
    });
    let config = json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }]}});
    let snapshot = read(&config, Profile::Grpc);
    let mut request = call("/s/m?not-a-call", &[]);
    (request.route_config, request.listener) = (None, Some("l".to_owned()));
    let decision = decide(&snapshot, &request);
    assert_eq!(decision.outcome, Outcome::Unsupported);
    assert_eq!(decision.listener.as_deref(), Some("l"));
}
