//! Which changes move requests, by trying: the first snapshot with some of the changes alone decides
//! what the second does, or not.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::{Changes, Part};
use crate::failure::Failure;

/// A request that is decided differently.
pub(super) struct Moved {
    /// All changes on its way in either snapshot.
    pub(super) way: BTreeSet<usize>,
    /// Those that it probably comes from.
    pub(super) guess: BTreeSet<usize>,
}

/// Changes that move requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// Indices of the changes.
    pub(super) changes: BTreeSet<usize>,
    /// It was tried: the first snapshot with them decides as the second, and, as far as there were
    /// trials, not with fewer. Else it is one or some of them.
    pub(super) is_proved: bool,
    /// Indices of the requests.
    pub(super) requests: Vec<usize>,
}

/// Decides by the first snapshot with changes: of each of the requests, whether it is decided as by
/// the second. `None`: it was tried often enough.
pub(super) type Try<'t> =
    dyn FnMut(&BTreeSet<usize>, &[usize]) -> Result<Option<Vec<bool>>, Failure> + 't;

/// The causes of all that moved.
///
/// # Errors
/// As `attempt`.
pub(super) fn of(
    moved: &[Moved],
    changes: &Changes,
    attempt: &mut Try<'_>,
) -> Result<Vec<Cause>, Failure> {
    let mut search = Search {
        moved,
        attempt,
        found: BTreeMap::new(),
    };
    let rest: Vec<usize> = (0..moved.len()).collect();
    let rest = search.side_by_side(changes, rest)?;
    let rest = search.each(rest, |it| it.guess.clone())?;
    let rest = search.each(rest, |it| it.way.clone())?;
    let all: BTreeSet<usize> = (0..changes.all.len()).collect();
    let rest = search.each(rest, |_| all.clone())?;
    let mut causes: Vec<Cause> = search
        .found
        .into_iter()
        .map(|(changes, requests)| Cause {
            changes,
            is_proved: true,
            requests,
        })
        .collect();
    let mut open: BTreeMap<BTreeSet<usize>, Vec<usize>> = BTreeMap::new();
    for index in rest {
        let way = moved.get(index).map(|it| it.way.clone());
        let way = way.filter(|it| !it.is_empty());
        let own = way.unwrap_or_else(|| all.clone());
        open.entry(own).or_default().push(index);
    }
    causes.extend(open.into_iter().map(|(changes, requests)| Cause {
        changes,
        is_proved: false,
        requests,
    }));
    for cause in &mut causes {
        cause.requests.sort_unstable();
    }
    Ok(causes)
}

struct Search<'m, 't> {
    moved: &'m [Moved],
    attempt: &'m mut Try<'t>,
    found: BTreeMap<BTreeSet<usize>, Vec<usize>>,
}

type Groups = BTreeMap<BTreeSet<usize>, Vec<usize>>;

impl Search<'_, '_> {
    fn groups(&self, requests: Vec<usize>, by: impl Fn(&Moved) -> BTreeSet<usize>) -> Groups {
        let mut groups = Groups::new();
        for index in requests {
            if let Some(moved) = self.moved.get(index) {
                groups.entry(by(moved)).or_default().push(index);
            }
        }
        groups
    }

    /// Tries the guesses of all groups at once, where those of one group are on no other's way; returns
    /// the requests of which nothing is proved.
    fn side_by_side(
        &mut self,
        changes: &Changes,
        requests: Vec<usize>,
    ) -> Result<Vec<usize>, Failure> {
        let groups = self.groups(requests.clone(), |it| it.guess.clone());
        let is_far = |index: &usize| {
            let parts = changes.all.get(*index).map(|it| it.parts.as_slice());
            // Filter chains are chosen by what others ask for, too.
            parts.unwrap_or_default().iter().any(|(_, part)| {
                matches!(
                    part,
                    Part::Bootstrap | Part::Listener(_) | Part::FilterChain(..)
                )
            })
        };
        let mut alone = Groups::new();
        for (guess, own) in groups {
            if !guess.is_empty() && !guess.iter().any(is_far) {
                alone.insert(guess, own);
            }
        }
        let union: BTreeSet<usize> = alone.keys().flatten().copied().collect();
        let moved = self.moved;
        alone.retain(|guess, own| {
            own.retain(|index| {
                moved.get(*index).is_some_and(|it| {
                    it.way
                        .intersection(&union)
                        .all(|change| guess.contains(change))
                })
            });
            !own.is_empty()
        });
        if alone.len() < 2 {
            return Ok(requests);
        }
        let mut groups: Vec<(BTreeSet<usize>, Vec<usize>)> = alone.into_iter().collect();
        let mut passed = self.together(&groups)?;
        for (at, (_, own)) in groups.iter_mut().enumerate() {
            let mut passed = passed.get(at).into_iter().flatten();
            own.retain(|_| passed.next() == Some(&true));
        }
        groups.retain(|(_, own)| !own.is_empty());
        // In each round every group goes without another one of its changes.
        let rounds = groups.iter().map(|(guess, _)| guess.len()).max();
        let mut at = vec![0; groups.len()];
        for _ in 0..rounds.unwrap_or_default() {
            let mut tried = groups.clone();
            let mut any = false;
            for ((guess, _), at) in tried.iter_mut().zip(&at) {
                let next = guess.iter().nth(*at).copied();
                if guess.len() > 1
                    && let Some(next) = next
                {
                    guess.remove(&next);
                    any = true;
                }
            }
            if !any {
                break;
            }
            passed = self.together(&tried)?;
            let results = groups.iter_mut().zip(tried).zip(&mut at).zip(&passed);
            for (((group, tried), at), passed) in results {
                let is_less = tried.0.len() < group.0.len();
                if is_less && !passed.is_empty() && passed.iter().all(|it| *it) {
                    group.0 = tried.0;
                } else {
                    *at += 1;
                }
            }
        }
        let mut done = BTreeSet::new();
        for (guess, own) in groups {
            done.extend(own.iter().copied());
            self.found.entry(guess).or_default().extend(own);
        }
        Ok(requests
            .into_iter()
            .filter(|index| !done.contains(index))
            .collect())
    }

    fn together(
        &mut self,
        groups: &[(BTreeSet<usize>, Vec<usize>)],
    ) -> Result<Vec<Vec<bool>>, Failure> {
        let union = groups.iter().flat_map(|(guess, _)| guess).copied();
        let mut requests: Vec<usize> = groups.iter().flat_map(|(_, own)| own).copied().collect();
        requests.sort_unstable();
        let passed = (self.attempt)(&union.collect(), &requests)?;
        let passed = passed.unwrap_or_default();
        let of = |index: &usize| {
            let at = requests.binary_search(index).ok();
            at.and_then(|at| passed.get(at)) == Some(&true)
        };
        Ok(groups
            .iter()
            .map(|(_, own)| own.iter().map(of).collect())
            .collect())
    }

    /// Tries changes for the requests that have them; returns the requests of which nothing is proved.
    fn each(
        &mut self,
        requests: Vec<usize>,
        by: impl Fn(&Moved) -> BTreeSet<usize>,
    ) -> Result<Vec<usize>, Failure> {
        let mut rest = Vec::new();
        for (changes, own) in self.groups(requests, by) {
            if changes.is_empty() {
                rest.extend(own);
                continue;
            }
            let passed = (self.attempt)(&changes, &own)?.unwrap_or_default();
            let mut proved = Vec::new();
            for (at, index) in own.into_iter().enumerate() {
                if passed.get(at) == Some(&true) {
                    proved.push(index);
                } else {
                    rest.push(index);
                }
            }
            self.least(changes, proved)?;
        }
        rest.sort_unstable();
        Ok(rest)
    }

    /// Takes for the cause what is left of changes when none can be left out any more. Requests that
    /// need others than the most do are looked at by themselves.
    fn least(&mut self, changes: BTreeSet<usize>, requests: Vec<usize>) -> Result<(), Failure> {
        let mut open = vec![(changes, requests)];
        while let Some((mut changes, mut requests)) = open.pop() {
            if requests.is_empty() {
                continue;
            }
            let whole = changes.clone();
            let mut size = changes.len();
            while size > 1 || (size == 1 && changes.len() > 1) {
                size = size.div_ceil(2);
                for part in Vec::from_iter(changes.clone()).chunks(size) {
                    let mut fewer = changes.clone();
                    for index in part {
                        fewer.remove(index);
                    }
                    if fewer.is_empty() {
                        continue;
                    }
                    let passed = (self.attempt)(&fewer, &requests)?.unwrap_or_default();
                    if !passed.is_empty() && passed.iter().all(|it| *it) {
                        changes = fewer;
                    } else if whole.len() > SEVERAL && passed.iter().any(|it| *it) {
                        // Of many changes, different ones move different requests.
                        let mut passed = passed.into_iter();
                        let (with, without) = requests
                            .into_iter()
                            .partition(|_| passed.next() == Some(true));
                        requests = with;
                        open.push((changes.clone(), without));
                        changes = fewer;
                    }
                }
                if size == 1 {
                    break;
                }
            }
            self.found.entry(changes).or_default().extend(requests);
        }
        Ok(())
    }
}

/// Up to as many changes, requests that some of them move stay together.
const SEVERAL: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::changes::{Change, What};
    use super::*;

    fn changes(count: usize) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..count {
            changes.all.push(Change {
                resource: String::new(),
                path: String::new(),
                field: String::new(),
                what: What::Added,
                parts: Vec::new(),
            });
        }
        changes
    }

    fn set(all: &[usize]) -> BTreeSet<usize> {
        all.iter().copied().collect()
    }

    /// The causes of requests that need all of these changes each.
    fn causes(needed: &[&[usize]], moved: &[(&[usize], &[usize])], most: usize) -> Vec<Cause> {
        let moved: Vec<Moved> = moved
            .iter()
            .map(|(guess, way)| Moved {
                guess: set(guess),
                way: set(way),
            })
            .collect();
        let mut times = 0;
        let mut attempt = |chosen: &BTreeSet<usize>, requests: &[usize]| {
            times += 1;
            let all = requests
                .iter()
                .map(|it| needed[*it].iter().all(|it| chosen.contains(it)));
            Ok((times <= most).then(|| all.collect()))
        };
        of(&moved, &changes(8), &mut attempt).expect("causes")
    }

    fn cause(changes: &[usize], is_proved: bool, requests: &[usize]) -> Cause {
        Cause {
            changes: set(changes),
            is_proved,
            requests: requests.to_vec(),
        }
    }

    #[test]
    fn a_guess_that_is_right_is_cut_to_what_is_needed() {
        let found = causes(&[&[2]], &[(&[1, 2], &[1, 2, 3])], 100);
        assert_eq!(found, [cause(&[2], true, &[0])]);
    }

    #[test]
    fn another_change_on_the_way_is_found() {
        let found = causes(&[&[5]], &[(&[1], &[1, 5, 6])], 100);
        assert_eq!(found, [cause(&[5], true, &[0])]);
    }

    #[test]
    fn what_is_on_no_way_is_found_too() {
        let found = causes(&[&[0, 7]], &[(&[], &[])], 100);
        assert_eq!(found, [cause(&[0, 7], true, &[0])]);
    }

    #[test]
    fn guesses_are_tried_side_by_side() {
        let ways: &[(&[usize], &[usize])] = &[(&[1], &[1]), (&[2, 3], &[2, 3]), (&[4], &[4, 0])];
        let found = causes(&[&[1], &[3], &[0]], ways, 100);
        let expected = [
            cause(&[0], true, &[2]),
            cause(&[1], true, &[0]),
            cause(&[3], true, &[1]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn different_changes_on_one_way_move_different_requests() {
        let ways: &[(&[usize], &[usize])] = &[(&[], &[1, 2, 3, 4, 5]), (&[], &[1, 2, 3, 4, 5])];
        let found = causes(&[&[1], &[5]], ways, 100);
        let expected = [cause(&[1], true, &[0]), cause(&[5], true, &[1])];
        assert_eq!(found, expected);
    }

    #[test]
    fn without_a_proof_it_is_one_of_those_on_the_way() {
        let found = causes(&[&[5]], &[(&[1], &[1, 5])], 1);
        assert_eq!(found, [cause(&[1, 5], false, &[0])]);
    }
}
