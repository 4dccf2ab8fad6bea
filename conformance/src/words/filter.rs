//! What filters did, in words.

use twinmesh_engine::{BadRequest, Did, Request};
use twinmesh_spec::{Change, Judged, Part, reading};
use twinmesh_xds::http_filter::Level;

use super::narrator::{Sentence, quoted};

/// What an HTTP filter did; of RBAC by which policy.
pub(super) fn http(index: usize, name: &str, did: Did, judged: Option<&Judged>) -> Sentence {
    let mut because = match did {
        Did::Pass => "it lets the request on".to_owned(),
        Did::Delay(milliseconds) => format!("it delays the request by {milliseconds} ms"),
        Did::Answer(status) => format!("it answers with {status}"),
    };
    if let Some(judged) = judged {
        because.push_str(": ");
        because.push_str(&policy(judged));
    }
    Sentence {
        topic: "HTTP filter",
        choice: format!("http_filters[{index}] {}", quoted(name)),
        because,
    }
}

fn policy(judged: &Judged) -> String {
    let why = match (&judged.policy, judged.by_matcher) {
        (Some(name), true) => format!("its matcher leads to the action {}", quoted(name)),
        (None, true) => "its matcher leads to no action".to_owned(),
        (Some(name), false) => format!("its policy {} matches", quoted(name)),
        (None, false) => "none of its policies matches".to_owned(),
    };
    let level = match judged.level {
        None => return why,
        Some(Level::RouteConfiguration) => "route configuration",
        Some(Level::VirtualHost(_)) => "virtual host",
        Some(Level::Route(..)) => "route",
        Some(Level::Entry(..)) => "weighted cluster",
    };
    format!("{why} (by the typed_per_filter_config of the {level})")
}

/// What a field of the connection manager changes before the request is routed.
pub(super) fn change(change: &Change) -> Sentence {
    let before = &change.before;
    Sentence {
        topic: "connection manager",
        choice: change.field.to_owned(),
        because: match (change.part, &change.after) {
            (Part::Header, _) | (_, None) => format!("it drops the header {before:?}"),
            (Part::Host, Some(after)) => format!("the host {before:?} becomes {after:?}"),
            (Part::Path, Some(after)) => format!("the path {before:?} becomes {after:?}"),
        },
    }
}

/// Why a head is refused, as exactly as the request says.
pub(super) fn bad_request(why: BadRequest, request: &Request) -> String {
    if why != BadRequest::RequestLine {
        return why.to_string();
    }
    let (method, target) = (&request.method, &request.path);
    if !reading::takes_request_line(request, method, method_target(request)) {
        let upper = method.to_ascii_uppercase();
        let mut text = format!("Envoy knows no method {method:?}");
        if reading::takes_request_line(request, &upper, method_target(request)) {
            text.push_str(&format!("; methods are in capitals: {upper}"));
        }
        return text;
    }
    if reading::takes_request_line(request, method, target) {
        return why.to_string();
    }
    if target.is_empty() {
        return "the target is empty".to_owned();
    }
    if let Some(wrong) = target.chars().find(|it| !it.is_ascii_graphic()) {
        let mut bytes = [0; 4];
        let encoded: String = wrong
            .encode_utf8(&mut bytes)
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        return format!("the target {target:?} has {wrong:?}, which has to be sent as {encoded}");
    }
    let starts = target.starts_with('/') || target.contains("://");
    if !starts && method != "CONNECT" {
        return format!(
            "the target {target:?} starts with no slash, and is no URL with its scheme"
        );
    }
    format!("the target {target:?} is none that Envoy's parser takes with {method}")
}

/// A target that any method goes with.
fn method_target(request: &Request) -> &'static str {
    match request.method.eq_ignore_ascii_case("CONNECT") {
        true => "h:1",
        false => "/",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "get",
        "/",
        "Envoy knows no method \"get\"; methods are in capitals: GET"
    )]
    #[case("GOT", "/", "Envoy knows no method \"GOT\"")]
    #[case("connect", "h:1", "methods are in capitals: CONNECT")]
    #[case(
        "GET",
        "/ü",
        "the target \"/ü\" has 'ü', which has to be sent as %C3%BC"
    )]
    #[case("GET", "/a b", "has ' ', which has to be sent as %20")]
    #[case("GET", "foo", "the target \"foo\" starts with no slash")]
    #[case("GET", "", "the target is empty")]
    fn request_lines(#[case] method: &str, #[case] path: &str, #[case] expected: &str) {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Request::default()
        };
        assert!(!reading::takes_request_line(&request, method, path));
        let told = bad_request(BadRequest::RequestLine, &request);
        assert!(told.contains(expected), "{told}");
    }
}
