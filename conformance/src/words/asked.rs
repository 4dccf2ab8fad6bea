//! Why not another route: those behind the one that took the request, and one that is asked about.

use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, RouteMatch};
use twinmesh_engine::{Outcome, Request};
use twinmesh_spec::reading::{self, Matchers, Seen};

use crate::output::printable;

use super::action::action;
use super::matcher;
use super::narrator::{Narrator, Sentence, quoted};

/// The routes behind the one that took the request that would have taken it, too; at most `shown`,
/// and how many others.
pub fn later(
    narrator: &Narrator<'_>,
    matchers: &Matchers,
    random: u64,
    shown: usize,
) -> (Vec<Sentence>, usize) {
    let at = narrator.virtual_host().zip(narrator.route());
    let Some(((_, host), taken)) = at else {
        return (Vec::new(), 0);
    };
    let Some(seen) = narrator.seen() else {
        return (Vec::new(), 0);
    };
    let looked_at = matchers.looked_at(host, seen);
    let behind = host.routes.iter().enumerate().skip(taken + 1);
    let mut later = Vec::new();
    let mut others = 0;
    for (index, route) in behind.filter(|(index, _)| looked_at.contains(index)) {
        let takes = route.r#match.as_ref().is_some_and(|it| {
            reading::undecided_match(route).is_none()
                && matchers.first_refusing(it, seen, random).is_none()
        });
        if takes && later.len() < shown {
            let matched = route
                .r#match
                .as_ref()
                .map_or_else(String::new, matcher::route_match);
            later.push(Sentence {
                topic: "comes later",
                choice: narrator.route_name(index),
                because: format!(
                    "would match, but comes later; match: {matched}; action: {}",
                    action(route)
                ),
            });
        } else if takes {
            others += 1;
        }
    }
    (later, others)
}

/// A route that is asked about: its place, and what it is to the request, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The route and its virtual host.
    pub choice: String,
    /// Why it did, or did not, take the request.
    pub because: Vec<String>,
}

/// What the routes of this name (or `#i`, by index) are to the request: those of the virtual host
/// that the request came to, or else all of the route configuration.
///
/// # Errors
/// There is no such route.
pub fn asked(
    narrator: &Narrator<'_>,
    matchers: &Matchers,
    request: &Request,
    outcome: Outcome,
    random: u64,
    wanted: &str,
) -> Result<Vec<Asked>, String> {
    let Some(config) = narrator.route_configuration() else {
        return Err(format!(
            "the request comes to no route configuration, and to no route `{wanted}`: its outcome is {}",
            crate::comparison::outcome_name(outcome)
        ));
    };
    let mut places = places(config, wanted);
    let own = narrator.virtual_host().map(|(index, _)| index);
    if places.iter().any(|(host, _)| Some(*host) == own) {
        places.retain(|(host, _)| Some(*host) == own);
    } else if wanted.starts_with('#') && own.is_some() {
        places.clear();
    }
    if places.is_empty() {
        return Err(no_route(narrator, config, wanted));
    }
    let tell = |(host, route)| tell(narrator, matchers, (config, host, route), request, random);
    Ok(places.into_iter().filter_map(tell).collect())
}

/// The routes that are meant, by their virtual hosts' indices and their own.
fn places(config: &RouteConfiguration, wanted: &str) -> Vec<(usize, usize)> {
    let index = wanted.strip_prefix('#').and_then(|text| text.parse().ok());
    let hosts = config.virtual_hosts.iter().enumerate();
    hosts
        .flat_map(|(at, host)| {
            let routes = host.routes.iter().enumerate();
            let meant =
                routes.filter(|(place, route)| route.name == wanted || index == Some(*place));
            meant.map(move |(place, _)| (at, place))
        })
        .collect()
}

fn no_route(narrator: &Narrator<'_>, config: &RouteConfiguration, wanted: &str) -> String {
    const SHOWN: usize = 10;
    let (within, names): (String, Vec<String>) = match narrator.virtual_host() {
        Some((_, host)) => {
            let routes = host.routes.iter().enumerate();
            let names = routes.map(|(index, route)| match route.name.as_str() {
                "" => format!("#{index}"),
                name => name.to_owned(),
            });
            (
                format!("virtual host {}", quoted(&host.name)),
                names.collect(),
            )
        }
        None => {
            let routes = config.virtual_hosts.iter().flat_map(|host| &host.routes);
            let names = routes.map(|route| route.name.clone());
            let names = names.filter(|name| !name.is_empty());
            (
                format!("route configuration {}", quoted(&config.name)),
                names.collect(),
            )
        }
    };
    let mut text: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|it| format!("`{}`", printable(it)))
        .collect();
    if names.len() > SHOWN {
        text.push(format!("{} more", names.len() - SHOWN));
    }
    format!(
        "no route `{wanted}` is in the {within}; there are {}",
        text.join(", ")
    )
}

fn tell(
    narrator: &Narrator<'_>,
    matchers: &Matchers,
    (config, host_index, index): (&RouteConfiguration, usize, usize),
    request: &Request,
    random: u64,
) -> Option<Asked> {
    let host = config.virtual_hosts.get(host_index)?;
    let route = host.routes.get(index)?;
    let name = match route.name.as_str() {
        "" => format!("routes[{index}]"),
        name => format!("routes[{index}] {}", quoted(name)),
    };
    let choice = format!("{name} of virtual host {}", quoted(&host.name));
    let mut because = Vec::new();
    let is_there = narrator.virtual_host().map(|(at, _)| at) == Some(host_index);
    if !is_there {
        let taken = narrator.virtual_host().map(|(_, host)| quoted(&host.name));
        let taken = taken.map_or_else(
            || "none has".to_owned(),
            |taken| format!("{taken} has, by a domain that fits better"),
        );
        because.push(format!(
            "its virtual host has not the host {:?}: {taken}; its domains are {}",
            narrator.host(),
            host.domains.join(", ")
        ));
    }
    let nothing = RouteMatch::default();
    let route_match = route.r#match.as_ref().unwrap_or(&nothing);
    if let Some(why) = reading::undecided_match(route) {
        because.push(format!("whether it matches is not decided: {why}"));
    } else if let Some(seen) = narrator.seen() {
        let refusing = refusing(matchers, route_match, seen, random);
        if is_there && !matchers.looked_at(host, seen).contains(&index) {
            because.push("the matcher of its virtual host leads to other routes".to_owned());
        }
        let failed = refusing
            .into_iter()
            .map(|failed| matcher::failed(route_match, failed, request, Some(seen)));
        because.extend(failed);
    }
    if because.is_empty() {
        because.push(shadowed(narrator, index, route_match));
    }
    Some(Asked { choice, because })
}

/// Of a route whose matchers all accept.
fn shadowed(narrator: &Narrator<'_>, index: usize, route_match: &RouteMatch) -> String {
    let matched = matcher::route_match(route_match);
    match narrator.route() {
        Some(taken) if taken == index => format!("it takes the request; match: {matched}"),
        Some(taken) if taken < index => {
            let earlier = narrator.route_at(taken).and_then(|it| it.r#match.as_ref());
            format!(
                "it would match, but {} comes before it and takes the request; its match: {matched}; \
                 the other's: {}",
                narrator.route_name(taken),
                earlier.map_or_else(String::new, matcher::route_match)
            )
        }
        _ => format!("it would match, but no route is looked at; match: {matched}"),
    }
}

/// All matchers that refuse the request, the runtime fraction too.
fn refusing(
    matchers: &Matchers,
    route_match: &RouteMatch,
    seen: &Seen,
    random: u64,
) -> Vec<twinmesh_engine::Failed> {
    let mut all = matchers.refusing(route_match, seen, usize::MAX);
    let first = matchers.first_refusing(route_match, seen, random);
    if let Some(first) = first.filter(|first| !all.contains(first)) {
        all.insert(0, first);
    }
    all
}
