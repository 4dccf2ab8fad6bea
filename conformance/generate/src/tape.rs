//! Choices, in the order in which they are asked for.

/// How many choices a request's tape holds; after them, every choice is the first.
pub const LENGTH: usize = 112;

/// A run of choices. The number 0 is always the plainest one, so that shrinking the numbers makes
/// a request plainer.
#[derive(Debug, Clone)]
pub struct Tape<'a> {
    rest: std::slice::Iter<'a, u16>,
    aimed: bool,
}

impl<'a> Tape<'a> {
    /// Starts at the first choice.
    pub fn new(choices: &'a [u16]) -> Self {
        Self {
            rest: choices.iter(),
            aimed: false,
        }
    }

    /// Whether what is chosen next is to hit what it is aimed at; else each choice may miss.
    pub fn is_aimed(&self) -> bool {
        self.aimed
    }

    /// Sets [`Self::is_aimed`].
    pub fn aim(&mut self, aimed: bool) {
        self.aimed = aimed;
    }

    /// True once in `count` times where the request may miss.
    pub fn misses_once_in(&mut self, count: usize) -> bool {
        let misses = self.once_in(count);
        misses && !self.aimed
    }

    /// The next number, below `count`; 0 where `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        let next = usize::from(self.rest.next().copied().unwrap_or(0));
        next.checked_rem(count).unwrap_or(0)
    }

    /// One of these; `None` where there are none.
    pub fn pick<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        let index = self.below(from.len());
        from.get(index)
    }

    /// One of these texts.
    pub fn text(&mut self, from: &[&str]) -> String {
        self.pick(from).copied().unwrap_or_default().to_owned()
    }

    /// True once in `count` times; false for the plainest choice.
    pub fn once_in(&mut self, count: usize) -> bool {
        count > 0 && self.below(count) == count - 1
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        (0..4).fold(0, |bits, _| {
            bits << 16 | u64::from(self.rest.next().copied().unwrap_or(0))
        })
    }
}
