//! `hash_balance_factor`: the endpoint that takes a request where the one that its hash leads to has
//! too many. The sums are doubles, as Envoy's are, so the model leaves them to userspace.

use rand_mt::Mt;
use twinmesh_model::Machine;
use twinmesh_model::layout::{header, high, low, set};

/// What the generator's numbers are below.
const RANGE: u64 = 1 << 32;

/// An endpoint of the set.
#[derive(Clone, Copy)]
struct Candidate {
    position: u64,
    /// How full it is: of what it may have.
    load: f64,
}

/// [`Machine::bounded`]: the position of the endpoint in the set, of which `position` is where the number leads to.
pub fn pick<M: Machine>(memory: &M, record: u64, position: u64, number: u64) -> u64 {
    let bound = memory.policy64(record + set::COSTS);
    let (factor, block) = (high(bound), low(bound));
    if factor == 0 {
        return position;
    }
    let counts = memory.policy64(block);
    let active = |number| memory.state(low(memory.policy64(header::ACTIVE)) + number);
    let shares = block + 8;
    let members = shares + (low(counts) << 4);
    let all: u64 = (0..high(counts))
        .map(|index| active(memory.policy64(members + (index << 3))))
        .sum();
    let allowed = ((all + 1) * factor).div_ceil(100);
    let endpoints = low(memory.policy64(record + set::ENDPOINTS));
    let mut candidates: Vec<Candidate> = (0..low(counts))
        .map(|index| {
            let share = shares + (index << 4);
            let position = memory.policy64(share);
            let weight = f64::from_bits(memory.policy64(share + 8));
            let own = active(low(memory.policy64(endpoints + (position << 3))));
            let slots = (allowed as f64 * weight).ceil().max(1.0);
            Candidate {
                position,
                load: own as f64 / slots,
            }
        })
        .collect();
    let Some(&first) = candidates.iter().find(|it| it.position == position) else {
        return position;
    };
    if first.load <= 1.0 {
        return position;
    }
    let mut least = first;
    let mut random = Mt::new((number & (RANGE - 1)) as u32);
    let count = candidates.len();
    for index in 0..count {
        let other = index + draw(&mut random, (count - index) as u64) as usize;
        candidates.swap(index, other);
        let Some(&candidate) = candidates.get(index) else {
            break;
        };
        if candidate.position == position {
            continue;
        }
        if candidate.load <= 1.0 {
            return candidate.position;
        }
        if candidate.load < least.load {
            least = candidate;
        }
    }
    least.position
}

/// A number below `limit`: those that would favour some are drawn again.
fn draw(random: &mut Mt, limit: u64) -> u64 {
    loop {
        let drawn = u64::from(random.next_u32()) / (RANGE / limit);
        if drawn < limit {
            return drawn;
        }
    }
}
