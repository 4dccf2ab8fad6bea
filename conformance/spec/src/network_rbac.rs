//! `envoy.extensions.filters.network.rbac.v3`: which connections are closed at their first data.
//!
//! A TCP proxy behind it has chosen an endpoint when the connection came (measured), so that what it
//! cannot connect is closed by it, and its balancer has moved on for what the filter closes then.

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, UpstreamConnectMode,
};
use twinmesh_engine::{Outcome, Request, Step};
use twinmesh_xds::network_rbac::{Judge, NetworkRbac};
use twinmesh_xds::{FilterChain, Listener};

use crate::listener::{canonical, ip_and_port};
use crate::rbac::{self, Asked};
use crate::regex::Regexes;
use crate::run::Run;

/// Whether a TCP proxy waits for the first data before it looks for an endpoint.
pub(crate) fn waits_for_data(proxy: &TcpProxy) -> bool {
    proxy.upstream_connect_mode == UpstreamConnectMode::OnDownstreamData as i32
}

impl<'a> Run<'a> {
    /// Whether the network filters of the chain let the connection on; otherwise it has ended there.
    pub(crate) fn at_network_filters(&mut self, listener: usize, chain: &'a FilterChain) -> bool {
        for filter in &chain.network_rbac {
            let asked = self.asked_of_connection(listener);
            let judged = match &filter.judge {
                Judge::Rules(rules) => rbac::judge(rules, &asked),
                Judge::Matcher(matcher) => rbac::by_matcher(matcher, &asked),
            };
            match judged {
                Ok((passes, policy)) => {
                    self.step(Step::NetworkFilter {
                        filter: filter.index,
                        policy,
                        closes: !passes,
                    });
                    if !passes {
                        self.close(filter, policy);
                        return false;
                    }
                }
                Err(why) => {
                    self.forget_upstream();
                    self.undecided(why);
                    return false;
                }
            }
        }
        true
    }

    /// The connection is closed without a response, and what was chosen for it gets nothing of it.
    fn close(&mut self, filter: &NetworkRbac, policy: Option<usize>) {
        let name = policy.and_then(|place| filter.policies.get(place));
        let why = match name {
            Some(name) => format!("its policy {name:?} matches"),
            None => "none of its policies matches".to_owned(),
        };
        self.forget_upstream();
        let name = &filter.name;
        let reason = format!("the network filter {name:?} closes the connection: {why}");
        self.end(Outcome::DirectResponse, reason);
    }

    fn forget_upstream(&mut self) {
        let decision = self.decision();
        decision.cluster = None;
        (decision.endpoint, decision.priority, decision.locality) = (None, None, None);
    }

    /// What rules may look at before there is a request.
    pub(crate) fn asked_of_connection<'m>(&self, listener: usize) -> Asked<'m>
    where
        'a: 'm,
    {
        let listener = self.snapshot.listeners.get(listener);
        let server_name = self.server_name.clone();
        asked(self.request, listener, server_name, self.regexes)
    }
}

/// What rules may look at of a connection. A client is then who connects.
pub(crate) fn asked<'a>(
    request: &Request,
    listener: Option<&Listener>,
    server_name: String,
    regexes: &'a Regexes,
) -> Asked<'a> {
    let bound = listener.and_then(|it| ip_and_port(&it.config.address));
    let bound = bound.map(|(address, _)| address);
    let destination = request.destination.or(bound);
    let from = request.source.map(canonical);
    let from = from.filter(|it| !it.ip().is_unspecified());
    let source = from.map(|it| it.ip());
    let source_port = from.map(|it| it.port());
    Asked {
        message: None,
        destination: destination.map(canonical),
        source,
        source_port,
        client: source,
        client_port: source_port,
        server_name,
        is_tls: request.is_tls(),
        regexes,
    }
}
