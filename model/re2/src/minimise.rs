//! Minimisation, and the layout of the final table.
//!
//! Indices here come from the DFA itself, never from the text or the pattern.

use std::collections::HashMap;

use crate::determinise::{Over, RawDfa};
use crate::dfa::{Dfa, MAX_TABLE_ENTRIES};
use crate::partition::Partition;

/// The minimal table of `raw`.
pub(crate) fn minimise(raw: &RawDfa, cap: usize) -> Result<Dfa, Over> {
    let width = raw.class_count;
    let count = raw.accepting.len();
    let block_of = equivalent_states(raw);

    // A state of each block, and the blocks in the order in which the start reaches them.
    let block_count = block_of.iter().max().map_or(0, |last| last + 1);
    let mut member = vec![0; block_count];
    for state in 0..count {
        member[block_of[state]] = state;
    }
    let mut order = Vec::with_capacity(block_count);
    let mut seen = vec![false; block_count];
    let dead = block_of[0];
    seen[dead] = true;
    let start = block_of[raw.start as usize];
    if !seen[start] {
        seen[start] = true;
        order.push(start);
    }
    let mut done = 0;
    while done < order.len() {
        let row = member[order[done]] * width;
        for class in 0..width {
            let next = block_of[raw.transitions[row + class] as usize];
            if !seen[next] {
                seen[next] = true;
                order.push(next);
            }
        }
        done += 1;
    }
    let (accepting, rejecting): (Vec<usize>, Vec<usize>) = order
        .into_iter()
        .partition(|&block| raw.accepting[member[block]]);
    let first_accepting = 1 + rejecting.len();
    let rows: Vec<usize> = [dead]
        .into_iter()
        .chain(rejecting)
        .chain(accepting)
        .collect();
    if rows.len() > cap {
        return Err(Over { cap });
    }
    let mut number = vec![0; block_count];
    for (index, &block) in rows.iter().enumerate() {
        number[block] = index;
    }
    let entry = |block: usize, class: usize| {
        number[block_of[raw.transitions[member[block] * width + class] as usize]]
    };

    let (classes, representatives) = merged_classes(raw, &rows, entry);
    let class_count = representatives.len();
    let over = Over {
        cap: cap.min(MAX_TABLE_ENTRIES / class_count.max(1)),
    };
    if rows.len() * class_count > MAX_TABLE_ENTRIES {
        return Err(over);
    }
    let narrow = |number: usize| u16::try_from(number).map_err(|_| over);
    let mut transitions = Vec::with_capacity(rows.len() * class_count);
    for &block in &rows {
        for &class in &representatives {
            transitions.push(narrow(entry(block, class))?);
        }
    }
    Ok(Dfa {
        classes,
        class_count: narrow(class_count)?,
        transitions,
        start: narrow(number[start])?,
        first_accepting: narrow(first_accepting)?,
        state_count: narrow(rows.len())?,
    })
}

/// The classes with equal columns made one, numbered by their first byte, and one old class for
/// each.
fn merged_classes(
    raw: &RawDfa,
    rows: &[usize],
    entry: impl Fn(usize, usize) -> usize,
) -> ([u8; 256], Vec<usize>) {
    let mut by_column: HashMap<Vec<usize>, u8> = HashMap::new();
    let mut representatives = Vec::new();
    let mut merged: Vec<Option<u8>> = vec![None; raw.class_count];
    let mut classes = [0; 256];
    for (byte, &old) in raw.classes.iter().enumerate() {
        let old = usize::from(old);
        let new = *merged[old].get_or_insert_with(|| {
            let column = rows.iter().map(|&block| entry(block, old)).collect();
            *by_column.entry(column).or_insert_with(|| {
                representatives.push(old);
                // There are at most 256 classes.
                (representatives.len() - 1) as u8
            })
        });
        classes[byte] = new;
    }
    (classes, representatives)
}

/// The block of each state: states are in the same one exactly where they accept the same texts.
/// This is Hopcroft's algorithm, which a long chain of states does not slow down.
fn equivalent_states(raw: &RawDfa) -> Vec<usize> {
    let width = raw.class_count;
    let count = raw.accepting.len();
    let inverse = Inverse::new(raw);
    let mut partition = Partition::new(count);
    let mut splits = Vec::new();
    for state in (0..count).filter(|&state| raw.accepting[state]) {
        partition.mark(state);
    }
    partition.split(&mut splits);
    let mut pending = vec![true; partition.block_count() * width];
    let mut queue: Vec<usize> = (0..pending.len()).collect();
    let mut members = Vec::new();
    while let Some(job) = queue.pop() {
        pending[job] = false;
        let (block, class) = (job / width, job % width);
        members.clear();
        members.extend_from_slice(partition.members(block));
        for &state in &members {
            for &source in inverse.sources(state, class) {
                partition.mark(source as usize);
            }
        }
        splits.clear();
        partition.split(&mut splits);
        for &(old, new) in &splits {
            pending.resize(partition.block_count() * width, false);
            for class in 0..width {
                // Where the old block still waits as a splitter, both halves must; otherwise the
                // smaller half does.
                let job = if pending[old * width + class]
                    || partition.members(new).len() <= partition.members(old).len()
                {
                    new * width + class
                } else {
                    old * width + class
                };
                pending[job] = true;
                queue.push(job);
            }
        }
    }
    (0..count).map(|state| partition.block_of(state)).collect()
}

/// The states that lead to a state by a class.
struct Inverse {
    /// `first[state * class_count + class]` to the entry behind it are the positions in `sources`.
    first: Vec<u32>,
    sources: Vec<u32>,
    class_count: usize,
}

impl Inverse {
    fn new(raw: &RawDfa) -> Self {
        let class_count = raw.class_count;
        let target = |position: usize| {
            raw.transitions[position] as usize * class_count + position % class_count
        };
        let total = raw.transitions.len();
        let mut first = vec![0u32; total + 1];
        for position in 0..total {
            first[target(position) + 1] += 1;
        }
        for position in 0..total {
            first[position + 1] += first[position];
        }
        let mut free = first.clone();
        let mut sources = vec![0u32; total];
        for position in 0..total {
            let slot = &mut free[target(position)];
            sources[*slot as usize] = (position / class_count) as u32;
            *slot += 1;
        }
        Self {
            first,
            sources,
            class_count,
        }
    }

    fn sources(&self, state: usize, class: usize) -> &[u32] {
        let at = state * self.class_count + class;
        &self.sources[self.first[at] as usize..self.first[at + 1] as usize]
    }
}
