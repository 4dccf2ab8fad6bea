//! `RouteMatch.tls_context`.

use envoy_types::pb::envoy::config::route::v3::route_match::TlsContextMatchOptions;
use twinmesh_engine::ClientCertificate;

/// Whether the client's certificate, `None` where it presented none, is as the matcher asks.
pub(crate) fn matches(
    asked: &TlsContextMatchOptions,
    certificate: Option<ClientCertificate>,
) -> bool {
    let presented = certificate.is_some();
    let validated = certificate == Some(ClientCertificate::Validated);
    let presented_fits = asked.presented.is_none_or(|it| it.value == presented);
    let validated_fits = asked.validated.is_none_or(|it| it.value == validated);
    presented_fits && validated_fits
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    const NONE: Option<ClientCertificate> = None;
    const PRESENTED: Option<ClientCertificate> = Some(ClientCertificate::Presented);
    const VALIDATED: Option<ClientCertificate> = Some(ClientCertificate::Validated);

    #[rstest]
    #[case(None, None, [true, true, true])]
    #[case(Some(true), None, [false, true, true])]
    #[case(Some(false), None, [true, false, false])]
    #[case(None, Some(true), [false, false, true])]
    #[case(None, Some(false), [true, true, false])]
    #[case(Some(true), Some(false), [false, true, false])]
    fn certificates(
        #[case] presented: Option<bool>,
        #[case] validated: Option<bool>,
        #[case] expected: [bool; 3],
    ) {
        let asked = TlsContextMatchOptions {
            presented: presented.map(|value| BoolValue { value }),
            validated: validated.map(|value| BoolValue { value }),
        };
        assert_eq!(
            [NONE, PRESENTED, VALIDATED].map(|it| matches(&asked, it)),
            expected
        );
    }
}
