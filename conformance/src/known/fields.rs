//! Which fields a snapshot has, by their paths without indices.

use std::collections::BTreeSet;

use serde_json::Value;
use twinmesh_xds::Snapshot;

/// The paths, dotted.
pub struct FieldPaths(BTreeSet<String>);

impl FieldPaths {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut paths = Self(BTreeSet::new());
        let text = twinmesh_xds::to_json(snapshot);
        if let Ok(dump) = serde_json::from_str(&text) {
            paths.add(&dump, "");
        }
        paths
    }

    fn add(&mut self, value: &Value, above: &str) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = format!("{above}.{key}");
                    self.add(member, &path);
                    self.0.insert(path);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|it| self.add(it, above)),
            _ => {}
        }
    }

    /// Whether a path ends in these members.
    pub fn have(&self, last: &str) -> bool {
        let end = format!(".{last}");
        self.0.iter().any(|path| path.ends_with(&end))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_known_by_their_last_members() {
        let mut paths = FieldPaths(BTreeSet::new());
        paths.add(
            &json!({"clusters": [{"name": "a"}, {"circuit_breakers": {"thresholds": [{"max": 0}]}}]}),
            "",
        );
        assert!(paths.have("circuit_breakers.thresholds.max"));
        assert!(paths.have("thresholds.max") && paths.have("name"));
        assert!(!paths.have("hresholds.max") && !paths.have("thresholds.name"));
    }
}
