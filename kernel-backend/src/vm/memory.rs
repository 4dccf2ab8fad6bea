//! What the program in the VM can read and write: its context, its stack, and the maps' values.
//!
//! The program's addresses are not those of this process: the upper bits are a region's number, the
//! lower ones a place in it. So each access is checked by one look into a table, and whatever the
//! program does, it reaches nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of an address that are a place within a region.
const PLACE_BITS: u32 = 61;
/// As many as the other bits tell apart. Region 0 is empty, so that 0 is an address of nothing.
const REGIONS: usize = 8;

/// The regions.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a> {
    regions: [&'a [AtomicU64]; REGIONS],
}

impl<'a> Memory<'a> {
    /// Memory of these regions, which have the numbers from 1 on. There can be 7.
    pub fn new<const N: usize>(parts: [&'a [AtomicU64]; N]) -> Self {
        const { assert!(N < REGIONS, "an address has room for so many") };
        let mut regions: [&[AtomicU64]; REGIONS] = [&[]; REGIONS];
        for (region, part) in regions.iter_mut().skip(1).zip(parts) {
            *region = part;
        }
        Self { regions }
    }

    /// The address of a byte of a region.
    pub fn address(region: u64, byte: u64) -> u64 {
        region << PLACE_BITS | byte
    }

    #[inline]
    fn word(&self, address: u64) -> Option<&'a AtomicU64> {
        let region = (address >> PLACE_BITS) as usize;
        let place = address & ((1 << PLACE_BITS) - 1);
        self.regions.get(region)?.get((place / 8) as usize)
    }

    /// `bytes` (1, 2, 4 or 8) from an address on, little-endian; none if they are outside.
    #[inline]
    pub fn load(&self, address: u64, bytes: u32) -> Option<u64> {
        let within = address as u32 % 8;
        let low = self.word(address)?.load(Ordering::Relaxed) >> (within * 8);
        let value = if within + bytes <= 8 {
            low
        } else {
            let high = self.word(address.wrapping_add(8))?;
            low | high.load(Ordering::Relaxed) << (64 - within * 8)
        };
        Some(value & mask(bytes))
    }

    /// Writes the lowest `bytes` (1, 2, 4 or 8) of a value; none, and nothing is written, if they
    /// are outside.
    #[inline]
    pub fn store(&self, address: u64, bytes: u32, value: u64) -> Option<()> {
        let within = address as u32 % 8;
        let low = self.word(address)?;
        if within == 0 && bytes == 8 {
            low.store(value, Ordering::Relaxed);
            return Some(());
        }
        let value = value & mask(bytes);
        let shift = within * 8;
        if within + bytes > 8 {
            let high = self.word(address.wrapping_add(8))?;
            merge(high, mask(bytes) >> (64 - shift), value >> (64 - shift));
        }
        merge(low, mask(bytes) << shift, value << shift);
        Some(())
    }

    /// Adds to a word and gives what it was; none if it is outside or not aligned.
    #[inline]
    pub fn fetch_add(&self, address: u64, value: u64) -> Option<u64> {
        let word = address.is_multiple_of(8).then(|| self.word(address))??;
        Some(word.fetch_add(value, Ordering::Relaxed))
    }
}

#[inline]
fn mask(bytes: u32) -> u64 {
    u64::MAX >> (64 - bytes * 8)
}

#[inline]
fn merge(word: &AtomicU64, mask: u64, value: u64) {
    let kept = word.load(Ordering::Relaxed) & !mask;
    word.store(kept | value, Ordering::Relaxed);
}
