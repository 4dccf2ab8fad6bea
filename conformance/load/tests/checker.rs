//! The generator against its own backend, and against backends that do one thing wrong: each has to
//! be found, as what it is.

use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use twinmesh_load::backend::{Backend, Wrong};
use twinmesh_load::client::expected::Expected;
use twinmesh_load::client::fault::Kind;
use twinmesh_load::client::report::Report;
use twinmesh_load::client::variety::{Feature, Variety};
use twinmesh_load::client::{self, Load, Until};

async fn backend(name: &str, wrong: Option<Wrong>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Backend::new(name, wrong).serve(listener));
    address
}

fn load(address: SocketAddr, requests: u64) -> Load {
    Load {
        address,
        authority: "test".to_owned(),
        path: "/a".to_owned(),
        connections: 4,
        until: Until::Requests(requests),
        expected: Expected::default(),
        bytes: 300,
        mix: false,
        variety: Variety::default(),
        seed: 7,
        timeout: Duration::from_secs(20),
    }
}

fn mixed(address: SocketAddr, requests: u64, features: &[Feature]) -> Load {
    Load {
        mix: true,
        variety: Variety::of(features),
        ..load(address, requests)
    }
}

fn assert_right(report: &Report) {
    assert!(report.is_right(false), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plain_response_is_right() {
    let report = client::run(load(backend("v1", None).await, 2000)).await;
    assert_right(&report);
    assert_eq!(report.answered(), 2000);
    assert_eq!(report.answered_by("v1"), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mixed_response_is_right() {
    let report = client::run(mixed(backend("v1", None).await, 3000, &[])).await;
    assert_right(&report);
    let json = report.json();
    let count = |name: &str| json[name].as_u64().unwrap();
    assert_eq!(
        report.answered() + count("cut") + count("broken"),
        3000,
        "{report}"
    );
    assert!(count("cut") > 0 && count("broken") > 0, "{report}");
}

#[rstest]
#[case(Wrong::Byte, Kind::Byte)]
#[case(Wrong::Body, Kind::Byte)]
#[case(Wrong::Gap, Kind::Byte)]
#[case(Wrong::Id, Kind::Id)]
#[case(Wrong::Path, Kind::Path)]
#[case(Wrong::Backend, Kind::Backend)]
#[case(Wrong::Status, Kind::Status)]
#[case(Wrong::Short, Kind::Length)]
#[case(Wrong::Long, Kind::Length)]
#[case(Wrong::Framing, Kind::Framing)]
#[case(Wrong::Head, Kind::Head)]
#[case(Wrong::Close, Kind::Closed)]
#[case(Wrong::Cut, Kind::CutOff)]
#[tokio::test]
async fn what_is_wrong_is_found(#[case] wrong: Wrong, #[case] kind: Kind) {
    let mut load = load(backend("v1", Some(wrong)).await, 200);
    load.expected.shares = vec!["v1".parse().unwrap()];
    let report = client::run(load).await;
    assert_eq!(report.faults(kind), 20, "{report}");
    assert_eq!(report.answered(), 180, "{report}");
    assert!(!report.is_right(false));
    assert_eq!(report.is_right(true), kind.is_loss());
}

/// What follows a response is seen at once, or in place of the next response.
#[rstest]
#[case(Wrong::Twice)]
#[case(Wrong::Extra)]
#[tokio::test]
async fn bytes_after_a_response_are_found(#[case] wrong: Wrong) {
    let report = client::run(load(backend("v1", Some(wrong)).await, 200)).await;
    let found = report.faults(Kind::Extra) + report.faults(Kind::Id) + report.faults(Kind::Head);
    assert!(found >= 10, "{report}");
    assert!(!report.is_right(true));
}

#[rstest]
#[case(Wrong::Sum, Kind::RequestBody, Feature::Bodies)]
#[case(Wrong::Times, Kind::Repeated, Feature::Bodies)]
#[case(Wrong::Whole, Kind::Whole, Feature::Die)]
#[tokio::test]
async fn what_is_wrong_with_a_mix_is_found(
    #[case] wrong: Wrong,
    #[case] kind: Kind,
    #[case] feature: Feature,
) {
    let report = client::run(mixed(backend("v1", Some(wrong)).await, 4000, &[feature])).await;
    assert!(report.faults(kind) > 0, "{report}");
    assert!(!report.is_right(true));
}

#[tokio::test]
async fn silence_is_found_and_no_loss() {
    let mut load = load(backend("v1", Some(Wrong::Silence)).await, 10);
    load.timeout = Duration::from_millis(300);
    let report = client::run(load).await;
    assert_eq!(report.faults(Kind::Stalled), 1, "{report}");
    assert!(!report.is_right(true));
}

#[tokio::test]
async fn a_refused_connection_is_a_loss() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let report = client::run(load(address, 20)).await;
    assert_eq!(report.faults(Kind::Refused), 20, "{report}");
    assert!(report.is_right(true) && !report.is_right(false));
}

/// Sends each connection to one of two backends in turn, whatever its requests say.
async fn blind_proxy(backends: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut backend = TcpStream::connect(backends[turn % 2]).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_request_at_the_wrong_backend_is_found() {
    let backends = [backend("v1", None).await, backend("v2", None).await];
    let mut load = load(blind_proxy(backends).await, 400);
    load.expected.pinned = vec!["x-v: 2=v2".parse().unwrap()];
    load.expected.shares = vec!["v1=1".parse().unwrap()];
    let report = client::run(load).await;
    assert!(report.faults(Kind::Backend) > 50, "{report}");
}

#[tokio::test]
async fn shares_that_are_not_the_weights_are_found() {
    let backends = [backend("v1", None).await, backend("v2", None).await];
    let mut load = load(blind_proxy(backends).await, 4000);
    load.expected.shares = vec!["v1=9".parse().unwrap(), "v2=1".parse().unwrap()];
    let report = client::run(load).await;
    assert_eq!(report.answered(), 4000, "{report}");
    assert!(report.wrong_share().is_some(), "{report}");
    assert!(!report.is_right(true));
}

/// A body that ends with the connection, which ends in the middle and by FIN.
#[tokio::test]
async fn a_reset_that_became_an_end_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let behind = backend("v1", None).await;
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut backend = TcpStream::connect(behind).await.unwrap();
            tokio::spawn(async move {
                // Ends both sides by FIN, whatever the reason.
                let (mut from_client, mut to_client) = client.split();
                let (mut from_backend, mut to_backend) = backend.split();
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_backend) => {}
                    _ = tokio::io::copy(&mut from_backend, &mut to_client) => {}
                }
                let _ = to_client.shutdown().await;
            });
        }
    });
    let load = mixed(address, 3000, &[Feature::UntilClose, Feature::Die]);
    let report = client::run(load).await;
    assert!(report.faults(Kind::Whole) > 0, "{report}");
}

/// A proxy that answers two pipelined requests in the wrong order.
#[tokio::test]
async fn swapped_responses_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
        let id = text.split("x-request-id: ").last().unwrap();
        let id = u64::from_str_radix(&id[..16], 16).unwrap() + 1;
        let head = format!(
            "HTTP/1.1 200 OK\r\nx-backend: v1\r\nx-path: /a?bytes=300\r\nx-request-id: {id:016x}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.read(&mut bytes).await;
    });
    let report = client::run(Load {
        connections: 1,
        ..load(address, 1)
    })
    .await;
    assert_eq!(report.faults(Kind::Id), 1, "{report}");
}
