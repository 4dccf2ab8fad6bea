//! A request behind the connection manager.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{Chain, Request};
use twinmesh_xds::{Profile, Snapshot, Terminal};

use crate::changes::{self, Change};
use crate::connection::Connection;
use crate::grpc;
use crate::head;
use crate::managed_header;
use crate::message::Message;

/// A request as the routes see it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub(super) message: Message,
    /// Headers that the connection manager takes off, in lower case, and the field by which.
    taken_off: Vec<(String, &'static str)>,
}

impl From<Message> for Seen {
    fn from(message: Message) -> Self {
        Self {
            message,
            taken_off: Vec::new(),
        }
    }
}

impl Seen {
    /// The request behind a listener's filter chain, or, without one, at a route configuration.
    /// `None`: its head is refused, or the snapshot has no connection manager there.
    pub fn new(snapshot: &Snapshot, request: &Request, at: Option<(usize, Chain)>) -> Option<Self> {
        let Some((listener, chain)) = at else {
            if snapshot.profile == Profile::Grpc {
                return grpc::read(request).ok().map(Self::from);
            }
            let manager = HttpConnectionManager::default();
            return Self::of(snapshot, head::read(request, &manager, None).ok());
        };
        let listener = snapshot.listeners.get(listener)?;
        let chain = match chain {
            Chain::Index(index) => listener.filter_chains.get(index)?,
            Chain::Default => listener.default_filter_chain.as_ref()?,
        };
        let Terminal::Http {
            manager,
            route_configuration,
        } = &chain.terminal
        else {
            return None;
        };
        let port = Connection::new(request, listener).destination.port();
        let message = head::read(request, manager, Some(port)).ok();
        let message = message.and_then(|message| changes::with_path(manager, message))?;
        let table = route_configuration.and_then(|it| snapshot.route_configurations.get(it));
        let internal = table.map_or(&[][..], |table| &table.config.internal_only_headers);
        let before: Vec<String> = message
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let message = managed_header::apply(manager, internal, (request, port), message);
        let mut seen = Self::of(snapshot, message.ok())?;
        let dropped = changes::dropped(request, manager);
        let dropped = dropped.map(|(name, _)| (name.to_ascii_lowercase(), changes::UNDERSCORES));
        let left = |name: &String| !seen.message.values(name).is_empty();
        let internal = before.into_iter().filter(|name| !left(name));
        let internal = internal.map(|name| (name, "internal_only_headers"));
        let taken_off = dropped.chain(internal).collect();
        seen.taken_off = taken_off;
        Some(seen)
    }

    fn of(snapshot: &Snapshot, message: Option<Message>) -> Option<Self> {
        let profile = snapshot.profile;
        message.map(|message| Self::from(Message { profile, ..message }))
    }

    /// What the connection manager of a listener's filter chain changes of a request that it takes.
    pub fn changes(
        snapshot: &Snapshot,
        request: &Request,
        (listener, chain): (usize, Chain),
    ) -> Vec<Change> {
        let listener = snapshot.listeners.get(listener);
        let chain = listener.and_then(|listener| match chain {
            Chain::Index(index) => listener.filter_chains.get(index),
            Chain::Default => listener.default_filter_chain.as_ref(),
        });
        let (Some(listener), Some(chain)) = (listener, chain) else {
            return Vec::new();
        };
        match &chain.terminal {
            Terminal::Http { manager, .. } if snapshot.profile != Profile::Grpc => {
                let port = Connection::new(request, listener).destination.port();
                changes::of(request, manager, port)
            }
            _ => Vec::new(),
        }
    }

    /// The field by which the connection manager takes a header off, of which the routes see nothing.
    pub fn taken_off_by(&self, name: &str) -> Option<&'static str> {
        let mut all = self.taken_off.iter();
        let found = all.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, field)| *field)
    }

    /// All values of a header or pseudo header, in wire order.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.message.values(name)
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.message.path_without_query()
    }

    /// The path with its query.
    pub fn target(&self) -> &str {
        &self.message.path
    }
}
