//! One decision a connection: later requests go where the first went.

use std::collections::HashMap;

use twinmesh_engine::{Decision, Request};

/// Where the first request of each connection went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    first: HashMap<String, Decision>,
}

impl Connections {
    /// The decision on the connection, where one was made.
    pub(crate) fn decided(&self, request: &Request) -> Option<Decision> {
        let first = self.first.get(request.connection.as_ref()?)?;
        Some(Decision {
            id: request.id.clone(),
            ..first.clone()
        })
    }

    /// Takes note of the first request's decision.
    pub(crate) fn note(&mut self, request: &Request, decision: &Decision) {
        if let Some(connection) = &request.connection {
            let first = self.first.entry(connection.clone());
            first.or_insert_with(|| decision.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decides_for_all() {
        let request = |id: &str, connection: Option<&str>| Request {
            id: id.to_owned(),
            connection: connection.map(str::to_owned),
            ..crate::head::tests::request("/", &[])
        };
        let to = |cluster: &str| Decision {
            cluster: Some(cluster.to_owned()),
            ..Decision::default()
        };
        let mut connections = Connections::default();
        connections.note(&request("1", Some("c")), &to("a"));
        connections.note(&request("2", Some("c")), &to("b"));
        connections.note(&request("3", None), &to("b"));
        let decided = connections.decided(&request("4", Some("c"))).expect("one");
        assert_eq!(
            (decided.id.as_str(), decided.cluster.as_deref()),
            ("4", Some("a"))
        );
        assert!(connections.decided(&request("5", None)).is_none());
        assert!(connections.decided(&request("6", Some("d"))).is_none());
    }
}
