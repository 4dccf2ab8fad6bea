use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
    header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RouteAction, RouteMatch, WeightedCluster,
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
    route_match::PathSpecifier,
    weighted_cluster::{ClusterWeight, cluster_weight::HostRewriteSpecifier as OfWeighted},
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::UInt32Value;
use rstest::rstest;

use super::*;

fn option(name: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    }
}

fn append(name: &str, value: &str) -> HeaderValueOption {
    option(name, value, HeaderAppendAction::AppendIfExistsOrAdd)
}

fn overwrite(name: &str, value: &str) -> HeaderValueOption {
    option(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

fn kept(option: HeaderValueOption) -> HeaderValueOption {
    HeaderValueOption {
        keep_empty_value: true,
        ..option
    }
}

fn forward(prefix: &str, cluster: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

fn table(routes: Vec<Route>) -> RouteConfiguration {
    RouteConfiguration {
        virtual_hosts: vec![VirtualHost {
            name: "v".to_owned(),
            domains: vec!["*".to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

fn get(path: &str, headers: &[(&str, &str)]) -> Input {
    Input {
        method: "GET".to_owned(),
        authority: "h.test".to_owned(),
        path: path.to_owned(),
        request_headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Input::default()
    }
}

fn route(config: &RouteConfiguration, input: &Input) -> Routed {
    let table = RouteTable::new(config, []).expect("no regex");
    table.route(input).expect("it is decided")
}

fn values(lines: &Lines, name: &str) -> Vec<String> {
    lines.values(name).expect("they are known")
}

/// All in one, as Envoy 1.40 did it.
#[test]
fn mutations_of_one_place() {
    let mut config = table(vec![forward("/", "c")]);
    let changed = &mut config.virtual_hosts[0].routes[0];
    changed.request_headers_to_remove = vec!["x-r".to_owned(), "x-ra".to_owned()];
    changed.request_headers_to_add = vec![
        append("x-empty", "%REQ(nope)%"),
        kept(append("x-keep", "%REQ(nope)%")),
        append("x-ra", "%REQ(x-ra)%-again"),
        append("x-chain", "1"),
        kept(append("x-chain2", "%REQ(x-chain)%")),
        option("x-absent", "n", HeaderAppendAction::AddIfAbsent),
        option("x-a", "n", HeaderAppendAction::AddIfAbsent),
        option("x-exist", "n", HeaderAppendAction::OverwriteIfExists),
        option("x-nexist", "n", HeaderAppendAction::OverwriteIfExists),
        append("x-order", "first"),
        overwrite("x-order", "second"),
        append("x-order", "third"),
        append("user-agent", "ua2"),
        option("x-abs2", "1", HeaderAppendAction::AddIfAbsent),
        option("x-abs2", "2", HeaderAppendAction::AddIfAbsent),
    ];
    let input = get(
        "/f/1?q",
        &[
            ("X-A", "alpha"),
            ("x-r", "r1"),
            ("x-ra", "ra1"),
            ("x-exist", "e"),
            ("user-agent", "ua1"),
        ],
    );
    let request = route(&config, &input).request;
    for (name, expected) in [
        ("x-a", &["alpha"] as &[&str]),
        ("x-r", &[]),
        ("x-empty", &[]),
        ("x-keep", &[""]),
        ("x-ra", &["-again"]),
        ("x-chain2", &[""]),
        ("x-absent", &["n"]),
        ("x-exist", &["n"]),
        ("x-nexist", &[]),
        ("x-order", &["second", "first", "third"]),
        ("user-agent", &["ua1,ua2"]),
        ("x-abs2", &["1", "2"]),
    ] {
        assert_eq!(values(&request, name), expected, "{name}");
    }
}

#[rstest]
#[case(false, &["weighted", "route", "host", "table"], "table")]
#[case(true, &["weighted", "table", "host", "route"], "route")]
fn mutations_of_all_places(
    #[case] most_specific_header_mutations_wins: bool,
    #[case] expected: &[&str],
    #[case] last: &str,
) {
    let both = |name: &str| vec![append("x-o", name), overwrite("x-w", name)];
    let mut config = table(vec![forward("/", "c")]);
    config.most_specific_header_mutations_wins = most_specific_header_mutations_wins;
    config.request_headers_to_add = both("table");
    config.response_headers_to_add = both("table");
    config.virtual_hosts[0].request_headers_to_add = both("host");
    config.virtual_hosts[0].response_headers_to_add = both("host");
    let changed = &mut config.virtual_hosts[0].routes[0];
    changed.request_headers_to_add = both("route");
    changed.response_headers_to_add = both("route");
    changed.action = Some(Action::Route(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: vec![ClusterWeight {
                name: "c".to_owned(),
                weight: Some(UInt32Value { value: 1 }),
                request_headers_to_add: both("weighted"),
                response_headers_to_add: both("weighted"),
                ..ClusterWeight::default()
            }],
            ..WeightedCluster::default()
        })),
        ..RouteAction::default()
    }));
    let routed = route(&config, &get("/", &[]));
    for lines in [&routed.request, &routed.response] {
        assert_eq!(values(lines, "x-o"), expected);
        assert_eq!(values(lines, "x-w"), [last]);
    }
}

#[test]
fn rewrites_follow_mutations_and_leave_their_traces() {
    let mut config = table(vec![forward("/f", "c")]);
    let changed = &mut config.virtual_hosts[0].routes[0];
    changed.request_headers_to_add = vec![
        overwrite("x-h", "from-mutation"),
        append("x-path", "%REQ(:PATH)%"),
    ];
    changed.response_headers_to_add = vec![append("x-rpath", "%REQ(:PATH)%")];
    if let Some(Action::Route(action)) = &mut changed.action {
        action.prefix_rewrite = "/g".to_owned();
        action.append_x_forwarded_host = true;
        action.host_rewrite_specifier =
            Some(HostRewriteSpecifier::HostRewriteHeader("x-h".to_owned()));
    }
    let routed = route(&config, &get("/f/1?q", &[("x-h", "sent")]));
    assert_eq!(routed.path.as_deref(), Ok("/g/1?q"));
    assert_eq!(routed.authority.as_deref(), Ok("from-mutation"));
    for (name, expected) in [
        ("x-path", "/f/1?q"),
        ("x-envoy-original-path", "/f/1?q"),
        ("x-envoy-original-host", "h.test"),
        ("x-forwarded-host", "h.test"),
        ("host", "from-mutation"),
    ] {
        assert_eq!(values(&routed.request, name), [expected], "{name}");
    }
    assert_eq!(values(&routed.response, "x-rpath"), ["/g/1?q"]);
}

#[test]
fn a_rewrite_to_the_same_leaves_its_traces_too() {
    let mut config = table(vec![forward("/c", "c")]);
    if let Some(Action::Route(action)) = &mut config.virtual_hosts[0].routes[0].action {
        action.prefix_rewrite = "/c".to_owned();
        action.append_x_forwarded_host = true;
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(
            "h.test".to_owned(),
        ));
    }
    let request = route(&config, &get("/c", &[("x-forwarded-host", "old")])).request;
    assert_eq!(values(&request, "x-envoy-original-path"), ["/c"]);
    assert_eq!(values(&request, "x-envoy-original-host"), ["h.test"]);
    assert_eq!(values(&request, "x-forwarded-host"), ["old,h.test"]);
}

#[test]
fn a_weighted_clusters_host_rewrite_leaves_none() {
    let mut config = table(vec![forward("/", "c")]);
    config.virtual_hosts[0].routes[0].action = Some(Action::Route(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: vec![ClusterWeight {
                name: "c".to_owned(),
                weight: Some(UInt32Value { value: 1 }),
                host_rewrite_specifier: Some(OfWeighted::HostRewriteLiteral("w.test".to_owned())),
                ..ClusterWeight::default()
            }],
            ..WeightedCluster::default()
        })),
        ..RouteAction::default()
    }));
    let routed = route(&config, &get("/", &[]));
    assert_eq!(routed.authority.as_deref(), Ok("w.test"));
    assert!(values(&routed.request, "x-envoy-original-host").is_empty());
}

#[rstest]
#[case("k", 29, "some")]
#[case("k", 30, "all")]
#[case("k", 129, "some")]
#[case("other", 0, "all")]
#[case("", 0, "all")]
fn the_runtime_knows_one_key(
    #[case] runtime: &str,
    #[case] random_value: u64,
    #[case] expected: &str,
) {
    let mut some = forward("/", "some");
    if let Some(route_match) = &mut some.r#match {
        route_match.runtime_fraction = Some(RuntimeFractionalPercent {
            runtime_key: "k".to_owned(),
            default_value: Some(FractionalPercent {
                numerator: 30,
                denominator: 0,
            }),
        });
    }
    let config = table(vec![some, forward("/", "all")]);
    let input = Input {
        runtime: runtime.to_owned(),
        random_value,
        ..get("/", &[])
    };
    assert_eq!(route(&config, &input).cluster.as_deref(), Ok(expected));
}

#[rstest]
#[case(TlsRequirementType::All, false, "https://h.test/p?q")]
#[case(TlsRequirementType::All, true, "https://h.test/p?q")]
#[case(TlsRequirementType::ExternalOnly, false, "https://h.test/p?q")]
#[case(TlsRequirementType::ExternalOnly, true, "")]
#[case(TlsRequirementType::None, false, "")]
fn tls_may_be_required(
    #[case] require_tls: TlsRequirementType,
    #[case] internal: bool,
    #[case] expected: &str,
) {
    let mut config = table(vec![forward("/", "c")]);
    config.virtual_hosts[0].require_tls = require_tls as i32;
    let plain = Input {
        internal,
        ..get("/p?q", &[])
    };
    assert_eq!(route(&config, &plain).location.as_deref(), Ok(expected));
    let encrypted = Input { ssl: true, ..plain };
    assert_eq!(route(&config, &encrypted).cluster.as_deref(), Ok("c"));
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let mut config = table(vec![forward("/", "c")]);
    let changed = &mut config.virtual_hosts[0].routes[0];
    changed.request_headers_to_add = vec![
        append("x-up", "%UPSTREAM_HOST%"),
        append("x-known", "k"),
        append("x-gone", "%UPSTREAM_HOST%"),
    ];
    config.request_headers_to_remove = vec!["x-gone".to_owned()];
    let routed = route(&config, &get("/", &[]));
    assert_eq!(routed.cluster.as_deref(), Ok("c"));
    let reason = routed.request.values("x-up").expect_err("it is not known");
    assert!(reason.0.contains("%UPSTREAM_HOST%"), "{reason}");
    assert_eq!(values(&routed.request, "x-known"), ["k"]);
    assert!(values(&routed.request, "x-gone").is_empty());
}

#[test]
fn an_answer_has_a_location_and_changes_no_request_header() {
    let mut config = table(vec![Route {
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: 204,
            ..DirectResponseAction::default()
        })),
        request_headers_to_add: vec![append("x-h", "1")],
        ..forward("/", "")
    }]);
    config.response_headers_to_add = vec![append("x-status", "%RESP(:STATUS)%")];
    let routed = route(&config, &get("/p?q", &[]));
    assert_eq!(routed.location.as_deref(), Ok("http://h.test/p?q"));
    assert_eq!((routed.status, routed.cluster), (204, Ok(String::new())));
    assert!(values(&routed.request, "x-h").is_empty());
    assert!(values(&routed.response, "content-type").is_empty());
    assert_eq!(values(&routed.response, "x-status"), ["204"]);
}

#[test]
fn a_header_with_a_field_of_its_own_is_refused() {
    let config = table(vec![forward("/", "c")]);
    let table = RouteTable::new(&config, []).expect("no regex");
    let refused = table.route(&get("/", &[("X-Forwarded-Proto", "https")]));
    assert!(refused.is_err(), "{refused:?}");
}
