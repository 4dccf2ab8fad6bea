//! Compiles header matchers, query parameter matchers and path matchers.

#![expect(deprecated, reason = "Envoy still takes the deprecated forms")]

use std::sync::LazyLock;

use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::TlsContextMatchOptions,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use twinmesh_model::layout::{connection, matcher, of, pair};
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};
pub use twinmesh_xds::managed_header::arrives_as_sent;
use twinmesh_xds::{Profile, Snapshot};

use crate::arena::Arena;
use crate::header_value;
use crate::names::Names;
use crate::{CapacityError, capacity};

/// A matcher's record, and what the route table may file the route under.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The record.
    pub record: [u64; 4],
    /// Slot and value's number, where the request must have this value.
    pub key: Option<(u64, u64)>,
}

/// How a value is looked at.
enum Value {
    Present,
    Exact(String),
    Text(u64, Vec<u8>),
    Dfa(u64),
    Range(i64, i64),
}

/// The kind of a string matcher; `None` where it is not decided.
fn string(
    arena: &mut Arena,
    snapshot: &Snapshot,
    matcher: &StringMatcher,
) -> Result<Option<Value>, CapacityError> {
    let ignore_case = matcher.ignore_case;
    let text = |kind, text: &str| Value::Text(kind, text.as_bytes().to_vec());
    Ok(match &matcher.match_pattern {
        Some(MatchPattern::Exact(exact)) if ignore_case => {
            Some(Value::Dfa(arena.dfa(&Dfa::equals(exact.as_bytes(), true)?)))
        }
        Some(MatchPattern::Exact(exact)) => Some(Value::Exact(exact.clone())),
        Some(MatchPattern::Prefix(prefix)) if ignore_case => Some(Value::Dfa(
            arena.dfa(&Dfa::starts_with(prefix.as_bytes(), true)?),
        )),
        Some(MatchPattern::Prefix(prefix)) => Some(text(matcher::PREFIX, prefix)),
        Some(MatchPattern::Suffix(suffix)) if ignore_case => Some(Value::Dfa(
            arena.dfa(&Dfa::ends_with(suffix.as_bytes(), true)?),
        )),
        Some(MatchPattern::Suffix(suffix)) => Some(text(matcher::SUFFIX, suffix)),
        Some(MatchPattern::Contains(part)) => Some(Value::Dfa(
            arena.dfa(&Dfa::contains(part.as_bytes(), ignore_case)?),
        )),
        Some(MatchPattern::SafeRegex(regex)) => regex_value(arena, snapshot, &regex.regex),
        _ => None,
    })
}

/// The DFA of a string matcher; `None` where it is not decided.
///
/// # Errors
/// It does not fit.
pub fn dfa(
    arena: &mut Arena,
    snapshot: &Snapshot,
    matcher: &StringMatcher,
) -> Result<Option<u64>, CapacityError> {
    let ignore_case = matcher.ignore_case;
    let dfa = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Dfa::equals(text.as_bytes(), ignore_case)?,
        Some(MatchPattern::Prefix(text)) => Dfa::starts_with(text.as_bytes(), ignore_case)?,
        Some(MatchPattern::Suffix(text)) => Dfa::ends_with(text.as_bytes(), ignore_case)?,
        Some(MatchPattern::Contains(text)) => Dfa::contains(text.as_bytes(), ignore_case)?,
        Some(MatchPattern::SafeRegex(regex)) => {
            let dfa = snapshot.regexes.get(&regex.regex);
            return Ok(dfa.and_then(|it| it.as_ref().ok()).map(|it| arena.dfa(it)));
        }
        _ => return Ok(None),
    };
    Ok(Some(arena.dfa(&dfa)))
}

/// A compiled regex; `None` where its DFA is over the cap.
fn regex_value(arena: &mut Arena, snapshot: &Snapshot, pattern: &str) -> Option<Value> {
    snapshot
        .regexes
        .get(pattern)?
        .as_ref()
        .ok()
        .map(|dfa| Value::Dfa(arena.dfa(dfa)))
}

/// Joins the parts of a record.
fn record(
    arena: &mut Arena,
    names: &mut Names,
    slot: u64,
    value: Value,
    flags: u64,
    index: u64,
) -> Result<Matcher, CapacityError> {
    let (kind, length, data, end) = match &value {
        Value::Present => (matcher::PRESENT, 0, 0, 0),
        Value::Exact(text) => {
            capacity::text(text.as_bytes())?;
            (matcher::EXACT, 0, names.value(slot, text), 0)
        }
        Value::Text(kind, text) => {
            capacity::text(text)?;
            (*kind, text.len() as u64, arena.text(text), 0)
        }
        Value::Dfa(offset) => (matcher::REGEX, 0, *offset, 0),
        Value::Range(start, end) => (matcher::RANGE, 0, *start as u64, *end as u64),
    };
    let key = (kind == matcher::EXACT && flags == 0).then_some((slot, data));
    Ok(Matcher {
        record: [
            kind | flags << 8 | slot << 16 | length << 32,
            data,
            end,
            index,
        ],
        key,
    })
}

/// Whether an empty value passes, inversion not applied: what
/// `treat_missing_header_as_empty` asks.
fn accepts_empty(snapshot: &Snapshot, specifier: Option<&HeaderMatchSpecifier>) -> bool {
    let regex =
        |pattern: &str| matches!(snapshot.regexes.get(pattern), Some(Ok(dfa)) if dfa.is_match(b""));
    match specifier {
        None => true,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => *present,
        Some(HeaderMatchSpecifier::ExactMatch(text)) => text.is_empty(),
        Some(HeaderMatchSpecifier::PrefixMatch(text))
        | Some(HeaderMatchSpecifier::SuffixMatch(text))
        | Some(HeaderMatchSpecifier::ContainsMatch(text)) => text.is_empty(),
        Some(HeaderMatchSpecifier::SafeRegexMatch(matcher)) => regex(&matcher.regex),
        Some(HeaderMatchSpecifier::RangeMatch(_)) => false,
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => match &matcher.match_pattern {
            Some(
                MatchPattern::Exact(text)
                | MatchPattern::Prefix(text)
                | MatchPattern::Suffix(text)
                | MatchPattern::Contains(text),
            ) => text.is_empty(),
            Some(MatchPattern::SafeRegex(matcher)) => regex(&matcher.regex),
            _ => false,
        },
    }
}

/// Headers of one connection: no matcher sees any. Those of a request that asks for an upgrade, which
/// does have Connection and Upgrade, are not decided.
const OF_A_CONNECTION: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Whether it is known what header matchers see of a header.
pub fn is_matched(name: &str) -> bool {
    is_of_a_connection(name) || arrives_as_sent(name)
}

/// Whether no matcher sees a header, whatever the client sent.
pub fn is_of_a_connection(name: &str) -> bool {
    OF_A_CONNECTION
        .iter()
        .any(|it| it.eq_ignore_ascii_case(name))
}

/// A header matcher; `None` where it is not decided, or always holds, and counts as matching. The
/// profile says what it sees of repeated lines.
///
/// # Errors
/// Names or texts do not fit.
pub fn header(
    arena: &mut Arena,
    names: &mut Names,
    snapshot: &Snapshot,
    matcher: &HeaderMatcher,
    index: usize,
    profile: Profile,
) -> Result<Option<Matcher>, CapacityError> {
    let is_taken_off = is_of_a_connection(&matcher.name);
    if !is_matched(&matcher.name) {
        return Ok(None);
    }
    if profile == Profile::Grpc
        && let Some(value) = of_every_call(&matcher.name)
    {
        return if accepts_value(snapshot, matcher, value) {
            Ok(None)
        } else {
            no_value(names, index).map(Some)
        };
    }
    if ["connection", "upgrade"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(&matcher.name))
    {
        names.match_upgrades();
    }
    let slot = match is_taken_off {
        true => names.no_header()?,
        false => names.matched_header(&matcher.name, profile)?,
    };
    let specifier = matcher.header_match_specifier.as_ref();
    let mut flags = if matcher.invert_match {
        matcher::INVERT
    } else {
        0
    };
    let value = match specifier {
        None => Some(Value::Present),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            // A present header gives `present`, a missing one its opposite; then inversion.
            if !present {
                flags ^= matcher::INVERT;
            }
            Some(Value::Present)
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) if text.is_empty() => Some(Value::Present),
        Some(HeaderMatchSpecifier::ExactMatch(text)) => Some(Value::Exact(text.clone())),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            Some(Value::Text(matcher::PREFIX, text.clone().into_bytes()))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            Some(Value::Text(matcher::SUFFIX, text.clone().into_bytes()))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => Some(Value::Dfa(
            arena.dfa(&Dfa::contains(text.as_bytes(), false)?),
        )),
        Some(HeaderMatchSpecifier::SafeRegexMatch(matcher)) => {
            regex_value(arena, snapshot, &matcher.regex)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => Some(Value::Range(range.start, range.end)),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => string(arena, snapshot, matcher)?,
    };
    let Some(value) = value else { return Ok(None) };
    let as_empty = matcher.treat_missing_header_as_empty;
    let if_missing = match specifier {
        None => as_empty ^ matcher.invert_match,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            (as_empty == *present) ^ matcher.invert_match
        }
        _ => as_empty && (accepts_empty(snapshot, specifier) ^ matcher.invert_match),
    };
    if if_missing {
        flags |= matcher::IF_MISSING;
    }
    record(
        arena,
        names,
        slot,
        value,
        flags,
        pair(index as u64, of::HEADER),
    )
    .map(Some)
}

/// What every call of gRPC has of a header, where that is known: `Some(None)`: it has none.
fn of_every_call(name: &str) -> Option<Option<&'static str>> {
    match name {
        "content-type" => Some(Some("application/grpc")),
        _ => name.ends_with("-bin").then_some(None),
    }
}

/// Whether a header matcher accepts this value, or that there is none.
fn accepts_value(snapshot: &Snapshot, matcher: &HeaderMatcher, value: Option<&str>) -> bool {
    let values: Vec<&str> = value.into_iter().collect();
    header_value::accepts(matcher, &values, &|pattern, value| {
        let dfa = snapshot.regexes.get(pattern);
        matches!(dfa, Some(Ok(dfa)) if dfa.is_match(value.as_bytes()))
    })
}

/// A header matcher that no request passes.
fn no_value(names: &mut Names, index: usize) -> Result<Matcher, CapacityError> {
    let mut never = no_metadata(names, index)?;
    never.record[3] = pair(index as u64, of::HEADER);
    Ok(never)
}

/// A string matcher over the values of a slot; `None` where it is not decided.
///
/// # Errors
/// A text does not fit.
pub fn text(
    arena: &mut Arena,
    names: &mut Names,
    snapshot: &Snapshot,
    matcher: &StringMatcher,
    slot: u64,
) -> Result<Option<Matcher>, CapacityError> {
    let Some(value) = string(arena, snapshot, matcher)? else {
        return Ok(None);
    };
    record(arena, names, slot, value, 0, pair(0, of::HEADER)).map(Some)
}

/// A query parameter matcher; `None` where it is not decided and counts as matching.
///
/// # Errors
/// Names or texts do not fit.
pub fn query_parameter(
    arena: &mut Arena,
    names: &mut Names,
    snapshot: &Snapshot,
    matcher: &QueryParameterMatcher,
    index: usize,
) -> Result<Option<Matcher>, CapacityError> {
    let slot = names.query_parameter(&matcher.name)?;
    let (value, flags) = match &matcher.query_parameter_match_specifier {
        None => (Some(Value::Present), 0),
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) => (Some(Value::Present), 0),
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            (Some(Value::Present), matcher::INVERT | matcher::IF_MISSING)
        }
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            (string(arena, snapshot, matcher)?, 0)
        }
    };
    let Some(value) = value else { return Ok(None) };
    record(
        arena,
        names,
        slot,
        value,
        flags,
        pair(index as u64, of::QUERY_PARAMETER),
    )
    .map(Some)
}

/// The content types that `RouteMatch.grpc` takes.
static GRPC: LazyLock<Option<Dfa>> =
    LazyLock::new(|| Dfa::latin_1(r"application/grpc(?:\+\C*)?", DEFAULT_STATE_CAP).ok());

/// The matcher of a request's content type that `RouteMatch.grpc` is.
///
/// # Errors
/// There are more names than slots.
pub fn grpc(arena: &mut Arena, names: &mut Names) -> Result<Matcher, CapacityError> {
    let slot = names.header("content-type")?;
    let dfa = GRPC.as_ref().ok_or_else(capacity::dfa)?;
    let value = Value::Dfa(arena.dfa(dfa));
    record(arena, names, slot, value, 0, pair(0, of::GRPC))
}

/// A matcher that no request passes, for a route's `dynamic_metadata`: there is none when a route
/// is chosen.
///
/// # Errors
/// There are more names than slots.
pub fn no_metadata(names: &mut Names, index: usize) -> Result<Matcher, CapacityError> {
    let slot = names.header(":path")?;
    Ok(Matcher {
        record: [
            matcher::EQUAL | slot << 16 | 0xffff_ffff << 32,
            0,
            0,
            pair(index as u64, of::DYNAMIC_METADATA),
        ],
        key: None,
    })
}

/// The record of a cookie's matcher, which only userspace decides; `None` where it is not decided
/// and counts as matching.
///
/// # Errors
/// Names or texts do not fit.
pub fn cookie(
    arena: &mut Arena,
    names: &mut Names,
    snapshot: &Snapshot,
    matcher: &CookieMatcher,
    index: usize,
) -> Result<Option<[u64; 4]>, CapacityError> {
    let slot = names.header("cookie")?;
    let nothing = StringMatcher::default();
    let asked = matcher.string_match.as_ref().unwrap_or(&nothing);
    let (kind, length, data) = match string(arena, snapshot, asked)? {
        // Cookies have no numbers of their own.
        Some(Value::Exact(text)) => {
            capacity::text(text.as_bytes())?;
            (
                matcher::EQUAL,
                text.len() as u64,
                arena.text(text.as_bytes()),
            )
        }
        Some(Value::Text(kind, text)) => {
            capacity::text(&text)?;
            (kind, text.len() as u64, arena.text(&text))
        }
        Some(Value::Dfa(dfa)) => (matcher::REGEX, 0, dfa),
        Some(Value::Present | Value::Range(..)) | None => return Ok(None),
    };
    let flags = if matcher.invert_match {
        matcher::INVERT
    } else {
        0
    };
    let name = matcher.name.as_bytes();
    capacity::text(name)?;
    Ok(Some([
        kind | flags << 8 | slot << 16 | length << 32,
        data,
        pair(arena.text(name), name.len() as u64),
        pair(index as u64, of::COOKIE),
    ]))
}

/// The record of `RouteMatch.tls_context`, which only userspace decides; `None` where it asks for
/// nothing.
pub fn tls_context(asked: &TlsContextMatchOptions) -> Option<[u64; 4]> {
    let (mut counts, mut expected) = (0, 0);
    for (field, bit) in [
        (&asked.presented, connection::CERTIFICATE_PRESENTED),
        (&asked.validated, connection::CERTIFICATE_VALIDATED),
    ] {
        if let Some(field) = field {
            counts |= bit;
            expected |= if field.value { bit } else { 0 };
        }
    }
    (counts != 0).then(|| [0, pair(counts, expected), 0, pair(0, of::TLS_CONTEXT)])
}

/// The record of a path matcher that compares with a text of at most [`capacity::TEXT`] bytes.
pub fn path_text(arena: &mut Arena, kind: u64, text: &[u8]) -> [u64; 4] {
    let length = text.len() as u64;
    [kind | length << 32, arena.text(text), 0, pair(0, of::PATH)]
}

/// The record of a path matcher that is a DFA: of a regex, or of text whose case is ignored. With
/// a slot it can stand among a route's matchers.
pub fn path_dfa(dfa: u64, slot: u64) -> [u64; 4] {
    [matcher::REGEX | slot << 16, dfa, 0, pair(0, of::PATH)]
}
