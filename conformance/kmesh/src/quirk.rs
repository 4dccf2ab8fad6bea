//! The quirks by name.

use std::fmt;

/// A way in which Kmesh's kernel-native mode departs from Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quirk {
    /// Weights are off by one, and out of 100.
    Weights,
    /// The first route without header matchers is tried last.
    RouteOrder,
    /// A prefix is looked for anywhere in the head's first bytes.
    PrefixAnywhere,
    /// Exact and regex paths match everything.
    PathKinds,
    /// Some kinds of header matcher are dropped, and some never match.
    HeaderMatchers,
    /// Matchers on pseudo headers never match.
    PseudoHeaders,
    /// A client's header overwrites the request line.
    ParsedNames,
    /// Header names are case-sensitive.
    HeaderNames,
    /// The last of repeated headers counts, with its trailing white space.
    RepeatedHeaders,
    /// Domains are looked for inside the host, in the order of the configuration.
    Domains,
    /// Fields that Kmesh does not look at.
    IgnoredFields,
    /// Every balancer is round robin over all endpoints.
    RoundRobin,
    /// Endpoints that EDS removed stay in use.
    StaleEndpoints,
    /// Later requests of a kept-alive connection follow the first.
    KeptAlive,
    /// More of something than Kmesh's maps hold.
    Limits,
    /// No quirk at this request: round robin stands elsewhere since earlier ones went elsewhere.
    EarlierRequests,
}

impl Quirk {
    /// Every quirk, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Weights,
        Self::RouteOrder,
        Self::PrefixAnywhere,
        Self::PathKinds,
        Self::HeaderMatchers,
        Self::PseudoHeaders,
        Self::ParsedNames,
        Self::HeaderNames,
        Self::RepeatedHeaders,
        Self::Domains,
        Self::IgnoredFields,
        Self::RoundRobin,
        Self::StaleEndpoints,
        Self::KeptAlive,
        Self::Limits,
        Self::EarlierRequests,
    ];

    /// Its name in reasons and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::RouteOrder => "route-order",
            Self::PrefixAnywhere => "prefix-anywhere",
            Self::PathKinds => "path-kinds",
            Self::HeaderMatchers => "header-matchers",
            Self::PseudoHeaders => "pseudo-headers",
            Self::ParsedNames => "parsed-names",
            Self::HeaderNames => "header-names",
            Self::RepeatedHeaders => "repeated-headers",
            Self::Domains => "domains",
            Self::IgnoredFields => "ignored-fields",
            Self::RoundRobin => "round-robin",
            Self::StaleEndpoints => "stale-endpoints",
            Self::KeptAlive => "kept-alive",
            Self::Limits => "limits",
            Self::EarlierRequests => "earlier-requests",
        }
    }

    /// What it is, in one sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::Weights => {
                "weights are out of 100 and the first is one too large; what they leave goes to no cluster"
            }
            Self::RouteOrder => "the first route without header matchers is tried last",
            Self::PrefixAnywhere => {
                "a prefix matches wherever it stands in the 192 bytes from the path on"
            }
            Self::PathKinds => "a path that is not a prefix matches every request",
            Self::HeaderMatchers => {
                "present, range and safe_regex matchers are dropped, suffix, contains and regex of string_match never match, invert_match is ignored"
            }
            Self::PseudoHeaders => "matchers on :method, :authority, :path and :scheme never match",
            Self::ParsedNames => {
                "a client's header named URI, METHOD or VERSION takes the place of the request line's"
            }
            Self::HeaderNames => "header names are case-sensitive",
            Self::RepeatedHeaders => {
                "of repeated headers the last counts, and white space behind a value stays"
            }
            Self::Domains => {
                "the first virtual host wins of which a domain stands anywhere in the host"
            }
            Self::IgnoredFields => {
                "query parameters, runtime fractions, case, redirects, direct responses, cluster headers and rewrites are not looked at"
            }
            Self::RoundRobin => {
                "every balancer is round robin over all endpoints, whatever their weight, priority, locality or health"
            }
            Self::StaleEndpoints => "endpoints that were removed stay in use",
            Self::KeptAlive => "later requests of a kept-alive connection go where the first went",
            Self::Limits => {
                "over 16 virtual hosts none counts, a virtual host of over 8 routes does not count, endpoints over 64 are cut off"
            }
            Self::EarlierRequests => {
                "earlier requests went elsewhere, so that round robin stands at another endpoint"
            }
        }
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
