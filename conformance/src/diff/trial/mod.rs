//! The first snapshot with some of the changes made: what it decides tells what they cause.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use twinmesh_engine::Decision;
use twinmesh_xds::{ReadOptions, Snapshot, read_bytes};

use super::changes::{Changes, Part, Side};
use super::pairs::{Choice, Pairs, Place};
use super::values;

mod clusters;
mod listeners;
mod routes;

const TYPE: &str = "type.googleapis.com/envoy.admin.v3.";

/// A resource as an element of a section has it.
fn typed(message: &str, mut resource: Value) -> Value {
    if let Some(members) = resource.as_object_mut() {
        let name = format!("type.googleapis.com/envoy.config.{message}");
        members.insert("@type".to_owned(), Value::String(name));
    }
    resource
}

/// Makes snapshots between the two.
pub(super) struct Trials<'a> {
    first: &'a Snapshot,
    second: &'a Snapshot,
    changes: &'a Changes,
    /// The first as JSON.
    tree: Value,
    /// Its clusters with their endpoints.
    clusters: Vec<Value>,
    /// How many bytes of JSON a trial has, about.
    pub(super) size: usize,
}

/// Of the routes of a trial's virtual hosts, by the names of route configuration and virtual host, the
/// same routes of the second snapshot.
#[derive(Debug, Default)]
pub(super) struct Origins(HashMap<(String, String), Vec<Option<usize>>>);

impl Origins {
    /// The index in its virtual host that the route of a decision has in the second snapshot.
    pub(super) fn second(&self, decision: &Decision, route: usize) -> Option<usize> {
        let name = |it: &Option<String>| it.clone().unwrap_or_default();
        let key = (name(&decision.route_config), name(&decision.virtual_host));
        self.0.get(&key)?.get(route).copied().flatten()
    }
}

/// Some of the changes, while the snapshot with them is written.
struct Making<'t> {
    trials: &'t Trials<'t>,
    chosen: &'t BTreeSet<usize>,
    /// Virtual hosts in which one of them is.
    touched: HashSet<(Side, usize, usize)>,
    origins: Origins,
}

impl<'a> Trials<'a> {
    pub(super) fn new(first: &'a Snapshot, second: &'a Snapshot, changes: &'a Changes) -> Self {
        let text = twinmesh_xds::to_json(first);
        Self {
            first,
            second,
            changes,
            size: text.len(),
            tree: serde_json::from_str(&text).unwrap_or_default(),
            clusters: first.clusters.iter().map(values::cluster).collect(),
        }
    }

    /// The first snapshot with the changes of these indices; `None` where Envoy would refuse it.
    pub(super) fn snapshot(&self, chosen: &BTreeSet<usize>) -> Option<(Snapshot, Origins)> {
        let mut making = Making {
            trials: self,
            chosen,
            touched: HashSet::new(),
            origins: Origins::default(),
        };
        let all = chosen
            .iter()
            .filter_map(|index| self.changes.all.get(*index));
        for (side, part) in all.flat_map(|change| &change.parts) {
            if let Part::Route(configuration, host, _) | Part::VirtualHost(configuration, host) =
                part
            {
                making.touched.insert((*side, *configuration, *host));
            }
        }
        let document = making.document();
        let options = ReadOptions {
            strict: false,
            profile: self.first.profile,
        };
        let text = document.to_string();
        let read = read_bytes("the trial", text.as_bytes(), &options).ok()?;
        Some((read, making.origins))
    }
}

impl Making<'_> {
    fn document(&mut self) -> Value {
        let (first, second) = (self.trials.first, self.trials.second);
        let listeners = self.places(
            (first.listeners.len(), second.listeners.len()),
            Part::Listener,
            Part::Listener,
        );
        let listeners: Vec<Value> = listeners
            .into_iter()
            .map(|place| json!({ "listener": typed("listener.v3.Listener", self.listener(place)) }))
            .collect();
        let inline = [first, second].map(Snapshot::inline_route_configurations);
        let routes = self.places(
            (
                first.route_configurations.len(),
                second.route_configurations.len(),
            ),
            Part::Configuration,
            Part::Configuration,
        );
        let is_apart = |at: Option<usize>, inline: &BTreeSet<usize>| {
            at.is_some_and(|index| !inline.contains(&index))
        };
        let routes: Vec<Value> = routes
            .into_iter()
            .filter(|place| is_apart(place.first, &inline[0]) || is_apart(place.second, &inline[1]))
            .map(|place| {
                let value = self.configuration(place);
                json!({ "route_config": typed("route.v3.RouteConfiguration", value) })
            })
            .collect();
        let mut sections = vec![
            json!({"@type": format!("{TYPE}ListenersConfigDump"), "static_listeners": listeners}),
            json!({"@type": format!("{TYPE}RoutesConfigDump"), "dynamic_route_configs": routes}),
        ];
        sections.extend(self.clusters());
        let bootstrap = self.fields(
            Part::Bootstrap,
            || values::bootstrap(first),
            || values::bootstrap(first),
            || values::bootstrap(second),
        );
        if bootstrap.as_object().is_some_and(|it| !it.is_empty()) {
            sections.push(
                json!({"@type": format!("{TYPE}BootstrapConfigDump"), "bootstrap": bootstrap}),
            );
        }
        json!({ "configs": sections })
    }

    /// What stands in a list of parts.
    fn places(
        &self,
        (first, second): (usize, usize),
        own: impl Fn(usize) -> Part,
        other: impl Fn(usize) -> Part,
    ) -> Vec<Place> {
        let changes = self.trials.changes;
        let is_chosen = |index: Option<usize>| index.is_some_and(|it| self.chosen.contains(&it));
        let at: HashMap<Part, usize> = (0..second).map(|index| (other(index), index)).collect();
        let mut pairs = Pairs {
            to_second: vec![None; first],
            to_first: vec![None; second],
            moved: vec![false; first],
        };
        for (index, to) in pairs.to_second.iter_mut().enumerate() {
            let found = changes.second(own(index));
            *to = found.and_then(|part| at.get(&part)).copied();
            if let Some(from) = to.and_then(|to| pairs.to_first.get_mut(to)) {
                *from = Some(index);
            }
        }
        let mut choice = Choice::of(&pairs);
        for index in 0..first {
            let part = own(index);
            choice.remove(index, is_chosen(changes.whole_of(Side::First, part)));
            choice.move_along(index, is_chosen(changes.moved_of(part)));
        }
        for index in 0..second {
            choice.add(
                index,
                is_chosen(changes.whole_of(Side::Second, other(index))),
            );
        }
        choice.order(&pairs)
    }

    /// A part of both snapshots: as the first's tree has it, unless fields of it are chosen.
    fn fields(
        &self,
        part: Part,
        tree: impl FnOnce() -> Value,
        before: impl FnOnce() -> Value,
        after: impl FnOnce() -> Value,
    ) -> Value {
        let range = self.trials.changes.fields_of(part);
        if self.chosen.range(range.clone()).next().is_none() {
            return tree();
        }
        let mut next = range;
        values::merged(&before(), &after(), &mut || {
            next.next()
                .is_some_and(|index| self.chosen.contains(&index))
        })
    }
}
