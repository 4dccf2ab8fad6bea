//! The VM against another interpreter, over random arithmetic and jumps, and what it refuses.

use aya_obj::copy_instructions;
use proptest::prelude::*;
use rbpf::EbpfVmMbuff;

use super::interpreter::{FIRST_MAP, STACK, Surroundings, run, stack};
use super::memory::Memory;
use super::operation::{Operation, decode};

/// An instruction's eight bytes.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let mut bytes = [code, from << 4 | to, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_le_bytes());
    bytes[4..].copy_from_slice(&immediate.to_le_bytes());
    bytes
}

fn decoded(program: &[[u8; 8]]) -> Result<Vec<Operation>, String> {
    decode(&copy_instructions(&program.concat()).expect("whole instructions"))
}

/// What a program returns that has one map of four words, which hold 10, 11, 12 and 13.
fn returned(program: &[[u8; 8]]) -> Result<u64, String> {
    let program = decoded(program)?;
    let (context, stack) = (stack(), stack());
    let map = [10, 11, 12, 13].map(std::sync::atomic::AtomicU64::new);
    let around = Surroundings {
        memory: Memory::new([&context, &stack, &map]),
        lookup: |map, key| {
            if map == 0 && key < 4 {
                Memory::address(FIRST_MAP, key * 8)
            } else {
                0
            }
        },
    };
    run(&program, &around)
}

const RETURN: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// A constant of 64 bits into a register.
fn constant(to: u8, value: u64) -> [[u8; 8]; 2] {
    [
        instruction(0x18, to, 0, 0, value as i32),
        instruction(0, 0, 0, 0, (value >> 32) as i32),
    ]
}

/// Values at whose neighbours arithmetic goes wrong.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        prop::sample::select(vec![
            0,
            1,
            31,
            32,
            63,
            64,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            i64::MAX as u64,
            i64::MIN as u64,
            u64::MAX,
        ]),
    ]
}

/// Arithmetic and stores to the stack and loads from it, over registers 0 to 9.
fn arithmetic() -> impl Strategy<Value = [u8; 8]> {
    let immediate = value().prop_map(|value| value as i32);
    let operation = (0_u8..=0xd, any::<bool>(), any::<bool>());
    let computed = (operation, 0_u8..10, 0_u8..10, immediate).prop_map(
        |((operation, wide, register), to, from, immediate)| {
            let (class, source) = (if wide { 7 } else { 4 }, u8::from(register) << 3);
            match operation {
                // Negations have no second operand, swaps a width.
                8 => instruction(0x80 | class, to, 0, 0, 0),
                0xd => {
                    let bits = [16, 32, 64][immediate.rem_euclid(3) as usize];
                    instruction(0xd4 | source, to, 0, 0, bits)
                }
                // A 32-bit remainder by 0 cuts the dividend in the kernel, in the other interpreter
                // not.
                9 if register && !wide => instruction(0x3c, to, from, 0, 0),
                _ if register => instruction(operation << 4 | 8 | class, to, from, 0, 0),
                // A constant 0 as a divisor is refused by verifiers, the kernel's too.
                3 | 9 if immediate == 0 => instruction(operation << 4 | class, to, 0, 0, 7),
                // And so is a constant that shifts all away.
                6 | 7 | 0xc => {
                    let most = if wide { 64 } else { 32 };
                    let by = immediate.rem_euclid(most);
                    instruction(operation << 4 | class, to, 0, 0, by)
                }
                _ => instruction(operation << 4 | class, to, 0, 0, immediate),
            }
        },
    );
    let stored = (0_u8..4, 0_u8..10, 8_i16..=64, any::<bool>(), any::<i32>()).prop_map(
        |(size, register, below, load, immediate)| {
            let size = size << 3;
            match (load, immediate % 2) {
                (true, _) => instruction(0x61 | size, register, 10, -below, 0),
                (false, 0) => instruction(0x63 | size, 10, register, -below, 0),
                (false, _) => instruction(0x62 | size, 10, 0, -below, immediate),
            }
        },
    );
    prop_oneof![4 => computed, 1 => stored]
}

/// A jump over the next instruction. The other interpreter does not extend the signs of constants
/// in unsigned comparisons of 64 bits, as the kernel does: those have none.
fn jump() -> impl Strategy<Value = [u8; 8]> {
    let conditions = super::operation::JUMPS.to_vec();
    let condition = (prop::sample::select(conditions), 5_u8..=6, any::<bool>());
    (condition, 0_u8..10, 0_u8..10, any::<i32>()).prop_map(
        |((condition, class, register), to, from, immediate)| {
            let unsigned = !matches!(condition, 0x60 | 0x70 | 0xc0 | 0xd0);
            if register {
                instruction(condition | 8 | class, to, from, 1, 0)
            } else if class == 5 && unsigned {
                instruction(condition | class, to, 0, 1, immediate & i32::MAX)
            } else {
                instruction(condition | class, to, 0, 1, immediate)
            }
        },
    )
}

fn moved(to: u8, from: u8) -> [u8; 8] {
    instruction(0xbf, to, from, 0, 0)
}

/// Instructions that the VM may do at once, and others.
fn several() -> impl Strategy<Value = Vec<[u8; 8]>> {
    let with_move = (arithmetic(), 0_u8..10).prop_map(|(operation, from)| {
        let to = operation[1] & 15;
        // Stores write to no register.
        if to == 10 {
            vec![operation]
        } else {
            vec![moved(to, from), operation]
        }
    });
    let cut = (0_u8..10, 0_u8..10, prop::bool::weighted(0.8), any::<bool>()).prop_map(
        |(to, from, cuts, moves)| {
            let by = if cuts { 32 } else { 31 };
            let shifts = [0x67, 0x77].map(|code| instruction(code, to, 0, 0, by));
            let first = moves.then(|| moved(to, from));
            first.into_iter().chain(shifts).collect()
        },
    );
    prop_oneof![
        3 => arithmetic().prop_map(|one| vec![one]),
        3 => with_move,
        2 => cut,
    ]
}

/// A load from an address on the stack that is a sum, and all that has been an address is
/// overwritten: the other interpreter's addresses are others.
fn load_of_sum() -> impl Strategy<Value = Vec<[u8; 8]>> {
    let registers = (0_u8..10, 0_u8..10, 0_u8..10);
    let place = (0_u8..4, 8_i16..=64, -64_i16..=64);
    (registers, place, 0_u8..4).prop_map(|((base, by, to), (size, below, offset), kind)| {
        let load = |offset| instruction(0x61 | size << 3, to, base, offset, 0);
        let distance = i32::from(-below - offset);
        let mut all = match kind {
            0 if by != base => vec![
                instruction(0xb7, by, 0, 0, distance),
                moved(base, 10),
                instruction(0x0f, base, by, 0, 0),
                load(offset),
            ],
            1 if by != base => vec![
                moved(base, 10),
                instruction(0xb7, by, 0, 0, distance),
                instruction(0x0f, base, by, 0, 0),
                load(offset),
            ],
            2 => vec![moved(base, 10), load(-below)],
            _ => vec![
                moved(base, 10),
                instruction(0x07, base, 0, 0, distance),
                load(offset),
            ],
        };
        if to != base {
            all.push(instruction(0xb7, base, 0, 0, 5));
        }
        all
    })
}

proptest! {
    #[test]
    fn arithmetic_and_jumps_are_those_of_another_interpreter(
        values in prop::collection::vec(value(), 10),
        steps in prop::collection::vec(
            prop_oneof![
                6 => (prop::option::of(jump()), several()),
                1 => (Just(None), load_of_sum()),
            ],
            1..60,
        ),
        result in 0_u8..10,
    ) {
        let mut program = Vec::new();
        // Nothing on the stack is read before it is written.
        program.extend((1_i16..=8).map(|word| instruction(0x7a, 10, 0, -8 * word, 0)));
        program.extend((0_u8..).zip(&values).flat_map(|(to, &value)| constant(to, value)));
        for (jump, step) in steps {
            program.extend(jump);
            program.extend(step);
        }
        program.extend([instruction(0xbf, 0, result, 0, 0), RETURN]);

        let bytes = program.concat();
        let other = EbpfVmMbuff::new(Some(&bytes)).expect("a valid program");
        let expected = other.execute_program(&[], &[0; 8]);
        prop_assert_eq!(returned(&program), expected.map_err(|error| error.to_string()));
    }
}

#[test]
fn what_follows_one_another_is_done_at_once_unless_something_leads_in_between() {
    let add = |to, from| instruction(0x0f, to, from, 0, 0);
    let shift = |code| instruction(code, 0, 0, 0, 32);
    let load = |to| instruction(0x79, to, 1, 8, 0);
    for (program, operations) in [
        (vec![moved(0, 1), add(0, 2)], 1),
        (vec![moved(0, 1), add(0, 0)], 1),
        (vec![moved(0, 1), add(2, 0)], 2),
        (vec![moved(0, 1), shift(0x67), shift(0x77)], 1),
        (vec![shift(0x67), shift(0xc7)], 2),
        (vec![moved(1, 2), add(1, 3), load(1)], 1),
        (vec![moved(1, 2), add(1, 3), load(4)], 1),
        (vec![moved(1, 2), load(1)], 1),
        (vec![moved(1, 2), load(4)], 2),
        (vec![instruction(0x07, 1, 0, 0, 8), load(1)], 1),
        (vec![instruction(0x07, 1, 0, 0, 8), load(4)], 2),
        (
            vec![instruction(0x15, 3, 0, 1, 0), moved(0, 1), add(0, 2)],
            3,
        ),
    ] {
        let whole = [program.as_slice(), &[RETURN]].concat();
        let decoded = decoded(&whole).expect("it is known");
        assert_eq!(decoded.len(), operations + 1, "{program:x?}: {decoded:x?}");
    }
}

#[test]
fn divisions_by_nothing_give_what_the_kernel_says() {
    // A quotient is 0, a remainder the dividend, cut to 32 bits where the division has them.
    for (code, expected) in [(0x3f, 0), (0x9f, 0x1_0000_0009), (0x3c, 0), (0x9c, 9)] {
        let [low, high] = constant(0, 0x1_0000_0009);
        let zero = instruction(0xb7, 1, 0, 0, 0);
        let program = [low, high, zero, instruction(code, 0, 1, 0, 0), RETURN];
        assert_eq!(returned(&program), Ok(expected), "opcode {code:#x}");
    }
}

#[test]
fn constants_are_extended_by_their_sign() {
    for (code, jumps) in [(0x15, true), (0xa5, false), (0xb5, true), (0x16, false)] {
        let program = [
            instruction(0xb7, 1, 0, 0, -1),
            instruction(0x67, 1, 0, 0, 1),
            instruction(0xb7, 0, 0, 0, 1),
            instruction(code, 1, 0, 1, if code == 0x16 { -1 } else { -2 }),
            instruction(0xb7, 0, 0, 0, 0),
            RETURN,
        ];
        assert_eq!(returned(&program), Ok(u64::from(jumps)), "opcode {code:#x}");
    }
}

#[test]
fn a_function_keeps_its_callers_registers_and_frame() {
    let program = [
        instruction(0xb7, 6, 0, 0, 5),
        instruction(0x7a, 10, 0, -8, 40),
        instruction(0xbf, 1, 10, 0, 0),
        instruction(0x07, 1, 0, 0, -8),
        instruction(0x85, 0, 1, 0, 4),
        instruction(0x0f, 0, 6, 0, 0),
        instruction(0x79, 1, 10, -8, 0),
        instruction(0x0f, 0, 1, 0, 0),
        RETURN,
        // Reads what its caller's frame has, and writes to its own and to register 6.
        instruction(0x79, 0, 1, 0, 0),
        instruction(0xb7, 6, 0, 0, 1000),
        instruction(0x7a, 10, 0, -8, 1000),
        RETURN,
    ];
    assert_eq!(returned(&program), Ok(40 + 5 + 40));
}

/// Loads the map's value for a key, and what follows.
fn with_value(key: i32, rest: &[[u8; 8]]) -> Vec<[u8; 8]> {
    let mut program = vec![
        instruction(0x62, 10, 0, -4, key),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -4),
        instruction(0x18, 1, 1, 0, 0),
        [0; 8],
        instruction(0x85, 0, 0, 0, 1),
    ];
    program.extend(rest);
    program
}

#[test]
fn maps_are_looked_up_and_added_to() {
    let there = instruction(0x79, 0, 0, 0, 0);
    assert_eq!(returned(&with_value(2, &[there, RETURN])), Ok(12));
    assert_eq!(returned(&with_value(4, &[RETURN])), Ok(0));
    // Adds 30 and gives what was there and what is there.
    let program = with_value(
        3,
        &[
            instruction(0xb7, 1, 0, 0, 30),
            instruction(0xdb, 0, 1, 0, 1),
            instruction(0x79, 0, 0, 0, 0),
            instruction(0x67, 1, 0, 0, 8),
            instruction(0x4f, 0, 1, 0, 0),
            RETURN,
        ],
    );
    assert_eq!(returned(&program), Ok(43 | 13 << 8));
}

#[test]
fn what_is_outside_of_the_memory_stops_the_program() {
    let load = instruction(0x79, 0, 0, 0, 0);
    for (program, expected) in [
        (with_value(4, &[load, RETURN]), "reads address 0x0"),
        (
            with_value(3, &[instruction(0x79, 0, 0, 8, 0), RETURN]),
            "reads address",
        ),
        (
            with_value(3, &[instruction(0x61, 0, 0, 6, 0), RETURN]),
            "reads address",
        ),
        (
            with_value(3, &[instruction(0x62, 0, 0, 6, 0), RETURN]),
            "writes address",
        ),
        (
            with_value(0, &[instruction(0x71, 0, 0, -1, 0), RETURN]),
            "reads address",
        ),
        (vec![instruction(0x7a, 10, 0, 4096, 0), RETURN], "writes"),
        (
            vec![instruction(0x05, 0, 0, -1, 0), RETURN],
            "no end after 10000000 jumps",
        ),
        (
            vec![instruction(0x85, 0, 1, 0, -1), RETURN],
            "more than 8 calls",
        ),
    ] {
        let stopped = returned(&program).expect_err(expected);
        assert!(stopped.contains(expected), "{stopped} is not {expected}");
    }
    assert!(Memory::address(STACK, 0) > 0);
}

#[test]
fn unknown_instructions_are_refused_with_their_place() {
    let first = instruction(0xb7, 0, 0, 0, 0);
    for bad in [
        instruction(0x8d, 0, 0, 0, 0),
        instruction(0x85, 0, 0, 0, 2),
        instruction(0x85, 0, 2, 0, 1),
        instruction(0x05, 0, 0, 1, 0),
        instruction(0x05, 0, 0, -3, 0),
        instruction(0xb7, 10, 0, 0, 0),
        instruction(0xbf, 0, 11, 0, 0),
        instruction(0x3f, 0, 1, 1, 0),
        instruction(0xdb, 0, 1, 0, 0),
        instruction(0xd7, 0, 0, 0, 16),
        instruction(0x81, 0, 1, 0, 0),
        instruction(0x06, 0, 0, 0, 1),
    ] {
        let refused = decoded(&[first, bad, RETURN]).expect_err("it is not known");
        assert!(refused.contains("number 1"), "{bad:x?}: {refused}");
    }
    // Into the middle of a constant, and over the end.
    let [low, high] = constant(0, 1);
    let into = instruction(0x05, 0, 0, 1, 0);
    assert!(decoded(&[into, low, high, RETURN]).is_err());
    assert_eq!(decoded(&[first]), Err("does not end".to_owned()));
    assert!(decoded(&[]).is_err());
}
