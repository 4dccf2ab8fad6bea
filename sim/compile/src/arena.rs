//! The policy's bytes while it is being written: records, texts, DFAs.

use std::collections::HashMap;

use twinmesh_model::{layout, regex};
use twinmesh_re2::Dfa;

use crate::CapacityError;
use crate::trie::Tries;

/// A growing policy. Offsets are in bytes; everything starts at a multiple of eight.
#[derive(Debug)]
pub struct Arena {
    words: Vec<u64>,
    texts: HashMap<Vec<u8>, u64>,
    dfas: HashMap<DfaKey, u64>,
    /// All tries of the policy.
    pub tries: Tries,
}

type DfaKey = (Vec<u8>, Vec<u16>, u16, u16);

impl Arena {
    /// A policy of nothing but its header.
    pub fn new() -> Self {
        Self {
            words: vec![0; (layout::header::BYTES / 8) as usize],
            texts: HashMap::new(),
            dfas: HashMap::new(),
            tries: Tries::default(),
        }
    }

    /// A record of four words.
    pub fn record(&mut self, words: [u64; 4]) -> u64 {
        let offset = self.bytes();
        self.words.extend_from_slice(&words);
        offset
    }

    /// Words one after the other.
    pub fn words(&mut self, words: &[u64]) -> u64 {
        let offset = self.bytes();
        self.words.extend_from_slice(words);
        offset
    }

    /// Overwrites the word at an offset.
    pub fn set(&mut self, offset: u64, word: u64) {
        if let Some(place) = self.words.get_mut((offset / 8) as usize) {
            *place = word;
        }
    }

    /// Bytes, padded to whole words; equal ones stand once.
    pub fn text(&mut self, text: &[u8]) -> u64 {
        if let Some(&offset) = self.texts.get(text) {
            return offset;
        }
        let offset = self.bytes();
        for chunk in text.chunks(8) {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.words.push(u64::from_le_bytes(bytes));
        }
        if text.is_empty() {
            self.words.push(0);
        }
        self.texts.insert(text.to_vec(), offset);
        offset
    }

    /// A DFA as [`twinmesh_model::regex`] reads it; equal ones stand once.
    pub fn dfa(&mut self, dfa: &Dfa) -> u64 {
        let key = (
            dfa.classes.to_vec(),
            dfa.transitions.clone(),
            dfa.start,
            dfa.first_accepting,
        );
        if let Some(&offset) = self.dfas.get(&key) {
            return offset;
        }
        let row = |state: u16| u64::from(state) * u64::from(dfa.class_count);
        let mut bytes = Vec::with_capacity(regex::TRANSITIONS as usize + dfa.transitions.len() * 2);
        let accepting = row(dfa.first_accepting).min(0xffff);
        bytes.extend_from_slice(&(row(dfa.start) | accepting << 16).to_le_bytes());
        bytes.extend_from_slice(&dfa.classes);
        for &state in &dfa.transitions {
            bytes.extend_from_slice(&(row(state) as u16).to_le_bytes());
        }
        let offset = self.text(&bytes);
        self.dfas.insert(key, offset);
        offset
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// Appends the trie table and gives the whole.
    ///
    /// # Errors
    /// The policy is larger than offsets can say.
    pub fn finish(mut self) -> Result<Vec<u64>, CapacityError> {
        let table = self.tries.table();
        let offset = self.words(&table);
        let entries = table.len() as u64 / 4;
        self.set(layout::header::TRIE, layout::pair(offset, entries - 1));
        self.set(layout::header::MAGIC, layout::MAGIC);
        if self.bytes() > u64::from(u32::MAX) {
            return Err(CapacityError {
                resource: "bytes of policy",
                count: self.bytes(),
                limit: u64::from(u32::MAX),
            });
        }
        Ok(self.words)
    }
}
