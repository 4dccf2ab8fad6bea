//! The random numbers of a decision, all drawn from the request's one.

/// Which draw chooses among weighted clusters.
pub(crate) const WEIGHTED_CLUSTER: u64 = 0;
/// Which draw chooses the priority.
pub(crate) const PRIORITY: u64 = 1;
/// The first of the draws that choose endpoints.
pub(crate) const ENDPOINT: u64 = 2;
/// The first of the draws of HTTP filters: four for each, by its index in the connection manager.
pub(crate) const FILTER: u64 = 1 << 32;

/// Which draw decides whether the cluster drops the request.
pub(crate) const OVERLOAD: u64 = 1 << 32;

/// The first of the draws that choose Envoy's own zone, or another.
pub(crate) const ZONE: u64 = OVERLOAD + 1;

/// Number `index` drawn from `random`: the request's number itself, then the outputs of splitmix64
/// started at it.
pub(crate) fn draw(random: u64, index: u64) -> u64 {
    if index == 0 {
        return random;
    }
    let mut z = random.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_splitmix64s_outputs() {
        // The generator's published first outputs for the seed 1234567.
        let outputs = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        for (index, output) in (1..).zip(outputs) {
            assert_eq!(draw(1_234_567, index), output);
        }
        assert_eq!(draw(1_234_567, 0), 1_234_567);
    }
}
