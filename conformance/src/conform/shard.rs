//! `--shard i/n`: one of n parts of the cases.

use std::str::FromStr;

/// The i-th of n parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub index: usize,
    /// How many parts there are.
    pub count: usize,
}

impl Shard {
    /// This part's items: dealt out in turn, so that each is in exactly one part and large
    /// neighbours part.
    pub fn part<T>(self, items: Vec<T>) -> Vec<T> {
        let own = self.index - 1;
        items
            .into_iter()
            .enumerate()
            .filter(|(place, _)| place % self.count == own)
            .map(|(_, item)| item)
            .collect()
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, count)| {
            Some((index.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
        });
        match parts {
            Some((index, count)) if index >= 1 && index <= count => Ok(Self { index, count }),
            _ => Err("expected i/n with i from 1 to n, such as 2/3".to_owned()),
        }
    }
}
