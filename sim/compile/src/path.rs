//! Files the routes of a virtual host under classes of paths, as [`twinmesh_model::route`] looks
//! them up.

use std::collections::{BTreeMap, HashMap};

use twinmesh_model::{
    layout::pair,
    route::{CLASSES, KEYS},
    trie::{key, tag},
};

use crate::arena::Arena;
use crate::trie::Keys;

/// A list that is no longer than this is looked through as it is.
const SHORT: usize = 8;
/// Lists of classes above one another are joined up to this length.
const JOINED: usize = 16;

/// What the paths of one virtual host lead to; numbers of routes are the policy's.
#[derive(Debug, Default)]
pub struct Paths {
    exact: BTreeMap<Vec<u8>, Vec<u64>>,
    prefix: BTreeMap<Vec<u8>, Vec<u64>>,
}

/// What a class needs to know of a route.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// The route takes every request whose path is of its class.
    pub unconditional: bool,
    /// Slots and values' numbers that the request must have.
    pub keys: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Default)]
struct Class {
    list: Vec<u64>,
    above: Option<usize>,
    depth: u64,
    offset: u64,
}

impl Paths {
    /// The route takes this path.
    pub fn exact(&mut self, path: &[u8], route: u64) {
        self.exact.entry(path.to_vec()).or_default().push(route);
    }

    /// The route takes all paths that start with this.
    pub fn prefix(&mut self, path: &[u8], route: u64) {
        self.prefix.entry(path.to_vec()).or_default().push(route);
    }

    /// Nothing was filed.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty()
    }

    /// Writes classes and trie; the trie's root. `candidates` start with the route `first`;
    /// `number` is the next class's number.
    pub fn write(
        &self,
        arena: &mut Arena,
        first: u64,
        candidates: &[Candidate],
        number: &mut u64,
    ) -> u64 {
        let mut classes: Vec<Class> = Vec::new();
        let mut of_prefix: HashMap<&[u8], usize> = HashMap::new();
        // A prefix comes after all that it starts with.
        for (path, routes) in &self.prefix {
            let above = (0..path.len())
                .rev()
                .find_map(|length| of_prefix.get(path.get(..length)?).copied());
            of_prefix.insert(path, classes.len());
            let class = join(&classes, routes, above, first, candidates);
            classes.push(class);
        }
        let prefixes = classes.len();
        for (path, routes) in &self.exact {
            let above = (0..=path.len())
                .rev()
                .find_map(|length| of_prefix.get(path.get(..length)?).copied());
            let class = join(&classes, routes, above, first, candidates);
            classes.push(class);
        }
        for index in 0..classes.len() {
            let above = classes.get(index).and_then(|class| class.above);
            let parent = above
                .and_then(|above| classes.get(above))
                .map_or(0, |above| above.offset);
            if let Some(class) = classes.get_mut(index) {
                *number += 1;
                class.offset = write_class(arena, &class.list, parent, *number, first, candidates);
            }
        }
        let mut keys = Keys::default();
        for (path, class) in self.prefix.keys().zip(&classes) {
            keys.prefix.insert(path.clone(), class.offset);
        }
        for (path, class) in self.exact.keys().zip(classes.iter().skip(prefixes)) {
            keys.exact.insert(path.clone(), class.offset);
        }
        arena.trie(&keys)
    }
}

fn candidate(candidates: &[Candidate], first: u64, route: u64) -> Option<&Candidate> {
    candidates.get((route - first) as usize)
}

/// A class of these routes below another one: joined with it where both are short.
fn join(
    classes: &[Class],
    routes: &[u64],
    above: Option<usize>,
    first: u64,
    candidates: &[Candidate],
) -> Class {
    let unconditional = |route: &u64| {
        candidate(candidates, first, *route).is_some_and(|candidate| candidate.unconditional)
    };
    let mut list = routes.to_vec();
    list.sort_unstable();
    list.dedup();
    let mut class = Class {
        list,
        above,
        depth: 1,
        offset: 0,
    };
    let parent = above.and_then(|above| classes.get(above));
    if let Some(parent) = parent {
        class.depth = parent.depth + 1;
        let short = parent.above.is_none() && class.list.len() + parent.list.len() <= JOINED;
        if short || class.depth >= CLASSES {
            class.list.extend_from_slice(&parent.list);
            class.list.sort_unstable();
            class.list.dedup();
            class.above = parent.above;
            class.depth = parent.depth;
        }
    }
    if let Some(end) = class.list.iter().position(unconditional) {
        class.list.truncate(end + 1);
        // What stands above helps only with routes before the one that takes everything.
        let last = class.list.last().copied();
        let mut up = class.above;
        let mut needed = false;
        while let Some(parent) = up.and_then(|above| classes.get(above)) {
            needed |= parent.list.first().copied() < last;
            up = parent.above;
        }
        if !needed {
            class.above = None;
        }
    }
    class
}

/// Writes a class and its lists; its offset.
fn write_class(
    arena: &mut Arena,
    routes: &[u64],
    parent: u64,
    number: u64,
    first: u64,
    candidates: &[Candidate],
) -> u64 {
    let (keyed, plain) = split(routes, first, candidates);
    let mut slots = 0;
    for (index, (slot, lists)) in keyed.iter().enumerate() {
        slots |= (slot + 1) << (16 * index);
        for (value, list) in lists {
            let offset = arena.words(list);
            arena.tries.add(
                pair(*value, *slot),
                key(number, tag::LIST),
                pair(offset, list.len() as u64),
            );
        }
    }
    let list = arena.words(&plain);
    arena.record([
        pair(list, plain.len() as u64),
        pair(parent, 0),
        slots,
        number,
    ])
}

type Keyed = Vec<(u64, BTreeMap<u64, Vec<u64>>)>;

/// Divides a long list: by the values of up to [`KEYS`] slots, and the rest.
fn split(routes: &[u64], first: u64, candidates: &[Candidate]) -> (Keyed, Vec<u64>) {
    if routes.len() <= SHORT {
        return (Vec::new(), routes.to_vec());
    }
    let keys = |route: u64| {
        candidate(candidates, first, route).map_or(&[][..], |candidate| &candidate.keys)
    };
    // A route is best filed under the rarest value that it asks for.
    let mut frequency: HashMap<(u64, u64), usize> = HashMap::new();
    for &route in routes {
        for &key in keys(route) {
            *frequency.entry(key).or_default() += 1;
        }
    }
    let rarest = |route: u64, allowed: Option<&[u64]>| {
        keys(route)
            .iter()
            .filter(|(slot, _)| allowed.is_none_or(|allowed| allowed.contains(slot)))
            .min_by_key(|key| (frequency.get(key).copied().unwrap_or(0), **key))
            .copied()
    };
    let mut used: BTreeMap<u64, usize> = BTreeMap::new();
    for &route in routes {
        if let Some((slot, _)) = rarest(route, None) {
            *used.entry(slot).or_default() += 1;
        }
    }
    let mut slots: Vec<(usize, u64)> = used
        .into_iter()
        .map(|(slot, count)| (count, slot))
        .collect();
    slots.sort_unstable_by(|one, other| other.cmp(one));
    slots.truncate(KEYS as usize);
    let allowed: Vec<u64> = slots.iter().map(|&(_, slot)| slot).collect();
    let mut keyed: Keyed = allowed
        .iter()
        .map(|&slot| (slot, BTreeMap::new()))
        .collect();
    let mut plain = Vec::new();
    for &route in routes {
        let lists = rarest(route, Some(&allowed)).and_then(|(slot, value)| {
            Some((keyed.iter_mut().find(|(other, _)| *other == slot)?, value))
        });
        match lists {
            Some(((_, lists), value)) => lists.entry(value).or_default().push(route),
            None => plain.push(route),
        }
    }
    keyed.retain(|(_, lists)| !lists.is_empty());
    (keyed, plain)
}
