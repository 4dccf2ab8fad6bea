//! Bytes that say whose they are: each follows from a seed and its offset.

/// Spreads a word's bits over all of it (the finalizer of SplitMix64).
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What a text adds to a seed.
pub fn hash(text: &str) -> u64 {
    let mut sum = Sum::default();
    sum.add(text.as_bytes());
    mix(sum.value())
}

/// The seed of a response's body.
pub fn response_seed(id: u64, backend: &str, path: &str) -> u64 {
    mix(mix(id) ^ hash(backend) ^ hash(path).rotate_left(1))
}

/// The seed of a request's body.
pub fn request_seed(id: u64) -> u64 {
    mix(mix(id) ^ 0x7265_7175_6573_7421)
}

fn word(seed: u64, index: u64) -> [u8; 8] {
    mix(seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
}

/// Calls with each piece of `bytes` that lies in one word, and that word's bytes.
fn pieces<'a>(
    seed: u64,
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (usize, [u8; 8], usize)> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= length {
            return None;
        }
        let place = offset + at as u64;
        let skip = (place % 8) as usize;
        let found = (at, word(seed, place / 8), skip);
        at += (8 - skip).min(length - at);
        Some(found)
    })
}

/// Writes the bytes from `offset` on.
pub fn fill(seed: u64, offset: u64, bytes: &mut [u8]) {
    let length = bytes.len();
    for (at, word, skip) in pieces(seed, offset, length) {
        let count = (8 - skip).min(length - at);
        bytes[at..at + count].copy_from_slice(&word[skip..skip + count]);
    }
}

/// The bytes from 0 on.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill(seed, 0, &mut bytes);
    bytes
}

/// Where the first byte is that should be another; `bytes` begin at `offset`.
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<usize> {
    let length = bytes.len();
    for (at, word, skip) in pieces(seed, offset, length) {
        let count = (8 - skip).min(length - at);
        let (found, expected) = (&bytes[at..at + count], &word[skip..skip + count]);
        if found != expected {
            let within = found.iter().zip(expected).position(|(a, b)| a != b);
            return Some(at + within.unwrap_or(0));
        }
    }
    None
}

/// FNV-1a over a body, 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    /// Takes more of it.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The sum so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Random numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next number.
    pub fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_word()) * u128::from(end)) >> 64) as u64
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// A number up to `most`, of which each order of magnitude is as likely.
    pub fn magnitude(&mut self, most: u64) -> u64 {
        let bits = u64::from(64 - most.leading_zeros());
        let bits = 1 + self.below(bits);
        self.below(1 << bits.min(63)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_together() {
        let whole = bytes(7, 100);
        for from in 0..20 {
            for to in from..100 {
                let mut piece = vec![0; to - from];
                fill(7, from as u64, &mut piece);
                assert_eq!(piece, whole[from..to]);
                assert_eq!(first_wrong(7, from as u64, &piece), None);
            }
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let whole = bytes(9, 77);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(first_wrong(9, 0, &changed), Some(at));
        }
    }

    #[test]
    fn shifted_bytes_are_found() {
        let whole = bytes(9, 77);
        assert!(first_wrong(9, 1, &whole).is_some());
        assert!(first_wrong(9, 8, &whole).is_some());
        assert!(first_wrong(10, 0, &whole).is_some());
    }
}
