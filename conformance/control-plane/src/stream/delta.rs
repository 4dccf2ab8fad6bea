//! The delta protocol.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use twinmesh_ads::{Kind, PerKind};

use super::{About, Open, Protocol, Round, State, poisoned, type_text};
use crate::behaviour::Poison;
use crate::event::{Event, What};
use crate::served::Served;

#[derive(Debug, Default)]
pub(crate) struct Delta {
    subscriptions: PerKind<Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    asked: bool,
    all: bool,
    names: BTreeSet<String>,
    /// What the client has, with versions; `None`: it was told that it is not there.
    client: BTreeMap<String, Option<String>>,
    open: Open,
    poison: Option<Poison>,
    /// Asked for in the request that is answered now: told also if it is not there.
    again: BTreeSet<String>,
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn receive(
        &mut self,
        request: DeltaDiscoveryRequest,
        _: &Served,
        about: &mut About,
    ) -> Vec<Kind> {
        if let Some(node) = &request.node {
            about.client.clone_from(&node.id);
        }
        let event = |what| Event {
            nonce: request.response_nonce.clone(),
            names: request.resource_names_subscribe.clone(),
            removed: request.resource_names_unsubscribe.clone(),
            ..about.event(what, &type_text(&request.type_url))
        };
        let Some(kind) = Kind::of_type_url(&request.type_url) else {
            about.log.add(event(What::Subscribe));
            return Vec::new();
        };
        let subscription = &mut self.subscriptions[kind];
        if !request.response_nonce.is_empty() {
            match subscription.open.answered(&request.response_nonce) {
                None => about.log.add(event(What::Stale)),
                Some(version) => {
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
            }
        }
        let first = !std::mem::replace(&mut subscription.asked, true);
        if first {
            subscription.all = request.resource_names_subscribe.is_empty();
            let held = &request.initial_resource_versions;
            subscription.client = held
                .iter()
                .map(|(name, version)| (name.clone(), Some(version.clone())))
                .collect();
        }
        for name in &request.resource_names_subscribe {
            if name == "*" {
                subscription.all = true;
                continue;
            }
            subscription.names.insert(name.clone());
            // Who asks again wants to have it again, unless it has just said what it has.
            if !first {
                subscription.client.remove(name);
            }
            subscription.again.insert(name.clone());
        }
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                subscription.all = false;
            }
            subscription.names.remove(name);
            subscription.client.remove(name);
        }
        let changed = first || !request.resource_names_subscribe.is_empty();
        if changed || !request.resource_names_unsubscribe.is_empty() {
            about.log.add(event(What::Subscribe));
        }
        if changed { vec![kind] } else { Vec::new() }
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
    ) -> Option<DeltaDiscoveryResponse> {
        let subscription = &mut self.subscriptions[kind];
        let set = state.served.set(kind);
        let again = std::mem::take(&mut subscription.again);
        let mut resources = Vec::new();
        for (name, entry) in &set.entries {
            let held = subscription.client.get(name).cloned().flatten();
            if round.news && subscription.wants(name) && held.as_ref() != Some(&entry.version) {
                resources.push(Resource {
                    name: name.clone(),
                    version: entry.version.clone(),
                    resource: Some(entry.any.clone()),
                    ..Resource::default()
                });
            }
        }
        let mut removed = Vec::new();
        if round.removals {
            let held = subscription.client.iter();
            removed = held
                .filter(|(name, version)| version.is_some() && !set.entries.contains_key(*name))
                .map(|(name, _)| name.clone())
                .collect();
            // What was asked for and is not there is told at once, and once.
            removed.extend(again.into_iter().filter(|name| {
                !set.entries.contains_key(name) && !subscription.client.contains_key(name)
            }));
        }
        let poison = state.behaviour.poison.get(&kind).copied();
        let news = !resources.is_empty() || !removed.is_empty();
        for resource in &resources {
            let version = Some(resource.version.clone());
            subscription.client.insert(resource.name.clone(), version);
        }
        for name in &removed {
            subscription.client.insert(name.clone(), None);
        }
        let poisons = poison.filter(|_| news || poison != subscription.poison);
        subscription.poison = poison;
        if let Some(poison) = poisons {
            let first = resources.first().cloned().or_else(|| {
                let mut wanted = set.entries.iter();
                let (name, entry) = wanted.find(|(name, _)| subscription.wants(name))?;
                Some(Resource {
                    name: name.clone(),
                    resource: Some(entry.any.clone()),
                    ..Resource::default()
                })
            });
            let first = first.and_then(|first| Some((first.name.clone(), first.resource?)));
            let twice = poison == Poison::Twice;
            if let Some((name, any)) = poisoned(kind, poison, first) {
                let bad = Resource {
                    name: name.clone(),
                    version: "poisoned".to_owned(),
                    resource: Some(any),
                    ..Resource::default()
                };
                if twice {
                    resources.push(bad.clone());
                    resources.retain(|resource| resource.name == name);
                } else {
                    resources.retain(|resource| resource.name != name);
                }
                // Refused as a whole: all of it has to be told again.
                for resource in &resources {
                    subscription.client.remove(&resource.name);
                }
                subscription.client.remove(&name);
                resources.push(bad);
            }
        }
        // That there is nothing at all has to be said once to who has nothing.
        let first = round.force && kind.is_wildcard() && subscription.client.is_empty();
        if resources.is_empty() && removed.is_empty() && !first {
            return None;
        }
        if state.behaviour.reverse {
            resources.reverse();
        }
        subscription
            .open
            .add(&nonce, &set.version, state.behaviour.copies());
        Some(DeltaDiscoveryResponse {
            system_version_info: set.version.clone(),
            resources,
            type_url: kind.type_url().to_owned(),
            removed_resources: removed,
            nonce,
            ..DeltaDiscoveryResponse::default()
        })
    }

    fn forget(&mut self, kind: Kind) {
        self.subscriptions[kind].client.clear();
    }

    fn unsolicited(type_url: &str, nonce: String) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: "unsolicited".to_owned(),
            type_url: type_url.to_owned(),
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }

    fn describe(response: &DeltaDiscoveryResponse, event: &mut Event) {
        event.r#type = type_text(&response.type_url);
        event.version.clone_from(&response.system_version_info);
        event.nonce.clone_from(&response.nonce);
        event.names = response
            .resources
            .iter()
            .map(|resource| resource.name.clone())
            .collect();
        event.removed.clone_from(&response.removed_resources);
    }
}
