//! Requests that stand on the boundaries of a bootstrap's matchers.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use twinmesh_engine::{ClientCertificate, Request};

use crate::listener::{PORTS, RANGES};
use crate::matcher::value;
use crate::texts::{
    CLUSTER_HEADER, HEADERS, PARAMETERS, URI_TEMPLATES, VALUES, around, flip, of_regex,
};
use crate::{Tape, malformed, matcher_tree, upgrade};

/// Of so many requests one asks for an upgrade.
const UPGRADES: usize = 25;

/// One request for each tape, each aimed at a route of the bootstrap, at or right beside what the
/// route's matchers take. Times grow, and some requests last.
pub fn requests(bootstrap: &Value, tapes: &[Vec<u16>]) -> Vec<Request> {
    let mut now = 0;
    tapes
        .iter()
        .enumerate()
        .map(|(index, choices)| {
            let mut tape = Tape::new(choices);
            let aim = Aim::of(&mut tape);
            let mut request = aimed(bootstrap, aim, &mut tape);
            request.id = format!("r{index}");
            now += [0, 1, 10][tape.below(3)];
            request.time_us = Some(now);
            request.duration_us = [0, 5, 20, 100][tape.below(4)];
            if aim == Aim::Anywhere && tape.once_in(2) {
                malformed::spoil(&mut request, &mut tape);
            }
            if index % UPGRADES == UPGRADES - 1 {
                upgrade::ask(&mut request, &mut tape);
            }
            request
        })
        .collect()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, pointer: &str) -> &'a str {
    of.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// A request that says nothing but its method.
pub fn plain(tape: &mut Tape<'_>) -> Request {
    Request {
        id: String::new(),
        method: tape.text(&["GET", "GET", "POST"]),
        scheme: "http".to_owned(),
        authority: None,
        path: "/".to_owned(),
        headers: Vec::new(),
        source: None,
        destination: None,
        listener: None,
        route_config: None,
        sni: None,
        alpn: None,
        tls: None,
        client_certificate: None,
        random: None,
        time_us: None,
        duration_us: 0,
        connection: None,
    }
}

/// What of a request may miss the route that it is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Nothing: it hits on every matcher.
    At,
    /// One part: it hits but for that.
    Beside(Part),
    /// Everything.
    Anywhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Headers,
    Query,
    Path,
    Authority,
    Connection,
}

impl Aim {
    fn of(tape: &mut Tape<'_>) -> Self {
        let parts = [
            Part::Headers,
            Part::Headers,
            Part::Query,
            Part::Path,
            Part::Authority,
            Part::Connection,
        ];
        let part = tape.pick(&parts).copied().unwrap_or(Part::Headers);
        match tape.below(8) {
            0..=4 => Self::At,
            5 | 6 => Self::Beside(part),
            _ => Self::Anywhere,
        }
    }

    fn hits(self, part: Part) -> bool {
        match self {
            Self::At => true,
            Self::Beside(other) => other != part,
            Self::Anywhere => false,
        }
    }
}

fn aimed(bootstrap: &Value, aim: Aim, tape: &mut Tape<'_>) -> Request {
    let mut request = plain(tape);
    let none = Value::Null;
    let listeners = bootstrap.pointer("/static_resources").unwrap_or(&none);
    let listener = tape.pick(list(listeners, "listeners")).unwrap_or(&none);
    let mut chains: Vec<&Value> = list(listener, "filter_chains").iter().collect();
    chains.extend(listener.get("default_filter_chain"));
    let chain = tape.pick(&chains).copied().unwrap_or(&none);
    tape.aim(aim.hits(Part::Connection));
    connection(listener, chain, &mut request, tape);
    let configuration = chain.pointer("/filters/0/typed_config/route_config");
    let configuration = configuration.unwrap_or(&none);
    let host = tape
        .pick(list(configuration, "virtual_hosts"))
        .unwrap_or(&none);
    let domain = tape.pick(list(host, "domains")).and_then(Value::as_str);
    tape.aim(aim.hits(Part::Authority));
    request.authority = Some(authority(domain.unwrap_or("*"), tape));
    let mut matcher = host.get("matcher").cloned();
    let in_tree: Vec<Value> = matcher
        .as_mut()
        .map(|matcher| {
            matcher_tree::places(matcher)
                .into_iter()
                .map(|it| it.clone())
                .collect()
        })
        .unwrap_or_default();
    let routes = match matcher {
        Some(_) => in_tree.as_slice(),
        None => list(host, "routes"),
    };
    let route = tape.pick(routes).unwrap_or(&none);
    let matched = route.get("match").unwrap_or(&none);
    tape.aim(aim.hits(Part::Path));
    request.path = path(matched, tape);
    tape.aim(aim.hits(Part::Headers));
    headers(matched, &mut request, tape);
    named_cluster(route, &mut request, tape);
    hashed(route, &mut request, tape);
    beside(matched, &mut request, tape);
    tape.aim(aim.hits(Part::Query));
    query(matched, &mut request, tape);
    request.random = Some(random(route, tape));
    filtered(chain, &mut request, tape);
    secured(host, &mut request, tape);
    if let Some(matcher) = host.get("matcher") {
        tape.aim(aim.hits(Part::Headers));
        descend(matcher, &mut request, tape);
    }
    request
}

/// What gets the request some way down a matcher tree.
fn descend(matcher: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    for (name, value) in matcher_tree::descend(matcher, tape) {
        match name.as_str() {
            ":path" if value.starts_with('/') => request.path = value,
            ":method" => request.method = "POST".to_owned(),
            name if name.starts_with(':') => {}
            name => {
                // Several lines of one header are decided by `spec` alone.
                if !tape.once_in(20) {
                    request
                        .headers
                        .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                }
                request.headers.push((name.to_owned(), value));
            }
        }
    }
}

/// What a virtual host looks at that requires TLS.
fn secured(host: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    if host.get("require_tls").is_none() {
        return;
    }
    let mut add = |name: &str, values: &[&str]| {
        let value = tape.text(values);
        if value != "-" {
            request.headers.push((name.to_owned(), value));
        }
        tape.once_in(3)
    };
    let by_source = add("x-forwarded-proto", &["https", "-", "-", "http", "HTTPS"]);
    let said = [
        "10.0.0.5",
        "-",
        "-",
        "11.0.0.5",
        "fd00::1",
        "10.1.0.1, 10.0.0.5",
        " 10.1.0.1 ",
        "",
    ];
    add("x-forwarded-for", &said);
    if by_source {
        request.source = tape
            .text(&["10.1.0.9:7", "11.0.0.9:7", "[fd00::9]:7"])
            .parse()
            .ok();
    }
}

/// An address within one of the ranges, or right beside it.
fn address(ranges: &[Value], tape: &mut Tape<'_>) -> IpAddr {
    let range = tape.pick(ranges);
    let base = match range.map(|range| text(range, "/address_prefix")) {
        Some(base) if !tape.misses_once_in(4) => base,
        _ => tape.pick(RANGES).map_or("10.0.0.0", |(base, _)| base),
    };
    let mut step = tape.below(4);
    if tape.is_aimed() && range.is_some() {
        step = 0;
    }
    match base.parse() {
        Ok(IpAddr::V4(base)) => {
            let bits = match step {
                2 => base.to_bits().wrapping_sub(1),
                step => base.to_bits().wrapping_add(step as u32),
            };
            IpAddr::V4(bits.into())
        }
        Ok(IpAddr::V6(base)) => IpAddr::V6(base.to_bits().wrapping_add(step as u128).into()),
        Err(_) => IpAddr::V4([10, 0, 0, 1].into()),
    }
}

fn connection(listener: &Value, chain: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let none = Value::Null;
    let matched = chain.get("filter_chain_match").unwrap_or(&none);
    let port = |port: Option<&Value>| {
        let port = port.and_then(Value::as_u64);
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or(80)
    };
    let bound = port(listener.pointer("/address/socket_address/port_value"));
    if tape.is_aimed() || !tape.once_in(4) {
        request.listener = Some(text(listener, "/name").to_owned());
    }
    let asks = ["prefix_ranges", "destination_port"].map(|name| matched.get(name).is_some());
    if request.listener.is_none() || tape.once_in(3) || asks.contains(&true) {
        let mut to = matched
            .get("destination_port")
            .map_or(bound, |it| port(Some(it)));
        if tape.misses_once_in(6) {
            to = tape.pick(PORTS).map_or(to, |port| *port as u16);
        }
        let own = text(listener, "/address/socket_address/address").parse();
        let to_own = request.listener.is_none() && tape.below(3) != 0;
        let ip = match own {
            Ok(own) if to_own => own,
            _ => address(list(matched, "prefix_ranges"), tape),
        };
        request.destination = Some(SocketAddr::new(ip, to));
    }
    let sources = [
        list(matched, "source_prefix_ranges"),
        list(matched, "direct_source_prefix_ranges"),
    ]
    .concat();
    let kind = text(matched, "/source_type");
    let ports = list(matched, "source_ports");
    if !sources.is_empty() || !kind.is_empty() || !ports.is_empty() || tape.once_in(3) {
        let choice = tape.below(8);
        let ip = match choice {
            _ if tape.is_aimed() && kind == "SAME_IP_OR_LOOPBACK" => IpAddr::from([127, 0, 0, 1]),
            _ if tape.is_aimed() => address(&sources, tape),
            6 => request
                .destination
                .map_or(IpAddr::from([127, 0, 0, 1]), |to| to.ip()),
            7 => IpAddr::from([127, 0, 0, 1]),
            _ => address(&sources, tape),
        };
        let mut port = [1000, 1001, 999][tape.below(3)];
        if let (true, Some(asked)) = (tape.is_aimed(), ports.first().and_then(Value::as_u64)) {
            port = asked as u16;
        }
        request.source = Some(SocketAddr::new(ip, port));
    }
    let name = tape
        .pick(list(matched, "server_names"))
        .and_then(Value::as_str);
    if let Some(name) = name.or(if tape.misses_once_in(8) {
        Some("*.a.com")
    } else {
        None
    }) {
        let name = name.replacen('*', &tape.text(&["x", "b", "x.b", ""]), 1);
        let choice = tape.below(5);
        request.sni = match choice {
            _ if tape.is_aimed() => Some(name),
            3 => Some(flip(&name)),
            4 => None,
            _ => Some(name),
        };
    }
    let protocols = list(matched, "application_protocols");
    if !protocols.is_empty() || tape.misses_once_in(8) {
        let given = tape.text(&["h2", "http/1.1", "h2,http/1.1", "http/1.1,h2", "h3"]);
        let asked = tape.pick(protocols).and_then(Value::as_str);
        request.alpn = Some(match asked {
            Some(asked) if tape.is_aimed() => asked.to_owned(),
            _ => given,
        });
    }
    let transport = text(matched, "/transport_protocol");
    if !transport.is_empty() || tape.misses_once_in(10) {
        let tls = tape.below(2) == 0;
        request.tls = Some(if tape.is_aimed() {
            transport == "tls"
        } else {
            tls
        });
    }
}

fn authority(domain: &str, tape: &mut Tape<'_>) -> String {
    let mut host = match domain {
        "*" => tape.text(&[
            "other.com",
            "a.com",
            "b.a.com",
            "x.b.a.com",
            "a.org",
            "xa.com",
        ]),
        _ => domain.replacen(
            '*',
            &tape.text(&["b", "x.b", "80", "com", "x.", "a", ""]),
            1,
        ),
    };
    let choice = tape.below(12);
    if tape.is_aimed() {
        return host;
    }
    match choice {
        6 => host = flip(&host),
        7 => host.push_str(":80"),
        8 => host.push_str(":81"),
        9 => host.push('.'),
        10 => host = around(&host, tape),
        11 => host.push_str(&tape.text(&[":", ".:80", ":080", ":8080", ":0", "..", ":65536"])),
        _ => (),
    }
    host
}

fn path(matched: &Value, tape: &mut Tape<'_>) -> String {
    let pattern = text(matched, "/safe_regex/regex");
    let template = text(matched, "/path_match_policy/typed_config/path_template");
    let mut path = if !template.is_empty() {
        of_template(template, tape)
    } else if pattern.is_empty() {
        let kinds = ["/prefix", "/path", "/path_separated_prefix"];
        let of: String = kinds.iter().map(|kind| text(matched, kind)).collect();
        around(&of, tape)
    } else {
        of_regex(pattern, tape)
    };
    let end = tape.text(&["", "", "", "", "", "/", "a", "/b", "b", "/A", "//", "/../a"]);
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

fn headers(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    for matcher in list(matched, "headers") {
        let name = text(matcher, "/name");
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
fn named_cluster(route: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let action = route.get("route").unwrap_or(&Value::Null);
    let entries = action.pointer("/weighted_clusters").unwrap_or(&Value::Null);
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
fn hashed(route: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let action = route.get("route").unwrap_or(&Value::Null);
    for policy in list(action, "hash_policy") {
        let header = text(policy, "/header/header_name");
        if !header.is_empty() && !header.starts_with(':') && !tape.once_in(4) {
            for _ in 0..if tape.once_in(4) { 2 } else { 1 } {
                let value = tape.text(VALUES) + &tape.text(&["", "1", "23", "456-long-enough"]);
                request.headers.push((header.to_owned(), value));
            }
        }
        let cookie = text(policy, "/cookie/name");
        if !cookie.is_empty() && !tape.once_in(4) {
            let before = tape.text(&["", "", "x=1; ", "a;", "b=\"2\" ;", ";"]);
            let value = tape.text(&["1", "2", "\"3\"", "", "\"", "a=b", "4 "]);
            let after = tape.text(&["", "", ";", "; a=9", ";b=8;A=7"]);
            let line = format!("{before}{cookie}={value}{after}");
            request.headers.push(("cookie".to_owned(), line));
        }
        let parameter = text(policy, "/query_parameter/name");
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

/// What the route asks beside path, headers and query.
fn beside(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
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
        let name = text(matcher, "/name");
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

/// What the HTTP filters of the chain look at.
fn filtered(chain: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let manager = chain.pointer("/filters/0/typed_config");
    let filters = list(manager.unwrap_or(&Value::Null), "http_filters");
    // The router is one of them.
    if filters.len() < 2 {
        return;
    }
    let mut add = |name: &str, value: String| {
        request.headers.push((name.to_owned(), value));
    };
    if tape.once_in(3) {
        let values = [
            "10.0.0.1",
            "10.1.0.1",
            "x",
            "10.1.0.1, 127.0.0.1",
            "fd00::1,",
            "",
        ];
        add("x-forwarded-for", tape.text(&values));
    }
    for (name, values) in [
        ("x-envoy-fault-abort-request", ["503", "200", "x", "600"]),
        (
            "x-envoy-fault-abort-request-percentage",
            ["0", "100", "20", "x"],
        ),
        ("x-envoy-fault-abort-grpc-request", ["5", "x", "0", "14"]),
        ("x-envoy-fault-delay-request", ["1", "0", "x", "+20"]),
        (
            "x-envoy-fault-delay-request-percentage",
            ["0", "100", "70", ""],
        ),
    ] {
        if tape.once_in(4) {
            add(name, tape.text(&values));
        }
    }
    if tape.once_in(3) {
        for (name, values) in [
            ("origin", VALUES),
            ("access-control-request-method", &["GET", "GET", ""][..]),
        ] {
            if !tape.once_in(6) {
                request.headers.push((name.to_owned(), tape.text(values)));
            }
        }
        request.method = tape.text(&["OPTIONS", "OPTIONS", "OPTIONS", "GET", "options"]);
    }
    if request.source.is_none() && tape.once_in(2) {
        request.source = Some(SocketAddr::new(address(&[], tape), 1000));
    }
}

fn query(matched: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    let mut pairs = Vec::new();
    for matcher in list(matched, "query_parameters") {
        if tape.misses_once_in(8) {
            continue;
        }
        let times = if tape.once_in(8) { 2 } else { 1 };
        for _ in 0..times {
            let name = text(matcher, "/name");
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
fn random(route: &Value, tape: &mut Tape<'_>) -> u64 {
    let clusters = route
        .pointer("/route/weighted_clusters")
        .unwrap_or(&Value::Null);
    let weight = |entry: &Value| entry.get("weight").and_then(Value::as_u64).unwrap_or(0);
    let mut total: u64 = list(clusters, "clusters").iter().map(weight).sum();
    let fraction = "/match/runtime_fraction/default_value/numerator";
    if let Some(numerator) = route.pointer(fraction).and_then(Value::as_u64)
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
