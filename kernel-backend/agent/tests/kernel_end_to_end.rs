//! The agent's binary between real clients (curl, Python's requests, wrk) and a real server (nginx),
//! on a node of the test's own.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use common::node::{Node, Space, need, run, until};
use common::process::AGENT;
use common::{bootstrap, cluster, kernel, manager};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PORT: u16 = 9080;
const ADMIN: &str = "http://127.0.0.1:15000";
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
/// What nginx has in plain and, under `/gzip`, compressed.
const SIZES: [usize; 6] = [200, 1_000, 4_096, 65_536, 300_000, 1 << 20];
/// Chi-square with one degree of freedom is above this once in a million times.
const ONE_IN_A_MILLION: f64 = 23.93;

const NGINX: &str = r#"
daemon off;
master_process off;
pid VERSION.pid;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type text/plain;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    add_header X-Backend VERSION;
    server {
        listen V4:PORT;
        listen [V6]:PORT;
        location /plain/ { alias WORK/VERSION/; }
        location /gzip/ { alias WORK/VERSION/; gzip on; gzip_min_length 1; gzip_types text/plain; }
    }
}
"#;

fn need_all() -> String {
    need(&[
        ("command -v ip", "iproute2"),
        ("command -v curl", "curl"),
        ("command -v wrk", "wrk"),
        ("command -v nginx || test -x /usr/sbin/nginx", "nginx-light"),
        (
            "python3 -c 'import requests' || /usr/bin/python3 -c 'import requests'",
            "python3-requests",
        ),
    ]);
    let any = Command::new("python3")
        .args(["-c", "import requests"])
        .output();
    let own = any.is_ok_and(|output| output.status.success());
    if own { "python3" } else { "/usr/bin/python3" }.to_owned()
}

/// A file's bytes: text, which no other file has.
fn content(version: &str, size: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut line = 0;
    while text.len() < size {
        let digest = Sha256::digest(format!("{version} {size} {line}"));
        writeln!(text, "{version} {line} {digest:x}").expect("text");
        line += 1;
    }
    text.truncate(size);
    text.into_bytes()
}

fn start_nginx(node: &mut Node, host: u8, version: &str) {
    std::fs::create_dir(node.path(version)).expect("a directory");
    for size in SIZES {
        let file = node.path(version).join(size.to_string());
        std::fs::write(file, content(version, size)).expect("written");
    }
    let address = |six| node.address(Space::Endpoints, host, six).to_string();
    let config = NGINX
        .replace("VERSION", version)
        .replace("V4", &address(false))
        .replace("V6", &address(true))
        .replace("PORT", &PORT.to_string())
        .replace("WORK", node.path("").to_str().expect("text"));
    let file = node.path(&format!("{version}.conf"));
    std::fs::write(&file, config).expect("written");
    let mut command = node.command(Space::Endpoints, "sh");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .args(["-c", r#"exec nginx -e stderr -p . -c "$0""#])
        .arg(&file);
    node.start(version, &mut command);
}

fn listener(node: &Node, six: bool) -> SocketAddr {
    // No host has it: it is the agent's to take.
    (node.address(Space::Clients, 80, six), PORT).into()
}

/// By the header end-user to v2, else 90 to 10 to v1 and v3; for both families.
fn policy(node: &Node) -> Value {
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for six in [false, true] {
        let name = |version: &str| format!("{version}-{}", if six { 6 } else { 4 });
        for (host, version) in (11..).zip(VERSIONS) {
            let endpoint = (node.address(Space::Endpoints, host, six), PORT);
            clusters.push(cluster(&name(version), "ROUND_ROBIN", &[endpoint.into()]));
        }
        let routes = json!([
            {"match": {"prefix": "/", "headers": [
                {"name": "end-user", "string_match": {"exact": "jason"}}]},
             "route": {"cluster": name("v2")}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
                {"name": name("v1"), "weight": 90}, {"name": name("v3"), "weight": 10}]}}},
        ]);
        let mut listener = common::http_listener(&name("web"), &manager(&routes));
        let at = self::listener(node, six);
        listener["address"]["socket_address"] =
            json!({"address": at.ip().to_string(), "port_value": PORT});
        listeners.push(listener);
    }
    bootstrap(&listeners, &clusters)
}

fn start_agent(node: &mut Node) {
    let snapshot = policy(node).to_string();
    std::fs::write(node.path("snapshot.json"), snapshot).expect("written");
    let mut command = node.command(Space::Node, AGENT);
    command.args(["run", "--snapshot", "snapshot.json", "--kernel", "required"]);
    command.args(["--access-log", "access.jsonl", "--drain-seconds", "5"]);
    command.args(["--cgroup", node.clients.path()]);
    for six in [false, true] {
        let at = SocketAddr::new(node.address(Space::Clients, 1, six), 0);
        command.args(["--redirect", &at.to_string()]);
    }
    node.start("agent", &mut command);
}

fn admin(node: &Node, path: &str) -> Option<String> {
    let mut command = node.command(Space::Node, "curl");
    let output = run(command.args(["-s", "-f", &format!("{ADMIN}{path}")]));
    let text = String::from_utf8(output.stdout).expect("text");
    output.status.success().then_some(text)
}

/// The sum of a metric's values, where labels have this in them.
fn metric(node: &Node, name: &str, label: &str) -> u64 {
    let text = admin(node, "/metrics").expect("metrics");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|line| line.starts_with(['{', ' ']) && line.contains(label));
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// Those whose responses the kernel carried, and those of which the agent relayed the rest.
fn spliced(node: &Node) -> u64 {
    metric(node, "twinmesh_kernel_requests_total", "")
        + metric(node, "twinmesh_decisions_total", "path=\"splice\"")
}

fn proxied(node: &Node) -> u64 {
    metric(node, "twinmesh_decisions_total", "path=\"proxy\"")
}

fn url(node: &Node, six: bool) -> String {
    format!("http://{}", listener(node, six))
}

/// Every file by one curl, whose connection is kept alive: how many requests.
fn curl(node: &Node, six: bool, user: Option<&str>) -> u64 {
    let mut command = node.command(Space::Clients, "curl");
    command.args(["-s", "-S", "-f", "--compressed", "--noproxy", "*"]);
    command.args([
        "-w",
        "%{num_connects} %header{x-backend} %header{content-encoding}\n",
    ]);
    if let Some(user) = user {
        command.args(["-H", &format!("end-user: {user}")]);
    }
    let mut all = Vec::new();
    for folder in ["plain", "gzip"] {
        for size in SIZES {
            let file = node.path(&format!("curl-{folder}-{size}"));
            command.arg("-o").arg(&file);
            command.arg(format!("{}/{folder}/{size}", url(node, six)));
            all.push((folder, size, file));
        }
    }
    let output = run(&mut command);
    assert!(output.status.success(), "{output:?}\n{}", node.log("agent"));
    let said = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), all.len(), "{said}");
    for (line, (folder, size, file)) in lines.iter().zip(&all) {
        let [_, backend, encoding] = line[..] else {
            panic!("{line:?}");
        };
        match user {
            Some("jason") => assert_eq!(backend, "v2", "{folder}/{size}"),
            _ => assert!(
                ["v1", "v3"].contains(&backend),
                "{folder}/{size}: {backend}"
            ),
        }
        assert_eq!(encoding == "gzip", *folder == "gzip", "{folder}/{size}");
        let body = std::fs::read(file).expect("a file");
        let expected = Sha256::digest(content(backend, *size));
        assert_eq!(
            Sha256::digest(body),
            expected,
            "{folder}/{size} by {backend}"
        );
    }
    let connections = lines
        .iter()
        .map(|line| line[0].parse::<u64>().expect("a number"));
    assert_eq!(connections.sum::<u64>(), 1, "{said}");
    all.len() as u64
}

/// Kept-alive sessions of Python's requests: how many there were, by header and backend.
fn sessions(node: &Node, python: &str, six: bool) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut files = json!({});
    for version in VERSIONS {
        for size in SIZES {
            let digest = format!("{:x}", Sha256::digest(content(version, size)));
            for folder in ["plain", "gzip"] {
                files[version][format!("/{folder}/{size}")] = json!(digest);
            }
        }
    }
    let told = json!({
        "files": files,
        "by": {"": ["v1", "v3"], "mary": ["v1", "v3"], "jason": ["v2"]},
    });
    let mut command = node.command(Space::Clients, python);
    command.args([
        "-c",
        include_str!("end_to_end/sessions.py"),
        &url(node, six),
        "6",
        "300",
    ]);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(told.to_string().as_bytes())
        .expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}\n{}", node.log("agent"));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Requests as fast as they go: how many were answered.
fn wrk(node: &Node, six: bool) -> u64 {
    let mut command = node.command(Space::Clients, "wrk");
    let url = format!("{}/plain/1000", url(node, six));
    let output = run(command.args(["-t", "1", "-c", "16", "-d", "2s", &url]));
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}");
    for fault in ["Non-2xx", "Socket errors"] {
        assert!(!said.contains(fault), "{said}\n{}", node.log("agent"));
    }
    let line = said.lines().find(|line| line.contains(" requests in "));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn real_clients_and_servers_see_a_network_that_routes() {
    if !kernel::is_here() {
        return;
    }
    let python = need_all();
    let mut node = Node::new(217);
    std::fs::create_dir(node.path("temp")).expect("a directory");
    for (host, version) in (11..).zip(VERSIONS) {
        start_nginx(&mut node, host, version);
    }
    start_agent(&mut node);
    until("the agent is ready", || admin(&node, "/ready").is_some());
    for (host, version) in (11..).zip(VERSIONS) {
        let at = SocketAddr::new(node.address(Space::Endpoints, host, false), PORT);
        until(version, || {
            let mut command = node.command(Space::Node, "curl");
            let command = command.args(["-s", "-f", &format!("http://{at}/plain/200")]);
            run(command).status.success()
        });
    }
    let mut sent = 0;
    for six in [false, true] {
        for user in [None, Some("jason"), Some("mary")] {
            sent += curl(&node, six, user);
        }
        let found = sessions(&node, &python, six);
        sent += found.values().flat_map(BTreeMap::values).sum::<u64>();
        let without = ["", "mary"].map(|value| &found[value]);
        let of = |backend: &str| {
            let counts = without.iter().filter_map(|counts| counts.get(backend));
            counts.sum::<u64>() as f64
        };
        let (most, least) = (of("v1"), of("v3"));
        let all = most + least;
        let chi =
            (most - all * 0.9).powi(2) / (all * 0.9) + (least - all * 0.1).powi(2) / (all * 0.1);
        assert!(all > 1_000.0 && chi < ONE_IN_A_MILLION, "{found:?}: {chi}");
    }
    // All of them, and each once.
    until("all are counted", || {
        spliced(&node) + proxied(&node) >= sent
    });
    assert_eq!(spliced(&node) + proxied(&node), sent);
    assert!(spliced(&node) > 0);
    let before = spliced(&node);
    let answered: u64 = [false, true].map(|six| wrk(&node, six)).iter().sum();
    assert!(answered > 0);
    assert!(spliced(&node) > before, "{}", node.log("agent"));
    until("active counts at 0", || {
        metric(&node, "twinmesh_active_requests", "") == 0
    });
    // A line each; where the log's reader was behind, it was counted.
    let logged = |node: &Node| {
        let log = std::fs::read_to_string(node.path("access.jsonl")).expect("a log");
        log.lines().count() as u64
    };
    let lost = |node: &Node| {
        metric(node, "twinmesh_access_log_lost_total", "")
            + metric(node, "twinmesh_kernel_events_lost_total", "")
    };
    until("every request is logged or counted as lost", || {
        logged(&node) + lost(&node) >= spliced(&node) + proxied(&node)
    });
    let (all, lost) = (spliced(&node) + proxied(&node), lost(&node));
    assert!(all >= sent + answered);
    node.end();
    assert_eq!(logged(&node), all - lost, "{lost} lost");
}

#[test]
fn nothing_is_left_of_a_test_that_fails() {
    if !kernel::is_here() {
        return;
    }
    need_all();
    let mut seen = (Vec::new(), Vec::new(), String::new());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut node = Node::new(218);
        std::fs::create_dir(node.path("temp")).expect("a directory");
        start_nginx(&mut node, 11, "v1");
        start_agent(&mut node);
        until("the agent is ready", || admin(&node, "/ready").is_some());
        let cgroups = [&node.clients, &node.rest].map(|cgroup| cgroup.path.clone());
        seen = (cgroups.to_vec(), node.namespaces(), node.rest.processes());
        panic!("as a test fails");
    }));
    let why = failed.expect_err("it fails");
    assert_eq!(why.downcast_ref(), Some(&"as a test fails"));
    let (cgroups, namespaces, processes) = seen;
    assert_eq!(
        processes.lines().count(),
        2,
        "nginx and the agent: {processes}"
    );
    for path in cgroups {
        assert!(!path.exists(), "{}", path.display());
    }
    for pid in processes.lines() {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid}");
    }
    for process in std::fs::read_dir("/proc").expect("processes") {
        let namespace = process.expect("a process").path().join("ns/net");
        let number = namespace.metadata().map(|found| found.ino());
        assert!(
            number.is_err() || !namespaces.contains(&number.expect("seen")),
            "{namespace:?}"
        );
    }
}
