//! A prefix is looked for anywhere in the 192 bytes from the path on: in the query, and in the
//! headers behind it.

use crate::head::{Field, Head};

/// So many bytes are looked through.
const WINDOW: usize = 192;

/// Whether the prefix stands somewhere.
pub(crate) fn matches(head: &Head, path: &Field, prefix: &str) -> bool {
    let window = head.from(path, WINDOW);
    prefix.is_empty()
        || window
            .windows(prefix.len())
            .any(|part| part == prefix.as_bytes())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::head::tests::head;
    use crate::quirks::parsed_names;

    #[rstest]
    #[case("/api/1", "/api", true)]
    #[case("/v1/api", "/api", true)]
    #[case("/x?to=/api", "/api", true)]
    #[case("/x", "host.test", true)]
    #[case("/x", "/api", false)]
    #[case("/x", "", true)]
    fn anywhere(#[case] path: &str, #[case] prefix: &str, #[case] expected: bool) {
        let head = head(path, &[]);
        let path = parsed_names::last(&head, "URI").expect("a path");
        assert_eq!(matches(&head, path, prefix), expected);
    }

    #[test]
    fn not_behind_the_window() {
        // The first byte of the prefix has 188 or 189 before it, and the window ends after 192.
        for (fill, expected) in [(187, true), (188, false)] {
            let head = head(&format!("/{}/api", "x".repeat(fill)), &[]);
            let path = parsed_names::last(&head, "URI").expect("a path");
            assert_eq!(matches(&head, path, "/api"), expected, "{fill}");
        }
    }
}
