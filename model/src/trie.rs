//! One hash table for every look-up by bytes: domains, paths, header names, header values.
//!
//! A key is cut into chunks of eight bytes; each entry leads from a node by a chunk to the next
//! node, or ends a key. Entries are 32 bytes: the chunk; the node it leads from and what it is;
//! where it leads or what it means; the best prefix so far. Since keys are the bytes themselves,
//! equality needs no second look.

use crate::{
    Machine, Span, bytes,
    layout::{self, high, low, pair},
};

/// Bytes of an entry.
pub const ENTRY: u64 = 32;
/// How far from its place an entry may stand.
pub const PROBES: u64 = 8;
/// Second word of an empty entry.
pub const EMPTY: u64 = u64::MAX;

/// What an entry is; the node's number stands above it, from bit 8 on.
pub mod tag {
    /// Eight bytes that lead to another node.
    pub const FULL: u64 = 0;
    /// Plus 1..=7: the last bytes of a prefix.
    pub const PREFIX: u64 = 0;
    /// Plus 0..=7: the last bytes of a whole key.
    pub const EXACT: u64 = 8;
    /// A class's list for one value of a slot.
    pub const LIST: u64 = 16;
}

/// How [`walk`] reads the key.
pub mod mode {
    /// ASCII capitals count as small.
    pub const LOWER: u64 = 1;
    /// Prefixes must be shorter than the key.
    pub const STRICT: u64 = 4;
}

/// Second word of an entry of a node.
#[inline(always)]
pub const fn key(node: u64, tag: u64) -> u64 {
    node << 8 | tag
}

/// Where an entry would stand first.
#[inline(always)]
pub const fn hash(chunk: u64, key: u64) -> u64 {
    let mut word =
        (chunk ^ key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^= word >> 32;
    word = word.wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 29
}

/// The offset of the entry with this chunk and key, or 0.
#[inline(always)]
pub fn probe<M: Machine>(machine: &mut M, chunk: u64, key: u64) -> u64 {
    let trie = machine.policy64(layout::header::TRIE);
    let start = hash(chunk, key);
    let mut index = 0;
    while index < PROBES {
        let entry =
            low(trie).wrapping_add((start.wrapping_add(index) & high(trie)).wrapping_mul(ENTRY));
        let found = machine.policy64(entry.wrapping_add(8));
        if found == key && machine.policy64(entry) == chunk {
            return entry;
        }
        if found == EMPTY {
            return 0;
        }
        index += 1;
    }
    0
}

/// Eight bytes of the key, from `position` on. `capitals` keeps the marks of capitals.
#[inline(always)]
fn chunk<M: Machine>(machine: &M, span: Span, position: u64, capitals: u64) -> u64 {
    let word = machine.input64(span.offset().wrapping_add(position));
    word | (bytes::within(word, b'A', b'Z') & capitals) >> 2
}

/// As [`chunk`], from the key's end on backwards.
#[inline(always)]
fn chunk_back<M: Machine>(machine: &M, span: Span, position: u64, capitals: u64) -> u64 {
    let word = machine
        .input64(span.end().wrapping_sub(position).wrapping_sub(8))
        .swap_bytes();
    word | (bytes::within(word, b'A', b'Z') & capitals) >> 2
}

/// Chunks that a key may have.
const CHUNKS: u64 = layout::TEXT_BYTES / 8;

/// The function that reads a chunk of a key.
macro_rules! walk {
    ($(#[$doc:meta])* $name:ident, $chunk:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<M: Machine>(machine: &mut M, root: u64, span: Span, mode: u64) -> u64 {
            let capitals = if mode & mode::LOWER == 0 { 0 } else { bytes::MARKS };
            let mut node = machine.policy64(root);
            let mut best = machine.policy64(root.wrapping_add(8));
            let mut word = $chunk(machine, span, 0, capitals);
            let mut left = span.length();
            let mut index = 1;
            while index <= CHUNKS {
                if left < 8 {
                    break;
                }
                let entry = machine.probe(word, key(low(node), tag::FULL));
                if entry == 0 {
                    left = 8;
                    break;
                }
                node = machine.policy64(entry.wrapping_add(16));
                best = machine.policy64(entry.wrapping_add(24));
                word = $chunk(machine, span, index * 8, capitals);
                left = left.wrapping_sub(8);
                index += 1;
            }
            end(machine, node, best, word, left, mode)
        }
    };
}

walk! {
    /// Looks a key up from a root. Low: the value of the whole key, or 0. High: the value of its
    /// longest prefix, or 0.
    walk, chunk
}
walk! {
    /// Looks a key up from its last byte to its first; the prefixes are the key's suffixes.
    walk_back, chunk_back
}

/// Joins what the chunks gave with what the key's rest gives.
#[inline(always)]
fn end<M: Machine>(machine: &mut M, node: u64, best: u64, word: u64, left: u64, mode: u64) -> u64 {
    let strict = mode & mode::STRICT != 0;
    let boundary = if strict && left == 0 {
        high(best)
    } else {
        low(best)
    };
    // Most nodes have nothing that ends in the middle of a chunk.
    if high(node) == 0 {
        return pair(0, boundary);
    }
    let left = if left < 8 { left } else { 8 };
    let found = machine.tail(node, word, left | if strict { 16 } else { 0 });
    if high(found) == 0 {
        pair(low(found), boundary)
    } else {
        found
    }
}

/// The end of a walk: the node's partial prefixes, the longest first, and the key's exact end.
/// `remaining`: bits 0..4 how many bytes of the key are left (8: more than 7); bit 4: strictly
/// shorter prefixes only.
#[inline(always)]
pub fn tail<M: Machine>(machine: &mut M, node: u64, word: u64, remaining: u64) -> u64 {
    let number = low(node);
    let prefixes = high(node) & 0xff;
    let exacts = high(node) >> 8 & 0xff;
    let left = remaining & 15;
    let longest = if remaining & 16 == 0 {
        left
    } else {
        left.wrapping_sub(1)
    };
    let mut best = 0;
    let mut index = 0;
    while index < 7 {
        let count = 7 - index;
        if prefixes >> count & 1 == 1 && (longest as i64) >= count as i64 {
            let entry = machine.probe(bytes::keep(word, count), key(number, tag::PREFIX + count));
            if entry != 0 {
                best = low(machine.policy64(entry.wrapping_add(16)));
                break;
            }
        }
        index += 1;
    }
    let mut exact = 0;
    if left < 8 && exacts >> left & 1 == 1 {
        let entry = machine.probe(bytes::keep(word, left), key(number, tag::EXACT + left));
        if entry != 0 {
            exact = low(machine.policy64(entry.wrapping_add(16)));
        }
    }
    pair(exact, best)
}
