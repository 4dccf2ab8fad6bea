//! What both engines make of header mutations whose effect is not known.

use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::ReadOptions;

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// What both make of a request to a redirect with these `response_headers_to_add`.
fn redirected(add: &Value) -> [Decision; 2] {
    let route = json!({"match": {"prefix": "/"}, "redirect": {"path_redirect": "/z"}});
    let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l"});
    decided(&[], &route, add, &request)
}

/// What both make of a request to a route whose virtual host has these `response_headers_to_add`,
/// behind these filters.
fn decided(filters: &[Value], route: &Value, add: &Value, request: &Value) -> [Decision; 2] {
    decided_with(&json!({}), filters, route, add, request)
}

/// The same, with these options of the connection manager.
fn decided_with(
    options: &Value,
    filters: &[Value],
    route: &Value,
    add: &Value,
    request: &Value,
) -> [Decision; 2] {
    let router = json!({"name": "router", "typed_config": {
        "@type": format!("{TYPES}.http.router.v3.Router"),
    }});
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    let mut manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r", "validate_clusters": false, "virtual_hosts": [{
            "name": "v", "domains": ["*"], "response_headers_to_add": add, "routes": [route],
        }, {"name": "t", "domains": ["tls.test"], "require_tls": "ALL", "routes": [route]}]},
        "http_filters": filters,
    });
    for (field, value) in options.as_object().into_iter().flatten() {
        manager[field] = value.clone();
    }
    let endpoint = json!({"endpoint": {"address": {"socket_address":
        {"address": "10.0.0.1", "port_value": 80}}}});
    let clusters = [("c", vec![endpoint]), ("empty", Vec::new())].map(|(name, endpoints)| {
        json!({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment":
            {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}})
    });
    let snapshot = json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }], "clusters": clusters}});
    let text = snapshot.to_string();
    let snapshot = twinmesh_xds::read_bytes("r.json", text.as_bytes(), &ReadOptions::default());
    let snapshot = Arc::new(snapshot.expect("it reads"));
    let request: Request = serde_json::from_value(request.clone()).expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    engines.map(|mut engine| {
        engine.load(&snapshot).expect("it loads");
        let answer = engine.decide(&request, 0, 0, true);
        answer.expect("it is decided").decision
    })
}

/// Envoy may have written x-request-id itself: what asks whether it is there may add or not.
#[rstest::rstest]
#[case("x-request-id", "ADD_IF_ABSENT", None)]
#[case("x-request-id", "OVERWRITE_IF_EXISTS", None)]
#[case("x-a", "ADD_IF_ABSENT", Some(&["1", "2"][..]))]
#[case("x-a", "OVERWRITE_IF_EXISTS", Some(&["1"][..]))]
fn what_may_be_there_already_is_not_known_to_be_added(
    #[case] name: &str,
    #[case] action: &str,
    #[case] expected: Option<&[&str]>,
) {
    let add = json!([
        {"header": {"key": name, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": name, "value": "2"}, "append_action": action},
    ]);
    for decision in redirected(&add) {
        assert_eq!(decision.outcome, Outcome::Redirect);
        let headers = decision.response_headers.expect("mutations take part");
        let values = headers.get(name).expect("it is named").as_deref();
        let expected = expected.map(|it| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(values, expected.as_deref(), "{:?}", decision.engine);
    }
}

/// Flags stand in the order in which they came.
#[rstest::rstest]
#[case::sent(json!({"route": {"cluster": "c"}}), "DI")]
#[case::nobody_healthy(json!({"route": {"cluster": "empty"}}), "DI,UH")]
#[case::no_cluster(json!({"route": {"cluster": "none"}}), "DI,NC")]
#[case::redirected(json!({"redirect": {"path_redirect": "/z"}}), "DI")]
fn an_injected_delay_is_a_flag_of_the_response(#[case] mut route: Value, #[case] expected: &str) {
    route["match"] = json!({"prefix": "/"});
    let add = json!([{"header": {"key": "x-flags", "value": "%RESPONSE_FLAGS%"}}]);
    let fault = json!({"name": "fault", "typed_config": {
        "@type": format!("{TYPES}.http.fault.v3.HTTPFault"),
        "delay": {"header_delay": {}, "percentage": {"numerator": 100}},
    }});
    for (delay, expected) in [("1", expected), ("0", &expected.replace("DI", ""))] {
        let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l",
            "headers": [["x-envoy-fault-delay-request", delay]]});
        let without = expected.trim_matches(',');
        let expected = if without.is_empty() { "-" } else { without };
        for decision in decided(std::slice::from_ref(&fault), &route, &add, &request) {
            let headers = decision.response_headers.expect("mutations take part");
            let values = headers.get("x-flags").expect("it is named").as_deref();
            let expected = [expected.to_owned()];
            assert_eq!(values, Some(&expected[..]), "{:?}", decision.engine);
        }
    }
}

/// The CORS filter writes its answers itself.
#[test]
fn no_route_changes_the_answer_to_a_preflight() {
    let cors =
        json!({"name": "cors", "typed_config": {"@type": format!("{TYPES}.http.cors.v3.Cors")}});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "empty"},
        "typed_per_filter_config": {"cors": {"@type": format!("{TYPES}.http.cors.v3.CorsPolicy"),
            "allow_origin_string_match": [{"exact": "a"}]}}});
    let add = json!([{"header": {"key": "x-a", "value": "v"}}]);
    for (method, outcome, is_changed) in [
        ("OPTIONS", Outcome::DirectResponse, false),
        ("GET", Outcome::NoHealthyUpstream, true),
    ] {
        let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l",
            "method": method,
            "headers": [["origin", "a"], ["access-control-request-method", "GET"]]});
        for decision in decided(std::slice::from_ref(&cors), &route, &add, &request) {
            assert_eq!(decision.outcome, outcome, "{decision:?}");
            assert_eq!(
                decision.response_headers.is_some(),
                is_changed,
                "{decision:?}"
            );
        }
    }
}

/// An original path that is empty is none, where the path would do as well.
#[rstest::rstest]
#[case("%PATH(NQ)%", "/a")]
#[case("%PATH(WQ:ORIG_OR_PATH)%", "/a?q")]
#[case("%PATH(WQ:ORIG)%", "")]
fn an_empty_original_path_is_none(#[case] format: &str, #[case] expected: &str) {
    let add = json!([{"header": {"key": "x-v", "value": format}, "keep_empty_value": true}]);
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    let request = json!({"id": "r", "path": "/a?q", "authority": "h.test", "listener": "l",
        "headers": [["x-envoy-original-path", ""]]});
    for decision in decided(&[], &route, &add, &request) {
        let headers = decision.response_headers.expect("mutations take part");
        let values = headers.get("x-v").expect("it is named").as_deref();
        let expected = [expected.to_owned()];
        assert_eq!(values, Some(&expected[..]), "{:?}", decision.engine);
    }
}

/// Filters change what Envoy answers for want of TLS, too, and no route says by which levels.
#[test]
fn a_filter_may_change_where_a_redirect_without_a_route_goes() {
    let filter = json!({"name": "m", "typed_config": {
        "@type": format!("{TYPES}.http.header_mutation.v3.HeaderMutation"),
        "mutations": {"response_mutations": [
            {"append": {"header": {"key": "location", "value": "a"}}}]}}});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    let request = json!({"id": "r", "path": "/a", "authority": "tls.test", "listener": "l"});
    for (filters, expected) in [
        (&[][..], Outcome::Redirect),
        (std::slice::from_ref(&filter), Outcome::Unsupported),
    ] {
        for decision in decided(filters, &route, &json!([]), &request) {
            assert_eq!(decision.outcome, expected, "{decision:?}");
            let location = decision.location.as_deref();
            let goes = (expected == Outcome::Redirect).then_some("https://tls.test/a");
            assert_eq!(location, goes);
        }
    }
}

/// Measured: an entry's own mutations see the host that came, those of the other levels the one that it
/// writes, and a route's rewrite comes last.
#[rstest::rstest]
#[case::of_the_entry(json!({}), ["h.test", "w.test", "w.test"])]
#[case::of_the_route_too(json!({"host_rewrite_literal": "r.test"}), ["h.test", "w.test", "r.test"])]
fn a_weighted_cluster_writes_the_host_before_the_route_mutates(
    #[case] more: Value,
    #[case] expected: [&str; 3],
) {
    let add = |name: &str| json!([{"header": {"key": name, "value": "%REQ(:authority)%"}}]);
    let mut action = json!({"weighted_clusters": {"clusters": [{"name": "c", "weight": 1,
        "host_rewrite_literal": "w.test", "request_headers_to_add": add("x-entry")}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        action[field] = value.clone();
    }
    let route = json!({"match": {"prefix": "/"}, "route": action, "request_headers_to_add": add("x-route")});
    let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l"});
    for decision in decided(&[], &route, &json!([]), &request) {
        let headers = decision.request_headers.expect("mutations take part");
        let value = |name| {
            headers
                .get(name)
                .and_then(|it| it.as_ref()?.first().cloned())
        };
        let found = [value("x-entry"), value("x-route"), decision.authority];
        let expected = expected.map(|it| Some(it.to_owned()));
        assert_eq!(found, expected, "{:?}", decision.engine);
    }
}

/// What Envoy writes after the routes' mutations, or before.
#[rstest::rstest]
#[case::cors_removed(json!({"response_headers_to_remove": ["access-control-allow-origin"]}), None)]
#[case::cors_overwritten(json!({"response_headers_to_add": [{"append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    "header": {"key": "access-control-allow-origin", "value": "a"}}]}), None)]
#[case::server_removed(json!({"response_headers_to_remove": ["server"]}), None)]
#[case::proxy_status_removed(json!({"response_headers_to_remove": ["proxy-status"]}), None)]
#[case::attempt_count_removed(json!({"response_headers_to_remove": ["x-envoy-attempt-count"]}), None)]
#[case::service_time_removed(json!({"response_headers_to_remove": ["x-envoy-upstream-service-time"]}), Some(vec![]))]
#[case::content_type_of_the_endpoint(json!({"response_headers_to_remove": ["content-type"]}), Some(vec![]))]
#[case::to_the_router(json!({"request_headers_to_add": [{"append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    "header": {"key": "x-envoy-max-retries", "value": "1"}}]}), None)]
#[case::an_original(json!({"request_headers_to_remove": ["x-envoy-original-host"]}), Some(vec![]))]
#[case::grpc_timeout(json!({"request_headers_to_add": [{"header": {"key": "x", "value": "%REQ(grpc-timeout)%"}}]}),
    Some(vec!["1S"]))]
#[case::bounded_grpc_timeout(json!({"max_grpc_timeout": "1s",
    "request_headers_to_add": [{"header": {"key": "x", "value": "%REQ(grpc-timeout)%"}}]}), None)]
fn headers_that_envoy_writes_beside_mutations(
    #[case] more: Value,
    #[case] expected: Option<Vec<&str>>,
) {
    let cors =
        json!({"name": "cors", "typed_config": {"@type": format!("{TYPES}.http.cors.v3.Cors")}});
    let mut route = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        match field.as_str() {
            "max_grpc_timeout" => route["route"][field] = value.clone(),
            _ => route[field] = value.clone(),
        }
    }
    let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l",
        "headers": [["content-type", "application/grpc"], ["grpc-timeout", "1S"]]});
    for decision in decided(&[cors], &route, &json!([]), &request) {
        let of_request = decision.request_headers.into_iter();
        let mut headers = of_request.chain(decision.response_headers).flatten();
        let (_, values) = headers.next().expect("a mutation takes part");
        let expected = expected
            .as_ref()
            .map(|it| it.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(values, expected, "{:?}", decision.engine);
    }
}

/// Measured: a port that the connection manager strips comes back to the host that an entry writes.
#[rstest::rstest]
#[case::of_the_entry(json!({}), "w.test:80")]
#[case::of_the_route(json!({"host_rewrite_literal": "r.test"}), "r.test")]
fn a_stripped_port_comes_back_to_a_tunnel(#[case] more: Value, #[case] expected: &str) {
    let mut action = json!({"weighted_clusters": {"clusters": [
        {"name": "c", "weight": 1, "host_rewrite_literal": "w.test"}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        action[field] = value.clone();
    }
    let route = json!({"match": {"connect_matcher": {}}, "route": action});
    let options =
        json!({"strip_any_host_port": true, "upgrade_configs": [{"upgrade_type": "CONNECT"}]});
    let request = json!({"id": "r", "method": "CONNECT", "path": "h.test:80", "authority": "h.test:80",
        "listener": "l"});
    for decision in decided_with(&options, &[], &route, &json!([]), &request) {
        assert_eq!(
            decision.authority.as_deref(),
            Some(expected),
            "{decision:?}"
        );
    }
}
