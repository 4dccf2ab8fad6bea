//! The choices behind the requests of one snapshot, as a strategy of its own: they are tens of
//! thousands of numbers, and seldom is one of them shrunk.

use std::ops::Range;

use proptest::prelude::{Rng, RngExt};
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::tape::LENGTH;

/// The choices behind each of up to a number of requests, and of at least half as many.
#[derive(Debug, Clone, Copy)]
pub struct Tapes {
    count: usize,
}

impl Tapes {
    /// Of up to `count` requests.
    pub fn new(count: usize) -> Self {
        Self { count }
    }
}

impl Strategy for Tapes {
    type Tree = TapesTree;
    type Value = Vec<Vec<u16>>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let rng = runner.rng();
        let count = rng.random_range(self.count / 2..=self.count);
        let mut bytes = [0; LENGTH * 2];
        let mut tape = || {
            rng.fill_bytes(&mut bytes);
            let (pairs, _) = bytes.as_chunks();
            pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
        };
        let tapes: Vec<Vec<u16>> = (0..count).map(|_| tape()).collect();
        Ok(TapesTree::new(tapes))
    }
}

/// What a candidate took away.
#[derive(Debug, Clone)]
enum Taken {
    /// The tapes that stood from here on.
    Tapes(usize, Vec<Vec<u16>>),
    /// The choices of a tape that stood from here on, where there are zeros.
    Choices(usize, usize, Vec<u16>),
}

/// What is tried next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Leaving out so many requests, of those before a number.
    Tapes {
        size: usize,
        end: usize,
    },
    /// The first choice for so many choices of a request, of those before a number.
    Choices {
        tape: usize,
        size: usize,
        end: usize,
    },
    Nothing,
}

/// Choices that shrink: requests are left out, many at once first; then the first choice is taken
/// for what was chosen, for many at once first.
#[derive(Debug, Clone)]
pub struct TapesTree {
    tapes: Vec<Vec<u16>>,
    taken: Option<Taken>,
    next: Next,
}

impl TapesTree {
    fn new(tapes: Vec<Vec<u16>>) -> Self {
        let count = tapes.len();
        Self {
            tapes,
            taken: None,
            next: Next::Tapes {
                size: count,
                end: count,
            },
        }
    }

    /// Makes the next candidate; false where there is none left.
    fn advance(&mut self) -> bool {
        loop {
            match self.next {
                Next::Tapes { size: 0, .. } => self.next = Next::choices_of(0),
                Next::Tapes { size, end: 0 } => {
                    let end = self.tapes.len();
                    let size = (size / 2).min(end.div_ceil(2));
                    self.next = Next::Tapes { size, end };
                }
                Next::Tapes { size, end } => {
                    let start = end.saturating_sub(size);
                    self.next = Next::Tapes { size, end: start };
                    let tapes = self.tapes.drain(start..end).collect();
                    self.taken = Some(Taken::Tapes(start, tapes));
                    return true;
                }
                Next::Choices { tape, .. } if tape >= self.tapes.len() => self.next = Next::Nothing,
                Next::Choices { tape, size: 0, .. } => self.next = Next::choices_of(tape + 1),
                Next::Choices { tape, size, end: 0 } => {
                    let (size, end) = (size / 2, LENGTH);
                    self.next = Next::Choices { tape, size, end };
                }
                Next::Choices { tape, size, end } => {
                    let range = end.saturating_sub(size)..end;
                    let end = range.start;
                    self.next = Next::Choices { tape, size, end };
                    if self.zero(tape, range) {
                        return true;
                    }
                }
                Next::Nothing => return false,
            }
        }
    }

    /// Whether there was something else than zeros.
    fn zero(&mut self, tape: usize, range: Range<usize>) -> bool {
        let start = range.start;
        let choices = self.tapes.get_mut(tape);
        let Some(choices) = choices.and_then(|choices| choices.get_mut(range)) else {
            return false;
        };
        if choices.iter().all(|choice| *choice == 0) {
            return false;
        }
        self.taken = Some(Taken::Choices(tape, start, choices.to_vec()));
        choices.fill(0);
        true
    }

    fn put_back(&mut self) {
        match self.taken.take() {
            Some(Taken::Tapes(at, tapes)) => {
                self.tapes.splice(at..at, tapes);
            }
            Some(Taken::Choices(tape, start, choices)) => {
                let places = self.tapes.get_mut(tape);
                let places = places.and_then(|tape| tape.get_mut(start..));
                for (place, choice) in places.into_iter().flatten().zip(choices) {
                    *place = choice;
                }
            }
            None => {}
        }
    }
}

impl Next {
    fn choices_of(tape: usize) -> Self {
        Self::Choices {
            tape,
            size: LENGTH,
            end: LENGTH,
        }
    }
}

impl ValueTree for TapesTree {
    type Value = Vec<Vec<u16>>;

    fn current(&self) -> Self::Value {
        self.tapes.clone()
    }

    fn simplify(&mut self) -> bool {
        self.taken = None;
        self.advance()
    }

    fn complicate(&mut self) -> bool {
        self.put_back();
        // What shows is as it was: the next candidate at once.
        self.advance()
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    use super::{LENGTH, Tapes};

    /// What is left of tapes of which some show something, and how many candidates that took.
    fn shrunk(shows: impl Fn(&[Vec<u16>]) -> bool) -> (Vec<Vec<u16>>, usize) {
        let mut runner = TestRunner::deterministic();
        let mut tree = Tapes::new(60).new_tree(&mut runner).expect("tapes");
        let mut best = tree.current();
        assert!(shows(&best), "the whole shows it");
        let (mut on, mut looks) = (tree.simplify(), 0);
        while on {
            looks += 1;
            let candidate = tree.current();
            on = if shows(&candidate) {
                best = candidate;
                tree.simplify()
            } else {
                tree.complicate()
            };
        }
        assert_eq!(tree.current(), best, "what was tried last is put back");
        (best, looks)
    }

    #[test]
    fn as_many_as_asked_for_and_at_least_half() {
        let mut runner = TestRunner::deterministic();
        let mut counts = Vec::new();
        for _ in 0..200 {
            let tapes = Tapes::new(6)
                .new_tree(&mut runner)
                .expect("tapes")
                .current();
            assert!(tapes.iter().all(|tape| tape.len() == LENGTH));
            counts.push(tapes.len());
        }
        counts.sort_unstable();
        counts.dedup();
        assert_eq!(counts, [3, 4, 5, 6]);
    }

    #[test]
    fn equal_seeds_give_equal_tapes_and_no_two_requests_are_alike() {
        let tapes = || {
            let mut runner = TestRunner::deterministic();
            let tree = Tapes::new(300).new_tree(&mut runner).expect("tapes");
            tree.current()
        };
        let mut all = tapes();
        assert_eq!(all, tapes());
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_shows_without_requests_has_none_left() {
        assert_eq!(shrunk(|_| true), (Vec::new(), 1));
    }

    #[test]
    fn one_choice_of_one_request_is_left() {
        let odd = |tape: &Vec<u16>| tape.get(17).is_some_and(|choice| choice % 2 == 1);
        let (left, looks) = shrunk(|tapes| tapes.iter().any(odd));
        let [tape] = left.as_slice() else {
            panic!("{} requests are left", left.len());
        };
        assert!(odd(tape));
        assert_eq!(tape.iter().filter(|choice| **choice != 0).count(), 1);
        assert!(looks < 60, "{looks} candidates");
    }

    #[test]
    fn two_requests_that_show_it_together_are_left() {
        let large = |tape: &&Vec<u16>| tape.first().is_some_and(|choice| *choice > 0x8000);
        let (left, _) = shrunk(|tapes| tapes.iter().filter(large).count() >= 2);
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|tape| large(&tape)));
        let chosen = left.iter().flatten().filter(|choice| **choice != 0);
        assert_eq!(chosen.count(), 2);
    }
}
