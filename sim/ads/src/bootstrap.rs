//! gRPC's xDS bootstrap file: which management servers there are, and who asks them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envoy_types::pb::{
    envoy::config::core::v3::{Locality, Node, node::UserAgentVersionType},
    google::protobuf::{ListValue, Struct, Value, value::Kind as ValueKind},
};
use serde::Deserialize;

use crate::target::Target;

/// Names the file, where `--bootstrap` does not.
pub const BOOTSTRAP_FILE: &str = "GRPC_XDS_BOOTSTRAP";

/// Holds the file's content, where neither `--bootstrap` nor [`BOOTSTRAP_FILE`] names a file.
pub const BOOTSTRAP_CONFIG: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// Nothing says where it is.
    #[error(
        "no xDS bootstrap: expected --bootstrap FILE, a file named by ${BOOTSTRAP_FILE}, or its \
         content in ${BOOTSTRAP_CONFIG}; found none of them"
    )]
    Missing,
    /// The file cannot be read.
    #[error("{file}: the xDS bootstrap cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The content is not JSON, or a field is of another type, or one is missing.
    #[error("{file}:{line}:{column}: {}{problem}", field(.path))]
    Syntax {
        /// The file, or the environment variable.
        file: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// Field path; empty where the file as a whole is meant.
        path: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A value is of the right type and makes no sense, or asks for what is not supported.
    #[error("{file}: {path}: expected {expected}, found {found}")]
    Invalid {
        /// The file, or the environment variable.
        file: String,
        /// Field path.
        path: String,
        /// What could stand there.
        expected: String,
        /// What does.
        found: String,
    },
}

fn field(path: &str) -> String {
    match path {
        "" | "." => String::new(),
        path => format!("{path}: "),
    }
}

/// What a bootstrap file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// `xds_servers`, the preferred one first; at least one.
    pub servers: Vec<Server>,
    /// `node`, with this agent's name and version.
    pub node: Node,
}

/// One of `xds_servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `server_uri` as it was written.
    pub uri: String,
    /// Where that is.
    pub target: Target,
    /// The first of `channel_creds` that is supported.
    pub credentials: Credentials,
    /// `server_features`.
    pub features: Vec<String>,
}

/// How the channel is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `insecure`: plaintext.
    Insecure,
    /// `tls`. The files are read for each new connection, so a renewed certificate is taken.
    Tls {
        /// `ca_certificate_file`; `None`: the system's.
        ca_certificate_file: Option<PathBuf>,
        /// `certificate_file` and `private_key_file`: the client's identity.
        identity: Option<(PathBuf, PathBuf)>,
    },
}

#[derive(Deserialize)]
struct File {
    xds_servers: Vec<ServerFile>,
    #[serde(default)]
    node: NodeFile,
}

#[derive(Deserialize)]
struct ServerFile {
    server_uri: String,
    channel_creds: Vec<CredentialsFile>,
    #[serde(default)]
    server_features: Vec<String>,
}

#[derive(Deserialize)]
struct CredentialsFile {
    r#type: String,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize, Default)]
struct NodeFile {
    #[serde(default)]
    id: String,
    #[serde(default)]
    cluster: String,
    locality: Option<LocalityFile>,
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct LocalityFile {
    #[serde(default)]
    region: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    sub_zone: String,
}

impl Bootstrap {
    /// Reads the file at `path`; without one the file that [`BOOTSTRAP_FILE`] names; without that
    /// the content of [`BOOTSTRAP_CONFIG`]. Variables that are empty count as not set.
    ///
    /// # Errors
    /// There is none of them, or it is not what it should be.
    pub fn load(path: Option<&Path>) -> Result<Bootstrap, BootstrapError> {
        Bootstrap::load_with(path, &|name| {
            std::env::var_os(name).filter(|value| !value.is_empty())
        })
    }

    fn load_with(
        path: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Bootstrap, BootstrapError> {
        let named = path
            .map(Path::to_owned)
            .or_else(|| variable(BOOTSTRAP_FILE).map(PathBuf::from));
        if let Some(path) = named {
            let file = path.display().to_string();
            return match std::fs::read(&path) {
                Ok(content) => Bootstrap::parse(&file, &content),
                Err(source) => Err(BootstrapError::Unreadable { file, source }),
            };
        }
        match variable(BOOTSTRAP_CONFIG) {
            Some(content) => {
                Bootstrap::parse(&format!("${BOOTSTRAP_CONFIG}"), content.as_encoded_bytes())
            }
            None => Err(BootstrapError::Missing),
        }
    }

    /// Reads the content of a bootstrap file; `file` stands for it in errors. Fields that are not
    /// known are read over, as gRPC does.
    ///
    /// # Errors
    /// It is not JSON, a field is of the wrong type or missing, or no `channel_creds` of a server
    /// are supported.
    pub fn parse(file: &str, content: &[u8]) -> Result<Bootstrap, BootstrapError> {
        let mut json = serde_json::Deserializer::from_slice(content);
        let read: File = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            syntax(file, path, error.inner())
        })?;
        json.end()
            .map_err(|error| syntax(file, String::new(), &error))?;
        if read.xds_servers.is_empty() {
            return Err(invalid(file, "xds_servers", "at least one server", "none"));
        }
        let mut servers = Vec::with_capacity(read.xds_servers.len());
        for (index, server) in read.xds_servers.into_iter().enumerate() {
            servers.push(server_of(file, &format!("xds_servers[{index}]"), server)?);
        }
        Ok(Bootstrap {
            servers,
            node: node_of(read.node),
        })
    }
}

fn syntax(file: &str, path: String, error: &serde_json::Error) -> BootstrapError {
    let text = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    BootstrapError::Syntax {
        file: file.to_owned(),
        line: error.line(),
        column: error.column(),
        path,
        problem: text.strip_suffix(&end).unwrap_or(&text).to_owned(),
    }
}

fn invalid(
    file: &str,
    path: impl Into<String>,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> BootstrapError {
    BootstrapError::Invalid {
        file: file.to_owned(),
        path: path.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

fn server_of(file: &str, path: &str, server: ServerFile) -> Result<Server, BootstrapError> {
    let target = Target::parse(&server.server_uri).map_err(|expected| {
        let found = format!("{:?}", server.server_uri);
        invalid(file, format!("{path}.server_uri"), expected, found)
    })?;
    let mut credentials = None;
    for (index, offered) in server.channel_creds.iter().enumerate() {
        let path = format!("{path}.channel_creds[{index}].config");
        credentials = match offered.r#type.as_str() {
            "insecure" => Some(Credentials::Insecure),
            "tls" => Some(tls(file, &path, &offered.config)?),
            _ => continue,
        };
        break;
    }
    let Some(credentials) = credentials else {
        let types: Vec<String> = (server.channel_creds.iter())
            .map(|offered| format!("{:?}", offered.r#type))
            .collect();
        let found = match types.as_slice() {
            [] => "none".to_owned(),
            types => types.join(", "),
        };
        let path = format!("{path}.channel_creds");
        return Err(invalid(
            file,
            path,
            "one of type \"insecure\" or \"tls\"",
            found,
        ));
    };
    Ok(Server {
        uri: server.server_uri,
        target,
        credentials,
        features: server.server_features,
    })
}

fn tls(
    file: &str,
    path: &str,
    config: &serde_json::Map<String, serde_json::Value>,
) -> Result<Credentials, BootstrapError> {
    let named = |field: &str| match config.get(field) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(name)) => Ok(Some(PathBuf::from(name))),
        Some(other) => Err(invalid(
            file,
            format!("{path}.{field}"),
            "a string",
            describe(other),
        )),
    };
    if named("spiffe_trust_bundle_map_file")?.is_some() {
        return Err(invalid(
            file,
            format!("{path}.spiffe_trust_bundle_map_file"),
            "ca_certificate_file instead, as SPIFFE trust bundles are not supported",
            "a file",
        ));
    }
    let identity = match (named("certificate_file")?, named("private_key_file")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let found = match certificate {
                Some(_) => "certificate_file alone",
                None => "private_key_file alone",
            };
            let expected = "both certificate_file and private_key_file, or neither";
            return Err(invalid(file, path, expected, found));
        }
    };
    Ok(Credentials::Tls {
        ca_certificate_file: named("ca_certificate_file")?,
        identity,
    })
}

fn describe(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

fn node_of(file: NodeFile) -> Node {
    let metadata = file
        .metadata
        .into_iter()
        .map(|(key, value)| (key, value_of(value)));
    Node {
        id: file.id,
        cluster: file.cluster,
        metadata: Some(Struct {
            fields: metadata.collect(),
        }),
        locality: file.locality.map(|locality| Locality {
            region: locality.region,
            zone: locality.zone,
            sub_zone: locality.sub_zone,
        }),
        user_agent_name: "twinmesh".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..Node::default()
    }
}

fn value_of(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => ValueKind::NullValue(0),
        serde_json::Value::Bool(value) => ValueKind::BoolValue(value),
        serde_json::Value::Number(value) => {
            ValueKind::NumberValue(value.as_f64().unwrap_or_default())
        }
        serde_json::Value::String(value) => ValueKind::StringValue(value),
        serde_json::Value::Array(values) => ValueKind::ListValue(ListValue {
            values: values.into_iter().map(value_of).collect(),
        }),
        serde_json::Value::Object(fields) => ValueKind::StructValue(Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| (key, value_of(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests;
