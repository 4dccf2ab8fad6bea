//! BPF instructions (RFC 9669), decoded and checked once, so that the interpreter need not.

use aya_obj::generated::bpf_insn;

use super::join::join;

/// The kernel's number of `bpf_map_lookup_elem`.
const MAP_LOOKUP: i32 = 1;

/// One instruction: its operands as they are used, and jumps by the place they lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The opcode, or one of this module's constants for what the opcode alone does not tell.
    pub code: u8,
    /// The register that is written; of stores the address.
    pub to: u8,
    /// The register that is the first operand of arithmetic and jumps.
    pub left: u8,
    /// The register that is the second operand, or is stored; of loads the address.
    pub from: u8,
    /// Of loads and stores: what is added to the address. Of jumps and calls: the operation that
    /// follows if they are taken.
    pub target: i32,
    /// The constant, sign-extended; of loads at a sum, the register that keeps the sum.
    pub immediate: u64,
}

/// A call of a helper: the only one there is is `bpf_map_lookup_elem`.
pub const LOOKUP: u8 = 0x85;
/// A call of a function of the program. (The opcode is that of calls by register, which `decode`
/// refuses.)
pub const CALL: u8 = 0x8d;
/// The end of a function.
pub const EXIT: u8 = 0x95;
/// A constant of 64 bits, or the number of a map.
pub const CONSTANT: u8 = 0x18;
/// An atomic addition to a word that gives what it was.
pub const FETCH_ADD: u8 = 0xdb;

/// Loads of one, two, four and eight bytes whose address is the sum of two registers: no instruction,
/// but what [`super::join`] makes of several. Each is its load's opcode less 1.
pub const LOAD_OF_SUM_1: u8 = 0x70;
/// See [`LOAD_OF_SUM_1`].
pub const LOAD_OF_SUM_2: u8 = 0x68;
/// See [`LOAD_OF_SUM_1`].
pub const LOAD_OF_SUM_4: u8 = 0x60;
/// See [`LOAD_OF_SUM_1`].
pub const LOAD_OF_SUM_8: u8 = 0x78;

/// What a jump's condition is, of 64-bit values (class 5) and 32-bit ones (class 6).
pub const JUMPS: [u8; 11] = [
    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
];

/// Decodes a program, and has several instructions done at once where that makes no difference.
///
/// # Errors
/// The first instruction that the interpreter does not know, or that leads out of the program.
pub fn decode(program: &[bpf_insn]) -> Result<Vec<Operation>, String> {
    // A constant of 64 bits takes two instructions and becomes one operation.
    let mut places = Vec::with_capacity(program.len());
    let mut wide = false;
    let mut next = 0;
    for instruction in program {
        places.push((!wide).then_some(next));
        wide = !wide && instruction.code == CONSTANT;
        next += i32::from(!wide);
    }
    let mut operations = Vec::with_capacity(program.len());
    for (index, instruction) in program.iter().enumerate() {
        if places.get(index).copied().flatten().is_none() {
            continue;
        }
        let place = |distance: i32| {
            let at = index as i64 + 1 + i64::from(distance);
            let place = usize::try_from(at).ok().and_then(|at| places.get(at));
            place.copied().flatten()
        };
        let high = program.get(index + 1).map(|high| high.imm);
        let operation = operation(instruction, high, place).ok_or_else(|| {
            format!(
                "has an instruction that the VM does not know: number {index}, opcode {:#04x}, \
                 registers {} and {}, offset {}, immediate {:#x}",
                instruction.code,
                instruction.dst_reg(),
                instruction.src_reg(),
                instruction.off,
                instruction.imm
            )
        })?;
        operations.push(operation);
    }
    match operations.last() {
        Some(last) if last.code == EXIT || last.code == 0x05 => Ok(join(&operations)),
        _ => Err("does not end".to_owned()),
    }
}

/// One instruction. `place` tells which operation is so many instructions behind the next one;
/// `high` is the upper half of a constant of 64 bits.
fn operation(
    instruction: &bpf_insn,
    high: Option<i32>,
    place: impl Fn(i32) -> Option<i32>,
) -> Option<Operation> {
    let (code, to, from) = (
        instruction.code,
        instruction.dst_reg(),
        instruction.src_reg(),
    );
    let (offset, immediate) = (instruction.off, instruction.imm);
    let mut operation = Operation {
        code,
        to,
        left: to,
        from,
        target: i32::from(offset),
        immediate: i64::from(immediate) as u64,
    };
    let writes_register = match code & 7 {
        // Arithmetic, of 32 and 64 bits.
        4 | 7 => {
            let known = match code & 0xf0 {
                // Negation has no second operand.
                0x80 => code & 8 == 0,
                // Swaps say their width by the immediate; 64-bit ones are of a later version.
                0xd0 => code & 7 == 4 && matches!(immediate, 16 | 32 | 64),
                operation => operation <= 0xc0,
            };
            // An offset makes signed divisions and moves of it, in a later version.
            (known && offset == 0).then_some(true)?
        }
        // Loads and stores.
        0 if code == CONSTANT => {
            let known = from <= 1 && offset == 0;
            let low = u64::from(immediate as u32);
            operation.immediate = low | u64::from(high? as u32) << 32;
            operation.from = 0;
            known.then_some(true)?
        }
        1 => matches!(code, 0x61 | 0x69 | 0x71 | 0x79).then_some(true)?,
        2 => matches!(code, 0x62 | 0x6a | 0x72 | 0x7a).then_some(false)?,
        // `from` is written too, with what there was.
        3 if code == FETCH_ADD => (immediate == 1 && from <= 9).then_some(false)?,
        3 => matches!(code, 0x63 | 0x6b | 0x73 | 0x7b).then_some(false)?,
        // Jumps, calls, the end.
        5 | 6 => {
            match code {
                0x05 => operation.target = place(i32::from(offset))?,
                0x85 if from == 0 => (immediate == MAP_LOOKUP).then_some(())?,
                0x85 if from == 1 => {
                    operation.code = CALL;
                    operation.target = place(immediate)?;
                }
                EXIT => {}
                _ if JUMPS.contains(&(code & 0xf0)) => {
                    operation.target = place(i32::from(offset))?;
                }
                _ => return None,
            }
            false
        }
        _ => return None,
    };
    // The frame's end, register 10, is never written.
    let most = if writes_register { 9 } else { 10 };
    (to <= most && operation.from <= 10).then_some(operation)
}
