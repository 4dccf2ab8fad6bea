//! Where the parts of a snapshot stand in its file: for reports that point at a line.

use std::collections::HashMap;

use crate::{
    form::{self, Resources},
    path::{Path, Segment},
    source::Source,
    text::Document,
    view::View,
};

/// A part of a resource, as findings and traces name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The resource with its type, as in [`Finding::resource`](crate::Finding::resource):
    /// `listener "0.0.0.0_80"`; a load assignment is `load assignment "reviews"`.
    pub resource: String,
    /// Field path inside the resource; empty where it as a whole is meant.
    pub path: String,
}

/// For each target its line and column in the file, both from 1; columns count characters. Where
/// the field itself does not stand in the file, that of the nearest message around it. `None` where
/// the file does not hold the resource, is binary, or cannot be read. `name` is as in
/// [`read_bytes`](crate::read_bytes).
pub fn locate(name: &str, bytes: &[u8], targets: &[Target]) -> Vec<Option<(u64, u64)>> {
    found(name, bytes, targets).unwrap_or_else(|| vec![None; targets.len()])
}

fn found(name: &str, bytes: &[u8], targets: &[Target]) -> Option<Vec<Option<(u64, u64)>>> {
    let text = form::as_text(name, bytes).ok()??;
    let document = form::document(name, text).ok()?;
    let input = form::detect(name, &document).ok()?;
    let source = Source {
        file: name,
        document: Some(&document),
    };
    let resources = form::collect(&input, &source).ok()?;
    let roots = roots(&resources);
    // Many findings share a place, and counting lines costs the length of the file.
    let mut known: HashMap<&Target, Option<(u64, u64)>> = HashMap::new();
    for target in targets {
        known
            .entry(target)
            .or_insert_with(|| position(&document, &roots, target));
    }
    let positions = targets.iter().map(|target| known.get(target).copied());
    Some(positions.map(Option::flatten).collect())
}

fn position(
    document: &Document<'_>,
    roots: &HashMap<String, Path>,
    target: &Target,
) -> Option<(u64, u64)> {
    let inside = segments(&target.path);
    let root = roots.get(&target.resource);
    // What is said of the form itself has its path from the file on.
    let bases = [root.cloned(), Some(Path::default())];
    let (at, _) = bases
        .into_iter()
        .flatten()
        .filter_map(|base| {
            let mut path = base.clone();
            inside.iter().for_each(|segment| path.push(segment.clone()));
            let (at, steps) = document.nearest(path.segments())?;
            let is_inside = steps >= base.len() && (root.is_some() || steps > 0);
            is_inside.then(|| (at, steps - base.len()))
        })
        .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
    Some(document.position(at))
}

/// The path of each resource, by its name with its type.
fn roots(resources: &Resources<'_>) -> HashMap<String, Path> {
    let mut roots = HashMap::new();
    let mut add = |resource: String, path: &Path| {
        roots.entry(resource).or_insert_with(|| path.clone());
    };
    for (kind, key, views) in [
        (
            "route configuration",
            "name",
            &resources.route_configurations,
        ),
        ("cluster", "name", &resources.clusters),
        (
            "load assignment",
            "cluster_name",
            &resources.load_assignments,
        ),
    ] {
        for view in views {
            add(format!("{kind} {:?}", view.text(key)), &view.path);
        }
    }
    for listener in &resources.listeners {
        add(listener_name(listener), &listener.path);
        for chain in chains(listener) {
            for filter in chain.children("filters") {
                let content = filter.any("typed_config").and_then(|any| any.content());
                if let Some(inline) = content.and_then(|content| content.child("route_config")) {
                    let name = format!("route configuration {:?}", inline.text("name"));
                    add(name, &inline.path);
                }
            }
        }
    }
    for view in &resources.static_route_configurations {
        let name = format!("route configuration {:?}", view.text("name"));
        add(name, &view.path);
    }
    for wrapper in &resources.wrappers {
        let name = wrapper.message.name.rsplit('.').next().unwrap_or_default();
        add(name.to_owned(), &wrapper.path);
    }
    roots
}

fn chains<'a>(listener: &View<'a>) -> Vec<View<'a>> {
    let mut chains = listener.children("filter_chains");
    chains.extend(listener.child("default_filter_chain"));
    chains
}

/// As the snapshot names it: by its address where it has no name.
fn listener_name(listener: &View<'_>) -> String {
    let name = listener.text("name");
    if !name.is_empty() {
        return format!("listener {name:?}");
    }
    let socket = listener
        .child("address")
        .and_then(|address| address.child("socket_address"));
    let text = socket.map_or_else(String::new, |socket| {
        let address = socket.text("address");
        let port = socket.number("port_value");
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    });
    format!("listener {text:?}")
}

/// A field path in words, step by step; what is no path ends it.
fn segments(path: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let Some((segment, after)) = bracket(inside) else {
                break;
            };
            segments.push(segment);
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        if name.is_empty() {
            break;
        }
        segments.push(Segment::Unknown(name.to_owned()));
        rest = after;
    }
    segments
}

/// What stands between brackets, and what follows them.
fn bracket(inside: &str) -> Option<(Segment, &str)> {
    let Some(quoted) = inside.strip_prefix('"') else {
        let (index, after) = inside.split_once(']')?;
        return Some((Segment::Index(index.parse().ok()?), after));
    };
    let mut key = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let after = quoted.get(at + 1..)?.strip_prefix(']')?;
                return Some((Segment::Key(key), after));
            }
            '\\' => key.push(characters.next()?.1),
            _ => key.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: &str = r#"static_resources:
  listeners:
  - name: one
    address: { socket_address: { address: 127.0.0.1, port_value: 80 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          statPrefix: x
          routeConfig:
            name: inline
            virtual_hosts:
            - name: host
              domains: ["a", "b"]
              routes:
              - match: { pathSeparatedPrefix: /x }
                route: { cluster: there }
  clusters:
  - name: there
"#;

    fn at(resource: &str, path: &str) -> Option<(u64, u64)> {
        let target = Target {
            resource: resource.to_owned(),
            path: path.to_owned(),
        };
        locate("x.yaml", BOOTSTRAP.as_bytes(), &[target])[0]
    }

    #[test]
    fn fields_are_found_in_either_spelling_and_inside_any() {
        let host = "virtual_hosts[0]";
        let inline = "route configuration \"inline\"";
        assert_eq!(at("listener \"one\"", ""), Some((3, 5)));
        assert_eq!(at(inline, &format!("{host}.domains[1]")), Some((15, 30)));
        let prefix = format!("{host}.routes[0].match.path_separated_prefix");
        assert_eq!(at(inline, &prefix), Some((17, 47)));
        let manager = "filter_chains[0].filters[0].typed_config.stat_prefix";
        assert_eq!(at("listener \"one\"", manager), Some((10, 23)));
    }

    #[test]
    fn what_does_not_stand_there_is_the_message_around_it() {
        assert_eq!(at("cluster \"there\"", "lb_policy"), Some((20, 5)));
        assert_eq!(at("cluster \"there\"", ""), Some((20, 5)));
        assert_eq!(at("cluster \"elsewhere\"", "name"), None);
        // A list stands where its first element does.
        assert_eq!(at("Bootstrap", "static_resources.clusters"), Some((20, 5)));
    }

    #[test]
    fn what_is_no_path_or_no_file_is_nowhere() {
        assert_eq!(at("nothing", "]["), None);
        assert_eq!(
            at("listener \"one\"", "[99999999999999999999]"),
            Some((3, 5))
        );
        let target = [Target::default()];
        assert_eq!(locate("x", b"\x00\xff", &target), [None]);
        assert_eq!(locate("x", b"", &target), [None]);
        assert_eq!(locate("x.json", b"{", &target), [None]);
    }

    #[test]
    fn paths_read_back_as_they_were_written() {
        let mut path = Path::default();
        path.push(Segment::Field("name"));
        path.push(Segment::Key("a]\"b\\".to_owned()));
        path.push(Segment::Index(3));
        path.push(Segment::Unknown("never_heard_of".to_owned()));
        let mut again = Path::default();
        for segment in segments(&path.to_string()) {
            again.push(segment);
        }
        assert_eq!(again.to_string(), path.to_string());
        assert_eq!(again.len(), 4);
    }
}
