//! The random numbers of a run: splitmix64, addressed by index.

/// The increment of splitmix64: 2^64 divided by the golden ratio, made odd.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The random number of the request at `index` (from 0) of a run with this seed: the output at
/// that index of splitmix64 started at `seed`. It depends on nothing else, so a request keeps its
/// number whatever the others carry, and every engine is fed the same.
pub fn draw(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(INCREMENT));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn outputs_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        for (index, value) in (0..).zip(expected) {
            assert_eq!(draw(1_234_567, index), value);
        }
    }
}
