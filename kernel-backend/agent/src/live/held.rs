//! A request's share in its endpoint's active count, given back exactly once.

use std::sync::atomic::Ordering::Relaxed;

use super::Live;
use crate::record::Note;

/// A request's share in its endpoint's active count: dropped, it is given back, whichever policy
/// decides by then.
#[derive(Debug)]
pub struct Hold {
    pub(super) live: Live,
    pub(super) number: u64,
    /// The decision's place in the order, where that is kept.
    pub(super) place: Option<u64>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let active = self.live.inner.memory.active();
        let Some(word) = active.get(self.number as usize) else {
            return;
        };
        let Some(place) = self.place else {
            word.fetch_sub(1, Relaxed);
            return;
        };
        let order = self.live.inner.memory.order();
        let (_, end) = order.alone(|| word.fetch_sub(1, Relaxed));
        self.live.note(Note::Ended { number: place, end });
    }
}
