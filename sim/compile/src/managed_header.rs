//! Headers that the connection manager writes and takes off before a route is chosen: it appends
//! `x-forwarded-port`, takes the route configuration's `internal_only_headers` from requests that come from
//! outside, and appends `via`. Where something looks at one of them, each request is left to userspace for that.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use prost::Message as _;
use twinmesh_engine::Request;
use twinmesh_model::layout::{low, work};
use twinmesh_xds::managed_header::arrives_as_sent;
use twinmesh_xds::{Cluster, FilterChain, Snapshot, Terminal};

use crate::Compiled;
use crate::answer::Record;
use crate::attempts::is_internal;
use crate::seen::joined;

const PORT: &str = "x-forwarded-port";
const VIA: &str = "via";

/// Whether what a chain's connection manager does to headers may influence a decision: some matcher,
/// format or policy says the name of one of them.
pub fn may_matter(chain: &FilterChain, snapshot: &Snapshot) -> bool {
    let Terminal::Http {
        manager,
        route_configuration,
    } = &chain.terminal
    else {
        return false;
    };
    let table = route_configuration.and_then(|index| snapshot.route_configurations.get(index));
    let internal = table.map_or(&[][..], |table| &table.config.internal_only_headers);
    // Envoy takes a name of no characters, which no header has.
    let internal = internal.iter().filter(|it| !it.is_empty());
    let mut names: Vec<String> = internal.map(|it| it.to_ascii_lowercase()).collect();
    if manager.append_x_forwarded_port {
        names.push(PORT.to_owned());
    }
    if !manager.via.is_empty() {
        names.push(VIA.to_owned());
    }
    if names.is_empty() {
        return false;
    }
    let table = table.map(|table| RouteConfiguration {
        internal_only_headers: Vec::new(),
        ..table.config.clone()
    });
    let mut said = manager.encode_to_vec();
    said.extend(table.iter().flat_map(RouteConfiguration::encode_to_vec));
    said.make_ascii_lowercase();
    let overrides = |cluster: &Cluster| cluster.override_headers.clone();
    let overrides: Vec<String> = snapshot
        .clusters
        .iter()
        .filter_map(overrides)
        .flatten()
        .collect();
    names.iter().any(|name| {
        let is_said = said.windows(name.len()).any(|it| it == name.as_bytes());
        is_said || overrides.iter().any(|it| it.eq_ignore_ascii_case(name))
    })
}

impl Compiled {
    /// Whether the connection manager that a request came to changes headers that something looks at.
    pub(crate) fn manages_headers(&self, record: &Record<'_>) -> bool {
        let chain = record.word(work::CHOSEN_FILTER_CHAIN);
        self.managed_chains.contains(&chain)
    }

    /// Changes the headers of a request as the connection manager does; `None`: it is not known how.
    pub(crate) fn manage_headers(
        &self,
        manager: &HttpConnectionManager,
        record: &Record<'_>,
        request: &mut Request,
    ) -> Option<()> {
        if manager.append_x_forwarded_port {
            let own = manager.use_remote_address.is_some_and(|own| own.value);
            let overwrites = own && manager.xff_num_trusted_hops == 0;
            if overwrites || joined(request, PORT).is_none() {
                let port = self.local_port(request, record)?;
                remove(request, PORT);
                request.headers.push((PORT.to_owned(), port.to_string()));
            }
        }
        let chain = record.word(work::CHOSEN_FILTER_CHAIN);
        let internal = self.internal_only(chain);
        if !internal.is_empty() && !is_internal(manager, request).ok()? {
            for name in internal.iter().filter(|name| arrives_as_sent(name)) {
                remove(request, name);
            }
        }
        if !manager.via.is_empty() {
            let before = joined(request, VIA).filter(|before| !before.is_empty());
            let via = match before {
                Some(before) => format!("{before}, {}", manager.via),
                None => manager.via.clone(),
            };
            remove(request, VIA);
            request.headers.push((VIA.to_owned(), via));
        }
        Some(())
    }

    /// The `internal_only_headers` behind a filter chain.
    fn internal_only(&self, chain: u64) -> &[String] {
        let configuration =
            low(self.policy_word(chain + twinmesh_model::layout::filter_chain::TARGET));
        let configuration = self.index(configuration);
        let table = configuration.and_then(|index| self.snapshot.route_configurations.get(index));
        table.map_or(&[], |table| &table.config.internal_only_headers)
    }

    /// The port that the connection came to.
    fn local_port(&self, request: &Request, record: &Record<'_>) -> Option<u16> {
        let listener = self.index(record.word(work::CHOSEN_LISTENER))?;
        let name = &self.snapshot.listeners.get(listener)?.name;
        let bound = self.bound.get(name).copied();
        request.destination.or(bound).as_ref().map(SocketAddr::port)
    }
}

/// Takes all lines of a header off a request.
fn remove(request: &mut Request, name: &str) {
    // On the wire a name ends at its first colon.
    let is_named = |line: &str| {
        let found = line.split(':').next().unwrap_or_default();
        found.eq_ignore_ascii_case(name)
    };
    request.headers.retain(|(line, _)| !is_named(line));
}
