//! Numbers drawn from a request's one random number.

/// The `index`th number of the request's sequence (SplitMix64); the 0th is the number itself.
#[inline(always)]
pub const fn draw(random: u64, index: u64) -> u64 {
    if index == 0 {
        return random;
    }
    let mut word = random.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Which draw chooses the priority.
pub const PRIORITY: u64 = 1;
/// Which draw decides whether the cluster drops the request.
pub const OVERLOAD: u64 = 1 << 32;
/// The first of three draws that choose Envoy's own zone, or another.
pub const ZONE: u64 = OVERLOAD + 1;
/// The first draw that chooses among endpoints.
pub const ENDPOINT: u64 = 2;
/// The first draw that filters take: four for each, by its index in the connection manager's list.
pub const FILTER: u64 = 1 << 32;
