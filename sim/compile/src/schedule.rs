//! Earliest-deadline-first order of weighted endpoints: the schedule of round robin, and the heap
//! that least request starts with.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use twinmesh_model::layout::set::COSTS_MAX;

use crate::{CapacityError, capacity};

/// The largest common multiple of weights that deadlines are kept in; over it they are rounded.
const COMMON_MAX: u64 = 1 << 24;

/// Of 0 and another the other.
pub fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        greatest_common_divisor(other, one % other)
    }
}

/// An endpoint in the queue: it is due for its `turn`th time when `turn / weight` has passed.
#[derive(PartialEq, Eq)]
struct Due {
    turn: u64,
    weight: u64,
    insertion: u64,
    position: u16,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the heap gives the greatest first.
        let one = u128::from(other.turn) * u128::from(self.weight);
        let two = u128::from(self.turn) * u128::from(other.weight);
        one.cmp(&two).then(other.insertion.cmp(&self.insertion))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One period of picks: positions of endpoints, each as often as its weight says.
///
/// # Errors
/// The period is longer than [`capacity::SCHEDULE`].
pub fn picks(weights: &[u64]) -> Result<Vec<u16>, CapacityError> {
    let divisor = weights
        .iter()
        .copied()
        .fold(0, greatest_common_divisor)
        .max(1);
    let total = weights.iter().map(|weight| weight / divisor).sum();
    capacity::check(
        "turns in one weighted round robin (the sum of a priority's weights over their greatest common divisor)",
        total,
        capacity::SCHEDULE,
    )?;
    let mut insertion = weights.len() as u64;
    let mut queue: BinaryHeap<Due> = weights
        .iter()
        .enumerate()
        .map(|(position, weight)| Due {
            turn: 1,
            weight: weight / divisor,
            insertion: position as u64,
            position: position as u16,
        })
        .collect();
    let mut picks = Vec::with_capacity(total as usize);
    while (picks.len() as u64) < total {
        let Some(mut due) = queue.pop() else { break };
        picks.push(due.position);
        due.turn += 1;
        due.insertion = insertion;
        insertion += 1;
        queue.push(due);
    }
    Ok(picks)
}

/// The common multiple of the weights, and what a pick costs an endpoint by its active requests.
pub fn costs(weights: &[u64], bias: f64) -> (u64, Vec<u64>) {
    let mut common = 1;
    for &weight in weights {
        common = common / greatest_common_divisor(common, weight).max(1) * weight;
        if common > COMMON_MAX {
            common = COMMON_MAX;
            break;
        }
    }
    let costs = (0..COSTS_MAX)
        .map(|active| {
            if bias == 1.0 {
                (active + 1) << 16
            } else {
                (((active + 1) as f64).powf(bias) * 65536.0) as u64
            }
        })
        .collect();
    (common, costs)
}

/// The first state of a weighted least request set: a counter of insertions, then the heap.
pub fn heap(weights: &[u64], common: u64, costs: &[u64]) -> Vec<u64> {
    let cost = costs.first().copied().unwrap_or(1 << 16);
    let mut entries: Vec<[u64; 2]> = weights
        .iter()
        .enumerate()
        .map(|(position, &weight)| {
            let deadline = common.wrapping_mul(cost).checked_div(weight).unwrap_or(0);
            [deadline, position as u64 | (position as u64) << 32]
        })
        .collect();
    // Sorted by deadline, then insertion, it is a heap.
    entries.sort_by_key(|&[deadline, entry]| (deadline, entry >> 32));
    let mut state = vec![weights.len() as u64];
    state.extend_from_slice(entries.as_flattened());
    state
}
