//! Which of many candidates are needed, and in which order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Picks candidates, each given as the numbers, below `count`, of what it reaches, until nothing more is
/// reached: always the one that reaches the most that none before did, of equals the first. Returns their
/// indices.
pub(crate) fn greedy<C: AsRef<[usize]>>(candidates: &[C], count: usize) -> Vec<usize> {
    let mut reached = vec![false; count];
    let mut heap: BinaryHeap<(usize, Reverse<usize>)> = candidates
        .iter()
        .enumerate()
        .map(|(index, items)| (items.as_ref().len(), Reverse(index)))
        .collect();
    let mut picked = Vec::new();
    while let Some((count, Reverse(index))) = heap.pop() {
        if count == 0 {
            break;
        }
        let items = candidates.get(index).map_or(&[][..], AsRef::as_ref);
        let is_fresh = |item: &&usize| reached.get(**item) == Some(&false);
        let fresh = items.iter().filter(is_fresh).count();
        if fresh < count {
            // What it reaches has only become less since: it waits for its turn.
            heap.push((fresh, Reverse(index)));
            continue;
        }
        for item in items {
            if let Some(reached) = reached.get_mut(*item) {
                *reached = true;
            }
        }
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
        assert_eq!(greedy(&candidates, 7), [2, 1, 5]);
    }

    #[test]
    fn of_equals_the_first() {
        assert_eq!(greedy(&[[1], [2], [1]], 3), [0, 1]);
    }
}
