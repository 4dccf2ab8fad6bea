//! Which policy decides.

use twinmesh_model::layout::work::SEQUENCE;

use crate::shape::{Control, SLOTS, Work};

/// The slot of the generation to decide by, [`SLOTS`] where it is not there. It is chosen once, and
/// everything that the decision reads comes from it; the loader writes a slot only after it took
/// the slot's generation away and every program that saw it has ended.
#[inline(always)]
pub fn choose(work: *mut Work, control: *const Control) -> u64 {
    // SAFETY: all fields lie inside the map values; volatile, as the loader writes meanwhile.
    unsafe {
        let given = (&raw const (*work).generation).read_volatile();
        let current = (&raw const (*control).current).read_volatile();
        let generation = if given == 0 { current } else { given };
        let slot = generation & (SLOTS - 1);
        let generations = (&raw const (*control).generations).cast::<u64>();
        if generation == 0 || generations.add(slot as usize).read_volatile() != generation {
            return SLOTS;
        }
        (&raw mut (*work).generation).write(generation);
        (&raw mut (*work).state).write(slot * (&raw const (*control).state_words).read());
        (&raw mut (*work).active).write((&raw const (*control).active_words).read());
        // A request that is decided again, as in a test run that repeats, finds no old slots.
        let sequence = (&raw mut (*work).words)
            .cast::<u64>()
            .add(SEQUENCE as usize);
        sequence.write(sequence.read().wrapping_add(1) & 0xff_ffff_ffff);
        slot
    }
}
