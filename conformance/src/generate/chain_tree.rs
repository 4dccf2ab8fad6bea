//! Connections that a listener's matcher tree leads to a filter chain, and those right beside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher,
    matcher::{
        MatcherType, OnMatch,
        matcher_list::{
            Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate},
        },
        matcher_tree::TreeType,
        on_match,
    },
    string_matcher::MatchPattern,
};
use prost::Message as _;
use twinmesh_engine::Request;
use twinmesh_xds::Listener;
use twinmesh_xds::rbac_matcher::IpMatcher;

use super::connections::{Connection, boundaries, inside, plain};
use super::sample;

/// Where a connection goes and comes from where nothing is asked of it.
const DESTINATION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 0, 1)), 80);
const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);

/// What a connection is to have, on the way down a tree.
#[derive(Debug, Clone, Default)]
struct Hints {
    destination: Option<IpAddr>,
    destination_port: Option<u16>,
    source: Option<IpAddr>,
    source_port: Option<u16>,
    server_name: Option<String>,
    protocols: Option<String>,
    tls: Option<bool>,
    local: bool,
}

/// Connections that the chain of this name may take, or none that a name leads to: the likeliest first.
/// `None` is the default chain.
pub(super) fn to_chain(listener: &Listener, matcher: &Matcher, name: Option<&str>) -> Vec<Request> {
    let mut leads = Vec::new();
    in_matcher(matcher, &Hints::default(), &mut leads);
    let mut found: Vec<Request> = Vec::new();
    let mut add = |hints: &Hints| {
        let request = hints.request(listener);
        if !found.contains(&request) {
            found.push(request);
        }
    };
    for (hints, leads_to) in &leads {
        if leads_to.as_deref() == name {
            add(hints);
        }
    }
    if name.is_none() {
        // Beside all that is asked for, or beside one part of it.
        add(&Hints::default());
        for (hints, _) in leads.iter().take(MOST) {
            let beside = |change: &dyn Fn(&mut Hints)| {
                let mut hints = hints.clone();
                change(&mut hints);
                hints
            };
            add(&beside(&|it| it.destination_port = Some(65_535)));
            add(&beside(&|it| it.destination = Some(DESTINATION.ip())));
            add(&beside(&|it| it.source = Some(SOURCE.ip())));
            add(&beside(&|it| {
                it.server_name = Some("nobody.invalid".to_owned())
            }));
            add(&beside(&|it| {
                it.protocols = Some("none-of-these".to_owned())
            }));
            add(&beside(&|it| it.tls = Some(it.tls != Some(true))));
        }
    }
    found.truncate(8 * MOST);
    found
}

/// Actions whose neighbours are tried.
const MOST: usize = 16;

/// The connection that the tree led somewhere, varied by one value at a time: at what the tree asks for, and
/// right beside.
pub(super) fn variations(matcher: &Matcher, taken: &Request) -> Vec<Connection> {
    let mut asked = Vec::new();
    asked_in_matcher(matcher, &mut asked);
    let to = taken.destination.unwrap_or(DESTINATION);
    let from = taken.source.unwrap_or(SOURCE);
    let mut out: Vec<Connection> = Vec::new();
    let mut vary = |label: String, change: &dyn Fn(&mut Request)| {
        let mut request = taken.clone();
        change(&mut request);
        if !out.iter().any(|it| it.request == request) {
            out.push(Connection { label, request });
        }
    };
    for (input, value) in asked {
        match (input.as_str(), value) {
            ("DestinationIPInput", Asked::Range(range)) => {
                for (label, ip) in boundaries(&range) {
                    let label = format!("{input}: {label} of {}", range.address_prefix);
                    vary(label, &|request| {
                        request.destination = Some(SocketAddr::new(ip, to.port()));
                    });
                }
            }
            ("SourceIPInput" | "DirectSourceIPInput", Asked::Range(range)) => {
                for (label, ip) in boundaries(&range) {
                    let label = format!("{input}: {label} of {}", range.address_prefix);
                    vary(label, &|request| {
                        request.source = Some(SocketAddr::new(ip, from.port()));
                    });
                }
            }
            ("DestinationPortInput" | "SourcePortInput", Asked::Text(text)) => {
                let Ok(port) = text.parse::<u16>() else {
                    continue;
                };
                for port in [port, port.wrapping_add(1)] {
                    vary(format!("{input}: port {port}"), &|request| {
                        if input == "DestinationPortInput" {
                            request.destination = Some(SocketAddr::new(to.ip(), port));
                        } else {
                            request.source = Some(SocketAddr::new(from.ip(), port));
                        }
                    });
                }
            }
            (_, Asked::Text(text)) => {
                let mut hints = Hints::default();
                hints.say(&input, &text);
                vary(format!("{input}: {text}"), &|request| {
                    hints.put(request);
                });
            }
            (_, Asked::Range(_)) => {}
        }
    }
    out.truncate(4 * MOST);
    out
}

impl Hints {
    fn request(&self, listener: &Listener) -> Request {
        let mut request = plain();
        request.listener = Some(listener.name.clone());
        request.destination = Some(DESTINATION);
        request.source = Some(SOURCE);
        self.put(&mut request);
        request
    }

    fn put(&self, request: &mut Request) {
        let to = request.destination.unwrap_or(DESTINATION);
        let to = SocketAddr::new(
            self.destination.unwrap_or(to.ip()),
            self.destination_port.unwrap_or(to.port()),
        );
        request.destination = Some(to);
        let from = request.source.unwrap_or(SOURCE);
        let ip = match self.local {
            true => to.ip(),
            false => self.source.unwrap_or(from.ip()),
        };
        request.source = Some(SocketAddr::new(ip, self.source_port.unwrap_or(from.port())));
        if self.server_name.is_some() {
            request.sni.clone_from(&self.server_name);
        }
        if self.protocols.is_some() {
            request.alpn.clone_from(&self.protocols);
        }
        if self.tls.is_some() {
            request.tls = self.tls;
        }
    }

    /// Has the input say this.
    fn say(&mut self, input: &str, text: &str) {
        match input {
            "DestinationIPInput" => self.destination = text.parse().ok(),
            "DestinationPortInput" => self.destination_port = text.parse().ok(),
            "SourceIPInput" | "DirectSourceIPInput" => self.source = text.parse().ok(),
            "SourcePortInput" => self.source_port = text.parse().ok(),
            "ServerNameInput" => {
                self.server_name = Some(text.to_owned());
                self.tls = Some(true);
            }
            "TransportProtocolInput" => self.tls = Some(text == "tls"),
            // In the clear the inspector tells HTTP/1.1 by itself.
            "ApplicationProtocolInput" if text == "'http/1.1'" => {}
            "ApplicationProtocolInput" => {
                self.protocols = Some(text.replace('\'', ""));
                self.tls = Some(true);
            }
            "SourceTypeInput" => self.local = text == "local",
            _ => {}
        }
    }

    /// Has the input say an address of the range.
    fn range(&mut self, input: &str, range: &CidrRange) {
        if let Some(ip) = inside(range) {
            self.say(input, &ip.to_string());
        }
    }
}

/// What a part of a tree asks an input for.
enum Asked {
    Text(String),
    Range(CidrRange),
}

fn in_matcher(matcher: &Matcher, above: &Hints, leads: &mut Vec<(Hints, Option<String>)>) {
    match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            for field in &list.matchers {
                for own in field.predicate.iter().flat_map(|it| ways(it, above)) {
                    in_on_match(field.on_match.as_ref(), &own, leads);
                }
            }
        }
        Some(MatcherType::MatcherTree(tree)) => {
            let input = input(tree.input.as_ref());
            for (asked, on_match) in keys(tree.tree_type.as_ref()) {
                let mut own = above.clone();
                match &asked {
                    Asked::Text(text) => own.say(&input, text),
                    Asked::Range(range) => own.range(&input, range),
                }
                in_on_match(Some(&on_match), &own, leads);
            }
        }
        None => {}
    }
    in_on_match(matcher.on_no_match.as_deref(), above, leads);
}

fn in_on_match(on_match: Option<&OnMatch>, own: &Hints, leads: &mut Vec<(Hints, Option<String>)>) {
    match on_match.and_then(|it| it.on_match.as_ref()) {
        Some(on_match::OnMatch::Matcher(matcher)) => in_matcher(matcher, own, leads),
        Some(on_match::OnMatch::Action(action)) => {
            let config = action.typed_config.as_ref();
            let name = config.and_then(|it| String::decode(it.value.as_slice()).ok());
            leads.push((own.clone(), name));
        }
        None => {}
    }
}

/// What a map, or a tree of address ranges, asks for.
fn keys(tree: Option<&TreeType>) -> Vec<(Asked, OnMatch)> {
    match tree {
        Some(TreeType::ExactMatchMap(map) | TreeType::PrefixMatchMap(map)) => {
            let mut entries: Vec<(&String, &OnMatch)> = map.map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter();
            entries
                .map(|(key, on_match)| (Asked::Text(key.clone()), on_match.clone()))
                .collect()
        }
        Some(TreeType::CustomMatch(custom)) => {
            let matcher: IpMatcher = decoded(custom).unwrap_or_default();
            let mut found = Vec::new();
            for leads in matcher.range_matchers {
                for range in leads.ranges {
                    let length = range.prefix_len.map(|length| UInt32Value {
                        value: length.value,
                    });
                    let range = CidrRange {
                        address_prefix: range.address_prefix,
                        prefix_len: length,
                    };
                    let on_match = leads.on_match.clone().unwrap_or_default();
                    found.push((Asked::Range(range), on_match));
                }
            }
            found
        }
        None => Vec::new(),
    }
}

/// What has a predicate hold: one of each way to it. What has to fail is not told.
fn ways(predicate: &Predicate, above: &Hints) -> Vec<Hints> {
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => {
            let input = input(single.input.as_ref());
            let asked = asked_by(single);
            let ways = asked.into_iter().map(|asked| {
                let mut own = above.clone();
                match &asked {
                    Asked::Text(text) => own.say(&input, text),
                    Asked::Range(range) => own.range(&input, range),
                }
                own
            });
            ways.collect()
        }
        Some(MatchType::AndMatcher(list)) => {
            let mut own = above.clone();
            for one in &list.predicate {
                own = ways(one, &own).into_iter().next().unwrap_or(own);
            }
            vec![own]
        }
        Some(MatchType::OrMatcher(list)) => {
            let all = list.predicate.iter();
            all.flat_map(|one| ways(one, above)).collect()
        }
        Some(MatchType::NotMatcher(_)) | None => vec![above.clone()],
    }
}

fn asked_by(single: &SinglePredicate) -> Vec<Asked> {
    match &single.matcher {
        Some(single_predicate::Matcher::ValueMatch(matcher)) => {
            value(matcher).map(Asked::Text).into_iter().collect()
        }
        Some(single_predicate::Matcher::CustomMatch(custom)) => {
            let ip: Ip = decoded(custom).unwrap_or_default();
            ip.cidr_ranges.into_iter().map(Asked::Range).collect()
        }
        None => Vec::new(),
    }
}

/// All that a tree asks for, by input.
fn asked_in_matcher(matcher: &Matcher, found: &mut Vec<(String, Asked)>) {
    match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            for field in &list.matchers {
                if let Some(predicate) = &field.predicate {
                    asked_in_predicate(predicate, found);
                }
                asked_in_on_match(field.on_match.as_ref(), found);
            }
        }
        Some(MatcherType::MatcherTree(tree)) => {
            let input = input(tree.input.as_ref());
            for (asked, on_match) in keys(tree.tree_type.as_ref()) {
                found.push((input.clone(), asked));
                asked_in_on_match(Some(&on_match), found);
            }
        }
        None => {}
    }
    asked_in_on_match(matcher.on_no_match.as_deref(), found);
}

fn asked_in_on_match(on_match: Option<&OnMatch>, found: &mut Vec<(String, Asked)>) {
    if let Some(on_match::OnMatch::Matcher(matcher)) = on_match.and_then(|it| it.on_match.as_ref())
    {
        asked_in_matcher(matcher, found);
    }
}

fn asked_in_predicate(predicate: &Predicate, found: &mut Vec<(String, Asked)>) {
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => {
            let input = input(single.input.as_ref());
            found.extend(asked_by(single).into_iter().map(|it| (input.clone(), it)));
        }
        Some(MatchType::OrMatcher(list) | MatchType::AndMatcher(list)) => {
            for one in &list.predicate {
                asked_in_predicate(one, found);
            }
        }
        Some(MatchType::NotMatcher(not)) => asked_in_predicate(not, found),
        None => {}
    }
}

/// The name of an input's type, without where it is from.
fn input(input: Option<&TypedExtensionConfig>) -> String {
    let config = input.and_then(|input| input.typed_config.as_ref());
    let url = config.map_or("", |config| config.type_url.as_str());
    url.rsplit('.').next().unwrap_or(url).to_owned()
}

fn decoded<T: prost::Message + Default>(extension: &TypedExtensionConfig) -> Option<T> {
    T::decode(extension.typed_config.as_ref()?.value.as_slice()).ok()
}

/// A value that the matcher accepts.
fn value(matcher: &StringMatcher) -> Option<String> {
    match matcher.match_pattern.as_ref()? {
        MatchPattern::Exact(text)
        | MatchPattern::Prefix(text)
        | MatchPattern::Suffix(text)
        | MatchPattern::Contains(text) => Some(text.clone()),
        MatchPattern::SafeRegex(regex) => sample::matching(&regex.regex).into_iter().next(),
        MatchPattern::Custom(_) => None,
    }
}
