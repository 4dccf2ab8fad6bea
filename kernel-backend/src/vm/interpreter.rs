//! Runs a decoded program (RFC 9669).

use std::sync::atomic::AtomicU64;

use super::memory::Memory;
use super::operation::{CALL, CONSTANT, EXIT, FETCH_ADD, LOOKUP, Operation};

/// Calls within calls that the kernel allows, the program itself counted.
const FRAMES: usize = 8;
/// Bytes of stack that each function has for itself, as in the kernel.
const FRAME_BYTES: u64 = 512;
/// Words of the whole stack.
pub const STACK_WORDS: usize = FRAMES * FRAME_BYTES as usize / 8;
/// Operations after which a program counts as one without an end. The kernel's verifier, too, gives
/// up after a million.
const MOST_OPERATIONS: u64 = 10_000_000;

/// A function that waits for another's return.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    next: usize,
    saved: [u64; 4],
}

/// Register 10 is the end of the frame; those above are never used.
type Registers = [u64; 16];

/// The context's region and the stack's; the maps' follow.
pub const CONTEXT: u64 = 1;
pub const STACK: u64 = 2;
pub const FIRST_MAP: u64 = 3;

/// What the program has around it.
#[derive(Debug)]
pub struct Surroundings<'a, L> {
    /// The context, [`STACK_WORDS`] of stack, and the maps' values.
    pub memory: Memory<'a>,
    /// `bpf_map_lookup_elem`: the address of the value that a map (by its number) has for a key of
    /// four bytes, or 0.
    pub lookup: L,
}

/// Runs a program and gives what it returns.
///
/// # Errors
/// The operation that stopped it, and why.
pub fn run<L: Fn(u64, u64) -> u64>(
    program: &[Operation],
    around: &Surroundings<'_, L>,
) -> Result<u64, String> {
    let memory = &around.memory;
    let mut registers: Registers = [0; 16];
    registers[1] = Memory::address(CONTEXT, 0);
    registers[10] = Memory::address(STACK, FRAME_BYTES);
    let mut frames = [Frame::default(); FRAMES];
    let mut depth = 0;
    let mut next = 0;
    let mut left = MOST_OPERATIONS;
    loop {
        let Some(operation) = program.get(next) else {
            return Err(format!("operation {next}: outside of the program"));
        };
        let at = next;
        next += 1;
        left -= 1;
        if left == 0 {
            return Err(format!(
                "operation {at}: no end after {MOST_OPERATIONS} operations"
            ));
        }
        let to = usize::from(operation.to & 15);
        let held = registers[to];
        let given = if operation.constant {
            operation.immediate
        } else {
            registers[usize::from(operation.from & 15)]
        };
        let outside = |what: &str, address: u64| {
            Err(format!(
                "operation {at}: {what} address {address:#x}, which is outside of its memory"
            ))
        };
        macro_rules! load {
            ($bytes:literal) => {{
                let base = registers[usize::from(operation.from & 15)];
                let address = base.wrapping_add_signed(i64::from(operation.target));
                let Some(value) = memory.load(address, $bytes) else {
                    return outside("reads", address);
                };
                registers[to] = value;
            }};
        }
        macro_rules! store {
            ($bytes:literal) => {{
                let address = held.wrapping_add_signed(i64::from(operation.target));
                if memory.store(address, $bytes, given).is_none() {
                    return outside("writes", address);
                }
            }};
        }
        macro_rules! jump {
            ($holds:expr) => {
                if $holds {
                    next = operation.target as usize;
                }
            };
        }
        let (held32, given32) = (held as u32, given as u32);
        let (signed, by) = (held as i64, given as i64);
        let (signed32, by32) = (held32 as i32, given32 as i32);
        match operation.code {
            0x07 | 0x0f => registers[to] = held.wrapping_add(given),
            0x17 | 0x1f => registers[to] = held.wrapping_sub(given),
            0x27 | 0x2f => registers[to] = held.wrapping_mul(given),
            0x37 | 0x3f => registers[to] = held.checked_div(given).unwrap_or(0),
            0x47 | 0x4f => registers[to] = held | given,
            0x57 | 0x5f => registers[to] = held & given,
            0x67 | 0x6f => registers[to] = held.wrapping_shl(given32),
            0x77 | 0x7f => registers[to] = held.wrapping_shr(given32),
            0x87 => registers[to] = held.wrapping_neg(),
            0x97 | 0x9f => registers[to] = held.checked_rem(given).unwrap_or(held),
            0xa7 | 0xaf => registers[to] = held ^ given,
            0xb7 | 0xbf => registers[to] = given,
            0xc7 | 0xcf => registers[to] = signed.wrapping_shr(given32) as u64,

            0x04 | 0x0c => registers[to] = u64::from(held32.wrapping_add(given32)),
            0x14 | 0x1c => registers[to] = u64::from(held32.wrapping_sub(given32)),
            0x24 | 0x2c => registers[to] = u64::from(held32.wrapping_mul(given32)),
            0x34 | 0x3c => registers[to] = u64::from(held32.checked_div(given32).unwrap_or(0)),
            0x44 | 0x4c => registers[to] = u64::from(held32 | given32),
            0x54 | 0x5c => registers[to] = u64::from(held32 & given32),
            0x64 | 0x6c => registers[to] = u64::from(held32.wrapping_shl(given32)),
            0x74 | 0x7c => registers[to] = u64::from(held32.wrapping_shr(given32)),
            0x84 => registers[to] = u64::from(held32.wrapping_neg()),
            0x94 | 0x9c => registers[to] = u64::from(held32.checked_rem(given32).unwrap_or(held32)),
            0xa4 | 0xac => registers[to] = u64::from(held32 ^ given32),
            0xb4 | 0xbc => registers[to] = u64::from(given32),
            0xc4 | 0xcc => registers[to] = u64::from(signed32.wrapping_shr(given32) as u32),
            // To little-endian, which it is: cut to the width. To big-endian: swapped.
            0xd4 => registers[to] = swapped(held, operation.immediate, false),
            0xdc => registers[to] = swapped(held, operation.immediate, true),

            CONSTANT => registers[to] = operation.immediate,
            0x71 => load!(1),
            0x69 => load!(2),
            0x61 => load!(4),
            0x79 => load!(8),
            0x72 | 0x73 => store!(1),
            0x6a | 0x6b => store!(2),
            0x62 | 0x63 => store!(4),
            0x7a | 0x7b => store!(8),
            FETCH_ADD => {
                let from = usize::from(operation.from & 15);
                let address = held.wrapping_add_signed(i64::from(operation.target));
                let Some(was) = memory.fetch_add(address, registers[from]) else {
                    return outside("adds to", address);
                };
                registers[from] = was;
            }

            0x05 => next = operation.target as usize,
            0x15 | 0x1d => jump!(held == given),
            0x25 | 0x2d => jump!(held > given),
            0x35 | 0x3d => jump!(held >= given),
            0x45 | 0x4d => jump!(held & given != 0),
            0x55 | 0x5d => jump!(held != given),
            0x65 | 0x6d => jump!(signed > by),
            0x75 | 0x7d => jump!(signed >= by),
            0xa5 | 0xad => jump!(held < given),
            0xb5 | 0xbd => jump!(held <= given),
            0xc5 | 0xcd => jump!(signed < by),
            0xd5 | 0xdd => jump!(signed <= by),

            0x16 | 0x1e => jump!(held32 == given32),
            0x26 | 0x2e => jump!(held32 > given32),
            0x36 | 0x3e => jump!(held32 >= given32),
            0x46 | 0x4e => jump!(held32 & given32 != 0),
            0x56 | 0x5e => jump!(held32 != given32),
            0x66 | 0x6e => jump!(signed32 > by32),
            0x76 | 0x7e => jump!(signed32 >= by32),
            0xa6 | 0xae => jump!(held32 < given32),
            0xb6 | 0xbe => jump!(held32 <= given32),
            0xc6 | 0xce => jump!(signed32 < by32),
            0xd6 | 0xde => jump!(signed32 <= by32),

            LOOKUP => {
                let Some(key) = memory.load(registers[2], 4) else {
                    return outside("reads a key from", registers[2]);
                };
                registers[0] = (around.lookup)(registers[1], key);
            }
            CALL => {
                let Some(frame) = frames.get_mut(depth).filter(|_| depth + 1 < FRAMES) else {
                    return Err(format!(
                        "operation {at}: more than {FRAMES} calls within one another"
                    ));
                };
                frame.next = next;
                frame.saved.copy_from_slice(&registers[6..10]);
                registers[10] += FRAME_BYTES;
                depth += 1;
                next = operation.target as usize;
            }
            EXIT => {
                let Some(above) = depth.checked_sub(1) else {
                    return Ok(registers[0]);
                };
                let frame = &frames[above];
                depth = above;
                next = frame.next;
                registers[6..10].copy_from_slice(&frame.saved);
                registers[10] -= FRAME_BYTES;
            }
            code => return Err(format!("operation {at}: unknown opcode {code:#04x}")),
        }
    }
}

/// The lowest `bits` (16, 32 or 64) of a value, in the other order of bytes if `swap`.
fn swapped(value: u64, bits: u64, swap: bool) -> u64 {
    let cut = value & (u64::MAX >> (64 - bits));
    if swap {
        cut.swap_bytes() >> (64 - bits)
    } else {
        cut
    }
}

/// A stack, all zero.
pub fn stack() -> Box<[AtomicU64]> {
    (0..STACK_WORDS).map(|_| AtomicU64::new(0)).collect()
}
