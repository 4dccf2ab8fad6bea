//! The engine as a whole, over a small snapshot: outcomes, traces, and what balancers remember.

use std::sync::Arc;

use rstest::rstest;
use serde_json::json;
use twinmesh_engine::{Answer, BadRequest, Chain, Domain, Engine, Failed, Outcome, Request, Step};
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot, Unsupported, read_bytes};

fn endpoints(ports: &[u32]) -> serde_json::Value {
    ports
        .iter()
        .map(|port| {
            json!({"endpoint": {"address": {"socket_address": {
                "address": "10.0.0.1", "port_value": port}}}})
        })
        .collect()
}

fn cluster(name: &str, policy: &str, ports: &[u32]) -> serde_json::Value {
    json!({
        "name": name, "type": "STATIC", "lb_policy": policy,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"locality": {"region": "r", "zone": "z"}, "lb_endpoints": endpoints(ports)}],
        },
    })
}

fn snapshot() -> Snapshot {
    let hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let address = |port| json!({"socket_address": {"address": "0.0.0.0", "port_value": port}});
    let routes = json!([
        {"name": "with-header", "match": {"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "1"}}]},
         "route": {"cluster": "rr"}},
        {"match": {"path": "/q", "query_parameters": [{"name": "a", "present_match": true}]},
         "route": {"cluster": "lr"}},
        {"match": {"path": "/split"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "rr", "weight": 90}, {"name": "lr", "weight": 10}]}}},
        {"match": {"path": "/gone"}, "route": {"cluster": "nowhere",
            "cluster_not_found_response_code": "NOT_FOUND"}},
        {"match": {"path": "/empty"}, "route": {"cluster": "empty"}},
        {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/new", "response_code": "FOUND"}},
        {"match": {"path": "/teapot"}, "direct_response": {"status": 418}},
    ]);
    let config = json!({"static_resources": {
        "listeners": [
            {"name": "http", "address": address(80), "filter_chains": [{
                "name": "chain",
                "filters": [{"name": "hcm", "typed_config": {
                    "@type": hcm, "stat_prefix": "s", "normalize_path": true,
                    "route_config": {"name": "rc", "validate_clusters": false, "virtual_hosts": [
                        {"name": "any", "domains": ["*.test"], "routes": routes},
                    ]},
                    "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
                }}],
            }]},
            {"name": "tcp", "address": address(81), "filter_chains": [{
                "filter_chain_match": {"destination_port": 81},
                "filters": [{"name": "tcp", "typed_config": {
                    "@type": tcp, "stat_prefix": "s", "cluster": "rr"}}],
            }]},
        ],
        "clusters": [
            cluster("rr", "ROUND_ROBIN", &[1, 2]),
            cluster("lr", "LEAST_REQUEST", &[3, 4]),
            cluster("empty", "ROUND_ROBIN", &[]),
        ],
    }});
    let text = serde_json::to_vec(&config).expect("the configuration can be written");
    read_bytes("bootstrap.json", &text, &ReadOptions::default()).expect("the snapshot is valid")
}

fn request(path: &str) -> Request {
    serde_json::from_value(json!({
        "id": "r", "authority": "a.test", "path": path, "listener": "http",
    }))
    .expect("a request")
}

fn engine(snapshot: Snapshot) -> Spec {
    let mut engine = Spec::new();
    engine
        .load(&Arc::new(snapshot))
        .expect("the snapshot loads");
    engine
}

fn decide(request: &Request) -> Answer {
    engine(snapshot())
        .decide(request, 0, 0, true)
        .expect("the engine decides")
}

#[rstest]
#[case("/gone", Outcome::NoCluster, Some(404))]
#[case("/empty", Outcome::NoHealthyUpstream, Some(503))]
#[case("/moved", Outcome::Redirect, Some(302))]
#[case("/teapot", Outcome::DirectResponse, Some(418))]
#[case("/other", Outcome::NoRoute, Some(404))]
#[case("/q?a", Outcome::Forward, None)]
#[case("/a#b", Outcome::BadRequest, Some(400))]
#[case("/a/../gone", Outcome::NoCluster, Some(404))]
#[case("/a%00", Outcome::BadRequest, Some(400))]
fn outcomes(#[case] path: &str, #[case] outcome: Outcome, #[case] status: Option<u32>) {
    let decision = decide(&request(path)).decision;
    assert_eq!((decision.outcome, decision.status), (outcome, status));
    assert_eq!(decision.listener.as_deref(), Some("http"));
    assert_eq!(decision.filter_chain.as_deref(), Some("chain"));
    assert_eq!(decision.engine.as_deref(), Some("spec"));
    let mut grpc = request(path);
    grpc.headers
        .push(("content-type".to_owned(), "application/grpc".to_owned()));
    let decision = decide(&grpc).decision;
    assert_eq!(decision.outcome, outcome);
    assert_eq!(decision.status, status.map(|_| 200));
}

#[test]
fn a_trace_tells_every_step() {
    let answer = decide(&request("/split"));
    assert_eq!(
        answer.trace.steps,
        [
            Step::Listener(0),
            Step::FilterChain(Chain::Index(0)),
            Step::RouteConfiguration(0),
            Step::VirtualHost {
                virtual_host: 0,
                domain: Domain::Suffix
            },
            Step::RouteNotMatched {
                route: 0,
                failed: Failed::Header(0)
            },
            Step::RouteNotMatched {
                route: 1,
                failed: Failed::QueryParameter(0)
            },
            Step::Route(2),
            Step::WeightedCluster {
                entry: 0,
                value: 0,
                from: 0,
                to: 90
            },
            Step::Cluster(0),
            Step::Priority {
                priority: 0,
                // splitmix64 makes 0xE220A8397B1DCDAF of 0 first.
                value: 36,
                degraded: false,
                panic: false
            },
            Step::Endpoint {
                locality: 0,
                endpoint: 0
            },
        ]
    );
    let decision = answer.decision;
    assert_eq!(decision.route.as_deref(), Some("#2"));
    assert_eq!(decision.endpoint.as_deref(), Some("10.0.0.1:1"));
    assert_eq!(decision.locality.as_deref(), Some("r/z/"));
    assert_eq!(decision.priority, Some(0));
}

#[test]
fn a_trace_is_made_only_when_asked_for() {
    let mut engine = engine(snapshot());
    let answer = engine.decide(&request("/split"), 0, 0, false);
    assert!(answer.expect("the engine decides").trace.steps.is_empty());
}

#[test]
fn refused_heads_name_what_was_known() {
    let codec = decide(&Request {
        method: "get".to_owned(),
        ..request("/")
    });
    assert_eq!(codec.decision.route_config, None);
    assert_eq!(
        codec.trace.steps.last(),
        Some(&Step::BadRequest(BadRequest::RequestLine))
    );
    let manager = decide(&request("/#"));
    assert_eq!(manager.decision.route_config.as_deref(), Some("rc"));
    assert_eq!(
        manager.trace.steps.last(),
        Some(&Step::BadRequest(BadRequest::Target))
    );
}

#[test]
fn tcp_has_no_route() {
    let mut tcp = request("/");
    tcp.listener = None;
    tcp.destination = Some("10.9.9.9:81".parse().expect("an address"));
    tcp.method = "not HTTP".to_owned();
    let decision = decide(&tcp).decision;
    assert_eq!(decision.outcome, Outcome::Forward);
    assert_eq!(decision.listener.as_deref(), Some("tcp"));
    assert_eq!(decision.cluster.as_deref(), Some("rr"));
    assert_eq!(decision.route, None);
    assert_eq!(decision.status, None);
}

#[test]
fn balancers_remember_until_a_snapshot_is_loaded() {
    let snapshot = Arc::new(snapshot());
    let mut engine = Spec::new();
    engine.load(&snapshot).expect("the snapshot loads");
    let mut one = request("/");
    one.headers.push(("x".to_owned(), "1".to_owned()));
    let endpoint = |engine: &mut Spec| {
        let answer = engine.decide(&one, 0, 0, false).expect("it decides");
        answer.decision.endpoint.unwrap_or_default()
    };
    assert_eq!(endpoint(&mut engine), "10.0.0.1:1");
    assert_eq!(endpoint(&mut engine), "10.0.0.1:2");
    assert_eq!(endpoint(&mut engine), "10.0.0.1:1");
    engine.load(&snapshot).expect("the snapshot loads");
    assert_eq!(endpoint(&mut engine), "10.0.0.1:1");
}

#[test]
fn what_is_held_counts_until_it_is_released() {
    let snapshot = Arc::new(snapshot());
    let mut engine = Spec::new();
    engine.load(&snapshot).expect("the snapshot loads");
    let request = request("/q?a");
    // A number whose two choices are both endpoints.
    let random = (0..100)
        .find(|&random| {
            let mut fresh = Spec::new();
            fresh.load(&snapshot).expect("the snapshot loads");
            let mut endpoint = || {
                let answer = fresh
                    .decide(&request, random, 0, false)
                    .expect("it decides");
                answer.decision.endpoint
            };
            endpoint() != endpoint()
        })
        .expect("some number's choices differ");
    let decide = |engine: &mut Spec| {
        engine
            .decide(&request, random, 0, false)
            .expect("it decides")
    };
    let first = decide(&mut engine);
    let second = decide(&mut engine);
    assert_ne!(first.decision.endpoint, second.decision.endpoint);
    engine
        .release(second.held.expect("it was forwarded"))
        .expect("it is released");
    let third = decide(&mut engine);
    assert_eq!(third.decision.endpoint, second.decision.endpoint);
    // What an older snapshot's request holds is not taken off the newer one's count.
    engine.load(&snapshot).expect("the snapshot loads");
    let again = decide(&mut engine);
    assert_eq!(again.decision.endpoint, first.decision.endpoint);
    engine
        .release(first.held.expect("it was forwarded"))
        .expect("it is let go");
    assert_eq!(
        decide(&mut engine).decision.endpoint,
        second.decision.endpoint
    );
}

/// At which level something is marked as not decided, and how far the decision then gets.
#[rstest]
#[case("listener", None, None, None)]
#[case("filter chain", None, None, None)]
#[case("route configuration", Some("rc"), None, None)]
#[case("virtual host", Some("rc"), Some("any"), None)]
#[case("route", Some("rc"), Some("any"), Some("#6"))]
fn marks(
    #[case] level: &str,
    #[case] route_config: Option<&str>,
    #[case] virtual_host: Option<&str>,
    #[case] route: Option<&str>,
) {
    let mark = Some(Unsupported {
        path: "some.field".to_owned(),
        reason: "it is not decided".to_owned(),
    });
    let mut snapshot = snapshot();
    match level {
        "listener" => snapshot.listeners[0].unsupported = mark,
        "filter chain" => snapshot.listeners[0].filter_chains[0].unsupported = mark,
        "route configuration" => snapshot.route_configurations[0].unsupported = mark,
        "virtual host" => snapshot.route_configurations[0].virtual_hosts[0].unsupported = mark,
        _ => snapshot.route_configurations[0].virtual_hosts[0].routes[6] = mark,
    }
    let answer = engine(snapshot)
        .decide(&request("/teapot"), 0, 0, true)
        .expect("the engine decides");
    assert_eq!(answer.trace.steps.last(), Some(&Step::Unsupported));
    let decision = answer.decision;
    assert_eq!(decision.outcome, Outcome::Unsupported);
    assert_eq!(
        decision.reason.as_deref(),
        Some("some.field: it is not decided")
    );
    assert_eq!(decision.route_config.as_deref(), route_config);
    assert_eq!(decision.virtual_host.as_deref(), virtual_host);
    assert_eq!(decision.route.as_deref(), route);
}

#[test]
fn a_cluster_that_is_not_decided_is_named() {
    let mut snapshot = snapshot();
    snapshot.clusters[1].unsupported = Some(Unsupported {
        path: "lb_policy".to_owned(),
        reason: "it is not decided".to_owned(),
    });
    let answer = engine(snapshot)
        .decide(&request("/q?a"), 0, 0, true)
        .expect("the engine decides");
    assert_eq!(answer.decision.outcome, Outcome::Unsupported);
    assert_eq!(answer.decision.cluster.as_deref(), Some("lr"));
    assert_eq!(answer.held, None);
    let end: Vec<_> = answer.trace.steps.iter().rev().take(2).collect();
    assert_eq!(end, [&Step::Unsupported, &Step::Cluster(1)]);
}

#[test]
fn without_a_snapshot_there_is_an_error() {
    let error = Spec::new()
        .decide(&request("/"), 0, 0, false)
        .expect_err("nothing is loaded");
    assert_eq!(error.to_string(), "engine spec: no snapshot is loaded");
}

#[test]
fn what_somebody_else_chose_stands_where_a_balancer_could_choose_it() {
    let snapshot = Arc::new(snapshot());
    let mut spec = Spec::new();
    spec.load(&snapshot).expect("it loads");
    let index = |name: &str| {
        let mut clusters = snapshot.clusters.iter();
        clusters
            .position(|cluster| cluster.name == name)
            .expect("it is there")
    };
    let held = |name: &str, endpoint| twinmesh_engine::Held {
        cluster: index(name),
        locality: 0,
        endpoint,
        generation: 0,
    };
    let chosen = |path: &str, random, held| {
        let answer = spec.decide_chosen(&request(path), random, held);
        answer
            .expect("it decides")
            .decision
            .endpoint
            .expect("one is chosen")
    };
    // Round robin could choose each; not one of another cluster, nor one that is not there.
    for endpoint in [0, 1, 1] {
        let expected = format!("10.0.0.1:{}", endpoint + 1);
        assert_eq!(chosen("/split", 5, Some(held("rr", endpoint))), expected);
    }
    for other in [None, Some(held("lr", 1)), Some(held("rr", 2))] {
        assert_eq!(chosen("/split", 5, other), "10.0.0.1:1");
    }
    // Least request chooses between two draws, which may be one.
    let mut refused = 0;
    for random in 0..64 {
        let stands = [0, 1].map(|endpoint| {
            let expected = format!("10.0.0.1:{}", endpoint + 3);
            chosen("/q?a", random, Some(held("lr", endpoint))) == expected
        });
        assert!(stands.contains(&true), "{random}");
        refused += stands.iter().filter(|stands| !**stands).count();
    }
    assert!((16..48).contains(&refused), "{refused}");
    // Nothing of it is remembered.
    let answer = spec
        .decide(&request("/split"), 5, 0, false)
        .expect("it decides");
    assert_eq!(answer.decision.endpoint.as_deref(), Some("10.0.0.1:1"));
}
