//! Where nothing takes a request: what there would have been.

use twinmesh_engine::{Outcome, Request, Step, Trace, endpoint};
use twinmesh_xds::Snapshot;

/// What there was to choose from, where the outcome is that nothing was chosen: a heading and the
/// candidates, at most `shown` of them and a count of the others. `None` for other outcomes.
pub fn alternatives(
    snapshot: &Snapshot,
    request: &Request,
    outcome: Outcome,
    trace: &Trace,
    shown: usize,
) -> Option<(String, Vec<String>)> {
    let (heading, candidates) = match outcome {
        Outcome::NoListener => no_listener(snapshot, request),
        Outcome::NoFilterChain => no_filter_chain(snapshot, trace)?,
        Outcome::NoVirtualHost => no_virtual_host(snapshot, request, trace)?,
        _ => return None,
    };
    let others = candidates.len().saturating_sub(shown);
    let mut lines: Vec<String> = candidates.into_iter().take(shown).collect();
    if others > 0 {
        lines.push(format!("and {others} others"));
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

fn no_filter_chain(snapshot: &Snapshot, trace: &Trace) -> Option<(String, Vec<String>)> {
    let listener = trace.steps.iter().find_map(|step| match step {
        Step::Listener(index) => snapshot.listeners.get(*index),
        _ => None,
    })?;
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
    let chains = listener
        .filter_chains
        .iter()
        .enumerate()
        .map(|(index, chain)| {
            let criteria = chain.config.filter_chain_match.as_ref();
            let criteria = criteria.map_or_else(
                || "it has no filter_chain_match".to_owned(),
                super::chain::criteria,
            );
            format!("filter_chains[{index}]: {criteria}")
        });
    Some((
        "no filter chain takes the connection; there are".to_owned(),
        chains.collect(),
    ))
}

fn no_virtual_host(
    snapshot: &Snapshot,
    request: &Request,
    trace: &Trace,
) -> Option<(String, Vec<String>)> {
    let configuration = trace.steps.iter().find_map(|step| match step {
        Step::RouteConfiguration(index) => snapshot.route_configurations.get(*index),
        _ => None,
    })?;
    let host = request
        .authority
        .as_deref()
        .unwrap_or("")
        .to_ascii_lowercase();
    let mut domains: Vec<(usize, &str, &str)> = configuration
        .config
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
    let without_port = host.rsplit_once(':').map(|(bare, _)| bare);
    let fits_without = without_port.is_some_and(|bare| {
        let virtual_hosts = configuration.config.virtual_hosts.iter();
        virtual_hosts.flat_map(|it| &it.domains).any(|domain| {
            let domain = domain.to_ascii_lowercase();
            domain == bare
                || domain
                    .strip_prefix('*')
                    .is_some_and(|end| bare.ends_with(end))
        })
    });
    let hint = if fits_without {
        " (its port counts, unless ignore_port_in_host_matching, strip_matching_host_port or strip_any_host_port is set)"
    } else {
        ""
    };
    Some((
        format!("no domain takes the host {host:?}{hint}; the nearest are"),
        lines.collect(),
    ))
}

/// Bytes that host and domain have in common at their start or at their end.
fn likeness(host: &str, domain: &str) -> usize {
    let domain = domain.to_ascii_lowercase();
    let plain = domain.trim_matches('*');
    let pairs = host.bytes().zip(plain.bytes());
    let start = pairs.take_while(|(one, other)| one == other).count();
    let pairs = host.bytes().rev().zip(plain.bytes().rev());
    let end = pairs.take_while(|(one, other)| one == other).count();
    start.max(end)
}
