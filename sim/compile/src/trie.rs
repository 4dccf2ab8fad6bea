//! Writes the tries that [`twinmesh_model::trie`] reads: keys cut into chunks of eight bytes, all
//! tries in one hash table.

use std::collections::{BTreeMap, HashMap};

use twinmesh_model::{
    bytes::keep,
    layout::pair,
    trie::{EMPTY, PROBES, hash, key, tag},
};

use crate::arena::Arena;

/// The entries of all tries, and the number of the next node.
#[derive(Debug, Default)]
pub struct Tries {
    entries: Vec<[u64; 4]>,
    nodes: u64,
}

/// Keys of one trie, with what they mean; 0 means nothing.
#[derive(Debug, Default)]
pub struct Keys {
    /// Keys that are compared whole.
    pub exact: BTreeMap<Vec<u8>, u64>,
    /// Keys that stand for all that start with them.
    pub prefix: BTreeMap<Vec<u8>, u64>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<u64, usize>,
    prefixes: HashMap<(u64, u64), u64>,
    exacts: HashMap<(u64, u64), u64>,
    boundary: u64,
}

impl Keys {
    /// Nothing to find.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty()
    }
}

fn chunk(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// The node after all whole chunks of the key, and the chunk that is left, with its length.
fn descend(nodes: &mut Vec<Node>, text: &[u8]) -> (usize, u64, u64) {
    let mut at = 0;
    let mut chunks = text.chunks_exact(8);
    for whole in chunks.by_ref() {
        let next = nodes.len();
        let child = match nodes.get_mut(at) {
            Some(node) => *node.children.entry(chunk(whole)).or_insert(next),
            None => next,
        };
        if child == next {
            nodes.push(Node::default());
        }
        at = child;
    }
    let rest = chunks.remainder();
    (at, chunk(rest), rest.len() as u64)
}

impl Arena {
    /// Writes a trie; the offset of its root.
    pub fn trie(&mut self, keys: &Keys) -> u64 {
        let mut nodes = vec![Node::default()];
        for (text, &value) in &keys.exact {
            let (at, word, length) = descend(&mut nodes, text);
            if let Some(node) = nodes.get_mut(at) {
                node.exacts.insert((length, word), value);
            }
        }
        for (text, &value) in &keys.prefix {
            let (at, word, length) = descend(&mut nodes, text);
            if let Some(node) = nodes.get_mut(at) {
                if length == 0 {
                    node.boundary = value;
                } else {
                    node.prefixes.insert((length, word), value);
                }
            }
        }
        let (root, bests) = self.tries.write(&nodes);
        self.words(&[root, bests])
    }
}

impl Tries {
    /// Adds an entry that belongs to no node of a trie.
    pub fn add(&mut self, chunk: u64, key: u64, value: u64) {
        self.entries.push([chunk, key, value, 0]);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the nodes' entries; the root's two words.
    fn write(&mut self, nodes: &[Node]) -> (u64, u64) {
        let first = self.nodes;
        self.nodes += nodes.len() as u64;
        let word = |index: usize, node: &Node| {
            let mut masks = 0;
            for (length, _) in node.prefixes.keys() {
                masks |= 1 << length;
            }
            for (length, _) in node.exacts.keys() {
                masks |= 1 << (8 + length);
            }
            pair(first + index as u64, masks)
        };
        let root = nodes.first().map_or((0, 0), |node| {
            (word(0, node), pair(node.boundary, node.boundary))
        });
        // Parents come before their children, so each node's best is known when it is reached.
        let mut bests = vec![0; nodes.len()];
        if let (Some(best), Some(node)) = (bests.first_mut(), nodes.first()) {
            *best = node.boundary;
        }
        for (index, node) in nodes.iter().enumerate() {
            let number = first + index as u64;
            let here = bests.get(index).copied().unwrap_or(0);
            for (&(length, chunk), &value) in &node.prefixes {
                self.entries
                    .push([chunk, key(number, tag::PREFIX + length), value, 0]);
            }
            for (&(length, chunk), &value) in &node.exacts {
                self.entries
                    .push([chunk, key(number, tag::EXACT + length), value, 0]);
            }
            for (&chunk, &child) in &node.children {
                let shorter = (1..8)
                    .rev()
                    .find_map(|length| node.prefixes.get(&(length, keep(chunk, length))).copied())
                    .unwrap_or(here);
                let Some(below) = nodes.get(child) else {
                    continue;
                };
                let best = if below.boundary == 0 {
                    shorter
                } else {
                    below.boundary
                };
                if let Some(place) = bests.get_mut(child) {
                    *place = best;
                }
                self.entries.push([
                    chunk,
                    key(number, tag::FULL),
                    word(child, below),
                    pair(best, shorter),
                ]);
            }
        }
        root
    }

    /// The hash table: four words an entry, a power of two of them, each at most
    /// [`PROBES`] - 1 places from where it is looked for first.
    pub fn table(&self) -> Vec<u64> {
        let mut size = (self.entries.len() * 2).next_power_of_two().max(16);
        loop {
            if let Some(table) = self.place(size) {
                return table;
            }
            size *= 2;
        }
    }

    /// Robin Hood placing, which keeps the longest distance short.
    fn place(&self, size: usize) -> Option<Vec<u64>> {
        let mask = size - 1;
        let mut places: Vec<Option<(u64, [u64; 4])>> = vec![None; size];
        let mut entries = self.entries.clone();
        entries.sort_unstable();
        for entry in entries {
            let [chunk, key, ..] = entry;
            let mut carried = (0, entry);
            let mut at = hash(chunk, key) as usize & mask;
            loop {
                if carried.0 >= PROBES {
                    return None;
                }
                let place = places.get_mut(at)?;
                match place {
                    None => {
                        *place = Some(carried);
                        break;
                    }
                    Some(resident) if resident.0 < carried.0 => {
                        std::mem::swap(resident, &mut carried)
                    }
                    Some(_) => {}
                }
                carried.0 += 1;
                at = (at + 1) & mask;
            }
        }
        Some(
            places
                .into_iter()
                .flat_map(|place| place.map_or([0, EMPTY, 0, 0], |(_, entry)| entry))
                .collect(),
        )
    }
}
