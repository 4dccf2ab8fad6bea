//! The state of the world.

use std::collections::BTreeSet;

use envoy_types::pb::{
    envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    google::protobuf::Any,
};
use twinmesh_ads::{Kind, PerKind};

use super::{About, Open, Protocol, Round, State, poisoned, selects, type_text};
use crate::behaviour::Poison;
use crate::event::{Event, What};
use crate::served::Served;

#[derive(Debug, Default)]
pub(crate) struct StateOfTheWorld {
    subscriptions: PerKind<Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    asked: bool,
    /// `None`: all.
    names: Option<BTreeSet<String>>,
    /// Of the last response.
    nonce: String,
    open: Open,
    last: Option<Last>,
}

/// What the last response told.
#[derive(Debug, PartialEq)]
struct Last {
    version: String,
    resources: Vec<(String, String)>,
    poison: Option<Poison>,
}

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn receive(
        &mut self,
        request: DiscoveryRequest,
        served: &Served,
        about: &mut About,
    ) -> Vec<Kind> {
        if let Some(node) = &request.node {
            about.client.clone_from(&node.id);
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let event = |what| Event {
            version: request.version_info.clone(),
            nonce: request.response_nonce.clone(),
            names: names.iter().cloned().collect(),
            ..about.event(what, &type_text(&request.type_url))
        };
        let Some(kind) = Kind::of_type_url(&request.type_url) else {
            about.log.add(event(What::Subscribe));
            return Vec::new();
        };
        let subscription = &mut self.subscriptions[kind];
        let answered = subscription.open.answered(&request.response_nonce);
        let answers = answered.is_some();
        if let Some(version) = answered {
            let (what, error) = match &request.error_detail {
                Some(detail) => (What::Nack, detail.message.clone()),
                None => (What::Ack, String::new()),
            };
            about.log.add(Event {
                version,
                error,
                ..event(what)
            });
        }
        // A newer response is on its way: its ACK says what is wanted now.
        if subscription.asked && request.response_nonce != subscription.nonce {
            if !answers {
                about.log.add(event(What::Stale));
            }
            return Vec::new();
        }
        let first = !std::mem::replace(&mut subscription.asked, true);
        // Who has named none so far wants all; later on, none is none.
        let wanted = match &subscription.names {
            _ if first => (!names.is_empty()).then(|| names.clone()),
            None if names.is_empty() => None,
            _ => Some(names.clone()),
        };
        let changed = wanted != subscription.names;
        subscription.names = wanted;
        if answers && !changed {
            return Vec::new();
        }
        if first && kind.is_wildcard() && request.version_info == served.set(kind).version {
            about.log.add(event(What::Resumed));
            return Vec::new();
        }
        about.log.add(event(What::Subscribe));
        vec![kind]
    }

    fn is_subscribed(&self, kind: Kind) -> bool {
        self.subscriptions[kind].asked
    }

    fn respond(
        &mut self,
        kind: Kind,
        state: &State,
        round: &Round,
        nonce: String,
    ) -> Option<DiscoveryResponse> {
        let subscription = &mut self.subscriptions[kind];
        let set = state.served.set(kind);
        let mut resources: Vec<(String, String, Any)> = set
            .entries
            .iter()
            .filter(|(name, _)| selects(&subscription.names, name))
            .map(|(name, entry)| (name.clone(), entry.version.clone(), entry.any.clone()))
            .collect();
        // That route configurations and endpoints are not there, nobody says in this protocol.
        if resources.is_empty() && !kind.is_wildcard() {
            return None;
        }
        let poison = state.behaviour.poison.get(&kind).copied();
        if let Some(poison) = poison {
            let first = resources.first();
            let first = first.map(|(name, _, any)| (name.clone(), any.clone()));
            let replace = poison == Poison::Constraint && first.is_some();
            if let Some((name, any)) = poisoned(kind, poison, first) {
                if replace {
                    resources.remove(0);
                }
                resources.push((name, "poisoned".to_owned(), any));
            }
        }
        if state.behaviour.reverse {
            resources.reverse();
        }
        let last = Last {
            version: set.version.clone(),
            resources: (resources.iter())
                .map(|(name, version, _)| (name.clone(), version.clone()))
                .collect(),
            poison,
        };
        // Nothing is new where one is not asked for all and none of one's own has changed.
        let known = match &subscription.last {
            Some(known) if kind.is_wildcard() => *known == last,
            Some(known) => known.resources == last.resources && known.poison == last.poison,
            None => false,
        };
        if known && !round.force {
            return None;
        }
        subscription.last = Some(last);
        subscription
            .open
            .add(&nonce, &set.version, state.behaviour.copies());
        subscription.nonce.clone_from(&nonce);
        Some(DiscoveryResponse {
            version_info: set.version.clone(),
            resources: resources.into_iter().map(|(_, _, any)| any).collect(),
            type_url: kind.type_url().to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        })
    }

    /// Everything is told each time anyway.
    fn forget(&mut self, _: Kind) {}

    fn unsolicited(type_url: &str, nonce: String) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: "unsolicited".to_owned(),
            type_url: type_url.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        }
    }

    fn describe(response: &DiscoveryResponse, event: &mut Event) {
        event.r#type = type_text(&response.type_url);
        event.version.clone_from(&response.version_info);
        event.nonce.clone_from(&response.nonce);
    }
}
