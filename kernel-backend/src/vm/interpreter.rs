//! Runs a decoded program (RFC 9669).

use std::sync::atomic::AtomicU64;

use super::memory::Memory;
use super::operation::{
    CALL, CONSTANT, EXIT, FETCH_ADD, LOAD_OF_SUM_1, LOAD_OF_SUM_2, LOAD_OF_SUM_4, LOAD_OF_SUM_8,
    LOOKUP, Operation,
};

/// Calls within calls that the kernel allows, the program itself counted.
const FRAMES: usize = 8;
/// Bytes of stack that each function has for itself, as in the kernel.
const FRAME_BYTES: u64 = 512;
/// Words of the whole stack.
pub const STACK_WORDS: usize = FRAMES * FRAME_BYTES as usize / 8;
/// Jumps and calls after which a program counts as one without an end. The kernel's verifier, too,
/// gives up after a million instructions.
const MOST_JUMPS: u64 = 10_000_000;

/// A function that waits for another's return.
#[derive(Debug, Clone, Copy, Default)]
struct Frame<'a> {
    /// What follows the call, up to the program's end.
    rest: &'a [Operation],
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

/// The whole of what operations do: pairs of opcodes, of which one has a constant as its second operand
/// and the other a register; then all the others.
macro_rules! execute {
    (
        $operation:ident, $registers:ident, $jump:ident;
        wide { $($wide:literal $wide_of:literal: $compute:expr;)* }
        narrow { $($narrow:literal $narrow_of:literal: $compute32:expr;)* }
        wide jumps { $($branch:literal $branch_of:literal: $holds:expr;)* }
        narrow jumps { $($branch32:literal $branch32_of:literal: $holds32:expr;)* }
        $($code:pat => $does:expr,)*
    ) => {
        match $operation.code {
            $(
                $wide => {
                    let value = ($compute)(left!($operation, $registers), $operation.immediate);
                    *to!($operation, $registers) = value;
                }
                $wide_of => {
                    let given = from!($operation, $registers);
                    *to!($operation, $registers) = ($compute)(left!($operation, $registers), given);
                }
            )*
            $(
                $narrow => {
                    let held = left!($operation, $registers) as u32;
                    let value: u32 = ($compute32)(held, $operation.immediate as u32);
                    *to!($operation, $registers) = u64::from(value);
                }
                $narrow_of => {
                    let held = left!($operation, $registers) as u32;
                    let value: u32 = ($compute32)(held, from!($operation, $registers) as u32);
                    *to!($operation, $registers) = u64::from(value);
                }
            )*
            $(
                $branch => if ($holds)(left!($operation, $registers), $operation.immediate) {
                    $jump!($operation);
                },
                $branch_of => if ($holds)(left!($operation, $registers), from!($operation, $registers)) {
                    $jump!($operation);
                },
            )*
            $(
                $branch32 => {
                    let held = left!($operation, $registers) as u32;
                    if ($holds32)(held, $operation.immediate as u32) {
                        $jump!($operation);
                    }
                }
                $branch32_of => {
                    let held = left!($operation, $registers) as u32;
                    if ($holds32)(held, from!($operation, $registers) as u32) {
                        $jump!($operation);
                    }
                }
            )*
            $($code => $does,)*
        }
    };
}

macro_rules! to {
    ($operation:ident, $registers:ident) => {
        &mut $registers[usize::from($operation.to & 15)]
    };
}
macro_rules! left {
    ($operation:ident, $registers:ident) => {
        $registers[usize::from($operation.left & 15)]
    };
}
macro_rules! from {
    ($operation:ident, $registers:ident) => {
        $registers[usize::from($operation.from & 15)]
    };
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
    let mut left = MOST_JUMPS;
    // An iterator, since a place would be looked up anew for each operation.
    let mut rest = program.iter();
    loop {
        let Some(operation) = rest.next() else {
            return beyond(program.len());
        };
        macro_rules! at {
            () => {
                program.len() - rest.len() - 1
            };
        }
        // Whatever has no end jumps or calls.
        macro_rules! jump {
            ($operation:ident) => {{
                left -= 1;
                if left == 0 {
                    return endless(at!());
                }
                let target = $operation.target as usize;
                let Some(follows) = program.get(target..) else {
                    return beyond(target);
                };
                rest = follows.iter();
            }};
        }
        macro_rules! load {
            ($bytes:literal, $base:expr) => {{
                let address = $base.wrapping_add_signed(i64::from(operation.target));
                let Some(value) = memory.load(address, $bytes) else {
                    return outside(at!(), "reads", address);
                };
                *to!(operation, registers) = value;
            }};
        }
        macro_rules! load_of_sum {
            ($bytes:literal) => {{
                let sum = left!(operation, registers).wrapping_add(from!(operation, registers));
                registers[(operation.immediate & 15) as usize] = sum;
                load!($bytes, sum)
            }};
        }
        macro_rules! store {
            ($bytes:literal, $given:expr) => {{
                let base = *to!(operation, registers);
                let address = base.wrapping_add_signed(i64::from(operation.target));
                if memory.store(address, $bytes, $given).is_none() {
                    return outside(at!(), "writes", address);
                }
            }};
        }
        execute! {
            operation, registers, jump;
            wide {
                0x07 0x0f: |held: u64, given: u64| held.wrapping_add(given);
                0x17 0x1f: |held: u64, given: u64| held.wrapping_sub(given);
                0x27 0x2f: |held: u64, given: u64| held.wrapping_mul(given);
                0x37 0x3f: |held: u64, given: u64| held.checked_div(given).unwrap_or(0);
                0x47 0x4f: |held: u64, given: u64| held | given;
                0x57 0x5f: |held: u64, given: u64| held & given;
                0x67 0x6f: |held: u64, given: u64| held.wrapping_shl(given as u32);
                0x77 0x7f: |held: u64, given: u64| held.wrapping_shr(given as u32);
                0x97 0x9f: |held: u64, given: u64| held.checked_rem(given).unwrap_or(held);
                0xa7 0xaf: |held: u64, given: u64| held ^ given;
                0xb7 0xbf: |_: u64, given: u64| given;
                0xc7 0xcf: |held: u64, given: u64| (held as i64).wrapping_shr(given as u32) as u64;
            }
            narrow {
                0x04 0x0c: |held: u32, given: u32| held.wrapping_add(given);
                0x14 0x1c: |held: u32, given: u32| held.wrapping_sub(given);
                0x24 0x2c: |held: u32, given: u32| held.wrapping_mul(given);
                0x34 0x3c: |held: u32, given: u32| held.checked_div(given).unwrap_or(0);
                0x44 0x4c: |held: u32, given: u32| held | given;
                0x54 0x5c: |held: u32, given: u32| held & given;
                0x64 0x6c: |held: u32, given: u32| held.wrapping_shl(given);
                0x74 0x7c: |held: u32, given: u32| held.wrapping_shr(given);
                0x94 0x9c: |held: u32, given: u32| held.checked_rem(given).unwrap_or(held);
                0xa4 0xac: |held: u32, given: u32| held ^ given;
                0xb4 0xbc: |_: u32, given: u32| given;
                0xc4 0xcc: |held: u32, given: u32| (held as i32).wrapping_shr(given) as u32;
            }
            wide jumps {
                0x15 0x1d: |held: u64, given: u64| held == given;
                0x25 0x2d: |held: u64, given: u64| held > given;
                0x35 0x3d: |held: u64, given: u64| held >= given;
                0x45 0x4d: |held: u64, given: u64| held & given != 0;
                0x55 0x5d: |held: u64, given: u64| held != given;
                0x65 0x6d: |held: u64, given: u64| held as i64 > given as i64;
                0x75 0x7d: |held: u64, given: u64| held as i64 >= given as i64;
                0xa5 0xad: |held: u64, given: u64| held < given;
                0xb5 0xbd: |held: u64, given: u64| held <= given;
                0xc5 0xcd: |held: u64, given: u64| (held as i64) < given as i64;
                0xd5 0xdd: |held: u64, given: u64| held as i64 <= given as i64;
            }
            narrow jumps {
                0x16 0x1e: |held: u32, given: u32| held == given;
                0x26 0x2e: |held: u32, given: u32| held > given;
                0x36 0x3e: |held: u32, given: u32| held >= given;
                0x46 0x4e: |held: u32, given: u32| held & given != 0;
                0x56 0x5e: |held: u32, given: u32| held != given;
                0x66 0x6e: |held: u32, given: u32| held as i32 > given as i32;
                0x76 0x7e: |held: u32, given: u32| held as i32 >= given as i32;
                0xa6 0xae: |held: u32, given: u32| held < given;
                0xb6 0xbe: |held: u32, given: u32| held <= given;
                0xc6 0xce: |held: u32, given: u32| (held as i32) < given as i32;
                0xd6 0xde: |held: u32, given: u32| held as i32 <= given as i32;
            }

            0x87 => *to!(operation, registers) = left!(operation, registers).wrapping_neg(),
            0x84 => {
                let held = left!(operation, registers) as u32;
                *to!(operation, registers) = u64::from(held.wrapping_neg());
            },
            // To little-endian, which it is: cut to the width. To big-endian: swapped.
            code @ (0xd4 | 0xdc) => {
                let held = left!(operation, registers);
                *to!(operation, registers) = swapped(held, operation.immediate, code == 0xdc);
            },

            CONSTANT => *to!(operation, registers) = operation.immediate,
            0x71 => load!(1, from!(operation, registers)),
            0x69 => load!(2, from!(operation, registers)),
            0x61 => load!(4, from!(operation, registers)),
            0x79 => load!(8, from!(operation, registers)),
            LOAD_OF_SUM_1 => load_of_sum!(1),
            LOAD_OF_SUM_2 => load_of_sum!(2),
            LOAD_OF_SUM_4 => load_of_sum!(4),
            LOAD_OF_SUM_8 => load_of_sum!(8),
            0x72 => store!(1, operation.immediate),
            0x6a => store!(2, operation.immediate),
            0x62 => store!(4, operation.immediate),
            0x7a => store!(8, operation.immediate),
            0x73 => store!(1, from!(operation, registers)),
            0x6b => store!(2, from!(operation, registers)),
            0x63 => store!(4, from!(operation, registers)),
            0x7b => store!(8, from!(operation, registers)),
            FETCH_ADD => {
                let base = *to!(operation, registers);
                let address = base.wrapping_add_signed(i64::from(operation.target));
                let Some(was) = memory.fetch_add(address, from!(operation, registers)) else {
                    return outside(at!(), "adds to", address);
                };
                from!(operation, registers) = was;
            },

            0x05 => jump!(operation),
            LOOKUP => {
                let Some(key) = memory.load(registers[2], 4) else {
                    return outside(at!(), "reads a key from", registers[2]);
                };
                registers[0] = (around.lookup)(registers[1], key);
            },
            CALL => {
                let Some(frame) = frames.get_mut(depth).filter(|_| depth + 1 < FRAMES) else {
                    return too_deep(at!());
                };
                frame.rest = rest.as_slice();
                frame.saved.copy_from_slice(&registers[6..10]);
                registers[10] += FRAME_BYTES;
                depth += 1;
                jump!(operation);
            },
            EXIT => {
                let Some(above) = depth.checked_sub(1) else {
                    return Ok(registers[0]);
                };
                let frame = &frames[above];
                depth = above;
                rest = frame.rest.iter();
                registers[6..10].copy_from_slice(&frame.saved);
                registers[10] -= FRAME_BYTES;
            },
            code => return unknown(at!(), code),
        }
    }
}

// What stops a program is told by functions of their own: the places that a text is made of would
// else be kept in memory from one operation to the next.

#[cold]
#[inline(never)]
fn beyond(at: usize) -> Result<u64, String> {
    Err(format!("operation {at}: outside of the program"))
}

#[cold]
#[inline(never)]
fn outside(at: usize, what: &str, address: u64) -> Result<u64, String> {
    Err(format!(
        "operation {at}: {what} address {address:#x}, which is outside of its memory"
    ))
}

#[cold]
#[inline(never)]
fn endless(at: usize) -> Result<u64, String> {
    Err(format!(
        "operation {at}: no end after {MOST_JUMPS} jumps and calls"
    ))
}

#[cold]
#[inline(never)]
fn too_deep(at: usize) -> Result<u64, String> {
    Err(format!(
        "operation {at}: more than {FRAMES} calls within one another"
    ))
}

#[cold]
#[inline(never)]
fn unknown(at: usize, code: u8) -> Result<u64, String> {
    Err(format!("operation {at}: unknown opcode {code:#04x}"))
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
