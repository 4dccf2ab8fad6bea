//! TLS between the client and Envoy, by certificates that are made for this process alone.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};
use serde_json::{Value, json};
use twinmesh_engine::ClientCertificate;

use crate::error::EnvoyError;

const CONTEXT: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// What a TLS client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The server's name; none is sent where there is none.
    server_name: Option<String>,
    /// The protocols that it offers, in order.
    protocols: Vec<String>,
    certificate: Option<ClientCertificate>,
}

impl Tls {
    /// For these fields of a request.
    ///
    /// # Errors
    /// No client sends such a name.
    pub fn new(
        server_name: Option<&str>,
        protocols: Option<&str>,
        certificate: Option<ClientCertificate>,
    ) -> Result<Self, String> {
        if let Some(name) = server_name
            && !matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)))
        {
            return Err(format!("its sni {name:?} is no name that a client sends"));
        }
        Ok(Self {
            server_name: server_name.map(str::to_owned),
            protocols: protocols
                .unwrap_or_default()
                .split(',')
                .filter(|protocol| !protocol.is_empty())
                .map(str::to_owned)
                .collect(),
            certificate,
        })
    }
}

/// A key with its certificate.
struct Certified {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// Who takes part.
struct Parties {
    authority: String,
    server: Certified,
    /// A client that the authority knows.
    known: Certified,
    /// A client that it does not.
    stranger: Certified,
}

impl Parties {
    /// Those of this process.
    fn get() -> Result<&'static Self, EnvoyError> {
        static PARTIES: OnceLock<Result<Parties, String>> = OnceLock::new();
        let made = PARTIES.get_or_init(|| Self::make().map_err(|error| error.to_string()));
        made.as_ref()
            .map_err(|error| EnvoyError::Unexpected(format!("certificates for TLS: {error}")))
    }

    fn make() -> Result<Self, rcgen::Error> {
        let mut params = named("authority.test")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let signed = |name: &str| -> Result<Certified, rcgen::Error> {
            let key = KeyPair::generate()?;
            let params = named(name)?;
            Ok(certified(params.signed_by(&key, &authority)?, key))
        };
        let key = KeyPair::generate()?;
        let stranger = named("stranger.test")?;
        Ok(Self {
            server: signed("server.test")?,
            known: signed("known.test")?,
            stranger: certified(stranger.self_signed(&key)?, key),
            authority: authority.pem(),
        })
    }
}

/// For a party of this name. Two of one name would be taken for one that signed itself.
fn named(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn certified(certificate: rcgen::Certificate, key: KeyPair) -> Certified {
    Certified {
        pem: certificate.pem(),
        certificate: certificate.der().clone(),
        key,
    }
}

/// The transport socket of a filter chain that takes TLS: it asks for a client's certificate, and
/// takes whatever comes.
///
/// # Errors
/// There are no certificates.
pub fn transport_socket() -> Result<Value, EnvoyError> {
    let parties = Parties::get()?;
    let inline = |text: &str| json!({"inline_string": text});
    Ok(json!({"name": "tls", "typed_config": {
        "@type": CONTEXT,
        "common_tls_context": {
            "tls_certificates": [{
                "certificate_chain": inline(&parties.server.pem),
                "private_key": inline(&parties.server.key.serialize_pem()),
            }],
            "validation_context": {
                "trusted_ca": inline(&parties.authority),
                "trust_chain_verification": "ACCEPT_UNTRUSTED",
            },
        },
    }}))
}

/// A connection's bytes, below HTTP.
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Speaks TLS over a connection, from what is written or read next.
    ///
    /// # Errors
    /// There are no certificates, or the client cannot be made.
    pub fn over_tls(stream: TcpStream, tls: &Tls) -> Result<Self, EnvoyError> {
        let parties = Parties::get()?;
        let failed = |error: Error| EnvoyError::Unexpected(format!("a TLS client: {error}"));
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Ours(Arc::clone(&provider)));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match tls.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let own = match certificate {
                    ClientCertificate::Validated => &parties.known,
                    ClientCertificate::Presented => &parties.stranger,
                };
                let key = PrivateKeyDer::Pkcs8(own.key.serialize_der().into());
                let chain = vec![own.certificate.clone()];
                builder.with_client_auth_cert(chain, key).map_err(failed)?
            }
        };
        config.enable_sni = tls.server_name.is_some();
        config.alpn_protocols = tls
            .protocols
            .iter()
            .map(|it| it.as_bytes().to_vec())
            .collect();
        let name = tls.server_name.as_deref().unwrap_or("server.test");
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| EnvoyError::Unexpected(format!("a TLS client: {error}")))?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }
}

impl Read for Stream {
    /// A connection that ends without TLS's own end, or where the other side speaks no TLS, has
    /// ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::InvalidData
                    ) =>
                {
                    Ok(0)
                }
                read => read,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Takes the server for the Envoy that this process started, whatever name it is asked by.
#[derive(Debug)]
struct Ours(Arc<CryptoProvider>);

impl ServerCertVerifier for Ours {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Tls;

    #[rstest]
    #[case(None, true)]
    #[case(Some("a.com"), true)]
    #[case(Some("A_b.com"), true)]
    #[case(Some(""), false)]
    #[case(Some("*.a.com"), false)]
    #[case(Some("127.0.0.1"), false)]
    fn names_that_a_client_sends(#[case] name: Option<&str>, #[case] expected: bool) {
        assert_eq!(Tls::new(name, None, None).is_ok(), expected);
    }

    #[test]
    fn protocols_are_a_list() {
        let tls = Tls::new(None, Some("h2,http/1.1"), None).expect("no name is asked for");
        assert_eq!(tls.protocols, ["h2", "http/1.1"]);
    }
}
