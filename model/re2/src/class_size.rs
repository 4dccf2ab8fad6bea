//! How many instructions RE2's program has for one class.
//!
//! RE2 turns a class into a trie over the bytes of UTF-8. Sequences that end alike share their
//! last instructions, which it finds in a cache; a shared instruction that the trie has to change
//! is cloned. The number that comes out depends on each step, so the steps are taken here too,
//! with instructions that are counted and never run.

use std::collections::HashMap;

use crate::encoding::{Encoding, utf8};
use crate::rune_set::{MAX_RUNE, RuneSet};

/// The largest code points of one, two and three bytes.
const LAST_OF_LENGTH: [u32; 3] = [0x7F, 0x7FF, 0xFFFF];

/// Instructions for `set`; none for an empty one.
pub(crate) fn class_size(set: &mut RuneSet, encoding: Encoding) -> u64 {
    let folds_ascii = folds_ascii(set);
    // RE2 has one instruction for both cases of a range of ASCII letters.
    let counted = |&&(low, high): &&(u32, u32)| !(folds_ascii && 0x41 <= low && high <= 0x5A);
    let ranges = set.ranges().iter().filter(counted);
    let size = match encoding {
        // One for each range, and one to choose for each range but the first.
        Encoding::Latin1 => (2 * ranges.count()).saturating_sub(1),
        Encoding::Utf8 => {
            let mut trie = Trie::default();
            for &(low, high) in ranges {
                trie.add_range(low, high);
            }
            trie.instructions.len()
        }
    };
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Whether the set has of each ASCII letter both cases or none.
fn folds_ascii(set: &mut RuneSet) -> bool {
    let mut letters = |first: u32| -> Vec<(u32, u32)> {
        set.ranges()
            .iter()
            .map(|&(low, high)| (low.max(first), high.min(first + 25)))
            .filter(|(low, high)| low <= high)
            .map(|(low, high)| (low - first, high - first))
            .collect()
    };
    letters(0x41) == letters(0x61)
}

/// An instruction, by its place in [`Trie::instructions`]; `None` is the end of the class.
type Target = Option<usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ByteRange {
    low: u8,
    high: u8,
    next: Target,
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    Bytes(ByteRange),
    /// Tries the trie so far, then this.
    Either {
        second: usize,
    },
}

#[derive(Debug, Default)]
struct Trie {
    instructions: Vec<Instruction>,
    shared: HashMap<ByteRange, usize>,
    root: Target,
}

impl Trie {
    /// Adds `low..=high`, split where the number of bytes or the leading bytes change.
    fn add_range(&mut self, low: u32, high: u32) {
        if (low, high) == (0x80, MAX_RUNE) {
            self.add_any_multibyte();
            return;
        }
        for last in LAST_OF_LENGTH {
            if low <= last && last < high {
                self.add_range(low, last);
                self.add_range(last + 1, high);
                return;
            }
        }
        if high > 0x7F {
            for length in 1..4 {
                let mask = (1 << (6 * length)) - 1;
                if low & !mask == high & !mask {
                    continue;
                }
                if low & mask != 0 {
                    self.add_range(low, low | mask);
                    self.add_range((low | mask) + 1, high);
                    return;
                }
                if high & mask != mask {
                    self.add_range(low, (high & !mask) - 1);
                    self.add_range(high & !mask, high);
                    return;
                }
            }
        }
        let (low, high) = (utf8::encode(low), utf8::encode(high));
        let last = low.len() - 1;
        let mut next = None;
        for (index, (&low, &high)) in low.iter().zip(&high).enumerate().rev() {
            let range = ByteRange { low, high, next };
            let share = index != 0 && (index == last || low < high);
            next = Some(if share {
                self.share(range)
            } else {
                self.push(range)
            });
        }
        self.add_sequence(next);
    }

    /// U+0080 and up, without looking at the second byte.
    fn add_any_multibyte(&mut self) {
        let mut continuation = None;
        for leading in [(0xC2, 0xDF), (0xE0, 0xEF), (0xF0, 0xF4)] {
            continuation = Some(self.push(ByteRange {
                low: 0x80,
                high: 0xBF,
                next: continuation,
            }));
            let sequence = self.push(ByteRange {
                low: leading.0,
                high: leading.1,
                next: continuation,
            });
            self.add_sequence(Some(sequence));
        }
    }

    fn push(&mut self, range: ByteRange) -> usize {
        self.instructions.push(Instruction::Bytes(range));
        self.instructions.len() - 1
    }

    fn share(&mut self, range: ByteRange) -> usize {
        if let Some(&there) = self.shared.get(&range) {
            return there;
        }
        let new = self.push(range);
        self.shared.insert(range, new);
        new
    }

    fn add_sequence(&mut self, sequence: Target) {
        self.root = self.inserted(self.root, sequence);
    }

    /// The trie at `root` with `sequence` added.
    fn inserted(&mut self, root: Target, sequence: Target) -> Target {
        let (Some(top), Some(new)) = (root, sequence) else {
            return sequence;
        };
        let Some(Instruction::Bytes(range)) = self.instructions.get(new).copied() else {
            return root;
        };
        let Some((found, there)) = self.find(top, range) else {
            self.instructions.push(Instruction::Either { second: new });
            return Some(self.instructions.len() - 1);
        };
        let mut root = root;
        let mut branch = found;
        if self.shared.contains_key(&there) {
            branch = self.push(there);
            match self.instructions.get_mut(top) {
                Some(Instruction::Either { second, .. }) => *second = branch,
                _ => root = Some(branch),
            }
        }
        if !self.shared.contains_key(&range) {
            // The head of the new sequence is of no use any more; where nothing was cloned it is
            // the last instruction.
            if new + 1 == self.instructions.len() {
                self.instructions.pop();
            }
        }
        let next = self.inserted(there.next, range.next);
        if let Some(Instruction::Bytes(there)) = self.instructions.get_mut(branch) {
            there.next = next;
        }
        root
    }

    /// The instruction at the top of the trie with the same bytes as `range`. Ranges come in
    /// order, so it can only be the one added last.
    fn find(&self, top: usize, range: ByteRange) -> Option<(usize, ByteRange)> {
        let last = match *self.instructions.get(top)? {
            Instruction::Bytes(_) => top,
            Instruction::Either { second } => second,
        };
        match self.instructions.get(last) {
            Some(&Instruction::Bytes(there))
                if (there.low, there.high) == (range.low, range.high) =>
            {
                Some((last, there))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(ranges: &[(u32, u32)]) -> u64 {
        class_size(&mut RuneSet::new(ranges.iter().copied()), Encoding::Utf8)
    }

    #[test]
    fn sizes_are_those_measured_of_re2() {
        assert_eq!(size(&[(0x00, 0x09), (0x0B, MAX_RUNE)]), 12, "dot");
        assert_eq!(size(&[(0x00, MAX_RUNE)]), 10, "dot with newline");
        assert_eq!(size(&[(0x41, 0x5A), (0x61, 0x7A)]), 1, "letters fold");
        assert_eq!(
            size(&[(0x30, 0x39), (0x41, 0x46), (0x61, 0x65)]),
            5,
            "not both cases"
        );
        assert_eq!(size(&[]), 0);
    }
}
