//! Which parts of two lists are the same part.

use std::collections::HashMap;
use std::hash::Hash;

/// Two lists, part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// Of each part of the first list, its index in the second.
    pub(crate) to_second: Vec<Option<usize>>,
    /// Of each part of the second list, its index in the first.
    pub(crate) to_first: Vec<Option<usize>>,
    /// Whether a part of the first list stands elsewhere in the order of those that are in both.
    pub(crate) moved: Vec<bool>,
}

/// Pairs by key, where a key is there once in either list; then parts of equal content, in order;
/// then, between two neighbours that are paired, what is left on both sides, in order.
pub(crate) fn pair<K: Eq + Hash, C: Eq + Hash>(
    first: &[(Option<K>, C)],
    second: &[(Option<K>, C)],
) -> Pairs {
    let mut pairs = Pairs {
        to_second: vec![None; first.len()],
        to_first: vec![None; second.len()],
        moved: vec![false; first.len()],
    };
    let keys = [unique(first), unique(second)];
    for (key, one) in &keys[0] {
        if let Some(other) = keys[1].get(key) {
            pairs.join(*one, *other);
        }
    }
    let mut contents: HashMap<&C, Vec<usize>> = HashMap::new();
    for (index, (_, content)) in second.iter().enumerate().rev() {
        if pairs.to_first.get(index).is_some_and(Option::is_none) {
            contents.entry(content).or_default().push(index);
        }
    }
    for (index, (_, content)) in first.iter().enumerate() {
        if pairs.to_second.get(index).is_some_and(Option::is_none)
            && let Some(other) = contents.get_mut(content).and_then(Vec::pop)
        {
            pairs.join(index, other);
        }
    }
    let keyed = |list: &[(Option<K>, C)], index: usize| {
        list.get(index).is_some_and(|(key, _)| key.is_some())
    };
    pairs.between(&|one, other| !keyed(first, one) && !keyed(second, other));
    pairs.mark_moved();
    pairs
}

fn unique<K: Eq + Hash, C>(list: &[(Option<K>, C)]) -> HashMap<&K, usize> {
    let mut counts: HashMap<&K, (usize, usize)> = HashMap::new();
    for (index, (key, _)) in list.iter().enumerate() {
        if let Some(key) = key {
            counts.entry(key).or_insert((index, 0)).1 += 1;
        }
    }
    let once = counts.into_iter().filter(|(_, (_, count))| *count == 1);
    once.map(|(key, (index, _))| (key, index)).collect()
}

impl Pairs {
    fn join(&mut self, one: usize, other: usize) {
        if let (Some(to), Some(from)) = (self.to_second.get_mut(one), self.to_first.get_mut(other))
        {
            *to = Some(other);
            *from = Some(one);
        }
    }

    /// Pairs what follows right behind a pair, or behind the lists' start, on both sides.
    fn between(&mut self, may: &dyn Fn(usize, usize) -> bool) {
        for one in 0..self.to_second.len() {
            if self.to_second.get(one).is_some_and(Option::is_some) {
                continue;
            }
            let other = match one.checked_sub(1) {
                None => Some(0),
                Some(before) => self
                    .to_second
                    .get(before)
                    .copied()
                    .flatten()
                    .map(|it| it + 1),
            };
            if let Some(other) = other
                && self.to_first.get(other) == Some(&None)
                && may(one, other)
            {
                self.join(one, other);
            }
        }
    }

    /// What is not in the longest run of pairs that keep their order has moved.
    fn mark_moved(&mut self) {
        let pairs: Vec<(usize, usize)> = self
            .to_second
            .iter()
            .enumerate()
            .filter_map(|(one, other)| Some((one, (*other)?)))
            .collect();
        // For each length of a run, the place in `pairs` with the least end.
        let mut ends: Vec<usize> = Vec::new();
        let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
        for (place, (_, other)) in pairs.iter().enumerate() {
            let length =
                ends.partition_point(|end| pairs.get(*end).is_some_and(|(_, at)| at < other));
            before.push(length.checked_sub(1).and_then(|it| ends.get(it)).copied());
            match ends.get_mut(length) {
                Some(end) => *end = place,
                None => ends.push(place),
            }
        }
        for (one, _) in &pairs {
            if let Some(moved) = self.moved.get_mut(*one) {
                *moved = true;
            }
        }
        let mut next = ends.last().copied();
        while let Some(place) = next {
            if let Some(moved) = pairs
                .get(place)
                .and_then(|(one, _)| self.moved.get_mut(*one))
            {
                *moved = false;
            }
            next = before.get(place).copied().flatten();
        }
    }
}

/// An element of a list between the two: where it stands in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) first: Option<usize>,
    pub(crate) second: Option<usize>,
}

/// Which of the changes from the first list to the second are made.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    removed: Vec<bool>,
    moved: Vec<bool>,
    added: Vec<bool>,
}

impl Choice {
    /// None of them yet.
    pub(crate) fn of(pairs: &Pairs) -> Self {
        Self {
            removed: vec![false; pairs.to_second.len()],
            moved: vec![false; pairs.to_second.len()],
            added: vec![false; pairs.to_first.len()],
        }
    }

    /// Whether an element of the first goes.
    pub(crate) fn remove(&mut self, first: usize, is_made: bool) {
        if let Some(removed) = self.removed.get_mut(first) {
            *removed = is_made;
        }
    }

    /// Whether an element of the first stands where the second has it.
    pub(crate) fn move_along(&mut self, first: usize, is_made: bool) {
        if let Some(moved) = self.moved.get_mut(first) {
            *moved = is_made;
        }
    }

    /// Whether an element of the second comes.
    pub(crate) fn add(&mut self, second: usize, is_made: bool) {
        if let Some(added) = self.added.get_mut(second) {
            *added = is_made;
        }
    }

    /// The list with these changes: what comes or moves stands behind what it follows in the second.
    pub(crate) fn order(&self, pairs: &Pairs) -> Vec<Place> {
        let is = |of: &[bool], index: usize| of.get(index) == Some(&true);
        let mut places: Vec<Place> = pairs
            .to_second
            .iter()
            .enumerate()
            .filter(|(index, _)| !is(&self.removed, *index) && !is(&self.moved, *index))
            .map(|(index, second)| Place {
                first: Some(index),
                second: *second,
            })
            .collect();
        // What is there already and stands nearest before, in the order of the second.
        let mut before = None;
        for (index, from) in pairs.to_first.iter().enumerate() {
            let comes = match from {
                Some(first) => is(&self.moved, *first),
                None => is(&self.added, index),
            };
            if comes {
                let after = before.and_then(|before| {
                    places.iter().position(|place| place.second == Some(before))
                });
                let place = Place {
                    first: *from,
                    second: Some(index),
                };
                places.insert(after.map_or(0, |after| after + 1), place);
            }
            if comes || from.is_some() {
                before = Some(index);
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn list(text: &str) -> Vec<(Option<char>, String)> {
        // An upper-case letter is a key, what follows up to the comma the content.
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let key = part.chars().next().filter(char::is_ascii_uppercase);
                (key, part.to_owned())
            })
            .collect()
    }

    #[rstest]
    #[case("A1,B1", "A2,B1", &[Some(0), Some(1)], &[])]
    #[case("A1,B1", "B1,A1", &[Some(1), Some(0)], &[0])]
    #[case("a,b,c", "a,x,b,c", &[Some(0), Some(2), Some(3)], &[])]
    #[case("a,b,c", "a,c", &[Some(0), None, Some(1)], &[])]
    #[case("a,b,c", "a,x,c", &[Some(0), Some(1), Some(2)], &[])]
    #[case("a,b,c,d", "d,a,b,c", &[Some(1), Some(2), Some(3), Some(0)], &[3])]
    #[case("A1,a", "B1,a", &[None, Some(1)], &[])]
    #[case("a,a", "a", &[Some(0), None], &[])]
    #[case("", "a", &[], &[])]
    fn parts(
        #[case] first: &str,
        #[case] second: &str,
        #[case] to_second: &[Option<usize>],
        #[case] moved: &[usize],
    ) {
        let (first, second) = (list(first), list(second));
        let pairs = pair(&first, &second);
        assert_eq!(pairs.to_second, to_second);
        let found: Vec<usize> = (0..first.len())
            .filter(|index| pairs.moved[*index])
            .collect();
        assert_eq!(found.len(), moved.len(), "{found:?}");
        for (one, other) in pairs.to_second.iter().enumerate() {
            if let Some(other) = other {
                assert_eq!(pairs.to_first[*other], Some(one));
            }
        }
    }
}
