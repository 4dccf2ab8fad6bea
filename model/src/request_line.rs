//! The request line of an HTTP/1.x request: method, target and version, with the form that Envoy's
//! parser asks of a target before it looks at anything behind it.

use crate::{
    Machine, Span, connect,
    head::{CR, UNDECIDED, line_end},
    layout::{bad_request, framing, header, high, low, unsupported, work},
    scan::{class, scan, scan_here},
};

/// Low: the end of the method at `offset`, where a blank is; high: as [`crate::head::header_line`]'s.
#[inline(always)]
fn method_end<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let bad = bad_request::REQUEST_LINE << 32;
    let start = machine.input64(offset);
    if start & 0xffff_ffff == u64::from_le_bytes(*b"GET \0\0\0\0") {
        return offset.wrapping_add(3);
    }
    if start & 0xff_ffff_ffff == u64::from_le_bytes(*b"POST \0\0\0") {
        return offset.wrapping_add(4);
    }
    let method_end = scan(
        machine,
        Span::new(offset, end.wrapping_sub(offset)),
        class::NAME,
    );
    let method = Span::new(offset, method_end.wrapping_sub(offset));
    let methods = machine.policy64(header::METHODS);
    let known = low(machine.walk(low(methods), method, 0));
    if method.length() == 0 && offset < end && line_end(machine, offset, end) != 0 {
        // More line ends before it than are skipped.
        return (UNDECIDED + unsupported::TOO_MANY_VALUES) << 32;
    }
    if known == 0 || method_end >= end {
        return bad;
    }
    if !blank(machine.input8(method_end)) {
        return not_blank(machine, method_end, end);
    }
    if known > 1 && !connect::asks(machine) {
        return (UNDECIDED + unsupported::TARGET_FORM) << 32;
    }
    method_end
}

/// The request line at `offset`. Low: the offset after it; high: as [`crate::head::header_line`]'s.
#[inline(always)]
pub fn request_line<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let bad = bad_request::REQUEST_LINE << 32;
    let method_end = method_end(machine, offset, end);
    if high(method_end) != 0 {
        return method_end;
    }
    let method = Span::new(offset, method_end.wrapping_sub(offset));
    let from = blanks_end(machine, method_end, end);
    let path_end = scan_here(
        machine,
        Span::new(from, end.wrapping_sub(from)),
        class::PATH,
    );
    let mut bits = machine.word(work::FRAMING);
    let mut target_end = path_end;
    if machine.input8(target_end) == b'?' as u64 {
        target_end = scan(
            machine,
            Span::new(target_end, end.wrapping_sub(target_end)),
            class::QUERY,
        );
    }
    if machine.input8(target_end) == b'#' as u64 {
        bits |= framing::FRAGMENT;
        target_end = scan(
            machine,
            Span::new(target_end, end.wrapping_sub(target_end)),
            class::FRAGMENT,
        );
    }
    if target_end >= end {
        return bad;
    }
    if target_end == from {
        return not_blank(machine, from, end);
    }
    let target = Span::new(from, target_end.wrapping_sub(from));
    let mut version_at = target_end;
    if blank(machine.input8(target_end)) {
        version_at = blanks_end(machine, target_end, end);
    }
    if line_end(machine, version_at, end) != 0 {
        // No version: the head ends with this line.
        return (UNDECIDED + unsupported::TARGET_FORM) << 32;
    }
    if version_at == target_end {
        return not_blank(machine, target_end, end);
    }
    let version = machine.input64(version_at);
    let mut version_end = version_at.wrapping_add(8);
    if blank(machine.input8(version_end)) {
        version_end = blanks_end(machine, version_end, end);
    }
    let digit = |at: u64| (version >> at & 0xff).wrapping_sub(b'0' as u64) < 10;
    if version & 0x00ff_00ff_ffff_ffff != u64::from_le_bytes(*b"HTTP/\0.\0")
        || !digit(40)
        || !digit(56)
    {
        return not_blank(machine, version_at, end);
    }
    let next = line_end(machine, version_end, end);
    if next == 0 {
        return not_blank(machine, version_end, end);
    }
    if version != u64::from_le_bytes(*b"HTTP/1.1") {
        bits |= framing::OTHER_VERSION;
    }
    machine.set_word(work::FRAMING, bits);
    machine.set_word(work::METHOD, method.0);
    machine.set_word(work::TARGET, target.0);
    machine.set_word(work::PATH, Span::new(from, path_end.wrapping_sub(from)).0);
    next
}

/// 1 where Envoy's parser takes a target of this form on a request line, else 0.
#[inline(always)]
pub fn target_fits<M: Machine>(machine: &mut M) -> u64 {
    let target = Span(machine.word(work::TARGET));
    let start = machine.input8(target.offset());
    if start == b'/' as u64 || start == b'*' as u64 {
        return 1;
    }
    let dfa = low(machine.policy64(header::TARGETS));
    machine.regex(dfa, target)
}

/// What is said where the request line has no blank, or no more of them: a CR is one to Envoy, and
/// is not decided here.
#[inline(always)]
fn not_blank<M: Machine>(machine: &M, at: u64, end: u64) -> u64 {
    if machine.input8(at) == CR && line_end(machine, at, end) == 0 {
        (UNDECIDED + unsupported::TARGET_FORM) << 32
    } else {
        bad_request::REQUEST_LINE << 32
    }
}

/// The offset after the blank at `offset`, and after those that follow it.
#[inline(always)]
fn blanks_end<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let next = offset.wrapping_add(1);
    if blank(machine.input8(next)) {
        return scan(
            machine,
            Span::new(next, end.wrapping_sub(next)),
            class::BLANK,
        );
    }
    next
}

/// Space or tab.
#[inline(always)]
pub(crate) const fn blank(byte: u64) -> bool {
    byte == b' ' as u64 || byte == b'\t' as u64
}
