//! What the tables do not hold makes the one route, cluster or route configuration undecided, and
//! changes no other decision: against the plain reading, which has no such limits.

use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh_compile::{Part, Undecided, capacity, compile};
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

/// Bytes that just fit.
const FITS: usize = capacity::TEXT as usize;

fn read(snapshot: &Value) -> Arc<Snapshot> {
    let bytes = snapshot.to_string();
    let read = twinmesh_xds::read_bytes("test.json", bytes.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

/// A route that answers with a status, which tells the routes apart.
fn route(matched: &Value, status: u32) -> Value {
    json!({"match": matched, "direct_response": {"status": status}})
}

fn configuration(routes: &[Value]) -> Arc<Snapshot> {
    read(&json!({"name": "rc", "virtual_hosts": [
        {"name": "host", "domains": ["*"], "routes": routes},
    ]}))
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request {
    let line = json!({"id": "r", "authority": "a.test", "path": path, "headers": headers});
    serde_json::from_value(line).expect("a line of traffic")
}

/// The status that both engines give, or `None` where `sim` leaves a request undecided that `spec`
/// decides; the reason then stands in its decision.
fn status(snapshot: &Arc<Snapshot>, request: &Request) -> Option<u32> {
    let mut answers = Vec::new();
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    for engine in engines {
        engine.load(snapshot).expect("it loads");
        let mut answer = engine.decide(request, 7, 0, true).expect("it decides");
        answer.decision.engine = None;
        if answer.decision.outcome != Outcome::Unsupported {
            answer.decision.reason = None;
        }
        answers.push(answer);
    }
    let [spec, sim] = answers.as_slice() else {
        panic!("two engines");
    };
    assert_ne!(spec.decision.outcome, Outcome::Unsupported, "{spec:?}");
    if sim.decision.outcome == Outcome::Unsupported {
        let reason = sim.decision.reason.as_deref().unwrap_or_default();
        let limits = ["fit", "than this engine looks at"];
        assert!(
            limits.iter().any(|limit| reason.contains(limit)),
            "{reason}"
        );
        return None;
    }
    // Of the trace only this can differ: which matcher of a route is said to have failed.
    assert_eq!(spec.decision, sim.decision, "{request:?}");
    sim.decision.status
}

fn undecided(snapshot: &Arc<Snapshot>) -> Vec<Undecided> {
    compile(snapshot).expect("it compiles").undecided().to_vec()
}

/// The only thing undecided: its part, its path and its reason.
fn only(snapshot: &Arc<Snapshot>) -> (Option<Part>, String, String) {
    let all = undecided(snapshot);
    let [one] = all.as_slice() else {
        panic!("{all:?}");
    };
    (one.part, one.path.clone(), one.reason.clone())
}

const FIRST: Option<Part> = Some(Part::Route(0, 0, 0));

fn too_long(length: usize) -> String {
    format!("{length} bytes in one path, domain, header name or value to match; at most 1016 fit")
}

#[test]
fn a_path_that_is_too_long() {
    let long = format!("/{}", "p".repeat(FITS + 50));
    let fits = long.get(..FITS).expect("it is longer");
    for (field, sensitive) in [
        ("path", true),
        ("path", false),
        ("prefix", true),
        ("prefix", false),
        ("path_separated_prefix", true),
        ("path_separated_prefix", false),
    ] {
        let snapshot = configuration(&[
            route(
                &json!({field: long, "case_sensitive": sensitive, "headers": [{"name": "x", "present_match": true}]}),
                201,
            ),
            route(&json!({"path": fits}), 202),
            route(&json!({"prefix": "/"}), 203),
        ]);
        assert_eq!(
            only(&snapshot),
            (
                FIRST,
                format!("virtual_hosts[0].routes[0].match.{field}"),
                too_long(long.len())
            )
        );
        let with = |path: &str| status(&snapshot, &request(path, &[("x", "")]));
        assert_eq!(with("/"), Some(203), "{field}");
        assert_eq!(with("/p"), Some(203), "{field}");
        assert_eq!(with(&fits[..FITS - 1]), Some(203), "{field}");
        // What is filed is the part that fits: it takes more, and decides none of it.
        for more in [fits, &long, &format!("{long}/more"), &format!("{fits}?q")] {
            assert_eq!(with(more), None, "{field}");
        }
        // The route's other matchers count.
        let without = |path: &str| status(&snapshot, &request(path, &[]));
        assert_eq!(without(fits), Some(202), "{field}");
        assert_eq!(without(&long), Some(203), "{field}");
    }
}

#[test]
fn a_path_that_just_fits() {
    let fits = format!("/{}", "p".repeat(FITS - 1));
    let snapshot = configuration(&[
        route(&json!({"path": fits}), 201),
        route(&json!({"prefix": fits}), 202),
        route(&json!({"prefix": "/"}), 203),
    ]);
    assert_eq!(undecided(&snapshot), []);
    assert_eq!(status(&snapshot, &request(&fits, &[])), Some(201));
    let longer = format!("{fits}{}", "p".repeat(100));
    assert_eq!(status(&snapshot, &request(&longer, &[])), Some(202));
    let shorter = &fits[..fits.len() - 1];
    assert_eq!(status(&snapshot, &request(shorter, &[])), Some(203));
}

#[test]
fn a_header_or_query_parameter_that_is_too_long() {
    let long = "v".repeat(FITS + 1);
    let matchers = [
        json!({"headers": [{"name": "x", "string_match": {"exact": long}}]}),
        json!({"headers": [{"name": "x", "string_match": {"prefix": long}}]}),
        json!({"headers": [{"name": "x", "string_match": {"suffix": long}, "invert_match": true}]}),
        json!({"headers": [{"name": long, "present_match": false}]}),
        json!({"query_parameters": [{"name": "q", "string_match": {"exact": long}}]}),
        json!({"query_parameters": [{"name": long, "present_match": true}]}),
    ];
    for matchers in matchers {
        let mut first = json!({"path": "/long"});
        let list = matchers.as_object().expect("an object");
        for (name, value) in list {
            first[name] = value.clone();
        }
        let snapshot = configuration(&[route(&first, 201), route(&json!({"prefix": "/"}), 202)]);
        let name = list.keys().next().expect("one list");
        assert_eq!(
            only(&snapshot),
            (
                FIRST,
                format!("virtual_hosts[0].routes[0].match.{name}[0]"),
                too_long(FITS + 1)
            )
        );
        assert_eq!(status(&snapshot, &request("/other", &[])), Some(202));
        for headers in [&[][..], &[("x", "v")], &[("x", long.as_str())]] {
            assert_eq!(status(&snapshot, &request("/long", headers)), None);
        }
    }
}

#[test]
fn a_text_whose_automaton_is_too_large() {
    let needle: String = (0..500)
        .map(|index| char::from(b'a' + (index * 7 % 26) as u8))
        .collect();
    let contains = |text: &str, ignore_case| json!({"prefix": "/", "headers": [{"name": "x", "string_match": {"contains": text, "ignore_case": ignore_case}}]});
    // How large an automaton becomes is for the compiler to say; this one is over the cap.
    let long = needle.repeat(10);
    let snapshot = configuration(&[
        route(&contains(&long, true), 201),
        route(&json!({"prefix": "/"}), 202),
    ]);
    let (part, path, reason) = only(&snapshot);
    assert_eq!(part, FIRST);
    assert_eq!(path, "virtual_hosts[0].routes[0].match.headers[0]");
    assert_eq!(
        reason,
        "4097 states for one text that is matched without regard to case; at most 4096 fit"
    );
    assert_eq!(status(&snapshot, &request("/", &[("x", "a")])), None);
}

#[test]
fn more_matchers_than_a_route_may_have() {
    let headers: Vec<Value> = (0..257)
        .map(|index| json!({"name": "x", "string_match": {"exact": "v"}, "invert_match": index != 0}))
        .collect();
    let snapshot = configuration(&[
        route(&json!({"prefix": "/", "headers": headers}), 201),
        route(&json!({"prefix": "/"}), 202),
    ]);
    let expected = "257 matchers; at most 256 fit".to_owned();
    assert_eq!(
        only(&snapshot),
        (
            FIRST,
            "virtual_hosts[0].routes[0].match".to_owned(),
            expected
        )
    );
    // The first two matchers exclude each other.
    for headers in [&[][..], &[("x", "v")], &[("x", "w")]] {
        assert_eq!(status(&snapshot, &request("/", headers)), Some(202));
    }
}

#[test]
fn more_names_than_there_are_slots() {
    let named: Vec<Value> = (0..2100)
        .map(|index| {
            let header = json!({"name": format!("x-{index}"), "present_match": true});
            route(
                &json!({"path": format!("/{index}"), "headers": [header]}),
                200 + index % 300,
            )
        })
        .chain([route(&json!({"prefix": "/"}), 599)])
        .collect();
    let snapshot = configuration(&named);
    let all = undecided(&snapshot);
    let Some(first) = all.first() else {
        panic!("nothing is undecided");
    };
    assert_eq!(
        first.reason,
        "2049 header and query parameter names; at most 2048 fit"
    );
    let Some(Part::Route(0, 0, from)) = first.part else {
        panic!("{first:?}");
    };
    assert_eq!(all.len(), 2100 - from);
    for index in [0, from - 1, from, 2099] {
        let path = format!("/{index}");
        let name = format!("x-{index}");
        let with = status(&snapshot, &request(&path, &[(&name, "")]));
        let without = status(&snapshot, &request(&path, &[]));
        if index < from {
            assert_eq!(with, Some(200 + index as u32 % 300));
            assert_eq!(without, Some(599));
        } else {
            assert_eq!((with, without), (None, None));
        }
    }
    assert_eq!(status(&snapshot, &request("/other", &[])), Some(599));
}

#[test]
fn a_domain_that_is_too_long() {
    let label = "d".repeat(63);
    let long = vec![label; 17].join(".");
    for domain in [long.clone(), format!("*.{long}"), format!("{long}.*")] {
        let snapshot = read(&json!({"name": "rc", "virtual_hosts": [
            {"name": "long", "domains": [domain], "routes": [route(&json!({"prefix": "/"}), 201)]},
            {"name": "suffix", "domains": ["*d"], "routes": [route(&json!({"prefix": "/"}), 202)]},
            {"name": "all", "domains": ["*"], "routes": [route(&json!({"prefix": "/"}), 203)]},
        ]}));
        assert_eq!(
            only(&snapshot),
            (
                Some(Part::RouteConfiguration(0)),
                "virtual_hosts[0].domains[0]".to_owned(),
                too_long(domain.len())
            )
        );
        for authority in ["a.test", &long, &format!("a.{long}"), &format!("{long}.a")] {
            let mut request = request("/", &[]);
            request.authority = Some(authority.to_owned());
            assert_eq!(status(&snapshot, &request), None);
        }
    }
}

fn bootstrap(routes: &[Value], clusters: &[Value]) -> Arc<Snapshot> {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "host", "domains": ["*"], "routes": routes}]},
    });
    read(&json!({"static_resources": {
        "listeners": [{
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }],
        "clusters": clusters,
    }}))
}

fn cluster(name: &str, policy: &Value, weights: &[u32]) -> Value {
    let endpoints: Vec<Value> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let address =
                json!({"socket_address": {"address": "10.0.0.1", "port_value": 1000 + index}});
            json!({"endpoint": {"address": address}, "load_balancing_weight": weight})
        })
        .collect();
    let mut cluster = json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}});
    for (field, value) in policy.as_object().expect("an object") {
        cluster[field] = value.clone();
    }
    cluster
}

#[test]
fn a_cluster_whose_balancer_does_not_fit() {
    let sampled =
        json!({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 129}});
    for (policy, weights, path, reason) in [
        (
            json!({}),
            &[65_537, 1][..],
            "load_assignment.endpoints",
            "65538 turns in one weighted round robin (the sum of a priority's weights over their greatest common divisor); at most 65536 fit",
        ),
        (
            sampled,
            &[1, 1],
            "least_request_lb_config.choice_count",
            "129 choices (choice_count); at most 128 fit",
        ),
    ] {
        let snapshot = bootstrap(
            &[
                json!({"match": {"prefix": "/large"}, "route": {"cluster": "large"}}),
                json!({"match": {"prefix": "/"}, "route": {"cluster": "small"}}),
            ],
            &[
                cluster("large", &policy, weights),
                cluster("small", &json!({}), &[2, 1]),
            ],
        );
        assert_eq!(
            only(&snapshot),
            (Some(Part::Cluster(0)), path.to_owned(), reason.to_owned())
        );
        assert_eq!(status(&snapshot, &request("/large", &[])), None);
        let mut spec = Spec::default();
        let mut sim = Sim::default();
        spec.load(&snapshot).expect("it loads");
        sim.load(&snapshot).expect("it loads");
        for index in 0..9 {
            // The undecided cluster in between does not move the other's balancer.
            let large = request("/large", &[]);
            sim.decide(&large, index, 0, false).expect("it decides");
            let small = request("/small", &[]);
            let one = spec.decide(&small, index, 0, false).expect("it decides");
            let two = sim.decide(&small, index, 0, false).expect("it decides");
            assert_eq!(one.decision.endpoint, two.decision.endpoint);
            assert!(two.decision.endpoint.is_some());
        }
    }
}

#[test]
fn a_weight_that_a_too_long_header_gives() {
    let long = "h".repeat(FITS + 1);
    let weighted = json!({"clusters": [{"name": "small", "weight": 1}], "header_name": long});
    let snapshot = bootstrap(
        &[
            json!({"match": {"path": "/long"}, "route": {"weighted_clusters": weighted}}),
            json!({"match": {"prefix": "/"}, "route": {"cluster": "small"}}),
        ],
        &[cluster("small", &json!({}), &[1])],
    );
    assert_eq!(
        only(&snapshot),
        (
            FIRST,
            "filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.weighted_clusters.header_name".to_owned(),
            too_long(FITS + 1)
        )
    );
    let mut sim = Sim::default();
    sim.load(&snapshot).expect("it loads");
    let mut outcome = |path| {
        let answer = sim.decide(&request(path, &[]), 7, 0, false);
        answer.expect("it decides").decision.outcome
    };
    assert_eq!(outcome("/long"), Outcome::Unsupported);
    assert_eq!(outcome("/"), Outcome::Forward);
}
