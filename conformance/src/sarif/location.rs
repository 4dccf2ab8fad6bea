//! Places as the format names them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_sarif::sarif::{
    ArtifactLocation, Location, LogicalLocation, Message, PhysicalLocation, Region,
};

use super::Finding;

/// What stands for itself in a segment of a URI's path; a colon could read as a scheme's.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'+')
    .remove(b'=')
    .remove(b'@')
    .remove(b',');

/// Where a finding stands; `None` where neither a file nor a field is known.
pub fn of(finding: &Finding) -> Option<Location> {
    let physical = finding.file.as_ref().map(|file| {
        let artifact = ArtifactLocation::builder().uri(uri(file)).build();
        match finding.position {
            Some((line, column)) => PhysicalLocation::builder()
                .artifact_location(artifact)
                .region(
                    Region::builder()
                        .start_line(number(line))
                        .start_column(number(column))
                        .build(),
                )
                .build(),
            None => PhysicalLocation::builder()
                .artifact_location(artifact)
                .build(),
        }
    });
    let logical = (!finding.field.is_empty()).then(|| {
        vec![
            LogicalLocation::builder()
                .fully_qualified_name(finding.field.as_str())
                .kind("member")
                .build(),
        ]
    });
    match (physical, logical) {
        (Some(physical), Some(logical)) => Some(
            Location::builder()
                .physical_location(physical)
                .logical_locations(logical)
                .build(),
        ),
        (Some(physical), None) => Some(Location::builder().physical_location(physical).build()),
        (None, Some(logical)) => Some(Location::builder().logical_locations(logical).build()),
        (None, None) => None,
    }
}

/// Another place that belongs to a finding.
pub fn related((file, line, what): &(PathBuf, usize, String)) -> Location {
    let artifact = ArtifactLocation::builder().uri(uri(file)).build();
    let line = i64::try_from(*line).unwrap_or(i64::MAX);
    Location::builder()
        .physical_location(
            PhysicalLocation::builder()
                .artifact_location(artifact)
                .region(Region::builder().start_line(line).build())
                .build(),
        )
        .message(Message::builder().text(what.as_str()).build())
        .build()
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A file as a URI: relative where it was named so, for code scanning reads it from the root of the
/// repository.
fn uri(file: &Path) -> String {
    let mut segments = Vec::new();
    for component in file.components() {
        match component {
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => segments.push("..".to_owned()),
            Component::Normal(name) => {
                segments.push(percent_encode(name.as_bytes(), SEGMENT).to_string());
            }
        }
    }
    let path = segments.join("/");
    if file.is_absolute() {
        format!("file:///{path}")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_uris() {
        let of = |path: &str| uri(Path::new(path));
        assert_eq!(of("./fixtures/a b/x.json"), "fixtures/a%20b/x.json");
        assert_eq!(of("/tmp/ü?#%.yaml"), "file:///tmp/%C3%BC%3F%23%25.yaml");
        assert_eq!(of("../c:d"), "../c%3Ad");
    }
}
