//! Memory that the engine and the BPF program both read and write.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Words of memory, all zero at first: memory of our own, or a BPF map's values.
#[derive(Debug)]
pub struct Region {
    start: NonNull<AtomicU64>,
    words: usize,
    mapped: bool,
}

// SAFETY: the memory is reached through atomics only, and belongs to the region until it is
// dropped.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Memory of our own.
    pub fn owned(words: usize) -> Self {
        let boxed: Box<[u64]> = vec![0; words].into_boxed_slice();
        let start = NonNull::from(Box::leak(boxed)).cast();
        Self {
            start,
            words,
            mapped: false,
        }
    }

    /// The values of a BPF array map that was made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn mapped(map: BorrowedFd<'_>, words: usize) -> std::io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast()) {
            Some(start) if address != libc::MAP_FAILED => Ok(Self {
                start,
                words,
                mapped: true,
            }),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    /// The words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the memory is this long, aligned to words, and valid while `self` lives. What the
        // programs on the other side write meanwhile are whole words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// First and last address plus one.
    pub fn addresses(&self) -> std::ops::Range<u64> {
        let start = self.start.as_ptr() as u64;
        start..start + self.words as u64 * 8
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.mapped {
            // SAFETY: the mapping was made with this address and length; nothing borrows it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * 8) };
        } else {
            let slice =
                std::ptr::slice_from_raw_parts_mut(self.start.as_ptr().cast::<u64>(), self.words);
            // SAFETY: it came from a box of this many words; nothing borrows it.
            drop(unsafe { Box::from_raw(slice) });
        }
    }
}
