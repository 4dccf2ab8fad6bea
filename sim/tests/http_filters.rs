//! HTTP filters that answer or delay requests, as both engines decide them and as Envoy 1.40 was
//! measured to.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::compile;
use twinmesh_engine::{Answer, Did, Engine, Outcome, Request, Step};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

fn typed(kind: &str, config: &Value) -> Value {
    let mut typed = json!({"@type": format!("{TYPES}.http.{kind}")});
    for (field, value) in config.as_object().into_iter().flatten() {
        typed[field] = value.clone();
    }
    typed
}

fn filter(name: &str, kind: &str, config: &Value) -> Value {
    json!({"name": name, "typed_config": typed(kind, config)})
}

fn rules(action: &str, permission: &Value, principal: &Value) -> Value {
    let policy = json!({"permissions": [permission], "principals": [principal]});
    json!({"rules": {"action": action, "policies": {"p": policy}}})
}

fn any() -> Value {
    json!({"any": true})
}

fn deny_all() -> Value {
    rules("DENY", &any(), &any())
}

/// `RBACPerRoute`.
fn per_route(rbac: Option<&Value>) -> Value {
    let config = rbac.map_or(json!({}), |rbac| json!({"rbac": rbac}));
    typed("rbac.v3.RBACPerRoute", &config)
}

/// `FilterConfig`.
fn wrapped(config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!("type.googleapis.com/envoy.config.route.v3.FilterConfig");
    config
}

/// A listener with filters and routes, with more in its connection manager.
fn snapshot(filters: &[Value], hosts: &Value, more: &Value) -> Arc<Snapshot> {
    let mut filters = filters.to_vec();
    filters.push(filter("router", "router.v3.Router", &json!({})));
    let mut manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": filters,
        "route_config": {"name": "rc", "validate_clusters": false, "virtual_hosts": hosts},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        manager[field] = value.clone();
    }
    let endpoint = json!({"endpoint": {"address": {"socket_address":
        {"address": "10.0.0.1", "port_value": 80}}}});
    let clusters: Vec<Value> = ["a", "b"]
        .map(|name| {
            json!({"name": name, "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": {"cluster_name": name,
                    "endpoints": [{"lb_endpoints": [endpoint]}]}})
        })
        .to_vec();
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": clusters,
    }});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn host(routes: &[Value]) -> Value {
    json!([{"name": "v", "domains": ["*"], "routes": routes}])
}

fn route(prefix: &str, said: &Value) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": "a"}, "typed_per_filter_config": said})
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request {
    let line = json!({"id": "r", "authority": "h", "path": path, "headers": headers,
        "source": "127.0.0.1:999", "destination": "127.0.0.1:8080"});
    serde_json::from_value(line).expect("a line of traffic")
}

/// Both engines, which have to agree.
struct Both {
    spec: Spec,
    sim: Sim,
}

impl Both {
    fn new(snapshot: &Arc<Snapshot>) -> Self {
        let compiled = compile(snapshot).expect("it compiles");
        assert!(
            compiled.undecided().is_empty(),
            "{:?}",
            compiled.undecided()
        );
        let mut both = Self {
            spec: Spec::new(),
            sim: Sim::default(),
        };
        both.spec.load(snapshot).expect("spec loads");
        both.sim.load(snapshot).expect("sim loads");
        both
    }

    fn at(&mut self, now: u64, request: &Request, random: u64) -> Answer {
        let mut answers = Vec::new();
        let engines: [&mut dyn Engine; 2] = [&mut self.spec, &mut self.sim];
        for engine in engines {
            let decided = engine.decide(request, random, now, true);
            let mut answer = decided.expect("it decides");
            answer.decision.engine = None;
            answer.decision.reason = None;
            answers.push(answer);
        }
        let (sim, spec) = (answers.pop(), answers.pop());
        assert_eq!(spec, sim, "{request:?}");
        spec.expect("two answers")
    }

    /// The status that a filter answers with; 0 where it lets the request on.
    fn status(&mut self, request: &Request) -> u32 {
        let decision = self.at(0, request, 0).decision;
        match decision.outcome {
            Outcome::DirectResponse => decision.status.expect("it has one"),
            Outcome::Forward => 0,
            _ => panic!("{decision:?}"),
        }
    }
}

#[rstest]
#[case("/direct-deny", [403, 403])]
#[case("/direct-none", [0, 403])]
#[case("/empty", [403, 403])]
#[case("/off", [0, 0])]
#[case("/wrapped", [403, 403])]
#[case("/no-rbac", [0, 0])]
#[case("/by-type", [0, 403])]
#[case("/weighted", [403, 403])]
#[case("/else", [0, 403])]
fn the_most_specific_level_counts(#[case] path: &str, #[case] expected: [u32; 2]) {
    let mut disabled = filter("dis", "rbac.v3.RBAC", &deny_all());
    disabled["disabled"] = json!(true);
    let by_header = json!({"header": {"name": "x-deny", "string_match": {"exact": "1"}}});
    let enabled = filter("en", "rbac.v3.RBAC", &rules("DENY", &by_header, &any()));
    let deny = deny_all();
    let mut weighted = route("/weighted", &json!({"en": per_route(None)}));
    weighted["route"] = json!({"weighted_clusters": {"clusters": [
        {"name": "a", "weight": 1, "typed_per_filter_config": {"en": per_route(Some(&deny))}},
    ]}});
    let routes = [
        route("/direct-deny", &json!({"dis": per_route(Some(&deny))})),
        route("/direct-none", &json!({"dis": per_route(None)})),
        route("/empty", &json!({"dis": wrapped(json!({"config": {}}))})),
        route("/off", &json!({"en": wrapped(json!({"disabled": true}))})),
        route(
            "/wrapped",
            &json!({"en": wrapped(json!({"config": per_route(Some(&deny))}))}),
        ),
        route("/no-rbac", &json!({"en": per_route(None)})),
        route(
            "/by-type",
            &json!({"envoy.filters.http.rbac": per_route(Some(&deny))}),
        ),
        weighted,
        route("/", &json!({})),
    ];
    let mut both = Both::new(&snapshot(&[disabled, enabled], &host(&routes), &json!({})));
    assert_eq!(both.status(&request(path, &[])), expected[0]);
    assert_eq!(both.status(&request(path, &[("x-deny", "1")])), expected[1]);
}

#[rstest]
#[case("v", "/inherits", [403, 403])]
#[case("v", "/own", [0, 0])]
#[case("v", "/", [403, 403])]
#[case("o", "/on", [0, 403])]
#[case("o", "/own", [403, 403])]
#[case("o", "/", [0, 0])]
fn levels_above_count_where_none_below_does(
    #[case] authority: &str,
    #[case] path: &str,
    #[case] expected: [u32; 2],
) {
    let by_header = json!({"header": {"name": "x-deny", "string_match": {"exact": "1"}}});
    let enabled = filter("en", "rbac.v3.RBAC", &rules("DENY", &by_header, &any()));
    let deny = per_route(Some(&deny_all()));
    let on = wrapped(json!({"config": {}}));
    let hosts = json!([
        {"name": "v", "domains": ["v"], "typed_per_filter_config": {"en": deny}, "routes": [
            route("/inherits", &json!({"en": on})),
            route("/own", &json!({"en": per_route(Some(&json!({"rules": {"action": "DENY"}})))})),
            route("/", &json!({})),
        ]},
        {"name": "o", "domains": ["o"],
            "typed_per_filter_config": {"en": wrapped(json!({"disabled": true}))}, "routes": [
            route("/on", &json!({"en": on})),
            route("/own", &json!({"en": deny})),
            route("/", &json!({})),
        ]},
    ]);
    let mut both = Both::new(&snapshot(&[enabled], &hosts, &json!({})));
    for (headers, expected) in [&[][..], &[("x-deny", "1")]].into_iter().zip(expected) {
        let mut request = request(path, headers);
        request.authority = Some(authority.to_owned());
        assert_eq!(both.status(&request), expected);
    }
}

#[test]
fn filters_come_before_whatever_the_route_does_and_without_one() {
    let by_header = json!({"header": {"name": "x-deny", "string_match": {"exact": "1"}}});
    let filters = [filter(
        "en",
        "rbac.v3.RBAC",
        &rules("DENY", &by_header, &any()),
    )];
    let hosts = json!([{"name": "v", "domains": ["h"], "routes": [
        {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/z"}},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}},
        {"match": {"prefix": "/missing"}, "route": {"cluster": "nowhere"}},
    ]}]);
    let mut both = Both::new(&snapshot(&filters, &hosts, &json!({})));
    let outcomes = [
        ("/redirect", Outcome::Redirect),
        ("/direct", Outcome::DirectResponse),
        ("/missing", Outcome::NoCluster),
        ("/none", Outcome::NoRoute),
    ];
    for (path, outcome) in outcomes {
        let mut asked = request(path, &[]);
        assert_eq!(both.at(0, &asked, 0).decision.outcome, outcome);
        asked.headers.push(("x-deny".to_owned(), "1".to_owned()));
        let answer = both.at(0, &asked, 0);
        assert_eq!(answer.decision.outcome, Outcome::DirectResponse);
        assert_eq!(answer.decision.status, Some(403));
        assert_eq!(answer.decision.cluster, None);
        let last = answer.trace.steps.last();
        let did = Did::Answer(403);
        assert_eq!(last, Some(&Step::Filter { filter: 0, did }));
    }
    let mut nowhere = request("/", &[]);
    nowhere.authority = Some("z".to_owned());
    assert_eq!(
        both.at(0, &nowhere, 0).decision.outcome,
        Outcome::NoVirtualHost
    );
    nowhere.headers.push(("x-deny".to_owned(), "1".to_owned()));
    let decision = both.at(0, &nowhere, 0).decision;
    assert_eq!(decision.status, Some(403));
    assert_eq!((decision.virtual_host, decision.route), (None, None));
    // gRPC has its own status inside a 200.
    let grpc = [("x-deny", "1"), ("content-type", "application/grpc")];
    assert_eq!(
        both.at(0, &request("/none", &grpc), 0).decision.status,
        Some(200)
    );
}

fn range(address: &str, length: u32) -> Value {
    json!({"address_prefix": address, "prefix_len": length})
}

#[rstest]
#[case::url(json!({"url_path": {"path": {"exact": "/p/a"}}}), any(), 403)]
#[case::url_prefix(json!({"url_path": {"path": {"prefix": "/q"}}}), any(), 0)]
#[case::url_regex(json!({"url_path": {"path": {"safe_regex": {"regex": "/p/[ab]"}}}}), any(), 403)]
#[case::header(json!({"header": {"name": ":authority", "string_match": {"exact": "h"}}}), any(), 403)]
#[case::header_regex(json!({"header": {"name": "x", "string_match": {"safe_regex": {"regex": "1+"}}}}), any(), 403)]
#[case::port(json!({"destination_port": 8080}), any(), 403)]
#[case::ports(json!({"destination_port_range": {"start": 8080, "end": 8081}}), any(), 403)]
#[case::ports_before(json!({"destination_port_range": {"start": 8075, "end": 8080}}), any(), 0)]
#[case::destination(json!({"destination_ip": range("127.0.0.0", 8)}), any(), 403)]
#[case::destination_else(json!({"destination_ip": range("10.0.0.0", 8)}), any(), 0)]
#[case::no_server_name(json!({"requested_server_name": {"exact": ""}}), any(), 403)]
#[case::not(json!({"not_rule": {"requested_server_name": {"exact": "x"}}}), any(), 403)]
#[case::and(json!({"and_rules": {"rules": [any(), {"destination_port": 1}]}}), any(), 0)]
#[case::or(json!({"or_rules": {"rules": [{"destination_port": 1}, any()]}}), any(), 403)]
#[case::not_and(json!({"not_rule": {"and_rules": {"rules": [any(), {"destination_port": 1}]}}}), any(), 403)]
#[case::source(any(), json!({"source_ip": range("127.0.0.1", 32)}), 403)]
#[case::direct(any(), json!({"direct_remote_ip": range("127.0.0.1", 32)}), 403)]
#[case::forwarded(any(), json!({"remote_ip": range("10.9.9.9", 32)}), 403)]
#[case::not_the_source(any(), json!({"remote_ip": range("127.0.0.1", 32)}), 0)]
#[case::other_family(any(), json!({"remote_ip": range("::", 0)}), 0)]
#[case::all_of_v4(any(), json!({"remote_ip": range("0.0.0.0", 0)}), 403)]
#[case::authenticated(any(), json!({"authenticated": {}}), 0)]
#[case::not_authenticated(any(), json!({"not_id": {"authenticated": {}}}), 403)]
#[case::ids(any(), json!({"and_ids": {"ids": [any(), {"or_ids": {"ids": [any()]}}]}}), 403)]
fn rules_of_rbac(#[case] permission: Value, #[case] principal: Value, #[case] denied: u32) {
    let asked = request("/p/a?q", &[("x", "11"), ("x-forwarded-for", "10.9.9.9")]);
    let allowed = 403 - denied;
    for (action, expected) in [("DENY", denied), ("ALLOW", allowed), ("LOG", 0)] {
        let rbac = rules(action, &permission, &principal);
        let filters = [filter("r", "rbac.v3.RBAC", &rbac)];
        let hosts = host(&[route("/", &json!({}))]);
        let mut both = Both::new(&snapshot(&filters, &hosts, &json!({})));
        assert_eq!(both.status(&asked), expected, "{action}");
    }
}

#[rstest]
#[case("ALLOW", 403)]
#[case("DENY", 0)]
fn no_rules_match_nothing(#[case] action: &str, #[case] expected: u32) {
    let filters = [filter(
        "r",
        "rbac.v3.RBAC",
        &json!({"rules": {"action": action}}),
    )];
    let hosts = host(&[route("/", &json!({}))]);
    let mut both = Both::new(&snapshot(&filters, &hosts, &json!({})));
    assert_eq!(both.status(&request("/", &[])), expected);
}

#[test]
fn what_a_request_does_not_say_is_undecided_where_a_rule_asks_for_it() {
    let by_client = rules("DENY", &any(), &json!({"remote_ip": range("10.0.0.0", 8)}));
    let by_peer = rules("DENY", &any(), &json!({"authenticated": {}}));
    for rbac in [by_client, by_peer] {
        let filters = [filter("r", "rbac.v3.RBAC", &rbac)];
        let hosts = host(&[route("/", &json!({}))]);
        let mut both = Both::new(&snapshot(&filters, &hosts, &json!({})));
        let mut asked = request("/", &[]);
        asked.source = None;
        asked.tls = Some(true);
        let answer = both.at(0, &asked, 0);
        assert_eq!(answer.decision.outcome, Outcome::Unsupported);
        assert_eq!(answer.trace.steps.last(), Some(&Step::Unsupported));
    }
}

#[rstest]
#[case("10.1.1.1", [403, 0, 0, 403])]
#[case("1.1.1.1, 10.1.1.1", [403, 0, 0, 403])]
#[case("10.1.1.1, 1.1.1.1", [0, 403, 0, 0])]
#[case("10.1.1.1 ", [403, 0, 0, 403])]
#[case("10.1.1.1:80", [0, 0, 0, 0])]
#[case("10.1.1.1,", [0, 403, 0, 0])]
#[case("x", [0, 0, 0, 0])]
#[case("", [0, 0, 0, 0])]
#[case("::ffff:10.1.1.1", [0, 0, 0, 0])]
fn the_client_in_x_forwarded_for(#[case] value: &str, #[case] expected: [u32; 4]) {
    let rbac = rules("DENY", &any(), &json!({"remote_ip": range("10.1.1.1", 32)}));
    let options = [
        json!({}),
        json!({"xff_num_trusted_hops": 1}),
        json!({"use_remote_address": true}),
        json!({"use_remote_address": true, "xff_num_trusted_hops": 1}),
    ];
    for (options, expected) in options.iter().zip(expected) {
        let filters = [filter("r", "rbac.v3.RBAC", &rbac)];
        let hosts = host(&[route("/", &json!({}))]);
        let mut both = Both::new(&snapshot(&filters, &hosts, options));
        let asked = request("/", &[("x-forwarded-for", value)]);
        assert_eq!(both.status(&asked), expected, "{options}");
    }
}

#[test]
fn a_route_that_enables_what_is_not_decided_is_undecided() {
    let mut unknown = json!({"name": "x", "typed_config": {"@type": "type.googleapis.com/acme.X"}});
    unknown["disabled"] = json!(true);
    let on = json!({"x": wrapped(json!({"config": {}}))});
    let hosts = host(&[route("/on", &on), route("/", &json!({}))]);
    let snapshot = snapshot(&[unknown], &hosts, &json!({}));
    let (mut spec, mut sim) = (Spec::new(), Sim::default());
    let engines: [&mut dyn Engine; 2] = [&mut spec, &mut sim];
    for engine in engines {
        engine.load(&snapshot).expect("it loads");
        for (path, outcome) in [("/on", Outcome::Unsupported), ("/off", Outcome::Forward)] {
            let answer = engine.decide(&request(path, &[]), 0, 0, true);
            assert_eq!(
                answer.expect("it decides").decision.outcome,
                outcome,
                "{path}"
            );
        }
    }
}
