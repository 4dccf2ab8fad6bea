//! Which of many candidates are needed, and in which order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::Hash;

/// Picks candidates, each given as what it reaches, until nothing more is reached: always the one
/// that reaches the most that none before did, of equals the first. Returns their indices.
pub(crate) fn greedy<T: Eq + Hash>(candidates: &[Vec<T>]) -> Vec<usize> {
    let mut reached: HashSet<&T> = HashSet::new();
    let mut heap: BinaryHeap<(usize, Reverse<usize>)> = candidates
        .iter()
        .enumerate()
        .map(|(index, items)| (items.iter().collect::<HashSet<_>>().len(), Reverse(index)))
        .collect();
    let mut picked = Vec::new();
    while let Some((count, Reverse(index))) = heap.pop() {
        if count == 0 {
            break;
        }
        let items: HashSet<&T> = candidates.get(index).into_iter().flatten().collect();
        let fresh = items.difference(&reached).count();
        if fresh < count {
            // What it reaches has only become less since: it waits for its turn.
            heap.push((fresh, Reverse(index)));
            continue;
        }
        reached.extend(items);
        picked.push(index);
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_first_and_nothing_twice() {
        let candidates = [
            vec![1],
            vec![1, 2],
            vec![3, 4, 5],
            vec![2, 3],
            vec![],
            vec![6],
        ];
        assert_eq!(greedy(&candidates), [2, 1, 5]);
    }

    #[test]
    fn of_equals_the_first() {
        assert_eq!(greedy(&[vec![1], vec![2], vec![1]]), [0, 1]);
    }
}
