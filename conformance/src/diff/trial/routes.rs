//! Its route configurations.

use serde_json::Value;

use super::super::changes::{Part, Side};
use super::super::pairs::Place;
use super::super::values;
use super::{Making, Trials};

impl Making<'_> {
    pub(super) fn configuration(&mut self, place: Place) -> Value {
        let trials = self.trials;
        let (first, second) = (trials.first, trials.second);
        let own = place
            .first
            .and_then(|at| first.route_configurations.get(at));
        let other = place
            .second
            .and_then(|at| second.route_configurations.get(at));
        let one = place.first.unwrap_or(usize::MAX);
        let two = place.second.unwrap_or(usize::MAX);
        let mut value = match (own, other) {
            (Some(own), Some(other)) => self.fields(
                Part::Configuration(one),
                || values::configuration(&own.config),
                || values::configuration(&own.config),
                || values::configuration(&other.config),
            ),
            (Some(own), None) => values::configuration(&own.config),
            (None, Some(other)) => values::configuration(&other.config),
            (None, None) => Value::Null,
        };
        let name = value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let name = name.to_owned();
        let lengths = (
            own.map_or(0, |it| it.config.virtual_hosts.len()),
            other.map_or(0, |it| it.config.virtual_hosts.len()),
        );
        let hosts: Vec<Place> = if own.is_none() {
            let all = 0..lengths.1;
            all.map(|index| Place {
                first: None,
                second: Some(index),
            })
            .collect()
        } else {
            self.places(
                lengths,
                |index| Part::VirtualHost(one, index),
                |index| Part::VirtualHost(two, index),
            )
        };
        let tree = place.first.and_then(|at| trials.configuration(at));
        let mut all = Vec::with_capacity(hosts.len());
        for host in hosts {
            all.push(self.host((one, two), host, tree, &name));
        }
        if let Some(members) = value.as_object_mut()
            && !all.is_empty()
        {
            members.insert("virtual_hosts".to_owned(), Value::Array(all));
        }
        value
    }

    fn host(
        &mut self,
        (one, two): (usize, usize),
        place: Place,
        tree: Option<&Value>,
        configuration: &str,
    ) -> Value {
        let trials = self.trials;
        let own = place.first.and_then(|at| {
            let found = trials.first.route_configurations.get(one)?;
            found.config.virtual_hosts.get(at)
        });
        let other = place.second.and_then(|at| {
            let found = trials.second.route_configurations.get(two)?;
            found.config.virtual_hosts.get(at)
        });
        let (first_at, second_at) = (
            place.first.unwrap_or(usize::MAX),
            place.second.unwrap_or(usize::MAX),
        );
        let lengths = (
            own.map_or(0, |it| it.routes.len()),
            other.map_or(0, |it| it.routes.len()),
        );
        let tree = tree.and_then(|it| it.get("virtual_hosts")?.get(first_at));
        let is_touched = self.touched.contains(&(Side::First, one, first_at))
            || self.touched.contains(&(Side::Second, two, second_at));
        let mut value = match (own, other) {
            (Some(own), Some(other)) => self.fields(
                Part::VirtualHost(one, first_at),
                || values::virtual_host(own),
                || values::virtual_host(own),
                || values::virtual_host(other),
            ),
            (Some(own), None) => values::virtual_host(own),
            (None, Some(other)) => values::virtual_host(other),
            (None, None) => Value::Null,
        };
        let in_tree = value.get("matcher").is_some();
        let places: Vec<Place> = if own.is_none() || own.is_some_and(|it| it.matcher.is_some()) {
            let all = 0..lengths.1;
            all.map(|index| Place {
                first: None,
                second: Some(index),
            })
            .collect()
        } else {
            self.places(
                lengths,
                |index| Part::Route(one, first_at, index),
                |index| Part::Route(two, second_at, index),
            )
        };
        let host_name = value.get("name").and_then(Value::as_str);
        let key = (
            configuration.to_owned(),
            host_name.unwrap_or_default().to_owned(),
        );
        let is_second = || other.is_some_and(|other| value == values::virtual_host(other));
        let seconds = if in_tree && is_second() {
            (0..lengths.1).map(Some).collect()
        } else if in_tree && own.is_some_and(|it| it.matcher.is_some()) {
            let same = |index| trials.changes.second(Part::Route(one, first_at, index));
            (0..lengths.0)
                .map(|index| same(index).and_then(index_of))
                .collect()
        } else {
            places.iter().map(|place| place.second).collect()
        };
        self.origins.0.insert(key, seconds);
        if in_tree {
            return value;
        }
        if !is_touched && let Some(tree) = tree {
            return tree.clone();
        }
        let mut routes = Vec::with_capacity(places.len());
        for place in places {
            let before = place.first.and_then(|at| own?.routes.get(at));
            let after = place.second.and_then(|at| other?.routes.get(at));
            let route_at = place.first.unwrap_or(usize::MAX);
            routes.push(match (before, after) {
                (Some(before), Some(after)) => self.fields(
                    Part::Route(one, first_at, route_at),
                    || {
                        let held = tree.and_then(|it| it.get("routes")?.get(route_at));
                        held.cloned().unwrap_or_else(|| values::route(before))
                    },
                    || values::route(before),
                    || values::route(after),
                ),
                (Some(before), None) => values::route(before),
                (None, Some(after)) => values::route(after),
                (None, None) => continue,
            });
        }
        if let Some(members) = value.as_object_mut()
            && !routes.is_empty()
        {
            members.insert("routes".to_owned(), Value::Array(routes));
        }
        value
    }
}

impl Trials<'_> {
    /// A route configuration of the first in its tree.
    fn configuration(&self, index: usize) -> Option<&Value> {
        let inside = self.first.inline_route_configurations();
        if !inside.contains(&index) {
            let before = (0..index).filter(|it| !inside.contains(it)).count();
            let pointer = format!("/configs/1/dynamic_route_configs/{before}/route_config");
            return self.tree.pointer(&pointer);
        }
        for (at, listener) in self.first.listeners.iter().enumerate() {
            let place = format!("/configs/0/static_listeners/{at}/listener");
            let chains = listener.filter_chains.iter().enumerate();
            let chains = chains.map(|(at, chain)| (format!("filter_chains/{at}"), chain));
            let default = listener.default_filter_chain.iter();
            let default = default.map(|chain| ("default_filter_chain".to_owned(), chain));
            for (chain_place, chain) in chains.chain(default) {
                if chain.inline_route_configuration() == Some(index) {
                    let last = chain.config.filters.len().saturating_sub(1);
                    let pointer =
                        format!("{place}/{chain_place}/filters/{last}/typed_config/route_config");
                    return self.tree.pointer(&pointer);
                }
            }
        }
        None
    }
}

pub(super) fn index_of(part: Part) -> Option<usize> {
    match part {
        Part::Configuration(index) | Part::Route(_, _, index) => Some(index),
        _ => None,
    }
}
