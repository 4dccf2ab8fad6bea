//! Where a request is in the route configuration, and as what it comes there.

use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use twinmesh_engine::{Domain, Failed, Request};
use twinmesh_spec::reading::Seen;
use twinmesh_xds::Snapshot;

use super::filter;
use super::narrator::{Narrator, Sentence, quoted};
use super::nearest::{Nearness, nearness};

impl<'a> Narrator<'a> {
    pub(super) fn tell_virtual_host(&self, index: usize, domain: Domain) -> Sentence {
        let virtual_host = self.virtual_host_at(index);
        let kind = match domain {
            Domain::Exact => "is the host",
            Domain::Suffix => "is the longest that the host ends in",
            Domain::Prefix => "is the longest that the host starts with",
            Domain::Any => "takes any host",
        };
        let host = self.host();
        let name = virtual_host.map_or("", |virtual_host| &virtual_host.name);
        let mut because =
            match virtual_host.and_then(|found| super::host::domain(found, domain, &host)) {
                Some((place, text)) => format!("domains[{place}] {text:?} {kind} ({host:?}"),
                None => format!("one of its domains {kind} ({host:?}"),
            };
        let config = self.route_configuration();
        let is_bare = config.is_some_and(|it| it.ignore_port_in_host_matching);
        if is_bare && self.authority() != host {
            because.push_str(", without its port: ignore_port_in_host_matching");
        }
        because.push(')');
        if let Some(hint) = config.and_then(|it| super::host::but_for_port(it, &host, Some(index)))
        {
            because.push_str("; ");
            because.push_str(&hint);
        }
        Sentence {
            topic: "virtual host",
            choice: quoted(name),
            because,
        }
    }

    /// The snapshot that decides.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The request as the client sent it.
    pub fn request(&self) -> &'a Request {
        self.request
    }

    /// The host as the connection manager leaves it.
    fn authority(&self) -> String {
        let seen = self.seen.as_ref().map(|seen| seen.values(":authority"));
        let seen = seen.and_then(|values| values.into_iter().next());
        seen.unwrap_or_else(|| self.request.authority.clone().unwrap_or_default())
    }

    /// The host as it is compared with domains.
    pub fn host(&self) -> String {
        let authority = self.authority();
        match self.route_configuration() {
            Some(config) => super::host::compared(config, &authority),
            None => authority,
        }
    }

    /// The request as routes see it, where it comes to them.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// What the connection manager of the chosen filter chain changes of the request.
    pub fn changes(&self) -> Vec<Sentence> {
        let at = self.listener.zip(self.chain);
        let changes = at.map(|at| Seen::changes(self.snapshot, self.request, at));
        let changes = changes.unwrap_or_default();
        changes.iter().map(filter::change).collect()
    }

    /// The route configuration chosen.
    pub fn route_configuration(&self) -> Option<&'a RouteConfiguration> {
        let at = self.route_configuration?;
        let found = self.snapshot.route_configurations.get(at)?;
        Some(&found.config)
    }

    /// The virtual host chosen, with its index.
    pub fn virtual_host(&self) -> Option<(usize, &'a VirtualHost)> {
        let index = self.virtual_host?;
        Some((index, self.virtual_host_at(index)?))
    }

    /// The index of the route that took the request.
    pub fn route(&self) -> Option<usize> {
        self.route
    }

    /// How near a route that did not match came.
    pub fn nearness(&self, route: usize, failed: Failed) -> Nearness {
        nearness(self.route_at(route), failed, self.request, self.seen())
    }
}
