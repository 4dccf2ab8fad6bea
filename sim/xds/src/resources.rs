//! A snapshot out of single resources, as an xDS client holds them.

use crate::{
    assemble,
    error::ReadError,
    form::{CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, Resources},
    path::{Path, Segment},
    read::ReadOptions,
    schema::{schema, type_name},
    snapshot::Snapshot,
    source::Source,
    view::View,
};

/// One resource as it came from a management server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawResource<'a> {
    /// `Any.type_url`, or the message's name alone.
    pub type_url: &'a str,
    /// The resource's name: errors tell the resource by it.
    pub name: &'a str,
    /// `Any.value`: the binary message.
    pub value: &'a [u8],
}

/// Puts together the resources that are in force together: all listeners, route configurations,
/// clusters and load assignments there are. Later ones of one name do not replace earlier ones;
/// they are refused. `source` stands for the management server in errors, whose field paths begin
/// with the resource, as in `RouteConfiguration["reviews"].virtual_hosts[0].domains`.
///
/// # Errors
/// A resource is of another type, is not its message, or Envoy would refuse it; with
/// [`ReadOptions::strict`] also what is not known or not decided.
pub fn read_resources<'a>(
    source: &str,
    resources: impl IntoIterator<Item = RawResource<'a>>,
    options: &ReadOptions,
) -> Result<Snapshot, ReadError> {
    let file = source;
    let source = Source {
        file,
        document: None,
    };
    let mut held = Resources {
        clusters_known: true,
        ..Resources::default()
    };
    for resource in resources {
        let name = type_name(resource.type_url);
        let list = match name {
            LISTENER => &mut held.listeners,
            ROUTE_CONFIGURATION => &mut held.route_configurations,
            CLUSTER => &mut held.clusters,
            LOAD_ASSIGNMENT => &mut held.load_assignments,
            _ => {
                return Err(source.mismatch(
                    &path(name, resource.name),
                    "a Listener, RouteConfiguration, Cluster or ClusterLoadAssignment of xDS v3",
                    format!("{name:?}"),
                ));
            }
        };
        let path = path(name, resource.name);
        let message = schema()
            .message(name)
            .ok_or_else(|| source.wire(&path, name, "the message is not built in"))?;
        list.push(View {
            message,
            bytes: resource.value,
            path,
        });
    }
    let mut snapshot = assemble::assemble(held, true, &source)?;
    snapshot.take_profile(options.profile);
    if options.strict && !snapshot.report.findings.is_empty() {
        return Err(ReadError::Strict {
            file: file.to_owned(),
            report: Box::new(snapshot.report),
        });
    }
    Ok(snapshot)
}

/// Where a resource stands: nowhere but under its name.
fn path(message: &str, name: &str) -> Path {
    let short = message.rsplit('.').next().unwrap_or(message);
    Path::default()
        .with(Segment::Unknown(short.to_owned()))
        .with(Segment::Key(name.to_owned()))
}
