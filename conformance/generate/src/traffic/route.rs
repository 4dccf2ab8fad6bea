//! What the matchers of a route, its clusters and its hash policies ask of a request.

use serde_json::Value;
use twinmesh_engine::{ClientCertificate, Request};

use super::{list, text};
use crate::Tape;
use crate::matcher::{at, value};
use crate::texts::{
    CLUSTER_HEADER, HEADERS, OVERRIDE_HEADER, PARAMETERS, URI_TEMPLATES, VALUES, around, flip,
    of_regex,
};

pub(super) fn path(matched: &Value, tape: &mut Tape<'_>) -> String {
    let pattern = text(matched, &["safe_regex", "regex"]);
    let template = text(
        matched,
        &["path_match_policy", "typed_config", "path_template"],
    );
    let mut path = if !template.is_empty() {
        of_template(template, tape)
    } else if pattern.is_empty() {
        let kinds = ["prefix", "path", "path_separated_prefix"];
        let of: String = kinds.iter().map(|kind| text(matched, &[kind])).collect();
        around(&of, tape)
    } else {
        of_regex(pattern, tape)
    };
    let end = tape.text(&[
        "", "", "", "", "", "/", "a", "/b", "b", "/A", "//", "/../a", "/..;x/a", "/%%34%31",
    ]);
    if !tape.is_aimed() || (matched.get("prefix").is_some() && !end.contains("/.")) {
        path.push_str(&end);
    }
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    path
}

/// A path at the boundary of one of the templates.
fn of_template(template: &str, tape: &mut Tape<'_>) -> String {
    let known = URI_TEMPLATES.iter().find(|(known, ..)| *known == template);
    let paths = known.map_or(&["/"][..], |(.., paths)| paths);
    let given = tape.text(paths);
    match paths.first() {
        Some(first) if tape.is_aimed() => (*first).to_owned(),
        _ => given,
    }
}

pub(super) fn headers(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    for matcher in list(matched, "headers") {
        let name = text(matcher, &["name"]);
        if name == ":scheme" {
            continue;
        }
        if name == ":method" {
            let inverted = matcher.get("invert_match") == Some(&Value::Bool(true));
            request.method = tape.text(&["POST", "POST", "GET", "PUT", "post"]);
            if tape.is_aimed() {
                request.method = if inverted { "GET" } else { "POST" }.to_owned();
            }
            continue;
        }
        if tape.misses_once_in(8) {
            continue;
        }
        let times = if tape.once_in(8) { 2 } else { 1 };
        for _ in 0..times {
            let name = if tape.once_in(8) {
                flip(name)
            } else {
                name.to_owned()
            };
            if let Some(value) = value(matcher, tape) {
                request.headers.push((name, value));
            }
        }
    }
    if tape.misses_once_in(6) {
        let name = tape.text(HEADERS);
        if !name.starts_with(':') {
            request.headers.push((name, tape.text(VALUES)));
        }
    }
}

/// The header that names a cluster, where the route asks for it.
pub(super) fn named_cluster(route: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let action = route.get("route").unwrap_or(&Value::Null);
    let entries = action.get("weighted_clusters").unwrap_or(&Value::Null);
    let mut asked = list(entries, "clusters").iter().chain([action]);
    if !asked.any(|it| it.get("cluster_header").is_some()) || tape.once_in(8) {
        return;
    }
    for _ in 0..if tape.once_in(8) { 2 } else { 1 } {
        let name = tape.text(&["c0", "c1", "c2", "c2", "c", "C0", "c00", ""]);
        request.headers.push((CLUSTER_HEADER.to_owned(), name));
    }
}

/// What the route's hash policies look at.
pub(super) fn hashed(route: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let action = route.get("route").unwrap_or(&Value::Null);
    for policy in list(action, "hash_policy") {
        let header = text(policy, &["header", "header_name"]);
        if !header.is_empty() && !header.starts_with(':') && !tape.once_in(4) {
            for _ in 0..if tape.once_in(4) { 2 } else { 1 } {
                let value = tape.text(VALUES) + &tape.text(&["", "1", "23", "456-long-enough"]);
                request.headers.push((header.to_owned(), value));
            }
        }
        let cookie = text(policy, &["cookie", "name"]);
        if !cookie.is_empty() && !tape.once_in(4) {
            let before = tape.text(&["", "", "x=1; ", "a;", "b=\"2\" ;", ";"]);
            let value = tape.text(&["1", "2", "\"3\"", "", "\"", "a=b", "4 "]);
            let after = tape.text(&["", "", ";", "; a=9", ";b=8;A=7"]);
            let line = format!("{before}{cookie}={value}{after}");
            request.headers.push(("cookie".to_owned(), line));
        }
        let parameter = text(policy, &["query_parameter", "name"]);
        if !parameter.is_empty() && !request.path.contains('?') && !tape.once_in(4) {
            let value = tape.text(&["=1", "=2", "", "=", "=%31", "=1&a=2"]);
            request.path.push_str(&format!("?{parameter}{value}"));
        }
        if policy.get("connection_properties").is_some() {
            if request.source.is_none() && !tape.once_in(6) {
                let addresses = [
                    "10.0.0.9:1",
                    "[2001:db8::1]:2",
                    "[::ffff:10.0.0.8]:3",
                    "[::1]:4",
                ];
                request.source = tape.text(&addresses).parse().ok();
            }
            if tape.once_in(10) {
                let address = "10.7.7.7".to_owned();
                request
                    .headers
                    .push(("x-forwarded-for".to_owned(), address));
            }
        }
    }
}

/// Whether some cluster of a bootstrap looks at the header that names endpoints.
pub(super) fn asks_for_endpoints(bootstrap: &Value) -> bool {
    let policies = &["load_balancing_policy", "policies"];
    let resources = bootstrap.get("static_resources").unwrap_or(&Value::Null);
    list(resources, "clusters").iter().any(|cluster| {
        let policy = at(cluster, policies).and_then(|policies| policies.get(0));
        let config = policy.and_then(|it| at(it, &["typed_extension_config", "typed_config"]));
        config.is_some_and(|it| it.get("override_host_sources").is_some())
    })
}

/// The header that names endpoints, for a cluster that looks at it.
pub(super) fn named_endpoints(request: &mut Request, tape: &mut Tape<'_>) {
    if !tape.once_in(3) {
        return;
    }
    for _ in 0..if tape.once_in(8) { 2 } else { 1 } {
        let first = [
            "10.9.0.1:80",
            "10.9.0.2:80",
            "10.9.0.4:80",
            "10.9.0.99:80",
            "[fd00::3]:80",
            "[FD00:0:0::2]:80",
            "[::10.9.0.3]:80",
            "",
            "10.9.0.1",
        ];
        let second = ["", "", ",10.9.0.3:80", " , 10.9.0.1:80", ",,"];
        let value = tape.text(&first) + &tape.text(&second);
        request.headers.push((OVERRIDE_HEADER.to_owned(), value));
    }
}

/// What the route asks beside path, headers and query.
pub(super) fn beside(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    if matched.get("grpc").is_some() && !tape.misses_once_in(6) {
        let given = tape.text(&[
            "application/grpc",
            "application/grpc+a",
            "application/grpc-web",
            "application/grpc+",
            "Application/grpc",
        ]);
        let value = if tape.is_aimed() {
            "application/grpc".to_owned()
        } else {
            given
        };
        request.headers.push(("content-type".to_owned(), value));
    }
    for matcher in list(matched, "cookies") {
        if tape.misses_once_in(6) {
            continue;
        }
        let Some(value) = value(matcher, tape) else {
            continue;
        };
        let name = text(matcher, &["name"]);
        let before = tape.text(&["", "", "", "x=1; ", ";"]);
        let line = match tape.below(8) {
            0 => format!("{before}{name}=\"{value}\""),
            1 => format!("{before}{name}={value}; {name}=b"),
            2 => format!("{before}{name} ={value}"),
            _ => format!("{before}{name}={value}"),
        };
        let line = if tape.is_aimed() {
            format!("{name}={value}")
        } else {
            line
        };
        request.headers.push(("cookie".to_owned(), line));
    }
    if matched.get("tls_context").is_some() || tape.once_in(20) {
        request.client_certificate = match tape.below(4) {
            0 => Some(ClientCertificate::Presented),
            1 => Some(ClientCertificate::Validated),
            _ => None,
        };
        if tape.once_in(2) {
            request.tls.get_or_insert(true);
        }
    }
}

pub(super) fn query(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let mut pairs = Vec::new();
    for matcher in list(matched, "query_parameters") {
        if tape.misses_once_in(8) {
            continue;
        }
        let times = if tape.once_in(8) { 2 } else { 1 };
        for _ in 0..times {
            let name = text(matcher, &["name"]);
            let name = if tape.misses_once_in(10) {
                around(name, tape)
            } else {
                name.to_owned()
            };
            match value(matcher, tape) {
                // A tab or a space would end the target.
                Some(value) => pairs.push(format!("{name}={}", value.replace([' ', '\t'], "+"))),
                None if tape.once_in(2) => pairs.push(name),
                None => (),
            }
        }
    }
    if tape.once_in(8) {
        pairs.push(tape.text(PARAMETERS) + &tape.text(&["=a", "", "=", "=a=b", "=%61", ";a=b"]));
    }
    if !pairs.is_empty() {
        let separator = if tape.once_in(10) { "&&" } else { "&" };
        let first = if request.path.contains('?') { '&' } else { '?' };
        request.path.push(first);
        request.path.push_str(&pairs.join(separator));
    } else if tape.once_in(12) {
        request
            .path
            .push_str(&tape.text(&["?", "??", "?&", "?=", "?a?b"]));
    }
}

/// A random number: at the edges of the weighted clusters' intervals, or any.
pub(super) fn random(route: &Value, tape: &mut Tape<'_>) -> u64 {
    let clusters = at(route, &["route", "weighted_clusters"]).unwrap_or(&Value::Null);
    let weight = |entry: &Value| entry.get("weight").and_then(Value::as_u64).unwrap_or(0);
    let mut total: u64 = list(clusters, "clusters").iter().map(weight).sum();
    let fraction = &["match", "runtime_fraction", "default_value", "numerator"];
    if let Some(numerator) = at(route, fraction).and_then(Value::as_u64)
        && tape.once_in(2)
    {
        total = numerator;
    }
    let bits = tape.bits();
    let edge = (tape.below(16) as u64).checked_rem(total + 1).unwrap_or(0);
    match tape.below(6) {
        0 | 1 => edge,
        2 => u64::MAX - edge,
        3 => total.saturating_mul(bits >> 8) | edge,
        _ => bits,
    }
}
