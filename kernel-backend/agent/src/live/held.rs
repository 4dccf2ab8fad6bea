//! A request's share in its endpoint's active count, given back exactly once.

use std::sync::atomic::Ordering::Relaxed;

use super::Live;
use crate::record::Note;

/// A request's share in its endpoint's active count: dropped, it is given back, whichever policy
/// decides by then.
#[derive(Debug)]
pub struct Hold {
    live: Live,
    number: u64,
    /// The decision's place in the order, where that is kept.
    place: Option<u64>,
}

impl Hold {
    /// A share that was counted already.
    pub(super) fn new(live: &Live, number: u64, place: Option<u64>) -> Self {
        if let Some(held) = live.inner.memory.held().get(number as usize) {
            held.fetch_add(1, Relaxed);
        }
        Self {
            live: live.clone(),
            number,
            place,
        }
    }
}

impl Live {
    /// How many requests hold an endpoint, by its number, where that is counted beside its active
    /// ones.
    pub fn held(&self, number: u64) -> u64 {
        let held = self.inner.memory.held().get(number as usize);
        held.map_or(0, |held| held.load(Relaxed))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.live.inner.memory.held().get(self.number as usize) {
            held.fetch_sub(1, Relaxed);
        }
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
