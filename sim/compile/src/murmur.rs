//! MurmurHash64A with the seed that libstdc++ hashes strings by: `hash_function: MURMUR_HASH_2`.

const SEED: u64 = 0xc70f_6907;
const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;

fn mix(word: u64) -> u64 {
    word ^ word >> 47
}

/// The hash of some bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in chunks.by_ref() {
        let word = chunk
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ mix(word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let word = rest
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    mix(mix(hash).wrapping_mul(FACTOR))
}

#[cfg(test)]
mod tests {
    /// What `std::hash<std::string>` of libstdc++ gives on x86-64.
    #[test]
    fn as_the_standard_library_of_c_plus_plus() {
        assert_eq!(super::hash(b""), 6_142_509_188_972_423_790);
        assert_eq!(super::hash(b"127.0.0.1:80_0"), 17_613_279_263_364_193_813);
        assert_eq!(super::hash(b"abcdefgh"), 8_664_279_048_047_335_611);
    }
}
