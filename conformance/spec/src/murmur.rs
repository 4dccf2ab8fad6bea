//! The hash that libstdc++ has for strings (MurmurHash64A): `hash_function: MURMUR_HASH_2`.

const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

/// The hash of a text.
pub(crate) fn murmur(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xc70f_6907 ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        let mut word = u64::from_le_bytes(word);
        if chunk.len() == 8 {
            word = word.wrapping_mul(MULTIPLIER);
            word = (word ^ (word >> 47)).wrapping_mul(MULTIPLIER);
        }
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 47)
}

#[cfg(test)]
mod tests {
    /// What `std::hash<std::string>` of libstdc++ gives on x86-64.
    #[test]
    fn as_the_standard_library_of_c_plus_plus() {
        assert_eq!(super::murmur(""), 6_142_509_188_972_423_790);
        assert_eq!(super::murmur("127.0.0.1:80_0"), 17_613_279_263_364_193_813);
        assert_eq!(super::murmur("abcdefgh"), 8_664_279_048_047_335_611);
    }
}
