//! A request's share in its endpoint's active count, given back exactly once.

use std::sync::atomic::Ordering::Relaxed;

use super::Live;

/// A request's share in its endpoint's active count: dropped, it is given back, whichever policy
/// decides by then.
#[derive(Debug)]
pub struct Hold {
    pub(super) live: Live,
    pub(super) number: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let active = self.live.inner.memory.active();
        if let Some(word) = active.get(self.number as usize) {
            word.fetch_sub(1, Relaxed);
        }
    }
}
