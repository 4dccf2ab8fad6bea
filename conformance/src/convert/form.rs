//! The formats: which one a file is, and who reads it.

use std::fmt;

use clap::ValueEnum;

use super::fields::Mapping;
use super::reading::Reading;
use super::{access_json, access_text, capture, har};

/// A format of recorded traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// HAR 1.2, as browsers and proxies write it.
    Har,
    /// Envoy's access log in JSON, an object a line.
    EnvoyJson,
    /// Envoy's access log in its default text format.
    EnvoyText,
    /// Envoy's access log in Istio's default text format.
    IstioText,
    /// A packet capture, pcap or pcapng, with HTTP/1.1 in the clear.
    Pcap,
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Har => "har",
            Self::EnvoyJson => "envoy-json",
            Self::EnvoyText => "envoy-text",
            Self::IstioText => "istio-text",
            Self::Pcap => "pcap",
        })
    }
}

/// Finds the format of a file.
///
/// # Errors
/// It is none that is known here.
pub fn detect(bytes: &[u8]) -> Result<Form, String> {
    if capture::is_capture(bytes) {
        return Ok(Form::Pcap);
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err("the file is gzip-compressed".to_owned());
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Err("the file is empty".to_owned());
    };
    if line.starts_with('{') {
        let is_log = serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|value| value.get("log").is_none_or(|log| !log.is_object()));
        return Ok(if is_log { Form::EnvoyJson } else { Form::Har });
    }
    if line.starts_with('[') {
        for (form, layout) in [
            (Form::IstioText, access_text::ISTIO),
            (Form::EnvoyText, access_text::ENVOY),
        ] {
            if text
                .lines()
                .take(100)
                .any(|line| access_text::split(line, layout).is_ok())
            {
                return Ok(form);
            }
        }
    }
    Err(
        "it is neither HAR, nor an access log of Envoy in JSON or a default text format, nor a \
         packet capture"
            .to_owned(),
    )
}

/// Reads a file.
///
/// # Errors
/// It is not of the format at all.
pub fn read(form: Form, bytes: &[u8], map: &[Mapping]) -> Result<Reading, String> {
    if form != Form::Pcap && bytes.starts_with("\u{feff}".as_bytes()) {
        return Err("found a byte order mark at its start; save the file without it".to_owned());
    }
    match form {
        Form::Har => har::read(bytes),
        Form::EnvoyJson => Ok(access_json::read(bytes, map)),
        Form::EnvoyText => Ok(access_text::read(bytes, access_text::ENVOY)),
        Form::IstioText => Ok(access_text::read(bytes, access_text::ISTIO)),
        Form::Pcap => capture::read(bytes),
    }
}
