//! Of repeated headers the last counts, and white space behind a value stays.

use crate::head::Head;

/// Whether Envoy reads another value than Kmesh under this name.
pub(crate) fn reads_otherwise(head: &Head, name: &str) -> bool {
    let headers = head.fields().iter().filter(|field| field.is_header);
    let mut found = headers.filter(|field| field.name.eq_ignore_ascii_case(name));
    let Some(first) = found.next() else {
        return false;
    };
    found.next().is_some() || first.value.ends_with([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::reads_otherwise;
    use crate::head::tests::head;
    use crate::quirks::parsed_names::last;

    #[test]
    fn the_last_counts_and_blanks_stay() {
        let head = head("/", &[("x", "1"), ("y", "2 "), ("x", "3"), ("z", "4")]);
        assert_eq!(last(&head, "x").expect("it").value, "3");
        assert_eq!(last(&head, "y").expect("it").value, "2 ");
        assert!(reads_otherwise(&head, "x") && reads_otherwise(&head, "y"));
        assert!(!reads_otherwise(&head, "z") && !reads_otherwise(&head, "absent"));
    }
}
