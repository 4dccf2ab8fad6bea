//! What all texts of a regex start with.

use crate::dfa::Dfa;

impl Dfa {
    /// The longest text, up to `most` bytes, that everything the DFA accepts starts with; empty
    /// where it accepts nothing.
    #[must_use]
    pub fn prefix(&self, most: usize) -> Vec<u8> {
        let width = usize::from(self.class_count);
        let mut prefix = Vec::new();
        let mut state = self.start;
        while prefix.len() < most && state < self.first_accepting {
            let row = usize::from(state) * width;
            let mut alive = (0..=u8::MAX).filter_map(|byte| {
                let class = self.classes.get(usize::from(byte))?;
                let next = *self.transitions.get(row + usize::from(*class))?;
                (next != 0).then_some((byte, next))
            });
            // A state that goes on with one byte alone accepts in the end: it would be dead.
            let (Some((byte, next)), None) = (alive.next(), alive.next()) else {
                break;
            };
            prefix.push(byte);
            state = next;
        }
        prefix
    }
}

#[cfg(test)]
mod tests {
    use crate::{DEFAULT_STATE_CAP, Dfa};

    #[test]
    fn goes_as_far_as_all_texts_agree() {
        for (pattern, expected) in [
            ("/a/[0-9]+", "/a/"),
            ("/a/[0-9]*", "/a/"),
            ("/(abc|abd)x", "/ab"),
            ("/a|b", ""),
            ("(?i)/A1b", "/"),
            ("/1(?i)", "/1"),
            ("/a*", "/"),
            ("/aa*", "/a"),
            ("/a{3}", "/aaa"),
            ("(/a)?", ""),
            ("/a.*", "/a"),
            ("^/a$", "/a"),
            ("[^\\x00-\\x{ff}]", ""),
            ("", ""),
        ] {
            let dfa = Dfa::latin_1(pattern, DEFAULT_STATE_CAP).unwrap();
            assert_eq!(dfa.prefix(64), expected.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn is_cut_where_asked() {
        let dfa = Dfa::latin_1("/abcdef", DEFAULT_STATE_CAP).unwrap();
        assert_eq!(dfa.prefix(3), b"/ab");
        assert_eq!(dfa.prefix(0), b"");
    }
}
