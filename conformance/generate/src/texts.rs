//! The small alphabets, and what lies around a text.

use crate::Tape;

/// Paths of matchers.
pub const PATHS: &[&str] = &[
    "/", "/a", "/a/", "/a/b", "/aa", "/A", "/ab", "/a/b/", "/b", "/B/a", "/a-b", "/a.b",
];

/// Patterns, each with texts that it matches and texts that it nearly matches.
pub const PATH_REGEXES: &[(&str, &[&str])] = &[
    ("/a", &["/a", "/aa", "/", "/a/", "/A"]),
    ("/a.*", &["/a", "/a/b", "/b", "/A", "/"]),
    ("/a|/ab", &["/ab", "/a", "/abb", "/b"]),
    ("/(a|b)+", &["/a", "/ab", "/", "/abc", "/a/b"]),
    ("(?i)/a", &["/A", "/a", "/aa", "/b"]),
    ("/a{1,2}(/b)?", &["/aa", "/a/b", "/aaa", "/aa/b", "/aa/"]),
    ("/[^/]+/b", &["/a/b", "/a/a/b", "//b", "/a/bb"]),
    (".*", &["/", "/a/b", "/B"]),
];

/// URI templates, each with a rewrite and with paths around it, of which the first matches.
pub const URI_TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("/a", "/b", &["/a", "/a/", "/aa", "/A"]),
    ("/*", "/b", &["/a", "/", "/a/", "/a=b*", "/a|b"]),
    ("/a/**", "/", &["/a/", "/a", "/a/b//a", "/b/a", "/a/|"]),
    ("/{a}/b", "/{a}{a}", &["/a/b", "//b", "/a/a/b", "/a/b/"]),
    (
        "/a{a}b/{b=**}",
        "/{b}/{a}",
        &["/axb/", "/ab/", "/axxb/a/b", "/abb/b"],
    ),
    ("/{a=*/b}.{b}", "/x", &["/a/b.a", "/a/b", "/a/b.", "/b.a"]),
    ("/a*", "/b", &["/a", "/", "/aa", "/ab"]),
    ("/**.a", "/a", &["/.a", "/b/c.a.a", "/.b", "/a"]),
];

/// As [`PATH_REGEXES`], for values of headers and query parameters.
pub const VALUE_REGEXES: &[(&str, &[&str])] = &[
    ("a", &["a", "A", "aa", "", "a,a"]),
    ("a|ab", &["ab", "a", "abb", "b"]),
    ("[ab]*", &["", "ab", "ba", "abc", "AB"]),
    ("(?i)ab?", &["AB", "a", "A", "b", "abb"]),
    ("\\d+", &["0", "10", "", "1a", "+1"]),
    (".+", &["a", "", " a"]),
];

/// Values of matchers of headers and query parameters.
pub const VALUES: &[&str] = &["a", "b", "ab", "A", "aa", "a-b", "1", "10"];

/// Header names of matchers.
pub const HEADERS: &[&str] = &["x-a", "x-b", "x-ab", "x-A", ":method", "content-type"];

/// The header that names endpoints.
pub const OVERRIDE_HEADER: &str = "x-host";

/// Header names of matchers that Envoy's connection manager writes, takes off, or leaves.
pub const MANAGED_HEADERS: &[&str] = &[
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    ":scheme",
];

/// Query parameter names of matchers.
pub const PARAMETERS: &[&str] = &["a", "b", "ab", "A"];

/// Domains of virtual hosts.
pub const DOMAINS: &[&str] = &[
    "*",
    "a.com",
    "b.a.com",
    "*.a.com",
    "*.b.a.com",
    "*a.com",
    "a.*",
    "a.com:*",
    "b.*",
    "a.com:80",
    "a.com.",
    "a.co",
    "[::1]",
    "127.0.0.1",
    "*.com:81",
];

/// Names of clusters that there are.
pub const CLUSTERS: &[&str] = &["c0", "c1", "c2"];

/// The header that names clusters.
pub const CLUSTER_HEADER: &str = "x-cluster";

/// Names of cookies.
pub const COOKIES: &[&str] = &["a", "b", "A"];

/// A text, or one on the other side of its boundary: one byte shorter or longer, its case
/// flipped, repeated, or empty.
pub fn around(text: &str, tape: &mut Tape<'_>) -> String {
    let mut text = text.to_owned();
    let choice = tape.below(14);
    if tape.is_aimed() {
        return text;
    }
    match choice {
        6 => {
            text.pop();
        }
        7 => text.push('a'),
        8 => text.push('/'),
        9 => text = flip(&text),
        10 => text = format!("{text}{text}"),
        11 => text.clear(),
        12 => text.insert(0, 'a'),
        13 => text = text.chars().skip(1).collect(),
        _ => (),
    }
    text
}

/// The case of every letter changed.
pub fn flip(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Texts at the boundary of a pattern from one of the tables here, where the first is one that
/// matches.
pub fn of_regex(pattern: &str, tape: &mut Tape<'_>) -> String {
    let known = PATH_REGEXES.iter().chain(VALUE_REGEXES);
    let texts = known
        .filter(|(known, _)| *known == pattern)
        .flat_map(|(_, texts)| texts.iter().copied())
        .collect::<Vec<_>>();
    let text = tape.text(&texts);
    if tape.is_aimed() {
        return texts.first().copied().unwrap_or_default().to_owned();
    }
    text
}
