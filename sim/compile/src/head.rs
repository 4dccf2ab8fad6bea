//! Tables of the head's parser that are the same in every policy: methods, the form of absolute
//! targets, the values of Connection that change nothing, headers of one entry.

use std::sync::LazyLock;

use twinmesh_model::layout::{header, pair};
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};

use crate::arena::Arena;
use crate::header_count::of_one_entry;
use crate::trie::Keys;
use crate::{CapacityError, capacity};

/// Methods that Envoy's HTTP/1 parser takes and the model decides.
const METHODS: [&str; 33] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];
/// Methods that it takes and treats otherwise than the others.
const UNDECIDED: [&str; 2] = ["CONNECT", "QUERY"];

/// `http://` or `https://`, a host name or bracketed IPv6 address (of the common forms: whole, and
/// with up to three groups before `::` and four after it), a port, a path.
const ABSOLUTE: &str = concat!(
    r"(?i:https?)://(?:[A-Za-z0-9.\-]+|\[(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}",
    r"|(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,2})?::",
    r"(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,3})?)\])",
    r"(?::0*(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?",
    r"(?:/[!-~]*)?"
);
/// What Envoy's parser takes as a target on a request line, beside what starts with `/` or `*`.
const TARGETS: &str = concat!(
    r"[A-Za-z][A-Za-z0-9+.\-]*://[!$-.0-;=A-Z\[\]_a-z~]*(?:@[!$-.0-;=A-Z\[\]_a-z~]*)?",
    r"(?:[/?][!-~]*)?"
);
/// Nothing but `close` and `keep-alive`, and not so many of them that Envoy refuses it.
const CONNECTION: &str =
    r"(?i)[ \t]*(?:close|keep-alive)?[ \t]*(?:,[ \t]*(?:close|keep-alive)?[ \t]*){0,8}";

/// [`ABSOLUTE`], [`CONNECTION`] and [`TARGETS`], which take longer to determinise than many a
/// snapshot.
static FORMS: LazyLock<Option<[Dfa; 3]>> = LazyLock::new(|| {
    let dfa = |pattern| Dfa::new(pattern, DEFAULT_STATE_CAP).ok();
    Some([dfa(ABSOLUTE)?, dfa(CONNECTION)?, dfa(TARGETS)?])
});

impl Arena {
    /// Writes the tables.
    ///
    /// # Errors
    /// None in practice: the regexes are fixed and small.
    pub fn head(&mut self) -> Result<(), CapacityError> {
        let mut keys = Keys::default();
        for (methods, value) in [(&METHODS[..], 1), (&UNDECIDED[..], 2)] {
            for method in methods {
                keys.exact.insert(method.as_bytes().to_vec(), value);
            }
        }
        let methods = self.trie(&keys);
        let mut names = Keys::default();
        for (name, number) in of_one_entry().zip(1..) {
            names.exact.insert(name.as_bytes().to_vec(), number);
        }
        let names = self.trie(&names);
        let forms = FORMS.as_ref().ok_or_else(capacity::dfa)?;
        let [absolute, connection, targets] = forms.each_ref().map(|form| self.dfa(form));
        self.set(header::TARGETS, pair(targets, names));
        self.set(header::METHODS, pair(methods, absolute));
        self.set(header::CONNECTION, connection);
        Ok(())
    }
}
