//! Where nothing takes a request: what there would have been.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use twinmesh_engine::{Decision, Outcome, Request, Step, Trace, endpoint};
use twinmesh_xds::Snapshot;

use super::{Narrator, counted};

/// What there was to choose from, where the outcome is that nothing was chosen: a heading and the
/// candidates, at most `shown` of them and a count of the others. `None` for other outcomes.
pub fn alternatives(
    narrator: &Narrator<'_>,
    trace: &Trace,
    decision: &Decision,
    shown: usize,
) -> Option<(String, Vec<String>)> {
    let (heading, candidates) = match decision.outcome {
        Outcome::NoListener => no_listener(narrator.snapshot(), narrator.request()),
        Outcome::NoFilterChain => no_filter_chain(narrator, trace)?,
        Outcome::NoVirtualHost => {
            no_virtual_host(narrator.route_configuration()?, &narrator.host())
        }
        Outcome::NoCluster => no_cluster(narrator.snapshot(), decision.cluster.as_deref()?),
        _ => return None,
    };
    let others = candidates.len().saturating_sub(shown);
    let mut lines: Vec<String> = candidates.into_iter().take(shown).collect();
    if others > 0 {
        lines.push(format!("and {}", counted(others, "other")));
    }
    Some((heading, lines))
}

fn no_listener(snapshot: &Snapshot, request: &Request) -> (String, Vec<String>) {
    let heading = match (&request.listener, request.destination) {
        (Some(name), _) => format!("no listener is called {name:?}; there are"),
        (None, Some(destination)) => {
            format!("no listener takes connections to {destination}; there are")
        }
        (None, None) => "the request names no listener and no destination; there are".to_owned(),
    };
    let listeners = snapshot.listeners.iter().map(|listener| {
        let address = listener.config.address.as_ref().and_then(endpoint::text);
        format!("{:?} at {}", listener.name, address.unwrap_or_default())
    });
    (heading, listeners.collect())
}

fn no_filter_chain(narrator: &Narrator<'_>, trace: &Trace) -> Option<(String, Vec<String>)> {
    let listener = narrator.snapshot().listeners.get(narrator.listener?)?;
    if listener.config.filter_chain_matcher.is_some() {
        let named = |step: &Step| matches!(step, Step::FilterChainMatcher(_));
        let chains = listener.filter_chains.iter().enumerate();
        let names = chains.map(|(index, chain)| {
            let name = &chain.config.name;
            format!("filter_chains[{index}] {name:?}")
        });
        return Some(match trace.steps.iter().any(named) {
            true => (
                "no filter chain has the name that filter_chain_matcher leads to; there are"
                    .to_owned(),
                names.collect(),
            ),
            false => (
                "filter_chain_matcher leads nowhere, and there is no default_filter_chain"
                    .to_owned(),
                Vec::new(),
            ),
        });
    }
    let out = narrator.filter_chains_not_taken().into_iter().rev();
    Some((
        "no filter chain takes the connection; the nearest are".to_owned(),
        out.map(|out| format!("{}: {}", out.choice, out.because))
            .collect(),
    ))
}

fn no_cluster(snapshot: &Snapshot, name: &str) -> (String, Vec<String>) {
    if snapshot.warming_clusters.contains(name) {
        let heading = format!(
            "cluster {name:?} is warming: Envoy uses it once it has its endpoints (dynamic_warming_clusters)"
        );
        return (heading, Vec::new());
    }
    if snapshot.clusters.is_empty() {
        return ("there are no clusters at all".to_owned(), Vec::new());
    }
    let mut names: Vec<&str> = snapshot.clusters.iter().map(|it| &*it.name).collect();
    let wanted = name.to_ascii_lowercase();
    names.sort_by_key(|other| std::cmp::Reverse(likeness(&wanted, other)));
    let lines = names.into_iter().map(|other| format!("{other:?}"));
    (
        format!("no cluster is called {name:?}; the nearest are"),
        lines.collect(),
    )
}

fn no_virtual_host(config: &RouteConfiguration, host: &str) -> (String, Vec<String>) {
    let host = host.to_ascii_lowercase();
    let mut domains: Vec<(usize, &str, &str)> = config
        .virtual_hosts
        .iter()
        .flat_map(|virtual_host| {
            virtual_host.domains.iter().map(|domain| {
                let likeness = likeness(&host, domain);
                (likeness, domain.as_str(), virtual_host.name.as_str())
            })
        })
        .collect();
    domains.sort_by_key(|(likeness, _, _)| std::cmp::Reverse(*likeness));
    let lines = domains
        .into_iter()
        .map(|(_, domain, name)| format!("{domain:?} of {name:?}"));
    // The most common reason: a client sends the port, and the domains are without.
    let hint = super::host::but_for_port(config, &host, None);
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    (
        format!("no domain takes the host {host:?}{hint}; the nearest are"),
        lines.collect(),
    )
}

/// Bytes that a name and another, or a domain, have in common at their start or at their end.
fn likeness(name: &str, other: &str) -> usize {
    let other = other.to_ascii_lowercase();
    let plain = other.trim_matches('*');
    let pairs = name.bytes().zip(plain.bytes());
    let start = pairs.take_while(|(one, other)| one == other).count();
    let pairs = name.bytes().rev().zip(plain.bytes().rev());
    let end = pairs.take_while(|(one, other)| one == other).count();
    start.max(end)
}
