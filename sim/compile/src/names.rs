//! Slots: a number for each header and query parameter name that some route refers to, and a
//! number for each value that some matcher compares with for equality.

use std::collections::BTreeMap;

use twinmesh_model::{
    head::filter_bit,
    layout::{header, pair, slot, slot as layout_slot, work},
};
use twinmesh_xds::Profile;

use crate::arena::Arena;
use crate::trie::Keys;
use crate::{CapacityError, capacity};

/// Headers of which Envoy keeps one entry, so that matchers see repeated values joined by a comma
/// (its inline headers, measured on 1.40).
pub(crate) const JOINED: [&str; 39] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authentication",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-is-timeout-retry",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether Envoy keeps one entry of a header, whose name is in lower case.
pub fn is_joined(name: &str) -> bool {
    JOINED.contains(&name)
}

/// Names and values seen so far.
#[derive(Debug)]
pub struct Names {
    headers: BTreeMap<String, u64>,
    query_parameters: BTreeMap<String, u64>,
    slots: Vec<Slot>,
    upgrades: bool,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    wanted: bool,
    /// Envoy keeps one entry of the header.
    joined: bool,
    /// Some header matcher sees repeated lines joined by commas, as the profile has it.
    by_commas: bool,
    /// Some matcher tree does, as every profile has it.
    in_a_tree: bool,
    /// Something sees the lines one by one.
    apart: bool,
    values: BTreeMap<Vec<u8>, u64>,
}

impl Slot {
    /// Whether the model stops where the header is repeated.
    fn stops(&self) -> bool {
        self.joined || self.by_commas || (self.in_a_tree && !self.apart)
    }
}

/// How a header's repeated lines are to be joined before the model sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commas {
    /// By commas, empty lines too.
    All,
    /// They cannot be: something else sees them one by one.
    Contradicted,
}

/// No headers' names, as those that start with a colon are not looked for in the head.
const NOTHING: &str = ":nothing";
const SERVER_NAME: &str = ":requested-server-name";

impl Names {
    /// The names that have slots of their own.
    pub fn new() -> Self {
        let headers = [
            ("content-length", slot::CONTENT_LENGTH),
            ("transfer-encoding", slot::TRANSFER_ENCODING),
            ("connection", slot::CONNECTION),
            ("expect", slot::EXPECT),
            ("x-forwarded-proto", slot::FORWARDED_PROTO),
            ("host", slot::AUTHORITY),
            (":authority", slot::AUTHORITY),
            (":method", slot::METHOD),
            (":path", slot::PATH),
            (":scheme", slot::SCHEME),
        ];
        let mut slots = vec![Slot::default(); slot::FIRST as usize];
        if let Some(expect) = slots.get_mut(slot::EXPECT as usize) {
            expect.joined = true;
        }
        Self {
            headers: headers
                .into_iter()
                .map(|(name, slot)| (name.to_owned(), slot))
                .collect(),
            query_parameters: BTreeMap::new(),
            slots,
            upgrades: false,
        }
    }

    /// The slot of a header, or of a pseudo header, of which repeated lines are seen one by one.
    ///
    /// # Errors
    /// The name is too long, or there are more names than slots.
    pub fn header(&mut self, name: &str) -> Result<u64, CapacityError> {
        let slot = self.slot(name)?;
        self.mark(slot, |slot| slot.apart = true);
        Ok(slot)
    }

    /// The slot of a header that a header matcher looks at.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn matched_header(&mut self, name: &str, profile: Profile) -> Result<u64, CapacityError> {
        let slot = self.slot(name)?;
        self.mark(slot, |slot| match profile.joins_lines() {
            true => slot.by_commas = true,
            false => slot.apart = true,
        });
        Ok(slot)
    }

    /// The slot of a header that a matcher tree looks at.
    ///
    /// # Errors
    /// As [`Self::header`].
    pub fn header_in_a_tree(&mut self, name: &str) -> Result<u64, CapacityError> {
        let slot = self.slot(name)?;
        self.mark(slot, |slot| slot.in_a_tree = true);
        Ok(slot)
    }

    fn mark(&mut self, slot: u64, mark: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            mark(slot);
        }
    }

    fn slot(&mut self, name: &str) -> Result<u64, CapacityError> {
        capacity::text(name.as_bytes())?;
        let name = name.to_ascii_lowercase();
        let slot = match self.headers.get(&name) {
            Some(&slot) => slot,
            None => {
                let slot = self.next()?;
                if let Some(slot) = self.slots.get_mut(slot as usize) {
                    slot.joined = JOINED.contains(&name.as_str());
                }
                self.headers.insert(name, slot);
                slot
            }
        };
        self.want(slot);
        Ok(slot)
    }

    /// The slot of a query parameter.
    ///
    /// # Errors
    /// The name is too long, or there are more names than slots.
    pub fn query_parameter(&mut self, name: &str) -> Result<u64, CapacityError> {
        capacity::text(name.as_bytes())?;
        if let Some(&slot) = self.query_parameters.get(name) {
            return Ok(slot);
        }
        let slot = self.next()?;
        self.query_parameters.insert(name.to_owned(), slot);
        self.want(slot);
        Ok(slot)
    }

    /// Says that some matcher looks at the path without its query.
    pub fn path_without_query(&mut self) -> u64 {
        self.want(slot::PATH_WITHOUT_QUERY);
        slot::PATH_WITHOUT_QUERY
    }

    /// A slot that no request has a value for.
    ///
    /// # Errors
    /// There are more names than slots.
    pub fn no_header(&mut self) -> Result<u64, CapacityError> {
        self.header(NOTHING)
    }

    /// Says that some matcher looks at what only a request that asks for an upgrade has.
    pub fn match_upgrades(&mut self) {
        self.upgrades = true;
    }

    /// Whether some matcher looks at what only a request that asks for an upgrade has.
    pub fn upgrades(&self) -> bool {
        self.upgrades
    }

    /// The slot of the server name that a connection asks for, which is no header.
    ///
    /// # Errors
    /// There are more names than slots.
    pub fn server_name(&mut self) -> Result<u64, CapacityError> {
        self.header(SERVER_NAME)
    }

    /// The number of a value of a slot; never 0.
    pub fn value(&mut self, slot: u64, value: &str) -> u64 {
        let Some(slot) = self.slots.get_mut(slot as usize) else {
            return 0;
        };
        let next = slot.values.len() as u64 + 1;
        *slot.values.entry(value.as_bytes().to_vec()).or_insert(next)
    }

    /// The headers whose repeated lines the model stops at though Envoy itself keeps them apart.
    pub fn by_commas(&self) -> BTreeMap<String, Commas> {
        let stopping = self.headers.iter().filter_map(|(name, &slot)| {
            let slot = self.slots.get(slot as usize)?;
            let own = !slot.joined && slot.stops() && !name.starts_with(':');
            let commas = if slot.apart {
                Commas::Contradicted
            } else {
                Commas::All
            };
            own.then(|| (name.clone(), commas))
        });
        stopping.collect()
    }

    /// A header's name that nothing asks for.
    pub fn unused(&self) -> String {
        let mut name = "~".to_owned();
        while self.headers.contains_key(&name) {
            name.push('~');
        }
        name
    }

    /// How many names have slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    fn want(&mut self, slot: u64) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.wanted = true;
        }
    }

    fn next(&mut self) -> Result<u64, CapacityError> {
        let next = self.slots.len() as u64;
        capacity::check(
            "header and query parameter names",
            next + 1,
            work::SLOTS_MAX,
        )?;
        self.slots.push(Slot::default());
        Ok(next)
    }

    /// Writes the names, the filter over them and the values.
    pub fn write(&self, arena: &mut Arena) {
        let mut filter = [0; 8];
        let mut keys = Keys::default();
        for (name, &slot) in self
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with(':'))
        {
            keys.exact.insert(name.as_bytes().to_vec(), slot + 1);
            let mut start = [0; 8];
            for (to, from) in start.iter_mut().zip(name.as_bytes()) {
                *to = *from;
            }
            let length = name.len() as u64;
            let bit = filter_bit(u64::from_le_bytes(start), length);
            if let Some(word) = filter.get_mut((bit >> 6) as usize) {
                *word |= 1 << (bit & 63);
            }
        }
        let filter = arena.words(&filter);
        let headers = arena.trie(&keys);
        let mut keys = Keys::default();
        for (name, &slot) in &self.query_parameters {
            keys.exact.insert(name.as_bytes().to_vec(), slot + 1);
        }
        let query_parameters = arena.trie(&keys);
        let mut table = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let mut keys = Keys::default();
            for (value, &number) in &slot.values {
                keys.exact.insert(value.clone(), number);
            }
            let root = if keys.is_empty() {
                0
            } else {
                arena.trie(&keys)
            };
            let joined = if slot.stops() { layout_slot::JOINED } else { 0 };
            table.push(pair(root, u64::from(slot.wanted) | joined));
        }
        let table = arena.words(&table);
        let pseudo_headers = self
            .slots
            .iter()
            .take(slot::FIRST as usize)
            .skip(slot::FORWARDED_PROTO as usize)
            .any(|slot| slot.wanted);
        arena.set(header::PSEUDO_HEADERS, u64::from(pseudo_headers));
        arena.set(header::HEADER_NAMES, pair(headers, filter));
        arena.set(header::QUERY_PARAMETERS, pair(query_parameters, table));
    }
}
