//! Streams that end and begin again, servers that are not there, the last good policy, TLS.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::*;
use rstest::rstest;
use twinmesh_ads::{Bootstrap, Kind, Options, Source};
use twinmesh_control_plane::{Behaviour, Command, ControlPlane, Tls, What};

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(LOOPBACK)
        .await
        .expect("it is bound");
    listener.local_addr().expect("an address")
}

#[rstest]
#[tokio::test]
async fn what_is_held_does_not_come_again(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent.policy(|_| true).await;
    all_answered(&server).await;
    server.command(Command::Close);
    let events = wait(&server, "all subscriptions on a second stream", |events| {
        let mut again: Vec<&str> = events
            .iter()
            .filter(|event| event.stream == 2)
            .filter(|event| matches!(event.event, What::Subscribe | What::Resumed))
            .map(|event| event.r#type.as_str())
            .collect();
        again.dedup();
        again == ["CDS", "EDS", "LDS", "RDS"]
    })
    .await;
    let second = events.iter().filter(|event| event.stream == 2);
    let sent: Vec<&str> = second
        .filter(|event| event.event == What::Sent)
        .map(|event| event.r#type.as_str())
        .collect();
    if delta {
        assert!(sent.is_empty(), "{sent:?}");
    } else {
        assert!(!sent.contains(&"CDS") && !sent.contains(&"LDS"), "{sent:?}");
    }
    all_answered(&server).await;
    assert_eq!(agent.status.updates(), 1);
    while agent.status.reconnects() < 1 {
        tokio::task::yield_now().await;
    }
    server.serve(served(&mesh(9009), "v2"));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9009))
        .await;
}

#[rstest]
#[tokio::test]
async fn what_changes_while_there_is_no_stream_is_seen_later(#[values(false, true)] delta: bool) {
    let first = server().await;
    let address = first.address();
    first.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&first, delta);
    agent.policy(|_| true).await;
    drop(first);
    while agent.status.is_connected() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        outline(&agent.now().expect("a policy")),
        outline_of_mesh(9001)
    );
    let second = loop {
        // The first one's port is free once its last task has gone.
        match ControlPlane::start(address, None).await {
            Ok(server) => break server,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    second.serve(served(
        &[
            listener("l2", 8002, "r2"),
            routes("r2", "c2"),
            cluster("c2"),
            endpoints("c2", 9002),
        ],
        "v2",
    ));
    agent
        .policy_of(&["l2 -> r2", "r2 -> c2", "c2 -> 9002"])
        .await;
}

#[rstest]
#[tokio::test]
async fn another_server_is_asked_where_the_first_is_not_there(#[values(false, true)] delta: bool) {
    let (first, second) = (nobody().await, server().await);
    second.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::start(bootstrap(&[first, second.address()]), options(delta));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    assert_eq!(agent.status.server(), Some(second.address().to_string()));
    // Versions of one server mean nothing to another, even where they are the same.
    let first = ControlPlane::start(first, None).await.expect("it listens");
    first.serve(served(
        &[
            cluster("c2"),
            endpoints("c2", 9022),
            routes("r2", "c2"),
            listener("l2", 8002, "r2"),
        ],
        "v1",
    ));
    second.command(Command::Close);
    agent
        .policy_of(&["l2 -> r2", "r2 -> c2", "c2 -> 9022"])
        .await;
    assert_eq!(agent.status.server(), Some(first.address().to_string()));
}

#[tokio::test]
async fn a_server_that_takes_the_connection_and_says_nothing_is_left() {
    let silent = tokio::net::TcpListener::bind(LOOPBACK)
        .await
        .expect("it is bound");
    let address = silent.local_addr().expect("an address");
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let second = server().await;
    second.serve(served(&mesh(9001), "v1"));
    let options = Options {
        resource_timeout: Duration::from_millis(100),
        ..options(false)
    };
    let mut agent = Agent::start(bootstrap(&[address, second.address()]), options);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    holding.abort();
}

#[tokio::test]
async fn a_server_that_ends_each_stream_without_an_answer_is_left() {
    let (first, second) = (server().await, server().await);
    first.behave(Behaviour {
        silent: Kind::ALL.into(),
        ..Behaviour::default()
    });
    second.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::start(
        bootstrap(&[first.address(), second.address()]),
        options(true),
    );
    wait(&first, "a request", |events| {
        count(events, What::Subscribe, "CDS") == 1
    })
    .await;
    first.command(Command::Close);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    assert_eq!(agent.status.server(), Some(second.address().to_string()));
}

#[tokio::test]
async fn over_a_socket_in_the_file_system() {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("xds");
    let listener = tokio::net::UnixListener::bind(&path).expect("it is bound");
    let address = server.address();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(address)
                .await
                .expect("it listens");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let text = format!(
        r#"{{"xds_servers": [{{"server_uri": "unix://{}", "channel_creds": [{{"type": "insecure"}}]}}]}}"#,
        path.display()
    );
    let bootstrap = Bootstrap::parse("test", text.as_bytes()).expect("it is a bootstrap");
    let mut agent = Agent::start(bootstrap, options(false));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    forwarding.abort();
}

fn keeping(delta: bool, path: &Path) -> Options {
    Options {
        last_good: Some(path.to_owned()),
        ..options(delta)
    }
}

#[rstest]
#[tokio::test]
async fn the_last_good_policy_is_used_until_a_server_answers(#[values(false, true)] delta: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    let first = server().await;
    let address = first.address();
    first.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::start(bootstrap(&[address]), keeping(delta, &path));
    let before = agent.policy(|_| true).await;
    while twinmesh_ads::store::read(&path).is_err() {
        tokio::task::yield_now().await;
    }
    drop(agent);
    drop(first);

    let gone = nobody().await;
    let mut agent = Agent::start(bootstrap(&[gone]), keeping(delta, &path));
    let policy = agent.policy(|_| true).await;
    assert_eq!(policy.source, Source::LastGood);
    assert_eq!(policy.resources, before.resources);
    assert_eq!(policy.snapshot, before.snapshot);
    assert_eq!(policy.received, before.received);
    assert_eq!(agent.status.updates(), 0);
    assert_eq!(agent.status.last_update(), None);
    let second = ControlPlane::start(gone, None).await.expect("it listens");
    second.serve(served(&mesh(9009), "v2"));
    let policy = agent.policy(|policy| policy.source == Source::Server).await;
    assert_eq!(outline(&policy), outline_of_mesh(9009));
}

#[tokio::test]
async fn a_last_good_policy_that_is_corrupt_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last-good.pb");
    std::fs::write(&path, b"\x02\x0a\x00 and so on").expect("it is written");
    let gone = nobody().await;
    let mut agent = Agent::start(bootstrap(&[gone]), keeping(false, &path));
    while path.exists() {
        tokio::task::yield_now().await;
    }
    assert!(agent.now().is_none());
    assert!(folder.path().join("last-good.pb.corrupt").exists());
    let server = ControlPlane::start(gone, None).await.expect("it listens");
    server.serve(served(&mesh(9001), "v1"));
    agent.policy(|policy| policy.source == Source::Server).await;
}

/// A certificate authority and what it has signed, in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("it is written");
        Authority {
            folder,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("it is there")
    }

    /// Writes `name.pem` and `name.key`.
    fn sign(&self, name: &str, host: &str) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |ending: &str, text: String| {
            std::fs::write(self.path(&format!("{name}.{ending}")), text).expect("it is written");
        };
        write("pem", certificate.pem());
        write("key", key.serialize_pem());
    }

    fn tls(&self, clients: bool) -> Tls {
        Tls {
            certificate: self.read("server.pem"),
            key: self.read("server.key"),
            client_ca: clients.then(|| self.read("ca.pem")),
        }
    }
}

fn secure(address: SocketAddr, config: &str) -> Bootstrap {
    let text = format!(
        r#"{{"xds_servers": [{{"server_uri": "localhost:{}",
        "channel_creds": [{{"type": "tls", "config": {config}}}]}}]}}"#,
        address.port()
    );
    Bootstrap::parse("test", text.as_bytes()).expect("it is a bootstrap")
}

#[rstest]
#[tokio::test]
async fn over_tls_with_and_without_a_certificate_of_ones_own(#[values(false, true)] mutual: bool) {
    let authority = Authority::new();
    authority.sign("server", "localhost");
    authority.sign("client", "client");
    let server = ControlPlane::start(LOOPBACK, Some(authority.tls(mutual))).await;
    let server = server.expect("it listens");
    server.serve(served(&mesh(9001), "v1"));
    let own = format!(
        r#", "certificate_file": "{}", "private_key_file": "{}""#,
        authority.path("client.pem"),
        authority.path("client.key")
    );
    let config = format!(
        r#"{{"ca_certificate_file": "{}"{}}}"#,
        authority.path("ca.pem"),
        if mutual { own } else { String::new() }
    );
    let mut agent = Agent::start(secure(server.address(), &config), options(false));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
}

#[rstest]
#[case::of_another_authority("other.pem", "localhost", "certificate")]
#[case::for_another_host("ca.pem", "elsewhere.test", "not valid for name")]
#[case::file_that_is_none("server.key", "localhost", "certificate")]
#[case::file_that_is_not_there("missing.pem", "localhost", "missing.pem cannot be read")]
#[tokio::test]
async fn a_server_whose_certificate_does_not_fit_is_not_asked(
    #[case] ca: &str,
    #[case] host: &str,
    #[case] expected: &str,
) {
    let authority = Authority::new();
    authority.sign("server", host);
    let other = Authority::new();
    std::fs::copy(other.path("ca.pem"), authority.path("other.pem")).expect("it is copied");
    let server = ControlPlane::start(LOOPBACK, Some(authority.tls(false))).await;
    let server = server.expect("it listens");
    server.serve(served(&mesh(9001), "v1"));
    let config = format!(r#"{{"ca_certificate_file": "{}"}}"#, authority.path(ca));
    let agent = Agent::start(secure(server.address(), &config), options(false));
    while agent.status.failures() < 2 {
        tokio::task::yield_now().await;
    }
    let reason = agent.status.last_failure().expect("a reason");
    assert!(reason.to_lowercase().contains(expected), "{reason}");
    assert!(agent.now().is_none());
    assert!(server.events().is_empty());
}

#[tokio::test]
async fn a_dropped_client_ends_its_stream() {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, false);
    agent
        .policy(|policy| policy.versions[Kind::Cluster] == "v1")
        .await;
    drop(agent);
    wait(&server, "the stream's end", |events| {
        events.iter().any(|event| event.event == What::Close)
    })
    .await;
}
