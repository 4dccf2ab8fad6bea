//! Requests that changed fields ask about and that the generated traffic has no reason to make: what
//! filters match, other writings of a path or an authority, values that are hashed, listeners by their
//! addresses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use twinmesh_engine::Request;
use twinmesh_xds::Snapshot;

use super::changes::{Change, Changes, Part, Side, What};
use super::values;
use crate::generate::{self, Alike};

/// How many requests on the way of a change are varied.
pub(super) const BASES: usize = 3;
/// How many requests are made of each of them for one part.
const MOST: usize = 96;
/// Of a network for documentation (RFC 5737).
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// Values of what is hashed.
const HASHED: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// Headers that say something of a matcher.
const MATCHES: [&str; 8] = [
    "string_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
    "safe_regex_match",
    "present_match",
    "range_match",
];

/// One thing about a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Variation {
    Path(String),
    Method(String),
    Authority(String),
    Header(String, String),
    Parameter(String, String),
    Source(IpAddr),
    DestinationPort(u16),
    ServerName(String),
    Address(SocketAddr),
}

/// The changed fields of a part, and requests that come its way.
type Asked<'a> = (BTreeSet<&'a str>, Vec<&'a Request>);

/// Requests for changes, each made from one on its way.
pub(super) fn of(
    changes: &Changes,
    (first, second): (&Snapshot, &Snapshot),
    bases: &BTreeMap<usize, Vec<Request>>,
    known: &[Request],
) -> Vec<Request> {
    let mut seen: HashSet<Alike<'_>> = known.iter().map(Alike::of).collect();
    let mut parts: BTreeMap<Vec<(Side, Part)>, Asked<'_>> = BTreeMap::new();
    for (index, requests) in bases {
        let Some(change) = changes.all.get(*index) else {
            continue;
        };
        if !change.may_decide() || !is_conditional(change) {
            continue;
        }
        let (fields, own) = parts.entry(change.parts.clone()).or_default();
        fields.insert(change.field.as_str());
        if own.is_empty() {
            own.extend(requests);
        }
    }
    let mut out = Vec::new();
    for (parts, (fields, requests)) in parts {
        let variations = variations(&parts, &fields, first, second);
        let ports = ports(&parts, first, second);
        for base in requests {
            let own = writings(base, &fields, &ports);
            let all = variations.iter().chain(&own);
            for variation in all.take(MOST) {
                let mut request = base.clone();
                for part in variation {
                    vary(&mut request, part);
                }
                if seen.insert(Alike(Cow::Owned(request.clone()))) {
                    request.id = format!("{}, varied for a change ({})", base.id, out.len() + 1);
                    out.push(request);
                }
            }
        }
    }
    out
}

/// Fields of a virtual host or a route that act on every request that comes their way, or on whose
/// both sides the generated traffic stands.
const PLAIN: [&str; 18] = [
    "name",
    "domains",
    "match",
    "direct_response",
    "route.cluster",
    "route.weighted_clusters",
    "route.prefix_rewrite",
    "route.host_rewrite_literal",
    "route.request_mirror_policies",
    "request_mirror_policies",
    "redirect.path_redirect",
    "redirect.prefix_rewrite",
    "redirect.host_redirect",
    "redirect.port_redirect",
    "redirect.response_code",
    "redirect.scheme_redirect",
    "request_headers_to_add",
    "response_headers_to_add",
];

/// Whether the field is one of these, or within one.
fn is_within(field: &str, names: &[&str]) -> bool {
    names.iter().any(|name| {
        let rest = field.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Whether what a change does depends on more than that a request comes its way.
pub(super) fn is_conditional(change: &Change) -> bool {
    let field = change.field.as_str();
    if field.is_empty() {
        return false;
    }
    // Shares of the requests, and texts that are made of a request.
    let depends = |value: &Value| {
        let text = value.to_string();
        text.contains("runtime_fraction") || text.contains('%')
    };
    if let What::Field(before, after) = &change.what
        && (field.contains("runtime_fraction") || before.iter().chain(after).any(depends))
    {
        return true;
    }
    match change.parts.first() {
        Some((_, Part::FilterChain(..))) => {
            let below = field.split_once(".typed_config.").map_or("", |it| it.1);
            let names = ["rds", "route_config", "cluster"];
            !is_within(field, &["filter_chain_match", "name"]) && !is_within(below, &names)
        }
        Some((_, Part::VirtualHost(..) | Part::Route(..))) => {
            // What is done with a header that the request has already.
            let of_present = field.contains("append") || field.contains("keep_empty_value");
            of_present || !is_within(field, &PLAIN)
        }
        Some((_, Part::Cluster(_))) => {
            !is_within(field, &["load_assignment", "lb_policy", "type", "name"])
        }
        // Requests that name their listener do not ask for its address.
        Some((_, Part::Bootstrap | Part::Listener(_) | Part::Configuration(_))) => field != "name",
        None => false,
    }
}

/// What the part's matchers on either side ask about, each by itself, and all of a policy together.
fn variations(
    parts: &[(Side, Part)],
    fields: &BTreeSet<&str>,
    first: &Snapshot,
    second: &Snapshot,
) -> Vec<Vec<Variation>> {
    let mut found = BTreeSet::new();
    for (side, part) in parts {
        let snapshot = match side {
            Side::First => first,
            Side::Second => second,
        };
        if let Part::Listener(index) = part {
            let listener = snapshot.listeners.get(*index);
            if fields.iter().any(|field| field.contains("address"))
                && let Some(listener) = listener
            {
                addresses(&values::listener(listener), &mut found);
            }
        }
        if let Some(value) = value(snapshot, *part) {
            walk(&value, &mut found);
        }
    }
    found.into_iter().collect()
}

/// The ports of the listeners that the parts are of.
fn ports(parts: &[(Side, Part)], first: &Snapshot, second: &Snapshot) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    for (side, part) in parts {
        let snapshot = match side {
            Side::First => first,
            Side::Second => second,
        };
        if let Part::Listener(index) | Part::FilterChain(index, _) = part
            && let Some(listener) = snapshot.listeners.get(*index)
        {
            addresses(&values::listener(listener), &mut found);
        }
    }
    let port = |variation: &Variation| match variation {
        Variation::Address(address) => Some(address.port()),
        _ => None,
    };
    found.iter().flatten().filter_map(port).collect()
}

fn value(snapshot: &Snapshot, part: Part) -> Option<Value> {
    let host = |configuration: usize, host: usize| {
        let found = snapshot.route_configurations.get(configuration)?;
        found.config.virtual_hosts.get(host)
    };
    Some(match part {
        Part::FilterChain(listener, chain) => {
            let listener = snapshot.listeners.get(listener)?;
            let chain = match chain {
                Some(index) => listener.filter_chains.get(index),
                None => listener.default_filter_chain.as_ref(),
            };
            values::filter_chain(chain?)
        }
        Part::Configuration(index) => {
            values::configuration(&snapshot.route_configurations.get(index)?.config)
        }
        Part::VirtualHost(configuration, at) => values::virtual_host(host(configuration, at)?),
        Part::Route(configuration, at, route) => {
            values::route(host(configuration, at)?.routes.get(route)?)
        }
        Part::Bootstrap | Part::Listener(_) | Part::Cluster(_) => return None,
    })
}

fn addresses(listener: &Value, found: &mut BTreeSet<Vec<Variation>>) {
    let own = listener.get("address").into_iter();
    let more = listener.get("additional_addresses");
    let more = more.and_then(Value::as_array).into_iter().flatten();
    let more = more.filter_map(|it| it.get("address"));
    for address in own.chain(more) {
        let Some(socket) = address.get("socket_address") else {
            continue;
        };
        let ip = socket.get("address").and_then(Value::as_str);
        let ip: Option<IpAddr> = ip.and_then(|ip| ip.parse().ok());
        let port = socket.get("port_value").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        if let (Some(ip), Some(port)) = (ip, port) {
            let ip = if ip.is_unspecified() && ip.is_ipv4() {
                ELSEWHERE
            } else {
                ip
            };
            found.insert(vec![Variation::Address(SocketAddr::new(ip, port))]);
        }
    }
}

fn walk(value: &Value, found: &mut BTreeSet<Vec<Variation>>) {
    match value {
        Value::Array(all) => all.iter().for_each(|it| walk(it, found)),
        Value::Object(members) => {
            for samples in asked(value) {
                found.extend(samples.into_iter().map(|sample| vec![sample]));
            }
            if members.contains_key("permissions") || members.contains_key("headers") {
                let mut together = Vec::new();
                gather(value, &mut together);
                if together.len() > 1 {
                    found.insert(together);
                }
            }
            members.values().for_each(|it| walk(it, found));
        }
        _ => {}
    }
}

/// The first sample of all that is asked below.
fn gather(value: &Value, together: &mut Vec<Variation>) {
    match value {
        Value::Array(all) => all.iter().for_each(|it| gather(it, together)),
        Value::Object(members) => {
            let samples = asked(value).into_iter();
            together.extend(samples.filter_map(|samples| samples.into_iter().next()));
            members.values().for_each(|it| gather(it, together));
        }
        _ => {}
    }
}

/// What an object by itself asks about, with samples of each.
fn asked(value: &Value) -> Vec<Vec<Variation>> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let mut all = Vec::new();
    if let Some(name) = text("/name")
        && let Some(kind) = MATCHES.iter().find(|kind| value.get(**kind).is_some())
    {
        let samples = match value.get(*kind) {
            Some(it @ Value::Object(_)) if *kind == "string_match" => texts(it),
            Some(it @ Value::Object(_)) if *kind == "safe_regex_match" => regex(it),
            Some(it @ Value::Object(_)) => {
                let start = it.get("start").map(Value::to_string);
                start
                    .map(|start| start.trim_matches('"').to_owned())
                    .into_iter()
                    .collect()
            }
            Some(Value::String(text)) => vec![text.clone(), format!("{text}x")],
            _ => vec!["1".to_owned()],
        };
        let of_header = |sample: String| match name.to_ascii_lowercase().as_str() {
            ":path" => Variation::Path(sample),
            ":method" => Variation::Method(sample),
            ":authority" | "host" => Variation::Authority(sample),
            name => Variation::Header(name.to_owned(), sample),
        };
        let header = name.to_ascii_lowercase();
        let is_pseudo = header.starts_with(':');
        if !is_pseudo || [":path", ":method", ":authority"].contains(&header.as_str()) {
            all.push(samples.into_iter().map(of_header).collect());
        }
    }
    if let Some(path) = value.pointer("/url_path/path") {
        all.push(texts(path).into_iter().map(Variation::Path).collect());
    }
    if let Some(name) = value.get("requested_server_name") {
        all.push(texts(name).into_iter().map(Variation::ServerName).collect());
    }
    if let Some(origins) = value
        .get("allow_origin_string_match")
        .and_then(Value::as_array)
    {
        let origin = |sample| Variation::Header("origin".to_owned(), sample);
        all.push(origins.iter().flat_map(texts).map(origin).collect());
        all.push(vec![Variation::Method("OPTIONS".to_owned())]);
        let asked = Variation::Header("access-control-request-method".to_owned(), "GET".to_owned());
        all.push(vec![asked]);
    }
    let hashed = |make: &dyn Fn(&str) -> Variation| HASHED.iter().map(|it| make(it)).collect();
    if let Some(name) = text("/header/header_name") {
        let name = name.to_ascii_lowercase();
        all.push(hashed(&|it| Variation::Header(name.clone(), it.to_owned())));
    }
    if let Some(name) = text("/cookie/name") {
        all.push(hashed(&|it| {
            Variation::Header("cookie".to_owned(), format!("{name}={it}"))
        }));
    }
    if let Some(name) = text("/query_parameter/name") {
        all.push(hashed(&|it| {
            Variation::Parameter(name.to_owned(), it.to_owned())
        }));
    }
    if value.pointer("/connection_properties/source_ip").is_some() {
        let last = 1..=8;
        let of = |last| Variation::Source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        all.push(last.map(of).collect());
    }
    if let Some(prefix) = text("/address_prefix")
        && let Ok(ip) = prefix.parse()
    {
        all.push(vec![Variation::Source(ip)]);
    }
    if let Some(port) = value.get("destination_port").and_then(Value::as_u64)
        && let Ok(port) = u16::try_from(port)
    {
        all.push(vec![Variation::DestinationPort(port)]);
    }
    for field in ["/host_rewrite_header", "/cluster_header"] {
        if let Some(name) = text(field) {
            let name = name.to_ascii_lowercase();
            all.push(vec![Variation::Header(name, "other.test".to_owned())]);
        }
    }
    if let Some(key) = text("/header/key") {
        let key = key.to_ascii_lowercase();
        all.push(vec![Variation::Header(key, "present".to_owned())]);
    }
    if value.get("strip_query").is_some() {
        all.push(vec![Variation::Parameter("q".to_owned(), "1".to_owned())]);
    }
    if let Some(kind) = text("/upgrade_type") {
        let upgrade =
            |name: &str, value: &str| Variation::Header(name.to_owned(), value.to_owned());
        all.push(vec![upgrade("upgrade", kind)]);
    }
    all
}

/// Texts that a `StringMatcher` takes, as far as they are easily made.
fn texts(matcher: &Value) -> Vec<String> {
    let text = |field: &str| matcher.get(field).and_then(Value::as_str);
    let mut all = Vec::new();
    all.extend(text("exact").map(str::to_owned));
    if let Some(prefix) = text("prefix") {
        all.extend([prefix.to_owned(), format!("{prefix}x")]);
    }
    all.extend(text("suffix").map(|it| format!("/{it}")));
    all.extend(text("suffix").map(str::to_owned));
    all.extend(text("contains").map(str::to_owned));
    if let Some(pattern) = matcher.get("safe_regex") {
        all.extend(regex(pattern));
    }
    all
}

fn regex(pattern: &Value) -> Vec<String> {
    let pattern = pattern.get("regex").and_then(Value::as_str);
    pattern.map(generate::matching).unwrap_or_default()
}

/// Other writings of what a request has, where what changed may tell them apart.
fn writings(base: &Request, fields: &BTreeSet<&str>, ports: &BTreeSet<u16>) -> Vec<Vec<Variation>> {
    let has = |name: &str| fields.iter().any(|field| field.contains(name));
    let mut all = Vec::new();
    let path = base.path.split('?').next().unwrap_or("/");
    if has("normalize_path")
        || has("slashes")
        || has("path_normalization_options")
        || has("ignore_path_parameters_in_path_matching")
    {
        let (start, end) = path.rsplit_once('/').unwrap_or(("", ""));
        let more = [
            format!("/x/..{path}"),
            format!("/{path}"),
            format!("{start}//{end}"),
            format!("{start}/./{end}"),
            format!("{start}%2F{end}"),
            format!("{start}%2f{end}"),
            format!("{start}%5C{end}"),
            format!("{path}/"),
            format!("{path}/.."),
            format!("{path};a=b"),
            format!("{path}%61"),
        ];
        all.extend(more.map(|path| vec![Variation::Path(path)]));
    }
    if has("ignore_port_in_host_matching") || has("strip_") {
        let host = base.authority.as_deref().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        for port in [80, 81, 443] {
            all.push(vec![Variation::Authority(format!("{host}:{port}"))]);
        }
        for port in ports {
            all.push(vec![
                Variation::Authority(format!("{host}:{port}")),
                Variation::DestinationPort(*port),
            ]);
        }
        all.push(vec![Variation::Authority(format!("{host}."))]);
    }
    if has("headers_with_underscores_action") || has("common_http_protocol_options") {
        all.push(vec![Variation::Header("a_b".to_owned(), "1".to_owned())]);
    }
    all
}

fn vary(request: &mut Request, variation: &Variation) {
    let set = |headers: &mut Vec<(String, String)>, name: &str, value: &str| {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value.to_owned()));
    };
    match variation {
        Variation::Path(path) if path.starts_with('/') => request.path.clone_from(path),
        Variation::Path(path) => request.path = format!("/{path}"),
        Variation::Method(method) => request.method.clone_from(method),
        Variation::Authority(authority) => request.authority = Some(authority.clone()),
        Variation::Header(name, value) => {
            set(&mut request.headers, name, value);
            if name == "upgrade" {
                set(&mut request.headers, "connection", "upgrade");
            }
        }
        Variation::Parameter(name, value) => {
            let mark = if request.path.contains('?') { '&' } else { '?' };
            request.path.push_str(&format!("{mark}{name}={value}"));
        }
        Variation::Source(ip) => {
            let port = request.source.map_or(40_000, |it| it.port());
            request.source = Some(SocketAddr::new(*ip, port));
        }
        Variation::DestinationPort(port) => {
            let ip = request.destination.map_or(ELSEWHERE, |it| it.ip());
            request.destination = Some(SocketAddr::new(ip, *port));
        }
        Variation::ServerName(name) => {
            request.sni = Some(name.clone());
            request.tls = Some(true);
        }
        Variation::Address(address) => {
            request.listener = None;
            request.destination = Some(*address);
        }
    }
}
