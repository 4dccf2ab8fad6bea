//! Header matchers and query parameter matchers (`HeaderMatcher`, `QueryParameterMatcher`), and
//! for traces the path's.
//!
//! A header with several values matches where one of them does; then `invert_match` applies. What
//! a missing header gives is known when the policy is compiled.

use crate::{
    Machine, Span,
    layout::{matcher, work},
    slot,
};

/// How many values of one header are looked at: all that a head may have.
const VALUES: u64 = work::OCCURRENCES_MAX;

/// 1 where the value matches, else 0; inversion not applied.
#[inline(always)]
pub fn value<M: Machine>(machine: &mut M, matcher: u64, occurrence: u64) -> u64 {
    let span = slot::span(machine, occurrence);
    let kind = machine.policy64(matcher) & 0xff;
    let data = machine.policy64(matcher.wrapping_add(matcher::VALUE));
    if kind == matcher::PRESENT {
        return 1;
    }
    if kind == matcher::EXACT {
        return (slot::number(machine, occurrence) == data) as u64;
    }
    if kind == matcher::REGEX {
        return machine.regex(data, span);
    }
    if kind == matcher::RANGE {
        let start = data as i64;
        let end = machine.policy64(matcher.wrapping_add(matcher::END)) as i64;
        let sign = machine.integer(span);
        let magnitude = machine.word(work::NUMBER);
        if sign == 0
            || (sign == 1 && magnitude > i64::MAX as u64)
            || (sign == 2 && magnitude > 1 << 63)
        {
            return 0;
        }
        let number = if sign == 2 {
            magnitude.wrapping_neg() as i64
        } else {
            magnitude as i64
        };
        return (start <= number && number < end) as u64;
    }
    let length = machine.policy64(matcher) >> 32;
    text(machine, kind, data, length, span)
}

/// 1 where the text compares with the span as the kind says.
#[inline(always)]
pub fn text<M: Machine>(machine: &mut M, kind: u64, text: u64, length: u64, span: Span) -> u64 {
    if span.length() < length || (kind == matcher::EQUAL && span.length() != length) {
        return 0;
    }
    if kind == matcher::SEPARATED_PREFIX
        && span.length() != length
        && machine.input8(span.offset().wrapping_add(length)) != b'/' as u64
    {
        return 0;
    }
    let from = if kind == matcher::SUFFIX {
        span.end().wrapping_sub(length)
    } else {
        span.offset()
    };
    machine.equal(text, Span::new(from, length))
}

/// 1 where the request passes the matcher, else 0.
#[inline(always)]
pub fn matches<M: Machine>(machine: &mut M, matcher: u64) -> u64 {
    let head = machine.policy64(matcher);
    let flags = head >> 8;
    let mut occurrence = slot::first(machine, head >> 16 & 0xffff);
    if occurrence == 0 {
        return (flags / matcher::IF_MISSING) & 1;
    }
    let mut found = 0;
    let mut index = 0;
    while index < VALUES {
        if machine.value(matcher, occurrence.wrapping_sub(1)) != 0 {
            found = 1;
            break;
        }
        occurrence = slot::next(machine, occurrence.wrapping_sub(1));
        if occurrence == 0 {
            break;
        }
        index += 1;
    }
    found ^ (flags & matcher::INVERT)
}
