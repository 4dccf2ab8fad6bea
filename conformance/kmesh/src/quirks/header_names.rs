//! Header names are case-sensitive.

use crate::head::Head;

/// Whether a header is there under another spelling only.
pub(crate) fn misses(head: &Head, name: &str) -> bool {
    let headers = || head.fields().iter().filter(|field| field.is_header);
    !headers().any(|field| field.name == name)
        && headers().any(|field| field.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::misses;
    use crate::head::tests::head;

    #[test]
    fn other_spellings_are_missed() {
        let head = head("/", &[("End-User", "a"), ("x", "b"), ("X", "c")]);
        assert!(misses(&head, "end-user"));
        assert!(!misses(&head, "End-User"));
        assert!(!misses(&head, "x"));
        assert!(!misses(&head, "absent"));
    }
}
