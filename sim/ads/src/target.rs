//! gRPC's names of servers, as far as they are supported: `host:port`, `dns:///host:port`,
//! `ipv4:…`, `ipv6:…` and `unix:…`.

use std::fmt;

/// The port of a name without one, as in gRPC.
const DEFAULT_PORT: u16 = 443;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A host, by name or address (IPv6 without brackets), and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(String),
}

const EXPECTED: &str = "host:port, dns:///host:port, ipv4:address:port, ipv6:[address]:port or \
     unix:/path";

impl Target {
    /// Reads a server's name.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(uri: &str) -> Result<Target, String> {
        if let Some(path) = uri.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() || path.contains('\0') {
                Err(EXPECTED.to_owned())
            } else {
                Ok(Target::Unix(path.to_owned()))
            };
        }
        let address = if let Some(rest) = uri.strip_prefix("dns:") {
            match rest.strip_prefix("//") {
                // A DNS server of its own stands before the third slash.
                Some(rest) => rest.strip_prefix('/').ok_or_else(|| EXPECTED.to_owned())?,
                None => rest,
            }
        } else if let Some(rest) = uri.strip_prefix("ipv4:") {
            rest
        } else if let Some(rest) = uri.strip_prefix("ipv6:") {
            rest
        } else {
            uri
        };
        host_and_port(address).ok_or_else(|| EXPECTED.to_owned())
    }

    /// The host that a TLS certificate must name.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Target::Tcp { host, .. } => Some(host),
            Target::Unix(_) => None,
        }
    }
}

fn host_and_port(text: &str) -> Option<Target> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match port {
            "" => (host, DEFAULT_PORT),
            port => (host, port.strip_prefix(':')?.parse().ok()?),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, DEFAULT_PORT),
        }
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_host)).then(|| Target::Tcp {
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for Target {
    /// As the authority of a URI.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "[{host}]:{port}")
            }
            Target::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Target::Unix(path) => write!(formatter, "unix:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("xds.test:15010", "xds.test:15010")]
    #[case("dns:///xds.test:1", "xds.test:1")]
    #[case("dns:xds.test", "xds.test:443")]
    #[case("ipv4:127.0.0.1:2", "127.0.0.1:2")]
    #[case("ipv6:[::1]:3", "[::1]:3")]
    #[case("[::1]", "[::1]:443")]
    #[case("unix:///run/xds", "unix:/run/xds")]
    #[case("unix:xds.sock", "unix:xds.sock")]
    fn is_read(#[case] uri: &str, #[case] expected: &str) {
        assert_eq!(
            Target::parse(uri).map(|target| target.to_string()),
            Ok(expected.to_owned())
        );
    }

    #[rstest::rstest]
    #[case("")]
    #[case("http://xds.test:1")]
    #[case("xds:///a")]
    #[case("dns://8.8.8.8/xds.test:1")]
    #[case("xds.test:port")]
    #[case("xds.test:65536")]
    #[case("::1:80")]
    #[case("[::1]80")]
    #[case("[xds]:80")]
    #[case("a b:80")]
    #[case("unix:")]
    fn is_refused(#[case] uri: &str) {
        assert_eq!(Target::parse(uri), Err(EXPECTED.to_owned()));
    }
}
