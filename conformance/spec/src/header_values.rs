//! What a decision says of the headers that mutations name: `request_headers`, `response_headers`.

use std::collections::BTreeSet;

use twinmesh_engine::{Decision, HeaderValues};

use crate::lines::{Known, Lines};

/// The values of these headers of a request, as its endpoint gets them; nothing where there are none to tell
/// of.
pub(crate) fn of_request(named: &BTreeSet<String>, lines: &Lines) -> Option<HeaderValues> {
    let mut told = of_response(named, lines)?;
    for (_, values) in told
        .iter_mut()
        .filter(|(name, _)| speaks_to_the_router(name))
    {
        // The router takes such a header off, or writes it anew.
        *values = None;
    }
    Some(told)
}

/// The values of these headers of a response; nothing where there are none to tell of.
pub(crate) fn of_response(named: &BTreeSet<String>, lines: &Lines) -> Option<HeaderValues> {
    let values = named.iter().map(|name| {
        let values: Known<Vec<String>> = lines.values(name);
        let values = values.map(|values| values.into_iter().map(trimmed).collect());
        (name.clone(), values.ok())
    });
    (!named.is_empty()).then(|| values.collect())
}

/// Whether a header of a request is one of Envoy's own, other than those that remember what a rewrite
/// replaces.
fn speaks_to_the_router(name: &str) -> bool {
    name.strip_prefix("x-envoy-")
        .is_some_and(|rest| !["original-host", "original-path"].contains(&rest))
}

/// A value as it is read: white space around it does not count.
pub(crate) fn trimmed(value: String) -> String {
    value.trim_matches([' ', '\t']).to_owned()
}

/// With a script of the endpoints nothing is said of a response's headers.
pub(crate) fn forget_response(decision: &mut Decision) {
    if let Some(headers) = &mut decision.response_headers {
        for values in headers.values_mut() {
            *values = None;
        }
    }
}
