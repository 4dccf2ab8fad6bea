//! The parser keeps the request line under the names METHOD, URI and VERSION, among the headers: a
//! client's header of that name takes its place.

use crate::head::{Field, Head};

/// The field of exactly this name that counts.
pub(crate) fn last<'a>(head: &'a Head, name: &str) -> Option<&'a Field> {
    head.fields().iter().rfind(|field| field.name == name)
}

/// Whether a client's header has taken the place of the path.
pub(crate) fn overwrites_path(head: &Head) -> bool {
    last(head, "URI").is_some_and(|field| field.is_header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::head;

    #[test]
    fn a_header_takes_the_place_of_the_path() {
        let plain = head("/a", &[("uri", "/b")]);
        assert_eq!(last(&plain, "URI").expect("a path").value, "/a");
        assert!(!overwrites_path(&plain));
        let hostile = head("/a", &[("URI", "/b")]);
        assert_eq!(last(&hostile, "URI").expect("a path").value, "/b");
        assert!(overwrites_path(&hostile));
    }
}
