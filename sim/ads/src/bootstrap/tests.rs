use std::ffi::OsString;

use super::*;

const SMALL: &str = r#"{"xds_servers": [{"server_uri": "xds.test:1",
  "channel_creds": [{"type": "google_default"}, {"type": "insecure"}]}]}"#;

fn refusal(content: &str) -> String {
    Bootstrap::parse("b.json", content.as_bytes())
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn a_file_with_everything() {
    let read = Bootstrap::parse(
        "b.json",
        br#"{
          "xds_servers": [{
            "server_uri": "dns:///xds.test:15012",
            "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": "/ca",
              "certificate_file": "/cert", "private_key_file": "/key", "refresh_interval": "60s"}}],
            "server_features": ["xds_v3", "ignore_resource_deletion"]
          }, {"server_uri": "unix:///run/xds", "channel_creds": [{"type": "insecure"}]}],
          "node": {"id": "sidecar~1", "cluster": "c", "locality": {"region": "r", "zone": "z"},
            "metadata": {"A": {"b": [1, null, true, "s"]}}},
          "certificate_providers": {}, "something_else": 7
        }"#,
    )
    .expect("it is read");
    let [first, second] = read.servers.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(first.target.to_string(), "xds.test:15012");
    assert_eq!(first.features, ["xds_v3", "ignore_resource_deletion"]);
    assert_eq!(
        first.credentials,
        Credentials::Tls {
            ca_certificate_file: Some("/ca".into()),
            identity: Some(("/cert".into(), "/key".into())),
        }
    );
    assert_eq!(second.target, Target::Unix("/run/xds".to_owned()));
    assert_eq!(read.node.id, "sidecar~1");
    assert_eq!(read.node.locality.expect("a locality").zone, "z");
    let metadata = read.node.metadata.expect("metadata");
    let Some(ValueKind::StructValue(inner)) = &metadata.fields["A"].kind else {
        panic!("{metadata:?}");
    };
    let Some(ValueKind::ListValue(list)) = &inner.fields["b"].kind else {
        panic!("{inner:?}");
    };
    assert_eq!(list.values[0].kind, Some(ValueKind::NumberValue(1.0)));
    assert_eq!(
        list.values[3].kind,
        Some(ValueKind::StringValue("s".to_owned()))
    );
}

#[test]
fn the_first_supported_credentials_are_taken() {
    let read = Bootstrap::parse("b.json", SMALL.as_bytes()).expect("it is read");
    assert_eq!(read.servers[0].credentials, Credentials::Insecure);
}

#[rstest::rstest]
#[case("", "b.json:1:0: EOF while parsing a value")]
#[case(
    "{\n \"xds_servers\": [}",
    "b.json:2:18: xds_servers[0]: expected value"
)]
#[case("{}", "b.json:1:2: missing field `xds_servers`")]
#[case(
    "{\"xds_servers\": []}",
    "b.json: xds_servers: expected at least one server, found none"
)]
#[case(
    "{\"xds_servers\": [\n{\"server_uri\": 7}]}",
    "b.json:2:16: xds_servers[0].server_uri: invalid type: integer `7`, expected a string"
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "alts"}]}]}"#,
    "b.json: xds_servers[0].channel_creds: expected one of type \"insecure\" or \"tls\", found \"alts\""
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": []}]}"#,
    "b.json: xds_servers[0].channel_creds: expected one of type \"insecure\" or \"tls\", found none"
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"certificate_file": "c"}}]}]}"#,
    "b.json: xds_servers[0].channel_creds[0].config: expected both certificate_file and private_key_file, or neither, found certificate_file alone"
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": 1}}]}]}"#,
    "b.json: xds_servers[0].channel_creds[0].config.ca_certificate_file: expected a string, found a number"
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "http://a:1", "channel_creds": [{"type": "insecure"}]}]}"#,
    "b.json: xds_servers[0].server_uri: expected host:port, dns:///host:port, ipv4:address:port, ipv6:[address]:port or unix:/path, found \"http://a:1\""
)]
#[case(
    r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]}]} x"#,
    "b.json:1:83: trailing characters"
)]
fn a_refusal_names_place_and_field(#[case] content: &str, #[case] expected: &str) {
    assert_eq!(refusal(content), expected);
}

#[test]
fn the_option_goes_before_the_file_and_the_file_before_the_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str| {
        let path = folder.path().join(name);
        let content = SMALL.replace("xds.test", name);
        std::fs::write(&path, content).expect("it is written");
        path
    };
    let (option, file) = (write("option"), write("file"));
    let uri = |path: Option<&Path>, file: Option<&Path>, content: Option<String>| {
        let read = Bootstrap::load_with(path, &|name| match name {
            BOOTSTRAP_FILE => file.map(|path| path.as_os_str().to_owned()),
            BOOTSTRAP_CONFIG => content.clone().map(OsString::from),
            _ => None,
        });
        read.map(|read| read.servers[0].uri.clone())
            .map_err(|error| error.to_string())
    };
    let content = || Some(SMALL.replace("xds.test", "content"));
    assert_eq!(
        uri(Some(&option), Some(&file), content()),
        Ok("option:1".into())
    );
    assert_eq!(uri(None, Some(&file), content()), Ok("file:1".into()));
    assert_eq!(uri(None, None, content()), Ok("content:1".into()));
    let nothing = uri(None, None, None).expect_err("there is none");
    assert!(nothing.contains("$GRPC_XDS_BOOTSTRAP_CONFIG"), "{nothing}");
    let broken = uri(None, None, Some("{".into())).expect_err("it is broken");
    assert!(
        broken.starts_with("$GRPC_XDS_BOOTSTRAP_CONFIG:1:1: "),
        "{broken}"
    );
    let missing = folder.path().join("missing");
    let missing = uri(Some(&missing), None, content()).expect_err("no such file");
    assert!(
        missing.contains("missing: the xDS bootstrap cannot be read"),
        "{missing}"
    );
}
