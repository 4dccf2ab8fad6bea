//! Whether more of a head is to come: looked for only where the model makes nothing of what is
//! there. What waits must be on its way to a request: whoever speaks another protocol gets its
//! answer now.

use twinmesh_model::layout::input;

use crate::memory::Shell;
use crate::shape::{HEAD_BYTES, Work};

const LF: u64 = b'\n' as u64;
const CR: u64 = b'\r' as u64;
const CR_LF: u64 = CR | LF << 8;

/// Bytes that are looked at in one call.
const BLOCK: u64 = 64;

/// [`g_lines_in`]: a line ends there.
const LINE: u64 = 1;
/// [`g_lines_in`]: an empty line is there.
const EMPTY_LINE: u64 = 2;

/// Whether the first `length` bytes of a head are its beginning. `incomplete`: the model has found
/// nothing else wrong with them.
#[inline(always)]
pub fn is_to_come(area: *mut Work, length: u64, incomplete: bool) -> bool {
    let shell = Shell {
        work: area,
        policy: core::ptr::null(),
    };
    let first = u64::from(shell.read_input8(input::HEAD));
    let last = u64::from(shell.read_input8(input::HEAD.wrapping_add(length).wrapping_sub(1)));
    let mut found = 0;
    let mut at = 0;
    while at < HEAD_BYTES {
        if at >= length {
            break;
        }
        found |= g_lines_in(area, at, length);
        at += BLOCK;
    }
    let starts = first.wrapping_sub(b'A' as u64) < 26;
    // A request line that has no end yet, or a line of which only the CR is there.
    let cut = starts && (found & LINE == 0 || last == CR);
    found & EMPTY_LINE == 0 && (incomplete || cut)
}

/// What line ends there are among the bytes of the block at `offset`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_lines_in(area: *mut Work, offset: u64, length: u64) -> u64 {
    if area.is_null() {
        return 0;
    }
    let shell = Shell {
        work: area,
        policy: core::ptr::null(),
    };
    let mut found = 0;
    let mut index = 0;
    while index < BLOCK {
        let at = offset.wrapping_add(index);
        let bytes = shell.read_input64(input::HEAD.wrapping_add(at));
        let after = bytes >> 8;
        if bytes & 0xff == LF && at < length {
            found |= LINE;
            if after & 0xff == LF && at.wrapping_add(1) < length
                || after & 0xffff == CR_LF && at.wrapping_add(2) < length
            {
                found |= EMPTY_LINE;
            }
        }
        index += 1;
    }
    found
}
