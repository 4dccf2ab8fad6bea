//! The maps' values, as the program and its loader both see them.

use twinmesh_model::layout::{input, work};

/// Bytes of head that fit.
pub const HEAD_BYTES: u64 = 8192;
/// Bytes of input that are addressed: the next power of two.
pub const INPUT_BYTES: u64 = 16384;
/// Bytes of policy in the object as it is built; a power of two. The loader sets another before
/// it hands the object to the kernel: it changes [`Policy`]'s size in the BTF and the masks
/// ([`POLICY_MASKS`]) in the instructions.
pub const POLICY_BYTES: u64 = 1 << 21;
/// What policy offsets are masked with, for reads of eight, two and one bytes. No other
/// instruction has these operands. The first makes every read of eight bytes an aligned one, which
/// the model's are anyway, so that nothing reaches past the value's end.
pub const POLICY_MASKS: [u64; 3] = [POLICY_BYTES - 8, POLICY_BYTES - 2, POLICY_BYTES - 1];
/// Policies that lie side by side: the one that decides, and the next one.
pub const SLOTS: u64 = 2;
/// Requests that can be decided at the same time.
pub const WORKERS: u64 = 4;

/// What the program returns when it has decided.
pub const DECIDED: u32 = 0;
/// What the program returns when the generation asked for is no longer, or not yet, there.
pub const STALE: u32 = 1;
/// What the program returns when a map has no such entry.
pub const NO_MAP: u32 = 2;

/// One request: the model's work area and its input.
#[repr(C)]
pub struct Work {
    /// The model's work area.
    pub words: [u64; work::WORDS as usize],
    /// Given: the generation to decide by, or 0 for the current one. Left: which it was.
    pub generation: u64,
    /// Left: what is added to the number of a state word from [`Work::active`] on.
    pub state: u64,
    /// Left: state words below this one are the same in every generation.
    pub active: u64,
    /// Whether someone has this work area; only where several share them.
    pub busy: u64,
    /// The model's input.
    pub input: [u8; INPUT_BYTES as usize + input::PADDING as usize],
}

/// The compiled policy.
#[repr(C)]
pub struct Policy {
    /// What the model reads.
    pub bytes: [u8; POLICY_BYTES as usize],
}

/// Which policies there are. Generations count from 1; a generation lies in the slot that its
/// lowest bit names.
#[repr(C)]
pub struct Control {
    /// The generation that decides where none is asked for.
    pub current: u64,
    /// The generation in each slot; 0 while it is being written.
    pub generations: [u64; SLOTS as usize],
    /// Words of state of one slot.
    pub state_words: u64,
    /// Words of state before the slots', which all generations share: the active requests of
    /// endpoints, where these keep their numbers from one generation to the next.
    pub active_words: u64,
}
