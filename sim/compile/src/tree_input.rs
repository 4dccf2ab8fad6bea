//! What matcher trees look at, headers and the connection, and how its values are matched.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    StringMatcher as TreeStringMatcher,
    matcher::matcher_list::predicate::{SinglePredicate, single_predicate},
    string_matcher::MatchPattern as TreePattern,
};
use prost::Message as _;
use twinmesh_model::layout::{branch, condition, pair};
use twinmesh_re2::Dfa;

use crate::compiler::Compiler;
use crate::http_filter::Of;
use crate::matcher as compile_matcher;
use crate::matcher_tree::{Left, Next, unknown};
use crate::rbac::Next as Nowhere;
use crate::trie::Keys;

/// An input.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// A header, by its slot.
    Header(u64),
    /// The server name, by its slot. None was asked for where it is empty.
    ServerName(u64),
    /// An address, a port or something else of the connection, by its number in [`condition`].
    Text(u64),
    /// Something of the peer's certificate.
    Certificate,
    /// Something that is not there yet.
    Lacking,
}

const NOWHERE: Nowhere = Nowhere {
    holds: condition::FALSE,
    fails: condition::FALSE,
};

/// The name of an input below `envoy.extensions.matching.common_inputs`.
fn common(input: Option<&TypedExtensionConfig>) -> Option<&str> {
    let url = &input?.typed_config.as_ref()?.type_url;
    let (_, name) = url.split_once("/envoy.extensions.matching.common_inputs.")?;
    Some(name)
}

impl Input {
    /// Whether an input is one of the peer's certificate.
    pub fn is_of_certificate(input: Option<&TypedExtensionConfig>) -> bool {
        common(input).is_some_and(|name| name.starts_with("ssl."))
    }
}

impl Compiler<'_> {
    /// What an input of a tree looks at.
    ///
    /// # Errors
    /// It does not fit, or is not decided.
    pub fn tree_input(&mut self, input: Option<&TypedExtensionConfig>) -> Result<Input, Left> {
        let of = self.filters.of;
        let of_connection = of != Of::Requests;
        let Some(name) = common(input) else {
            let config = input.and_then(|input| input.typed_config.as_ref());
            let config = config.ok_or_else(unknown)?;
            let input = HttpRequestHeaderMatchInput::decode(config.value.as_slice());
            let name = input.map_err(|_| unknown())?.header_name;
            let slot = self.names.header_in_a_tree(&name);
            return slot.map(Input::Header).map_err(|over| over.of_a_part());
        };
        Ok(Input::Text(match name {
            "network.v3.DestinationIPInput" => condition::DESTINATION,
            "network.v3.DestinationPortInput" => condition::DESTINATION_PORT,
            "network.v3.DirectSourceIPInput" => condition::SOURCE,
            // There is nobody else before there is a request.
            "network.v3.SourceIPInput" if of_connection => condition::SOURCE,
            "network.v3.SourcePortInput" if of_connection => condition::SOURCE_PORT,
            "network.v3.SourceIPInput" | "network.v3.SourcePortInput" => {
                self.filters.sees_client = true;
                match name {
                    "network.v3.SourceIPInput" => condition::CLIENT,
                    _ => condition::CLIENT_PORT,
                }
            }
            "network.v3.ServerNameInput" if of == Of::Listeners => condition::SERVER_NAME,
            "network.v3.TransportProtocolInput" => condition::TRANSPORT_PROTOCOL,
            "network.v3.ApplicationProtocolInput" => condition::APPLICATION_PROTOCOL,
            "network.v3.SourceTypeInput" => condition::SOURCE_TYPE,
            "network.v3.ServerNameInput" => {
                self.filters.sees_server_name = true;
                let slot = self.names.server_name();
                return slot.map(Input::ServerName).map_err(|over| over.of_a_part());
            }
            name if name.starts_with("ssl.v3.") => {
                return Ok(match of {
                    // There is no handshake before there is a filter chain.
                    Of::Listeners => Input::Lacking,
                    Of::Requests | Of::Connections => Input::Certificate,
                });
            }
            _ => return Err(unknown()),
        }))
    }

    /// The entry of a map, each of whose keys says where to go on.
    ///
    /// # Errors
    /// A key does not fit.
    pub fn keyed(
        &mut self,
        input: Input,
        kind: u64,
        mut keys: BTreeMap<Vec<u8>, u64>,
        fails: u64,
    ) -> Result<u64, Left> {
        let slot = match input {
            Input::Header(slot) | Input::ServerName(slot) => slot,
            Input::Text(which) => {
                let mut next = fails;
                // The longest key of a prefix map goes first, which sorts last.
                for (key, entry) in keys {
                    let dfa = match kind {
                        branch::EXACT => Dfa::equals(&key, false),
                        _ => Dfa::starts_with(&key, false),
                    };
                    let dfa = self.arena.dfa(&dfa.map_err(|_| unknown())?);
                    let asked = self.condition(condition::TEXT | which << 8, dfa, NOWHERE);
                    next = self.asks(asked, entry, next);
                }
                return Ok(next);
            }
            Input::Certificate => return Ok(self.asks_certificate(0)),
            Input::Lacking => return Ok(0),
        };
        keys.retain(|_, entry| *entry != 0);
        let keys = match kind {
            branch::EXACT => Keys {
                exact: keys,
                ..Keys::default()
            },
            _ => Keys {
                prefix: keys,
                ..Keys::default()
            },
        };
        let root = self.arena.trie(&keys);
        let map = self
            .arena
            .record([pair(kind, slot), root, pair(0, fails), 0]);
        Ok(match input {
            Input::ServerName(_) => {
                let given = self.condition(condition::NOT_EMPTY, slot, NOWHERE);
                self.asks(given, map, fails)
            }
            _ => map,
        })
    }

    /// The entry of a predicate.
    ///
    /// # Errors
    /// It is not decided, or does not fit.
    pub fn single_predicate(&mut self, single: &SinglePredicate, next: Next) -> Result<u64, Left> {
        let input = self.tree_input(single.input.as_ref())?;
        let matcher = match &single.matcher {
            Some(single_predicate::Matcher::ValueMatch(matcher)) => matcher,
            Some(single_predicate::Matcher::CustomMatch(custom)) => {
                return self.in_ranges(input, custom, next);
            }
            None => return Err(unknown()),
        };
        let matcher = string_matcher(matcher).ok_or_else(unknown)?;
        let slot = match input {
            Input::Header(slot) | Input::ServerName(slot) => slot,
            Input::Text(which) => {
                let dfa = compile_matcher::dfa(&mut self.arena, self.snapshot, &matcher);
                let dfa = dfa.map_err(|over| over.of_a_part())?.ok_or_else(unknown)?;
                let asked = self.condition(condition::TEXT | which << 8, dfa, NOWHERE);
                return Ok(self.asks(asked, next.holds, next.fails));
            }
            Input::Certificate => return Ok(self.asks_certificate(next.lacks)),
            Input::Lacking => return Ok(next.lacks),
        };
        let (arena, names) = (&mut self.arena, &mut self.names);
        let compiled = compile_matcher::text(arena, names, self.snapshot, &matcher, slot);
        let compiled = compiled
            .map_err(|over| over.of_a_part())?
            .ok_or_else(unknown)?;
        let record = self.arena.record(compiled.record);
        let kind = pair(branch::MATCHER, slot);
        let matches = self
            .arena
            .record([kind, record, pair(next.holds, next.fails), 0]);
        Ok(match input {
            Input::ServerName(_) => {
                let given = self.condition(condition::NOT_EMPTY, slot, NOWHERE);
                self.asks(given, matches, next.fails)
            }
            _ => matches,
        })
    }

    /// The entry of a predicate that asks for an address of one of several ranges.
    fn in_ranges(
        &mut self,
        input: Input,
        custom: &TypedExtensionConfig,
        next: Next,
    ) -> Result<u64, Left> {
        let any = custom.typed_config.as_ref().ok_or_else(unknown)?;
        let is_one = any
            .type_url
            .ends_with("/envoy.extensions.matching.input_matchers.ip.v3.Ip");
        let (Input::Text(which), true) = (input, is_one) else {
            return Err(unknown());
        };
        let ip = Ip::decode(any.value.as_slice()).map_err(|_| unknown())?;
        let mut fails = next.fails;
        for range in &ip.cidr_ranges {
            let length = range.prefix_len.map_or(0, |length| length.value);
            let condition = self.range_condition(which, &range.address_prefix, length)?;
            fails = self.asks(condition, next.holds, fails);
        }
        Ok(fails)
    }

    /// The condition that an address is in a range.
    ///
    /// # Errors
    /// The range is none, or what is asked about no address.
    pub fn range_condition(&mut self, which: u64, prefix: &str, length: u32) -> Result<u64, Left> {
        if ![condition::DESTINATION, condition::SOURCE, condition::CLIENT].contains(&which) {
            return Err(unknown());
        }
        let range = CidrRange {
            address_prefix: prefix.to_owned(),
            prefix_len: Some(UInt32Value { value: length }),
        };
        self.address_condition(which, &range, NOWHERE)
    }
}

/// The string matcher as Envoy's own type has it.
fn string_matcher(matcher: &TreeStringMatcher) -> Option<StringMatcher> {
    let pattern = match matcher.match_pattern.as_ref()? {
        TreePattern::Exact(text) => MatchPattern::Exact(text.clone()),
        TreePattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
        TreePattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
        TreePattern::Contains(text) => MatchPattern::Contains(text.clone()),
        TreePattern::SafeRegex(matcher) => MatchPattern::SafeRegex(RegexMatcher {
            regex: matcher.regex.clone(),
            ..RegexMatcher::default()
        }),
        TreePattern::Custom(_) => return None,
    };
    Some(StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: matcher.ignore_case,
    })
}
