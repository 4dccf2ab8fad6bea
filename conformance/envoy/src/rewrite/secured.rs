//! Which filter chains take TLS.

use std::collections::BTreeSet;

use serde_json::Value;
use twinmesh_xds::{FilterChain, Snapshot};

use super::json as steps;
use crate::error::EnvoyError;
use crate::tls;

/// A listener's index, and its filter chain's; none for the default one.
pub type Place = (usize, Option<usize>);

/// The filter chains that take TLS: those that only TLS gets to, and of those that both get to all
/// or none. Connections of the other kind fail there.
pub struct Secured {
    chains: BTreeSet<Place>,
    socket: Value,
}

impl Secured {
    /// `mostly_tls`: what those are to take that both get to.
    ///
    /// # Errors
    /// There are no certificates.
    pub fn new(snapshot: &Snapshot, mostly_tls: bool) -> Result<Self, EnvoyError> {
        let listeners = snapshot.listeners.iter().enumerate();
        let chains = listeners.flat_map(|(index, listener)| {
            let chains = listener.filter_chains.iter().enumerate();
            let chains = chains.map(|(place, chain)| (Some(place), chain));
            let default = listener.default_filter_chain.iter().map(|it| (None, it));
            let all = chains.chain(default);
            // What the chains ask for themselves does not count beside a tree, and tells nothing of TLS
            // where nobody reads the ClientHello.
            let counts =
                listener.config.filter_chain_matcher.is_none() && listener.has_tls_inspector();
            all.map(move |(place, chain)| ((index, place), counts.then_some(chain)))
        });
        let secured = chains.filter(|(_, chain)| {
            let only = chain.and_then(only_tls);
            only.unwrap_or(mostly_tls)
        });
        let chains: BTreeSet<Place> = secured.map(|(place, _)| place).collect();
        Ok(Self {
            socket: if chains.is_empty() {
                Value::Null
            } else {
                tls::transport_socket()?
            },
            chains,
        })
    }

    /// Whether this one does.
    pub fn takes_tls(&self, place: Place) -> bool {
        self.chains.contains(&place)
    }

    /// Makes the filter chain take TLS where it is to.
    pub(super) fn put(&self, config: &mut Value, place: Place) {
        if self.takes_tls(place) {
            steps::set(config, "transport_socket", self.socket.clone());
        }
    }
}

/// Whether only TLS gets to it, or none does; `None` where both do.
fn only_tls(chain: &FilterChain) -> Option<bool> {
    let matched = chain.config.filter_chain_match.as_ref()?;
    match matched.transport_protocol.as_str() {
        "tls" => Some(true),
        "raw_buffer" => Some(false),
        // A name is only known of TLS.
        _ if !matched.server_names.is_empty() => Some(true),
        _ => None,
    }
}
