//! Which requests are one but for their ids.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use twinmesh_engine::Request;

/// A request that equals others with all that decides: its head and its connection, and neither its
/// id nor its time.
#[derive(Debug, Clone)]
pub(crate) struct Alike<'a>(pub(crate) Cow<'a, Request>);

impl<'a> Alike<'a> {
    /// Without a copy.
    pub(crate) fn of(request: &'a Request) -> Self {
        Self(Cow::Borrowed(request))
    }

    fn head(&self) -> impl Hash + Eq + '_ {
        let it = self.0.as_ref();
        (&it.method, &it.scheme, &it.authority, &it.path, &it.headers)
    }

    fn connection(&self) -> impl Hash + Eq + '_ {
        let it = self.0.as_ref();
        (
            (&it.listener, &it.route_config, it.source, it.destination),
            (&it.sni, &it.alpn, it.tls, it.client_certificate),
            it.random,
        )
    }
}

impl PartialEq for Alike<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.head() == other.head() && self.connection() == other.connection()
    }
}

impl Eq for Alike<'_> {}

impl Hash for Alike<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.head(), self.connection()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, path: &str) -> Request {
        let text = format!(r#"{{"id":"{id}","path":"{path}"}}"#);
        serde_json::from_str(&text).expect("a request")
    }

    #[test]
    fn all_but_the_id_counts() {
        let (one, renamed, other) = (request("a", "/"), request("b", "/"), request("a", "/x"));
        assert_eq!(Alike::of(&one), Alike::of(&renamed));
        assert_ne!(Alike::of(&one), Alike::of(&other));
        let mut known = std::collections::HashSet::from([Alike::of(&one)]);
        assert!(!known.insert(Alike(Cow::Owned(renamed))));
        assert!(known.insert(Alike::of(&other)));
    }
}
