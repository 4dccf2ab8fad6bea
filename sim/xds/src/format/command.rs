//! The commands of format strings, and what may stand in their parentheses.

use std::fmt;

/// A command of a format string: `%NAME(argument):length%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'f> {
    /// Its name.
    pub name: &'f str,
    /// What stands in its parentheses, where there are some.
    pub argument: Option<&'f str>,
    /// How many bytes of the value are kept.
    pub length: Option<usize>,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "%{}", self.name)?;
        if let Some(argument) = self.argument {
            write!(formatter, "({argument})")?;
        }
        if let Some(length) = self.length {
            write!(formatter, ":{length}")?;
        }
        formatter.write_str("%")
    }
}

/// What may stand behind a command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Plain,
    /// An argument of whatever kind, and no length.
    Optional,
    /// A date's format, and no length.
    Time,
    /// One header's name or two, and a length.
    Header,
    /// Any argument, and a length.
    Text,
    /// Any argument, and no length.
    TextAlone,
    /// `query:header`, and a length.
    Path,
    /// `source:host`, and no length.
    ServerName,
    /// `ORIG` or `DECODED`, and a length.
    QueryParameters,
    /// `TYPE:namespace:key…`, and a length.
    Metadata,
    /// `name:KIND`, and a length.
    State,
    /// `start:end:precision`, and no length.
    Duration,
    /// Commands as JSON, and a length.
    Coalesce,
    /// A key of x-forwarded-client-cert in any case, and a length.
    ForwardedCertificate,
}

const FORMS: &[(Form, &[&str])] = &[
    (
        Form::Plain,
        &[
            "ACCESS_LOG_TYPE",
            "BYTES_RECEIVED",
            "BYTES_RETRANSMITTED",
            "BYTES_SENT",
            "CONNECTION_ID",
            "CONNECTION_TERMINATION_DETAILS",
            "CUSTOM_FLAGS",
            "DOWNSTREAM_CX_RTT",
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
            "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
            "DOWNSTREAM_DETECTED_CLOSE_TYPE",
            "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
            "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
            "DOWNSTREAM_DIRECT_LOCAL_PORT",
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
            "DOWNSTREAM_DIRECT_REMOTE_PORT",
            "DOWNSTREAM_HANDSHAKE_DURATION",
            "DOWNSTREAM_HEADER_BYTES_RECEIVED",
            "DOWNSTREAM_HEADER_BYTES_SENT",
            "DOWNSTREAM_LOCAL_ADDRESS",
            "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
            "DOWNSTREAM_LOCAL_CLOSE_REASON",
            "DOWNSTREAM_LOCAL_DNS_SAN",
            "DOWNSTREAM_LOCAL_EMAIL_SAN",
            "DOWNSTREAM_LOCAL_IP_SAN",
            "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
            "DOWNSTREAM_LOCAL_PORT",
            "DOWNSTREAM_LOCAL_SUBJECT",
            "DOWNSTREAM_LOCAL_URI_SAN",
            "DOWNSTREAM_PEER_CERT",
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
            "DOWNSTREAM_PEER_CHAIN_SERIALS",
            "DOWNSTREAM_PEER_DNS_SAN",
            "DOWNSTREAM_PEER_EMAIL_SAN",
            "DOWNSTREAM_PEER_FINGERPRINT_1",
            "DOWNSTREAM_PEER_FINGERPRINT_256",
            "DOWNSTREAM_PEER_IP_SAN",
            "DOWNSTREAM_PEER_ISSUER",
            "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
            "DOWNSTREAM_PEER_ISSUER_SERIAL",
            "DOWNSTREAM_PEER_OTHERNAME_SAN",
            "DOWNSTREAM_PEER_SERIAL",
            "DOWNSTREAM_PEER_SUBJECT",
            "DOWNSTREAM_PEER_URI_SAN",
            "DOWNSTREAM_REMOTE_ADDRESS",
            "DOWNSTREAM_REMOTE_PORT",
            "DOWNSTREAM_TLS_CIPHER",
            "DOWNSTREAM_TLS_GROUP",
            "DOWNSTREAM_TLS_SESSION_ID",
            "DOWNSTREAM_TLS_VERSION",
            "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
            "DOWNSTREAM_WIRE_BYTES_RECEIVED",
            "DOWNSTREAM_WIRE_BYTES_SENT",
            "DURATION",
            "FILTER_CHAIN_NAME",
            "GRPC_STATUS",
            "GRPC_STATUS_NUMBER",
            "HOSTNAME",
            "LISTENER_NAME",
            "LOCAL_REPLY_BODY",
            "PACKETS_RETRANSMITTED",
            "PROTOCOL",
            "REQUEST_DURATION",
            "REQUEST_HEADERS_BYTES",
            "REQUEST_TX_DURATION",
            "RESPONSE_CODE",
            "RESPONSE_DURATION",
            "RESPONSE_FLAGS",
            "RESPONSE_FLAGS_LONG",
            "RESPONSE_HEADERS_BYTES",
            "RESPONSE_TRAILERS_BYTES",
            "RESPONSE_TX_DURATION",
            "ROUTE_NAME",
            "ROUTE_RESOLUTION_COUNT",
            "ROUTE_RESOLUTION_TIME_US",
            "SPAN_ID",
            "STREAM_ID",
            "TLS_JA3_FINGERPRINT",
            "TLS_JA4_FINGERPRINT",
            "TRACE_ID",
            "UNIQUE_ID",
            "UPSTREAM_CLUSTER",
            "UPSTREAM_CLUSTER_RAW",
            "UPSTREAM_CONNECTION_ID",
            "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
            "UPSTREAM_CONNECTION_POOL_READY_DURATION",
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
            "UPSTREAM_DETECTED_CLOSE_TYPE",
            "UPSTREAM_HEADER_BYTES_RECEIVED",
            "UPSTREAM_HEADER_BYTES_SENT",
            "UPSTREAM_HOST",
            "UPSTREAM_HOSTS_ATTEMPTED",
            "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
            "UPSTREAM_HOST_NAME",
            "UPSTREAM_HOST_NAMES_ATTEMPTED",
            "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
            "UPSTREAM_HOST_NAME_WITHOUT_PORT",
            "UPSTREAM_LOCAL_ADDRESS",
            "UPSTREAM_LOCAL_CLOSE_REASON",
            "UPSTREAM_LOCAL_DNS_SAN",
            "UPSTREAM_LOCAL_IP_SAN",
            "UPSTREAM_LOCAL_PORT",
            "UPSTREAM_LOCAL_URI_SAN",
            "UPSTREAM_PEER_CERT",
            "UPSTREAM_PEER_DNS_SAN",
            "UPSTREAM_PEER_IP_SAN",
            "UPSTREAM_PEER_ISSUER",
            "UPSTREAM_PEER_SUBJECT",
            "UPSTREAM_PEER_URI_SAN",
            "UPSTREAM_PROTOCOL",
            "UPSTREAM_REMOTE_ADDRESS",
            "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
            "UPSTREAM_REMOTE_PORT",
            "UPSTREAM_REQUEST_ATTEMPT_COUNT",
            "UPSTREAM_SERVER_NAME",
            "UPSTREAM_TLS_CIPHER",
            "UPSTREAM_TLS_GROUP",
            "UPSTREAM_TLS_SESSION_ID",
            "UPSTREAM_TLS_VERSION",
            "UPSTREAM_TRANSPORT_FAILURE_REASON",
            "UPSTREAM_WIRE_BYTES_RECEIVED",
            "UPSTREAM_WIRE_BYTES_SENT",
            "VIRTUAL_CLUSTER_NAME",
        ],
    ),
    (
        Form::Optional,
        &[
            "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
            "RESPONSE_CODE_DETAILS",
            "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        ],
    ),
    (
        Form::Time,
        &[
            "DOWNSTREAM_PEER_CERT_V_END",
            "DOWNSTREAM_PEER_CERT_V_START",
            "EMIT_TIME",
            "EMIT_TIME_LOCAL",
            "START_TIME",
            "START_TIME_LOCAL",
            "UPSTREAM_PEER_CERT_V_END",
            "UPSTREAM_PEER_CERT_V_START",
        ],
    ),
    (
        Form::Header,
        &[
            "REQ",
            "REQUEST_HEADER",
            "RESP",
            "RESPONSE_HEADER",
            "RESPONSE_TRAILER",
            "STREAM_INFO_REQ",
            "TRAILER",
        ],
    ),
    (
        Form::Text,
        &[
            "CEL",
            "DYNAMIC_METADATA",
            "ENVIRONMENT",
            "QUERY_PARAM",
            "TYPED_CEL",
        ],
    ),
    (Form::TextAlone, &["CLUSTER_METADATA", "UPSTREAM_METADATA"]),
    (Form::Path, &["PATH"]),
    (Form::ServerName, &["REQUESTED_SERVER_NAME"]),
    (Form::QueryParameters, &["QUERY_PARAMS"]),
    (Form::Metadata, &["METADATA"]),
    (Form::State, &["FILTER_STATE", "UPSTREAM_FILTER_STATE"]),
    (Form::Duration, &["COMMON_DURATION"]),
    (Form::Coalesce, &["COALESCE"]),
    (Form::ForwardedCertificate, &["XFCC_VALUE"]),
];

/// What the values of the headers that routes add know besides.
const OF_HEADERS: &str = "PER_REQUEST_STATE";

impl Command<'_> {
    /// Whether Envoy takes it; the error says what it does not take.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut forms = FORMS.iter();
        let form = forms.find(|(_, names)| names.contains(&self.name));
        let form = match form {
            Some((form, _)) => *form,
            None if self.name == OF_HEADERS => Form::TextAlone,
            None => return Err("Envoy has no such command".to_owned()),
        };
        if self.length.is_some() && !form.has_length() {
            return Err("its value is not cut".to_owned());
        }
        form.check(self.argument.unwrap_or_default())
    }

    /// Whether it is one of the values of headers only, which rewrites have not.
    pub fn is_of_headers(&self) -> bool {
        self.name == OF_HEADERS
    }

    /// Whether its value is decided, as far as a request says what it depends on.
    pub fn is_decided(&self) -> bool {
        let argument = self.argument.unwrap_or_default();
        match self.name {
            "REQ"
            | "REQUEST_HEADER"
            | "STREAM_INFO_REQ"
            | "RESP"
            | "RESPONSE_HEADER"
            | "TRAILER"
            | "PROTOCOL"
            | "ROUTE_NAME"
            | "UPSTREAM_CLUSTER"
            | "UPSTREAM_CLUSTER_RAW"
            | "UPSTREAM_HOST"
            | "UPSTREAM_HOST_NAME"
            | "UPSTREAM_REMOTE_ADDRESS"
            | "UPSTREAM_REMOTE_PORT"
            | "UPSTREAM_REQUEST_ATTEMPT_COUNT"
            | "DOWNSTREAM_REMOTE_ADDRESS"
            | "DOWNSTREAM_REMOTE_PORT"
            | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS"
            | "DOWNSTREAM_DIRECT_REMOTE_PORT"
            | "DOWNSTREAM_LOCAL_ADDRESS"
            | "DOWNSTREAM_LOCAL_PORT"
            | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS"
            | "DOWNSTREAM_DIRECT_LOCAL_PORT"
            | "CLUSTER_METADATA"
            | "FILTER_CHAIN_NAME"
            | "RESPONSE_CODE"
            | "RESPONSE_FLAGS"
            | "QUERY_PARAM"
            | "PATH"
            | "VIRTUAL_CLUSTER_NAME" => true,
            "QUERY_PARAMS" => argument != "DECODED",
            "UPSTREAM_METADATA" => !argument.starts_with('['),
            "METADATA" => {
                let of = argument.split(':').next().unwrap_or_default();
                ["CLUSTER", "ROUTE", "UPSTREAM_HOST", "VIRTUAL_HOST"].contains(&of)
            }
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT"
            | "REQUESTED_SERVER_NAME"
            | "RESPONSE_CODE_DETAILS" => argument.is_empty(),
            name => name.starts_with("DOWNSTREAM_TLS_") || name.starts_with("DOWNSTREAM_PEER_"),
        }
    }
}

impl Form {
    fn has_length(self) -> bool {
        !matches!(
            self,
            Self::Plain
                | Self::Optional
                | Self::Time
                | Self::TextAlone
                | Self::Duration
                | Self::ServerName
        )
    }

    fn check(self, argument: &str) -> Result<(), String> {
        let fields: Vec<&str> = argument.split(':').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let expected = |what: &str| Err(format!("{what} was expected in its parentheses"));
        let is_taken = match self {
            Self::Plain if !argument.is_empty() => return expected("nothing"),
            Self::Plain | Self::Optional => true,
            Self::Time if argument.contains("%n") || argument.contains('\n') => {
                return expected("a date without a line break");
            }
            Self::Time => true,
            Self::Header => {
                let names: Vec<&str> = argument.split('?').collect();
                let taken = names.iter().all(|name| is_header_name(name));
                if argument.is_empty() || names.len() > 2 || !taken {
                    return expected("a header's name, or two with a question mark between");
                }
                true
            }
            Self::Text | Self::TextAlone if argument.is_empty() => return expected("an argument"),
            Self::Text | Self::TextAlone => true,
            Self::Path => {
                ["", "WQ", "NQ"].contains(&field(0))
                    && ["", "PATH", "ORIG", "ORIG_OR_PATH"].contains(&field(1))
            }
            Self::ServerName => {
                ["", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"].contains(&field(0))
                    && ["", "ORIG", "HOST", "ORIG_OR_HOST"].contains(&field(1))
            }
            Self::QueryParameters => ["", "ORIG", "DECODED"].contains(&argument),
            Self::Metadata => {
                let kinds = [
                    "CLUSTER",
                    "DYNAMIC",
                    "LISTENER",
                    "LISTENER_FILTER_CHAIN",
                    "ROUTE",
                    "UPSTREAM_HOST",
                    "VIRTUAL_HOST",
                ];
                kinds.contains(&field(0))
            }
            Self::State => match field(1) {
                "" | "PLAIN" | "TYPED" => !argument.is_empty(),
                "FIELD" => !field(2).is_empty(),
                _ => false,
            },
            Self::Duration => {
                (2..=3).contains(&fields.len()) && ["", "s", "ms", "us", "ns"].contains(&field(2))
            }
            Self::ForwardedCertificate => {
                let keys = ["by", "hash", "cert", "chain", "subject", "uri", "dns"];
                keys.iter().any(|key| key.eq_ignore_ascii_case(argument))
            }
            Self::Coalesce => argument.starts_with('{') && argument.contains("\"operators\""),
        };
        if is_taken {
            Ok(())
        } else {
            Err(format!("({argument}) does not say which value"))
        }
    }
}

fn is_header_name(name: &str) -> bool {
    let name = name.strip_prefix(':').unwrap_or(name);
    let mut bytes = name.bytes();
    bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    // What Envoy 1.40 took and refused.
    const TAKEN: &[&str] = &[
        "METADATA(ROUTE)",
        "METADATA(ROUTE:)",
        "METADATA(ROUTE:a:b:c)",
        "METADATA(LISTENER_FILTER_CHAIN:a)",
        "METADATA(ROUTE:a):0",
        "COMMON_DURATION(DS_RX_BEG:DS_RX_END)",
        "COMMON_DURATION(A:B:ms)",
        "PATH",
        "PATH()",
        "PATH(NQ:)",
        "PATH(:)",
        "PATH(NQ:ORIG:X)",
        "PATH(:ORIG_OR_PATH)",
        "PATH(NQ):3",
        "LISTENER_NAME()",
        "REQUESTED_SERVER_NAME()",
        "REQUESTED_SERVER_NAME(SNI_FIRST)",
        "REQUESTED_SERVER_NAME(HOST_FIRST:ORIG_OR_HOST)",
        "REQUESTED_SERVER_NAME(:HOST)",
        "REQUESTED_SERVER_NAME(SNI_ONLY:ORIG:x)",
        "QUERY_PARAM(a?b)",
        "QUERY_PARAM(a b)",
        "QUERY_PARAMS():3",
        "REQ(a?b)",
        "REQ(?)",
        "REQ(A_B)",
        "REQ(:path?a)",
        "REQ(a):0",
        "START_TIME(%E4n)",
        "START_TIME(x%)",
        "DYNAMIC_METADATA(:)",
        "FILTER_STATE(a:TYPED)",
        "FILTER_STATE(a:FIELD:b)",
        "ENVIRONMENT(a:b)",
        "UPSTREAM_METADATA([])",
        "UPSTREAM_METADATA(a)",
        "CEL(request.path)",
        "COALESCE({\"operators\":[\"PROTOCOL\"]}):3",
        "RESPONSE_CODE_DETAILS(x)",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1)",
        "UPSTREAM_HOST()",
        "PER_REQUEST_STATE(a)",
        "RESPONSE_TRAILER(a)",
        "TYPED_CEL(request.path)",
        "XFCC_VALUE(uri)",
        "XFCC_VALUE(Subject):3",
    ];
    const REFUSED: &[&str] = &[
        "LISTENER_NAME(x)",
        "LISTENER_NAME:3",
        "REQUESTED_SERVER_NAME(HOST_ONLY)",
        "REQUESTED_SERVER_NAME(SNI_FIRST:x)",
        "REQUESTED_SERVER_NAME(SNI_FIRST):3",
        "METADATA(route:a)",
        "METADATA()",
        "METADATA(FILTER_CHAIN:a)",
        "COMMON_DURATION(DS_RX_BEG:DS_RX_END:xx)",
        "COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms):3",
        "PATH(WQ:NO)",
        "PATH(X)",
        "QUERY_PARAMS(orig)",
        "QUERY_PARAMS(ORIG:DECODED)",
        "QUERY_PARAM()",
        "REQ",
        "REQ()",
        "REQ(a??b)",
        "REQ(a:b)",
        "REQ(a?b?c)",
        "REQ(a b)",
        "REQ( a )",
        "REQ(a\"b)",
        "REQ(ä)",
        "REQ(a,b)",
        "RESP(a b)",
        "TRAILER(a?b?c)",
        "STREAM_INFO_REQ(a?b?c)",
        "START_TIME(%n)",
        "START_TIME(%f):3",
        "DYNAMIC_METADATA()",
        "FILTER_STATE()",
        "FILTER_STATE(a:NOPE)",
        "FILTER_STATE(a:FIELD)",
        "ENVIRONMENT()",
        "PER_REQUEST_STATE()",
        "PER_REQUEST_STATE(a):3",
        "UPSTREAM_METADATA()",
        "CEL()",
        "COALESCE({})",
        "COALESCE(x)",
        "UPSTREAM_HOST(a)",
        "PROTOCOL(a)",
        "PROTOCOL:3",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT():3",
        "VIRTUAL_HOST_NAME",
        "REQ_WITHOUT_QUERY(a)",
        "NOT_A_COMMAND",
        "RESPONSE_TRAILER",
        "REQUEST_TRAILER(a)",
        "TYPED_CEL()",
        "XFCC_VALUE",
        "XFCC_VALUE()",
        "XFCC_VALUE(uri:1)",
        "XFCC_VALUE(uri,dns)",
    ];

    #[test]
    fn commands_are_those_of_envoy() {
        for command in TAKEN {
            let found = parse(&format!("%{command}%")).map(|parts| parts.len());
            assert_eq!(found, Ok(1), "{command}");
        }
        for command in REFUSED {
            assert!(parse(&format!("%{command}%")).is_err(), "{command}");
        }
    }
}
