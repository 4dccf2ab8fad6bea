//! One ADS stream: what was requested on it, and the requests in the words of either protocol.

use std::collections::BTreeSet;

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::rpc::Status,
};

use super::world::World;
use super::{Protocol, Request};
use crate::kind::{Kind, PerKind};

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;

/// What was requested of one type.
#[derive(Debug, Default)]
struct Subscription {
    /// The names of the last request; `None` before the first. Empty for a wildcard.
    sent: Option<BTreeSet<String>>,
    /// Of the last response that was answered.
    nonce: String,
    /// A response was accepted on this stream.
    accepted: bool,
}

/// A stream from its first request to its end.
#[derive(Debug)]
pub(super) struct Stream {
    protocol: Protocol,
    /// Sent with the stream's first request alone.
    node: Option<Node>,
    /// The server is the one that the held versions come from.
    same_server: bool,
    subscriptions: PerKind<Subscription>,
}

impl Stream {
    pub(super) fn new(protocol: Protocol, node: Node, same_server: bool) -> Stream {
        Stream {
            protocol,
            node: Some(node),
            same_server,
            subscriptions: PerKind::default(),
        }
    }

    pub(super) fn is_subscribed(&self, kind: Kind) -> bool {
        self.subscriptions[kind].sent.is_some()
    }

    /// The request that makes the subscription one to `wanted`, if it is not that already.
    pub(super) fn subscribe(
        &mut self,
        kind: Kind,
        wanted: BTreeSet<String>,
        world: &World,
    ) -> Option<Request> {
        let sent = &self.subscriptions[kind].sent;
        match sent {
            // A first request without names would ask for everything.
            None if wanted.is_empty() && !kind.is_wildcard() => return None,
            Some(sent) if *sent == wanted => return None,
            _ => {}
        }
        let request = match self.protocol {
            Protocol::StateOfTheWorld => Request::StateOfTheWorld(DiscoveryRequest {
                resource_names: wanted.iter().cloned().collect(),
                ..self.state_of_the_world(kind, world)
            }),
            Protocol::Delta => {
                let before = sent.as_ref();
                let initial = before.is_none();
                let empty = BTreeSet::new();
                let before = before.unwrap_or(&empty);
                let mut request = DeltaDiscoveryRequest {
                    resource_names_subscribe: wanted.difference(before).cloned().collect(),
                    resource_names_unsubscribe: before.difference(&wanted).cloned().collect(),
                    type_url: kind.type_url().to_owned(),
                    ..DeltaDiscoveryRequest::default()
                };
                if initial {
                    // Another server's versions mean nothing to this one, but by the names it
                    // tells what it does not have.
                    request.initial_resource_versions = world
                        .held_versions(kind)
                        .map(|(name, version)| {
                            let version = if self.same_server { version } else { "" };
                            (name.to_owned(), version.to_owned())
                        })
                        .collect();
                }
                request.node = self.node.take();
                Request::Delta(request)
            }
        };
        self.subscriptions[kind].sent = Some(wanted);
        Some(request)
    }

    /// Acknowledges a response, or refuses it with an error.
    pub(super) fn answer(
        &mut self,
        kind: Kind,
        nonce: String,
        error: Option<String>,
        world: &World,
    ) -> Request {
        let error_detail = error.map(|message| Status {
            code: INVALID_ARGUMENT,
            message,
            details: Vec::new(),
        });
        let subscription = &mut self.subscriptions[kind];
        subscription.accepted |= error_detail.is_none();
        subscription.nonce = nonce;
        match self.protocol {
            Protocol::StateOfTheWorld => {
                let sent = self.subscriptions[kind].sent.iter().flatten();
                let resource_names = sent.cloned().collect();
                Request::StateOfTheWorld(DiscoveryRequest {
                    resource_names,
                    error_detail,
                    ..self.state_of_the_world(kind, world)
                })
            }
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest {
                node: self.node.take(),
                type_url: kind.type_url().to_owned(),
                response_nonce: self.subscriptions[kind].nonce.clone(),
                error_detail,
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    /// What all requests of the state of the world say: the version that is held and the nonce.
    fn state_of_the_world(&mut self, kind: Kind, world: &World) -> DiscoveryRequest {
        let subscription = &self.subscriptions[kind];
        let known = self.same_server || subscription.accepted;
        let version = world.versions[kind].clone().filter(|_| known);
        DiscoveryRequest {
            version_info: version.unwrap_or_default(),
            node: self.node.take(),
            type_url: kind.type_url().to_owned(),
            response_nonce: subscription.nonce.clone(),
            ..DiscoveryRequest::default()
        }
    }
}
