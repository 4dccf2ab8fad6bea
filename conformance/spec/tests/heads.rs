//! Compares the engine with what a real Envoy made of every request head in `fixtures/heads` that
//! a traffic line can express.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteAction, RouteConfiguration as RouteConfigurationConfig, RouteMatch,
    VirtualHost, header_matcher::HeaderMatchSpecifier, route::Action,
    route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use serde_json::Value;
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_spec::Spec;
use twinmesh_xds::{RouteConfiguration, Snapshot};

/// The head as a traffic line, where writing that line gives the very bytes back, but for the blank
/// before an empty value.
fn request(id: &str, head: &str) -> Option<Request> {
    let (lines, rest) = head.split_once("\r\n\r\n")?;
    let mut lines = lines.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request: Request = serde_json::from_value(serde_json::json!({ "id": id })).ok()?;
    request.method = first.next()?.to_owned();
    request.path = first.next()?.to_owned();
    for (index, line) in lines.enumerate() {
        let empty = || Some((line.strip_suffix(':')?, ""));
        let (name, value) = line.split_once(": ").or_else(empty)?;
        if index == 0 && name == "host" {
            request.authority = Some(value.to_owned());
        } else {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let blank_before = |line: &str| match line.strip_suffix(':') {
        Some(name) if !name.contains(": ") => format!("{name}: "),
        _ => line.to_owned(),
    };
    let written: Vec<String> = head.split("\r\n").map(blank_before).collect();
    let same = request.head() == written.join("\r\n").as_bytes();
    let breaks_in_line = lines_hold_breaks(&request);
    (rest.is_empty() && same && !breaks_in_line).then_some(request)
}

/// Whether a part of the request holds the end of a line, which no traffic line may.
fn lines_hold_breaks(request: &Request) -> bool {
    let breaks = |text: &str| text.contains(['\r', '\n']);
    breaks(&request.method)
        || breaks(&request.path)
        || request.authority.as_deref().is_some_and(breaks)
        || request
            .headers
            .iter()
            .any(|(name, value)| breaks(name) || breaks(value))
}

/// The recorded heads.
fn lines() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/heads/heads.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("the line is JSON"))
        .collect()
}

/// Text of a line's `head`, or of its `parts`.
fn text(line: &Value) -> String {
    match line["head"].as_str() {
        Some(head) => head.to_owned(),
        None => line["parts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| {
                let text = part[0].as_str().expect("a text");
                text.repeat(part[1].as_u64().expect("a count") as usize)
            })
            .collect(),
    }
}

/// A snapshot with one route, which takes requests that have this header value, if one is given.
fn snapshot(header: Option<(&str, &str)>) -> Arc<Snapshot> {
    let headers = header
        .map(|(name, value)| HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(serde_exact(value))),
            ..HeaderMatcher::default()
        })
        .into_iter()
        .collect();
    let route = Route {
        name: "r".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            headers,
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster("c".to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    let config = RouteConfigurationConfig {
        virtual_hosts: vec![VirtualHost {
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        }],
        ..RouteConfigurationConfig::default()
    };
    Arc::new(Snapshot {
        route_configurations: vec![RouteConfiguration {
            config,
            ..RouteConfiguration::default()
        }],
        ..Snapshot::default()
    })
}

/// A snapshot with a listener of these options, and one route, which takes this authority.
fn stripping(options: &[&str], authority: &str) -> Arc<Snapshot> {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let exact = serde_json::json!({
        "name": ":authority", "string_match": {"exact": authority},
    });
    let mut manager = serde_json::json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/", "headers": [exact]},
                        "direct_response": {"status": 200}}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{types}.http.router.v3.Router"),
        }}],
    });
    for option in options {
        manager[option] = Value::Bool(true);
    }
    let bootstrap = serde_json::json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }]}});
    let options = twinmesh_xds::ReadOptions::default();
    let read = twinmesh_xds::read_bytes("l.json", bootstrap.to_string().as_bytes(), &options);
    Arc::new(read.expect("it reads"))
}

fn serde_exact(value: &str) -> envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher {
    use envoy_types::pb::envoy::r#type::matcher::v3::{
        StringMatcher, string_matcher::MatchPattern,
    };
    StringMatcher {
        ignore_case: false,
        match_pattern: Some(MatchPattern::Exact(value.to_owned())),
    }
}

fn decide(snapshot: &Arc<Snapshot>, request: &Request) -> Decision {
    let mut engine = Spec::new();
    engine.load(snapshot).expect("the snapshot loads");
    let answer = engine.decide(request, 0, 0, false);
    answer.expect("the engine decides").decision
}

/// What differs between the engine's decision and the line; `None` where it is undecided.
fn difference(line: &Value, request: &Request) -> Option<Option<String>> {
    let ours = decide(&snapshot(None), request);
    if ours.outcome == Outcome::Unsupported {
        return None;
    }
    // The route's cluster does not exist: that is how far an accepted head gets. CONNECT has no route.
    let is_connect = request.method == "CONNECT";
    let furthest = match is_connect {
        true => Outcome::NoRoute,
        false => Outcome::NoCluster,
    };
    let accepted = ours.outcome == furthest;
    if accepted != (line["outcome"] == "accepted") {
        return Some(Some(format!("outcome {:?}", ours.outcome)));
    }
    if !accepted {
        let status = line["status"].as_u64();
        let same = status == ours.status.map(u64::from);
        return Some((!same).then(|| format!("status {:?}", ours.status)));
    }
    if is_connect {
        return Some(None);
    }
    let pseudo = [
        (":authority", line["authority"].as_str()),
        (":path", line["path"].as_str()),
        (":scheme", line["scheme"].as_str()),
        (":method", line["method"].as_str()),
    ];
    let plain = line["headers"].as_array().into_iter().flatten();
    let headers = plain.filter_map(|header| Some((header[0].as_str()?, header[1].as_str())));
    for (name, value) in pseudo.into_iter().chain(headers) {
        let Some(value) = value else {
            continue;
        };
        let seen = decide(&snapshot(Some((name, value))), request);
        if !matches!(seen.outcome, Outcome::NoCluster | Outcome::Unsupported) {
            return Some(Some(format!("{name} is not {value:?}")));
        }
    }
    Some(None)
}

#[test]
fn authorities_are_stripped_as_envoy_strips_them() {
    let mut compared = 0;
    let mut different = Vec::new();
    for line in lines() {
        let options: &[&str] = match line["listener"].as_str() {
            Some("strip_dot_and_port") => &["strip_trailing_host_dot", "strip_any_host_port"],
            Some(option) if option.starts_with("strip_") => &[option],
            _ => continue,
        };
        let id = line["id"].as_str().unwrap_or_default();
        let mut request = request(id, &text(&line)).expect("a traffic line expresses it");
        request.listener = Some("l".to_owned());
        let authority = line["authority"].as_str().expect("Envoy took it");
        let seen = decide(&stripping(options, authority), &request);
        compared += 1;
        if seen.outcome != Outcome::DirectResponse {
            different.push(format!(
                "{id}: {:?}, envoy {authority:?}",
                request.authority
            ));
        }
    }
    assert!(compared > 150, "{compared} authorities compared only");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn heads_are_taken_as_envoy_takes_them() {
    let (mut compared, mut undecided, mut inexpressible) = (0, 0, 0);
    let mut different = Vec::new();
    for line in lines() {
        let id = line["id"].as_str().unwrap_or_default();
        let of_default_listener = line["listener"].is_null();
        let head = text(&line);
        let Some(request) = request(id, &head).filter(|_| of_default_listener) else {
            inexpressible += 1;
            continue;
        };
        match difference(&line, &request) {
            None => undecided += 1,
            Some(None) => compared += 1,
            Some(Some(what)) => {
                let start: String = head.chars().take(200).collect();
                different.push(format!("{id}: {what}, envoy {line}\n    {start:?}"));
            }
        }
    }
    println!(
        "{compared} heads as Envoy takes them, {undecided} undecided, \
         {inexpressible} that no traffic line expresses, {} different",
        different.len()
    );
    assert!(compared > 1000, "the heads were not compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
