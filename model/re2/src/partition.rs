//! A partition of states into blocks, refined by marking.
//!
//! Indices here come from the DFA itself, never from the text or the pattern.

/// Blocks of states. All states begin in block 0.
pub(crate) struct Partition {
    /// The states, block by block; the marked ones of a block come first.
    states: Vec<usize>,
    /// Where each state is in `states`.
    place: Vec<usize>,
    block_of: Vec<usize>,
    blocks: Vec<Block>,
    /// Blocks with marked states.
    touched: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Block {
    start: usize,
    end: usize,
    marked: usize,
}

impl Partition {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            states: (0..count).collect(),
            place: (0..count).collect(),
            block_of: vec![0; count],
            blocks: vec![Block {
                start: 0,
                end: count,
                marked: 0,
            }],
            touched: Vec::new(),
        }
    }

    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn block_of(&self, state: usize) -> usize {
        self.block_of[state]
    }

    pub(crate) fn members(&self, block: usize) -> &[usize] {
        let block = self.blocks[block];
        &self.states[block.start..block.end]
    }

    /// Marks a state for the next [`Partition::split`].
    pub(crate) fn mark(&mut self, state: usize) {
        let index = self.block_of[state];
        let block = &mut self.blocks[index];
        let border = block.start + block.marked;
        let place = self.place[state];
        if place < border {
            return;
        }
        if block.marked == 0 {
            self.touched.push(index);
        }
        block.marked += 1;
        let other = self.states[border];
        self.states.swap(place, border);
        self.place[state] = border;
        self.place[other] = place;
    }

    /// Moves the marked states of every block into a block of their own, unless they are the whole
    /// block. Adds each pair of the old and the new block to `splits`.
    pub(crate) fn split(&mut self, splits: &mut Vec<(usize, usize)>) {
        while let Some(index) = self.touched.pop() {
            let block = self.blocks[index];
            self.blocks[index].marked = 0;
            let border = block.start + block.marked;
            if border == block.end {
                continue;
            }
            let new = self.blocks.len();
            self.blocks.push(Block {
                start: block.start,
                end: border,
                marked: 0,
            });
            self.blocks[index].start = border;
            for &state in &self.states[block.start..border] {
                self.block_of[state] = new;
            }
            splits.push((index, new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_states_move_to_a_new_block() {
        let mut partition = Partition::new(4);
        let mut splits = Vec::new();
        partition.mark(3);
        partition.mark(1);
        partition.mark(3);
        partition.split(&mut splits);
        assert_eq!(splits, [(0, 1)]);
        assert_eq!(partition.block_of(1), 1);
        assert_eq!(partition.block_of(3), 1);
        assert_eq!(partition.block_of(0), 0);
        assert_eq!(partition.members(0).len(), 2);
        splits.clear();
        for state in 0..4 {
            partition.mark(state);
        }
        partition.split(&mut splits);
        assert!(splits.is_empty(), "whole blocks stay");
        assert_eq!(partition.block_count(), 2);
    }
}
