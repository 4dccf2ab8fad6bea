//! Matchers on pseudo headers never match: the parser knows no such names (inferred).

/// Whether a matcher asks for one.
pub(crate) fn asks_for(name: &str) -> bool {
    name.starts_with(':')
}

#[cfg(test)]
mod tests {
    use super::asks_for;

    #[test]
    fn names() {
        assert!(asks_for(":method") && asks_for(":authority"));
        assert!(!asks_for("method"));
    }
}
