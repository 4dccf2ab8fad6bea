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

/// As [`probe`], the first place being looked at without a call. `trie` is the header's word.
#[inline(always)]
fn find<M: Machine>(machine: &mut M, trie: u64, chunk: u64, key: u64) -> u64 {
    let entry = low(trie).wrapping_add((hash(chunk, key) & high(trie)).wrapping_mul(ENTRY));
    let found = machine.policy64(entry.wrapping_add(8));
    if found == key && machine.policy64(entry) == chunk {
        entry
    } else if found == EMPTY {
        0
    } else {
        machine.probe(chunk, key)
    }
}

/// What keeps the marks of capitals, where the mode makes them small.
#[inline(always)]
const fn capitals(mode: u64) -> u64 {
    if mode & mode::LOWER == 0 {
        0
    } else {
        bytes::MARKS
    }
}

/// Eight bytes of a key from `offset` on, capitals made small as [`capitals`] says.
#[inline(always)]
fn chunk<M: Machine>(machine: &M, offset: u64, capitals: u64) -> u64 {
    let word = machine.input64(offset);
    word | (bytes::within(word, b'A', b'Z') & capitals) >> 2
}

/// As [`chunk`], the eight bytes before `end`, the last of them first.
#[inline(always)]
fn chunk_back<M: Machine>(machine: &M, end: u64, capitals: u64) -> u64 {
    let word = machine.input64(end.wrapping_sub(8)).swap_bytes();
    word | (bytes::within(word, b'A', b'Z') & capitals) >> 2
}

/// Chunks that a key may have.
const CHUNKS: u64 = layout::TEXT_BYTES / 8;

/// Chunks that [`walk`] looks at itself.
const HERE: u64 = 8;

/// Looks a key up from a root. Low: the value of the whole key, or 0. High: the value of its
/// longest prefix, or 0.
#[inline(always)]
pub fn walk<M: Machine>(machine: &mut M, root: u64, span: Span, mode: u64) -> u64 {
    let trie = machine.policy64(layout::header::TRIE);
    let capitals = capitals(mode);
    let mut at = root;
    let mut offset = span.offset();
    let mut index = 0;
    while index < HERE {
        if index * 8 + 8 > span.length() {
            break;
        }
        let word = chunk(machine, offset, capitals);
        let node = low(machine.policy64(at));
        let entry = find(machine, trie, word, key(node, tag::FULL));
        if entry == 0 {
            return end(machine, at, word, 8, mode);
        }
        at = entry.wrapping_add(16);
        offset = offset.wrapping_add(8);
        index += 1;
    }
    let left = span.end().wrapping_sub(offset);
    if left >= 8 {
        return machine.walk_on(at, Span::new(offset, left), mode);
    }
    let word = chunk(machine, offset, capitals);
    end(machine, at, word, left, mode)
}

/// The function that goes on for as long as a key may be.
macro_rules! walk {
    ($(#[$doc:meta])* $name:ident, |$machine:ident, $span:ident, $position:ident| $offset:expr, $chunk:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<M: Machine>($machine: &mut M, root: u64, $span: Span, mode: u64) -> u64 {
            let capitals = capitals(mode);
            let mut at = root;
            let mut index = 0;
            while index < CHUNKS {
                let $position = index * 8;
                if $position + 8 > $span.length() {
                    break;
                }
                let word = $chunk($machine, $offset, capitals);
                let node = low($machine.policy64(at));
                let entry = $machine.probe(word, key(node, tag::FULL));
                if entry == 0 {
                    return end($machine, at, word, 8, mode);
                }
                at = entry.wrapping_add(16);
                index += 1;
            }
            let $position = index * 8;
            let left = $span.length().wrapping_sub($position);
            let word = $chunk($machine, $offset, capitals);
            end($machine, at, word, left, mode)
        }
    };
}

walk! {
    /// [`walk`] from where its first chunks led to.
    walk_on,
    |machine, span, position| span.offset().wrapping_add(position),
    chunk
}
walk! {
    /// Looks a key up from its last byte to its first; the prefixes are the key's suffixes.
    walk_back,
    |machine, span, position| span.end().wrapping_sub(position),
    chunk_back
}

/// Joins what the chunks gave with what the key's rest gives: the partial prefixes of the node that
/// they led to, and the key's exact end. `at` is where the node and its best prefix stand, `left`
/// how many bytes the rest has, 8 where they are no chunk of any key.
#[inline(always)]
fn end<M: Machine>(machine: &mut M, at: u64, word: u64, left: u64, mode: u64) -> u64 {
    let node = machine.policy64(at);
    let best = machine.policy64(at.wrapping_add(8));
    let strict = mode & mode::STRICT != 0;
    let boundary = if strict && left == 0 {
        high(best)
    } else {
        low(best)
    };
    // Most nodes have nothing that ends in the middle of a chunk.
    let ends = high(node);
    if ends == 0 {
        return pair(0, boundary);
    }
    let left = if left < 8 { left } else { 8 };
    let mut exact = 0;
    if ends >> 8 >> left & 1 == 1 {
        let trie = machine.policy64(layout::header::TRIE);
        let entry = find(
            machine,
            trie,
            bytes::keep(word, left),
            key(low(node), tag::EXACT + left),
        );
        if entry != 0 {
            exact = low(machine.policy64(entry.wrapping_add(16)));
        }
    }
    // Those that the key is long enough for.
    let within = ((if strict { 1 } else { 2 }) << left) - 1;
    let prefixes = ends & within & 0xff;
    if prefixes == 0 {
        return pair(exact, boundary);
    }
    let partial = machine.tail(low(node), word, prefixes);
    pair(exact, if partial == 0 { boundary } else { partial })
}

/// The value of the longest of a node's partial prefixes that the rest of a key starts with, or 0.
/// Bit n of `prefixes` stands for one of n bytes (1..=7).
#[inline(always)]
pub fn tail<M: Machine>(machine: &mut M, node: u64, word: u64, prefixes: u64) -> u64 {
    let mut index = 0;
    while index < 7 {
        let count = 7 - index;
        if prefixes >> count & 1 == 1 {
            let entry = machine.probe(bytes::keep(word, count), key(node, tag::PREFIX + count));
            if entry != 0 {
                return low(machine.policy64(entry.wrapping_add(16)));
            }
        }
        index += 1;
    }
    0
}
