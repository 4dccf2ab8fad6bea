//! The last good policy on disk, for a start when no management server answers.
//!
//! The file is a stream of binary DiscoveryResponses with their lengths, one for each type, so
//! that every command that takes a snapshot reads it too. Before them stands one without a type
//! that says when the policy came, after them one with the SHA-256 of all bytes before it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envoy_types::pb::{
    envoy::{
        config::core::v3::ControlPlane,
        service::discovery::v3::{DiscoveryResponse, Resource as Wrapper},
    },
    google::protobuf::Any,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use twinmesh_xds::{ReadOptions, read_resources};

use crate::kind::{Kind, PerKind, message_name};
use crate::resource::{Policy, Resource, ResourceSet, Source};

/// Says what the file is, in its first message.
const TITLE: &str = "twinmesh last good policy 1";

/// What the last message's nonce begins with.
const SUM: &str = "sha256:";

const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// Why there is no last good policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such file: nothing was kept yet.
    #[error("{file}: no last good policy was kept yet")]
    None {
        /// The file.
        file: String,
    },
    /// A file cannot be read, written or renamed.
    #[error("{file}: the last good policy cannot be {action}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{file}: the last good policy is not used: {problem}; {aside}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
        /// What became of the file.
        aside: String,
    },
}

/// Writes a policy to a file: at any moment the file is the old one or the new one as a whole, and
/// its content is on disk before it has the name.
///
/// # Errors
/// The file, or one beside it, cannot be written.
pub fn write(path: &Path, policy: &Policy) -> Result<(), StoreError> {
    let temporary = beside(path, ".new");
    let written = write_synced(&temporary, &encode(policy)).and_then(|()| {
        fs::rename(&temporary, path)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    });
    written.map_err(|source| StoreError::Io {
        file: path.display().to_string(),
        action: "written",
        source,
    })
}

/// Only the owner may read it: a policy can hold keys.
fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Reads the policy that a file holds. A file that is not what was written is renamed, with
/// `.corrupt` behind its name, and nothing of it is used.
///
/// # Errors
/// There is none, it cannot be read, or it is corrupt.
pub fn read(path: &Path) -> Result<Policy, StoreError> {
    let file = path.display().to_string();
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::None { file });
        }
        Err(source) => {
            return Err(StoreError::Io {
                file,
                action: "read",
                source,
            });
        }
    };
    decode(&file, &content).map_err(|problem| {
        let target = beside(path, ".corrupt");
        let aside = match fs::rename(path, &target) {
            Ok(()) => format!("it is now {}", target.display()),
            Err(error) => format!("it cannot be renamed {}: {error}", target.display()),
        };
        StoreError::Corrupt {
            file,
            problem,
            aside,
        }
    })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(ending);
    path.with_file_name(name)
}

fn encode(policy: &Policy) -> Vec<u8> {
    let since = policy
        .received
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut content = DiscoveryResponse {
        version_info: since.as_millis().to_string(),
        control_plane: Some(ControlPlane {
            identifier: TITLE.to_owned(),
        }),
        ..DiscoveryResponse::default()
    }
    .encode_length_delimited_to_vec();
    for kind in Kind::ALL {
        let resources = policy.resources.iter().filter(|one| one.kind == kind);
        let response = DiscoveryResponse {
            version_info: policy.versions[kind].clone(),
            type_url: kind.type_url().to_owned(),
            resources: resources.map(|resource| wrapped(resource)).collect(),
            ..DiscoveryResponse::default()
        };
        content.extend(response.encode_length_delimited_to_vec());
    }
    let sum = DiscoveryResponse {
        nonce: sum(&content),
        ..DiscoveryResponse::default()
    };
    content.extend(sum.encode_length_delimited_to_vec());
    content
}

fn wrapped(resource: &Resource) -> Any {
    let wrapper = Wrapper {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(Any {
            type_url: resource.kind.type_url().to_owned(),
            value: resource.value.clone(),
        }),
        ..Wrapper::default()
    };
    Any {
        type_url: WRAPPER.to_owned(),
        value: wrapper.encode_to_vec(),
    }
}

fn sum(content: &[u8]) -> String {
    let mut text = SUM.to_owned();
    for byte in Sha256::digest(content) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn decode(file: &str, content: &[u8]) -> Result<Policy, String> {
    let mut rest = content;
    let mut responses = Vec::new();
    loop {
        let before = content.get(..content.len() - rest.len());
        let response = DiscoveryResponse::decode_length_delimited(&mut rest)
            .map_err(|error| format!("message {}: {error}", responses.len()))?;
        if response.nonce.is_empty() {
            responses.push(response);
            continue;
        }
        let expected = sum(before.unwrap_or_default());
        if response.nonce != expected {
            return Err(format!(
                "its checksum is {}, expected {expected}",
                response.nonce
            ));
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes follow its checksum", rest.len()));
        }
        break;
    }
    let mut responses = responses.into_iter();
    let first = responses.next().unwrap_or_default();
    let title = first.control_plane.unwrap_or_default().identifier;
    if title != TITLE {
        return Err(format!("expected a {TITLE:?}, found {title:?}"));
    }
    let millis: u64 = first
        .version_info
        .parse()
        .map_err(|_| format!("its time is {:?}", first.version_info))?;
    let received = UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .ok_or_else(|| format!("its time is {millis}"))?;
    let mut versions = PerKind::<String>::default();
    let mut resources = Vec::new();
    for response in responses {
        let kind = Kind::of_type_url(&response.type_url)
            .ok_or_else(|| format!("the type {:?} is not known", response.type_url))?;
        versions[kind] = response.version_info;
        for any in response.resources {
            resources.push(Arc::new(unwrap(kind, &any)?));
        }
    }
    let raw = resources.iter().map(|resource| resource.raw());
    let snapshot =
        read_resources(file, raw, &ReadOptions::default()).map_err(|error| error.to_string())?;
    let set = ResourceSet {
        snapshot: Arc::new(snapshot),
        versions,
        resources,
        absent: Vec::new(),
        warming: Vec::new(),
    };
    Ok(Policy::new(set, received, Source::LastGood))
}

fn unwrap(kind: Kind, any: &Any) -> Result<Resource, String> {
    let wrapper = Wrapper::decode(any.value.as_slice()).map_err(|error| error.to_string())?;
    let inner = wrapper.resource.unwrap_or_default();
    if message_name(&inner.type_url) != message_name(kind.type_url()) {
        return Err(format!(
            "{kind} resource {:?} is of type {:?}",
            wrapper.name, inner.type_url
        ));
    }
    Ok(Resource {
        kind,
        name: wrapper.name,
        version: wrapper.version,
        value: inner.value,
    })
}

/// What a time is written as, so that a policy that is read back equals the one that was written.
pub(crate) fn now() -> SystemTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests;
