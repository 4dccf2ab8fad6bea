//! Its listeners.

use serde_json::Value;
use twinmesh_xds::FilterChain;

use super::super::changes::{Part, Side};
use super::super::pairs::Place;
use super::super::values;
use super::Making;
use super::routes::index_of;

impl Making<'_> {
    pub(super) fn listener(&mut self, place: Place) -> Value {
        let trials = self.trials;
        let own = place.first.and_then(|at| trials.first.listeners.get(at));
        let other = place.second.and_then(|at| trials.second.listeners.get(at));
        let mut value = match (own.zip(place.first), other) {
            (Some((own, at)), Some(other)) => self.fields(
                Part::Listener(at),
                || values::listener(own),
                || values::listener(own),
                || values::listener(other),
            ),
            (Some((own, _)), None) => values::listener(own),
            (None, Some(other)) => values::listener(other),
            (None, None) => Value::Null,
        };
        let one = place.first.unwrap_or(usize::MAX);
        let two = place.second.unwrap_or(usize::MAX);
        let lengths = (
            own.map_or(0, |it| it.filter_chains.len()),
            other.map_or(0, |it| it.filter_chains.len()),
        );
        // A listener that comes as a whole has all its chains; else each chain is chosen by itself.
        let chains = if own.is_none() {
            let all = 0..lengths.1;
            all.map(|index| Place {
                first: None,
                second: Some(index),
            })
            .collect()
        } else {
            self.places(
                lengths,
                |index| Part::FilterChain(one, Some(index)),
                |index| Part::FilterChain(two, Some(index)),
            )
        };
        let mut all = Vec::new();
        for chain in chains {
            let before = chain.first.and_then(|at| own?.filter_chains.get(at));
            let after = chain.second.and_then(|at| other?.filter_chains.get(at));
            let part = Part::FilterChain(one, chain.first);
            all.push(self.chain(part, before, after));
        }
        let before = own.and_then(|it| it.default_filter_chain.as_ref());
        let after = other.and_then(|it| it.default_filter_chain.as_ref());
        let part = Part::FilterChain(one, None);
        let is_chosen = |index: Option<usize>| index.is_some_and(|it| self.chosen.contains(&it));
        let changes = trials.changes;
        let default = match (before, after) {
            (Some(_), None) if is_chosen(changes.whole_of(Side::First, part)) => None,
            (None, Some(_))
                if own.is_some()
                    && !is_chosen(changes.whole_of(Side::Second, Part::FilterChain(two, None))) =>
            {
                None
            }
            (None, None) => None,
            _ => Some(self.chain(part, before, after)),
        };
        if let Some(members) = value.as_object_mut() {
            if !all.is_empty() {
                members.insert("filter_chains".to_owned(), Value::Array(all));
            }
            if let Some(default) = default {
                members.insert("default_filter_chain".to_owned(), default);
            }
        }
        value
    }

    fn chain(
        &mut self,
        part: Part,
        own: Option<&FilterChain>,
        other: Option<&FilterChain>,
    ) -> Value {
        let mut value = match (own, other) {
            (Some(own), Some(other)) => self.fields(
                part,
                || values::filter_chain(own),
                || values::filter_chain(own),
                || values::filter_chain(other),
            ),
            (Some(own), None) => values::filter_chain(own),
            (None, Some(other)) => values::filter_chain(other),
            (None, None) => Value::Null,
        };
        let last = value
            .pointer_mut("/filters")
            .and_then(Value::as_array_mut)
            .and_then(|filters| filters.last_mut())
            .and_then(|filter| filter.pointer_mut("/typed_config/route_config"));
        if let Some(config) = last {
            let changes = self.trials.changes;
            let first = own.and_then(FilterChain::inline_route_configuration);
            let second = other.and_then(FilterChain::inline_route_configuration);
            // The one that stands in the chain on the side where one does.
            let comes = second.is_some_and(|index| {
                let whole = changes.whole_of(Side::Second, Part::Configuration(index));
                whole.is_some_and(|it| self.chosen.contains(&it))
            });
            let place = match (first.filter(|_| !comes), second) {
                (Some(first), _) => {
                    let same = changes.second(Part::Configuration(first));
                    Place {
                        first: Some(first),
                        second: same.and_then(index_of),
                    }
                }
                (None, second) => Place {
                    first: None,
                    second,
                },
            };
            *config = self.configuration(place);
        }
        value
    }
}
