//! Requests that stand on the boundaries of a bootstrap's matchers.

mod filter;
mod place;
mod route;
#[cfg(test)]
mod tests;

use serde_json::Value;
use twinmesh_engine::Request;

use crate::matcher::at;
use crate::{Tape, connect, filter_chain_matcher, malformed, matcher_tree, upgrade};

use filter::filtered;
use place::{authority, connection, secured};
use route::{
    asks_for_endpoints, beside, hashed, headers, named_cluster, named_endpoints, path, query,
    random,
};

/// Of so many requests one asks for an upgrade.
const UPGRADES: usize = 15;

/// One request for each tape, each aimed at a route of the bootstrap, at or right beside what the
/// route's matchers take. Times grow, and some requests last.
pub fn requests(bootstrap: &Value, tapes: &[Vec<u16>]) -> Vec<Request> {
    let mut now = 0;
    let mut ground = Ground {
        bootstrap,
        asks_for_endpoints: asks_for_endpoints(bootstrap),
        trees: Trees::default(),
    };
    tapes
        .iter()
        .enumerate()
        .map(|(index, choices)| {
            let mut tape = Tape::new(choices);
            let aim = Aim::of(&mut tape);
            let mut request = aimed(&mut ground, aim, &mut tape);
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

/// The configuration of the filter that ends a chain.
fn terminal(chain: &Value) -> &Value {
    let last = list(chain, "filters").last();
    let config = last.and_then(|filter| filter.get("typed_config"));
    config.unwrap_or(&Value::Null)
}

fn text<'a>(of: &'a Value, names: &[&str]) -> &'a str {
    at(of, names).and_then(Value::as_str).unwrap_or("")
}

/// A request that says nothing but its method.
pub fn plain(tape: &mut Tape<'_>) -> Request {
    Request {
        method: tape.text(&["GET", "GET", "POST"]),
        ..Request::default()
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
        match tape.below(10) {
            0..=6 => Self::At,
            7 | 8 => Self::Beside(part),
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

/// The matcher trees that were met, with the routes below each.
#[derive(Debug, Default)]
struct Trees<'a>(Vec<(&'a Value, Vec<Value>)>);

impl<'a> Trees<'a> {
    fn routes(&mut self, matcher: &'a Value) -> &[Value] {
        let met = |(other, _): &(&Value, _)| std::ptr::eq(*other, matcher);
        let index = self.0.iter().position(met).unwrap_or_else(|| {
            let mut copy = matcher.clone();
            let places = matcher_tree::places(&mut copy);
            let routes = places.into_iter().map(|it| it.clone()).collect();
            self.0.push((matcher, routes));
            self.0.len() - 1
        });
        self.0.get(index).map_or(&[], |(_, routes)| routes)
    }
}

/// What requests are aimed at, and what of it is looked for only once.
#[derive(Debug)]
struct Ground<'a> {
    bootstrap: &'a Value,
    /// Some cluster looks at the header that names endpoints.
    asks_for_endpoints: bool,
    trees: Trees<'a>,
}

fn aimed(ground: &mut Ground<'_>, aim: Aim, tape: &mut Tape<'_>) -> Request {
    let mut request = plain(tape);
    let none = &Value::Null;
    let listeners = ground.bootstrap.get("static_resources").unwrap_or(none);
    let listener = tape.pick(list(listeners, "listeners")).unwrap_or(none);
    let mut chains: Vec<&Value> = list(listener, "filter_chains").iter().collect();
    chains.extend(listener.get("default_filter_chain"));
    let chain = tape.pick(&chains).copied().unwrap_or(none);
    tape.aim(aim.hits(Part::Connection));
    connection(listener, chain, &mut request, tape);
    if listener.get("filter_chain_matcher").is_some() {
        filter_chain_matcher::connect(&mut request, tape);
    }
    let configuration = terminal(chain).get("route_config").unwrap_or(none);
    let host = tape
        .pick(list(configuration, "virtual_hosts"))
        .unwrap_or(none);
    let domain = tape.pick(list(host, "domains")).and_then(Value::as_str);
    tape.aim(aim.hits(Part::Authority));
    request.authority = Some(authority(domain.unwrap_or("*"), tape));
    let routes = match host.get("matcher") {
        Some(matcher) => ground.trees.routes(matcher),
        None => list(host, "routes"),
    };
    let route = tape.pick(routes).unwrap_or(none);
    let matched = route.get("match").unwrap_or(none);
    tape.aim(aim.hits(Part::Path));
    request.path = path(matched, tape);
    tape.aim(aim.hits(Part::Headers));
    headers(matched, &mut request, tape);
    named_cluster(route, &mut request, tape);
    hashed(route, &mut request, tape);
    if ground.asks_for_endpoints {
        named_endpoints(&mut request, tape);
    }
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
    tape.aim(aim.hits(Part::Path));
    connect::ask(matched, &mut request, tape);
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
