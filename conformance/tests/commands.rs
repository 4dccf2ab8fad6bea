//! `replay` and `explain` as commands, and what happens where output is not taken.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use common::{TRAFFIC, command, folder, shop, twinmesh_in};
use rstest::rstest;

const REPLAY: [&str; 7] = [
    "replay",
    "--snapshot",
    "shop.yaml",
    "--traffic",
    "t.jsonl",
    "--engine",
    "spec",
];

#[test]
fn replay_writes_a_decision_for_each_request_and_a_summary() {
    let folder = folder();
    let run = twinmesh_in(folder.path(), &REPLAY);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let ids: Vec<String> = run
        .stdout
        .lines()
        .map(|line| {
            let decision: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(decision["engine"], "spec");
            decision["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let expected: Vec<String> = (0..12).map(|index| format!("r{index}")).collect();
    assert_eq!(ids, expected);
    for line in [
        "12 requests through spec",
        "6  reviews-v1",
        "1  reviews-v2 / 10.2.0.1:9080",
        "2  reviews-v1 / 10.1.0.1:9080",
        "1  reviews / jason",
        "decisions/s; latency in µs: p50 ",
    ] {
        assert!(run.stderr.contains(line), "{line} in {}", run.stderr);
    }
}

#[test]
fn the_seed_decides_what_requests_leave_open() {
    let folder = folder();
    let canary: String = (0..50)
        .map(|index| format!("{{\"id\":\"{index}\",\"authority\":\"reviews.test\",\"path\":\"/reviews/canary\",\"destination\":\"10.0.0.1:8080\"}}\n"))
        .collect();
    std::fs::write(folder.path().join("t.jsonl"), canary).expect("the traffic");
    let run = |seed: &str| {
        let mut arguments = REPLAY.to_vec();
        arguments.extend(["--seed", seed]);
        twinmesh_in(folder.path(), &arguments).stdout
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn events_change_what_is_decided() {
    let folder = folder();
    let traffic: String = (0..6)
        .map(|index| format!("{{\"id\":\"{index}\",\"authority\":\"reviews.test\",\"path\":\"/reviews\",\"destination\":\"10.0.0.1:8080\",\"time_us\":{index}}}\n"))
        .collect();
    std::fs::write(folder.path().join("t.jsonl"), traffic).expect("the traffic");
    std::fs::write(
        folder.path().join("e.jsonl"),
        "{\"time_us\":3,\"remove_endpoint\":{\"cluster\":\"reviews-v1\",\"address\":\"10.1.0.1:9080\"}}\n{\"time_us\":3,\"remove_endpoint\":{\"cluster\":\"reviews-v1\",\"address\":\"10.1.0.2:9080\"}}\n{\"time_us\":100,\"snapshot\":\"shop.yaml\"}\n",
    )
    .expect("the events");
    let mut arguments = REPLAY.to_vec();
    arguments.extend(["--events", "e.jsonl"]);
    let run = twinmesh_in(folder.path(), &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let endpoints: Vec<bool> = run
        .stdout
        .lines()
        .map(|line| line.contains("10.1.0.3:9080"))
        .collect();
    assert_eq!(endpoints[3..], [true, true, true], "{}", run.stdout);
    assert_eq!(endpoints[..3].iter().filter(|third| **third).count(), 1);
    assert!(
        run.stderr
            .contains("2 of 3 events came before the last request"),
        "{}",
        run.stderr
    );
}

#[rstest]
#[case::traffic(&["replay", "--snapshot", "shop.yaml", "--traffic", "nowhere.jsonl"], "nowhere.jsonl: cannot be read")]
#[case::snapshot(&["replay", "--snapshot", "nowhere.yaml", "--traffic", "t.jsonl"], "nowhere.yaml")]
#[case::engine(&["replay", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--engine", "x"], "no engine is called `x`")]
#[case::events(&["replay", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--events", "t.jsonl"], "t.jsonl:1:")]
#[case::no_traffic(&["replay", "--snapshot", "shop.yaml"], "--traffic")]
#[case::not_a_snapshot(&["replay", "--snapshot", "t.jsonl", "--traffic", "t.jsonl"], "t.jsonl")]
#[case::id_unknown(&["explain", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--id", "r99"], "no request has the id `r99`")]
#[case::id_without_traffic(&["explain", "--snapshot", "shop.yaml", "--id", "r9"], "--traffic")]
#[case::both(&["explain", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--id", "r9", "--path", "/"], "cannot be used with")]
#[case::port(&["explain", "--snapshot", "shop.yaml", "--destination", "10.0.0.1:99999"], "`99999` is no port from 0 to 65535")]
#[case::header(&["explain", "--snapshot", "shop.yaml", "-H", "novalue"], "expected `name: value`")]
#[case::host(&["explain", "--snapshot", "shop.yaml", "-H", "Host: a"], "--authority")]
#[case::brackets(&["explain", "--snapshot", "shop.yaml", "--destination", "::1:8080"], "needs brackets before its port; expected `[::1]:8080`")]
#[case::bare_ipv6(&["explain", "--snapshot", "shop.yaml", "--source", "fd00::1"], "expected `[fd00::1]:PORT`")]
#[case::no_output_folder(&["convert", "t.jsonl", "-o", "nowhere/t.jsonl"], "nowhere/t.jsonl: cannot be written: there is no folder nowhere")]
#[case::no_log_folder(&["check", "shop.yaml", "--sarif", "nowhere/s.sarif"], "there is no folder nowhere")]
#[case::check(&["check", "nowhere.json"], "nowhere.json")]
#[case::nothing(&[], "Usage")]
#[case::unknown_command(&["conforme"], "conforme")]
fn wrong_calls_end_with_2(#[case] arguments: &[&str], #[case] message: &str) {
    let folder = folder();
    let run = twinmesh_in(folder.path(), arguments);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

/// A terminal makes something of an escape sequence, and of a line feed.
#[test]
fn names_come_out_as_text() {
    let folder = folder();
    let snapshot = std::fs::read_to_string(shop()).expect("the snapshot");
    let hostile = snapshot.replace("name: jason", r#"name: "a\nb\x1b[2J\u202e""#);
    assert_ne!(hostile, snapshot);
    std::fs::write(folder.path().join("shop.yaml"), hostile).expect("the snapshot");
    let run = twinmesh_in(folder.path(), &REPLAY);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let shown = r"a\nb\u{1b}[2J\u{202e}";
    let line = format!("  reviews / {shown}\n");
    assert!(run.stderr.contains(&line), "{}", run.stderr);
    // What programs read is JSON, whole.
    assert!(run.stdout.contains("[2J\u{202e}"), "{}", run.stdout);
    let explain = [
        "explain",
        "--snapshot",
        "shop.yaml",
        "--traffic",
        "t.jsonl",
        "--id",
        "r1",
    ];
    for color in ["never", "always"] {
        let mut arguments = explain.to_vec();
        arguments.extend(["--color", color]);
        let told = twinmesh_in(folder.path(), &arguments).stdout;
        let route = format!("route: {shown}\n");
        assert!(told.contains(&route), "{told}");
        assert!(!told.contains("\u{1b}[2J"), "{told}");
    }
}

/// As the names in events are.
#[test]
fn a_script_for_an_endpoint_that_is_nowhere_is_refused() {
    let folder = folder();
    let script = folder.path().join("e.toml");
    let mut arguments = REPLAY.to_vec();
    arguments.extend(["--endpoints", "e.toml"]);
    let known = "[[endpoint]]\naddress = \"*\"\n[[endpoint]]\naddress = \"10.1.0.1:9080\"\n";
    std::fs::write(&script, known).expect("a script");
    assert_eq!(twinmesh_in(folder.path(), &arguments).code, Some(0));
    let unknown = "[[endpoint]]\naddress = \"10.9.9.9:1\"\n";
    std::fs::write(&script, format!("{known}{unknown}")).expect("a script");
    let message = "error: e.toml: field `endpoint[2].address`: no cluster of the snapshot has an \
                   endpoint `10.9.9.9:1`\n";
    let run = twinmesh_in(folder.path(), &arguments);
    assert_eq!((run.code, run.stderr.as_str()), (Some(2), message));
    let explain = [
        "explain",
        "--snapshot",
        "shop.yaml",
        "--route-config",
        "shop",
        "--endpoints",
        "e.toml",
    ];
    let run = twinmesh_in(folder.path(), &explain);
    assert_eq!((run.code, run.stderr.as_str()), (Some(2), message));
}

const SEVERAL: &str = r#"static_resources:
  clusters: [{ name: c, type: STATIC }]
  listeners:
  - name: one
    address: { socket_address: { address: 10.0.0.1, port_value: 1 } }
    filter_chains: [{ filters: [{ name: tcp, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: c } }] }]
  - name: two
    address: { socket_address: { address: 10.0.0.1, port_value: 2 } }
    filter_chains: [{ filters: [{ name: tcp, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: c } }] }]
"#;

const ROUTES_ONLY: &str = r#"{"configs": [{
  "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
  "static_route_configs": [
    {"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "a"}},
    {"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "b"}}
  ]}]}"#;

#[rstest]
#[case::route_configuration(
    "shop.yaml",
    r#""route_config":"nope""#,
    "`route_config`: found `nope`, expected `shop`",
    "--route-config"
)]
#[case::listener(
    "shop.yaml",
    r#""listener":"nope""#,
    "`listener`: found `nope`, expected `shop`",
    "--listener"
)]
#[case::both(
    "shop.yaml",
    r#""listener":"shop","route_config":"shop""#,
    "`route_config`: found `shop` beside the listener `shop`, expected one of the two fields",
    "cannot be used with"
)]
#[case::neither(
    "several.yaml",
    r#""path":"/""#,
    "`listener`: found neither it nor `destination` nor `route_config`, expected one of `one`, `two`",
    "--listener: found neither it nor --destination nor --route-config, expected one of `one`, `two`"
)]
#[case::no_listeners(
    "routes.json",
    r#""path":"/""#,
    "`route_config`: found none, expected one of `a`, `b`",
    "--route-config"
)]
fn a_request_that_starts_nowhere_is_refused_before_the_first_decision(
    #[case] snapshot: &str,
    #[case] fields: &str,
    #[case] message: &str,
    #[case] by_flag: &str,
) {
    let folder = folder();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("a file");
    };
    write("several.yaml", SEVERAL);
    write("routes.json", ROUTES_ONLY);
    let traffic = format!(
        "{{\"id\":\"good\",\"authority\":\"a\",\"destination\":\"10.0.0.1:1\"}}\n{{\"id\":\"bad\",\"authority\":\"a\",{fields}}}\n"
    );
    write("t.jsonl", &traffic);
    let case = folder.path().join("case");
    std::fs::create_dir(&case).expect("a folder");
    let dump = Path::new("config_dump").with_extension(snapshot.rsplit('.').next().unwrap_or(""));
    std::fs::copy(folder.path().join(snapshot), case.join(dump)).expect("the snapshot");
    std::fs::write(case.join("case.toml"), "").expect("the settings");
    std::fs::write(case.join("requests.traffic.jsonl"), &traffic).expect("the traffic");
    let given = ["--snapshot", snapshot, "--traffic", "t.jsonl"];
    for command in ["replay", "explain"] {
        let mut arguments = vec![command];
        arguments.extend(given);
        if command == "explain" {
            arguments.extend(["--id", "bad"]);
        }
        let run = twinmesh_in(folder.path(), &arguments);
        assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "");
        let expected = format!("t.jsonl:2: field {message}");
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
    }
    let run = twinmesh_in(folder.path(), &["conform", "case", "--engines", "spec,sim"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    let expected = format!("case/requests.traffic.jsonl:2: field {message}");
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    let mut arguments = vec!["explain", "--snapshot", snapshot];
    for (flag, name) in [
        ("--listener", "listener"),
        ("--route-config", "route_config"),
    ] {
        let value = |value: &&str| fields.contains(&format!("\"{name}\":\"{value}\""));
        if let Some(value) = ["nope", "shop"].into_iter().find(|it| value(it)) {
            arguments.extend([flag, value]);
        }
    }
    let run = twinmesh_in(folder.path(), &arguments);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(by_flag), "{}", run.stderr);
}

/// The reason stands for the snapshot as a whole: there is no path before it.
#[test]
fn a_reason_without_a_path_begins_with_itself() {
    let folder = folder();
    let routes = ROUTES_ONLY.replace(
        "\"name\": \"a\"",
        r#""name": "a", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]"#,
    );
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("a file");
    };
    write("routes.json", &routes);
    write(
        "t.jsonl",
        "{\"id\":\"r\",\"authority\":\"a\",\"route_config\":\"a\"}\n",
    );
    for engine in ["spec", "sim"] {
        let arguments = [
            "replay",
            "--snapshot",
            "routes.json",
            "--traffic",
            "t.jsonl",
            "--engine",
            engine,
        ];
        let run = twinmesh_in(folder.path(), &arguments);
        let decision: serde_json::Value = serde_json::from_str(&run.stdout).expect("a decision");
        let reason = decision["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("the snapshot holds no"), "{reason}");
    }
    let run = twinmesh_in(folder.path(), &["check", "routes.json"]);
    assert!(
        run.stdout
            .contains("  clusters\n      not decided: the snapshot holds no"),
        "{}",
        run.stdout
    );
    let run = twinmesh_in(folder.path(), &["check", "routes.json", "--strict"]);
    assert!(
        run.stderr.contains("clusters: the snapshot holds no"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_refused_head_is_told_in_words() {
    let folder = folder();
    std::fs::write(
        folder.path().join("t.jsonl"),
        "{\"id\":\"r\",\"path\":\"/\",\"destination\":\"10.0.0.1:8080\"}\n",
    )
    .expect("the traffic");
    for engine in ["spec", "sim"] {
        let arguments = [
            "replay",
            "--snapshot",
            "shop.yaml",
            "--traffic",
            "t.jsonl",
            "--engine",
            engine,
        ];
        let run = twinmesh_in(folder.path(), &arguments);
        assert!(
            run.stdout.contains("head is refused: it has no Host"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn a_request_may_name_what_an_event_brings() {
    let folder = folder();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("a file");
    };
    write("several.yaml", SEVERAL);
    write("e.jsonl", "{\"time_us\":5,\"snapshot\":\"shop.yaml\"}\n");
    let run = |time: u64, field: &str, name: &str| {
        let line = format!(
            "{{\"id\":\"r\",\"authority\":\"a\",\"time_us\":{time},\"{field}\":\"{name}\"}}\n"
        );
        write("t.jsonl", &line);
        let arguments = [
            "replay",
            "--snapshot",
            "several.yaml",
            "--traffic",
            "t.jsonl",
            "--events",
            "e.jsonl",
        ];
        twinmesh_in(folder.path(), &arguments)
    };
    assert_eq!(run(5, "route_config", "shop").code, Some(0));
    let early = run(4, "route_config", "shop");
    assert_eq!(early.code, Some(2), "{}", early.stdout);
    assert!(
        early.stderr.contains("the snapshot holds none"),
        "{}",
        early.stderr
    );
    let gone = run(5, "listener", "one");
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert!(gone.stdout.contains("no_listener"), "{}", gone.stdout);
    assert_eq!(run(5, "listener", "nope").code, Some(2));
}

#[rstest]
#[case(&["--help"], "conform")]
#[case(&["--version"], "twinmesh")]
#[case(&["conform", "--help"], "A case is a folder with case.toml")]
#[case(&["replay", "--help"], "docs/formats.md describes the files")]
#[case(&["explain", "--help"], "so that the balancers stand where they would")]
#[case(&["check", "--help"], "The report lists the findings by resource")]
fn help_ends_with_0(#[case] arguments: &[&str], #[case] text: &str) {
    let run = twinmesh_in(Path::new("."), arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains(text), "{}", run.stdout);
}

#[rstest]
#[case::replay(&REPLAY)]
#[case::explain(&["explain", "--snapshot", "shop.yaml", "--authority", "reviews.test", "--destination", "10.0.0.1:8080"])]
#[case::check(&["check", "shop.yaml"])]
#[case::check_json(&["check", "shop.yaml", "--json"])]
#[case::conform(&["conform", "case"])]
#[case::conform_json(&["conform", "case", "--json"])]
#[case::help(&["--help"])]
fn a_full_disk_is_an_error(#[case] arguments: &[&str]) {
    let folder = folder();
    let case = folder.path().join("case");
    std::fs::create_dir(&case).expect("a folder");
    for (name, content) in [("case.toml", ""), ("requests.traffic.jsonl", TRAFFIC)] {
        std::fs::write(case.join(name), content).expect("a file");
    }
    std::fs::copy(shop(), case.join("config_dump.yaml")).expect("the snapshot");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = command(folder.path(), arguments)
        .stdout(Stdio::from(full))
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_closed_pipe_is_an_error() {
    let folder = folder();
    let long: String = (0..20_000)
        .map(|index| format!("{{\"id\":\"{index}\",\"authority\":\"reviews.test\",\"path\":\"/reviews\",\"destination\":\"10.0.0.1:8080\"}}\n"))
        .collect();
    std::fs::write(folder.path().join("t.jsonl"), long).expect("the traffic");
    let mut child = command(folder.path(), &REPLAY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("standard output: cannot be written") && stderr.contains("not whole"),
        "{stderr}"
    );
}

#[test]
fn a_closed_standard_error_is_no_panic() {
    let folder = folder();
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let status = command(folder.path(), &["replay", "--snapshot", "nowhere"])
        .stderr(Stdio::from(full))
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(2));
}

/// A replay in its midst: its standard output is a pipe that nobody reads further, so it waits.
fn waiting_replay(folder: &Path) -> (std::process::Child, std::process::ChildStdout) {
    let long: String = (0..20_000)
        .map(|index| format!("{{\"id\":\"{index}\",\"authority\":\"reviews.test\",\"path\":\"/reviews\",\"destination\":\"10.0.0.1:8080\"}}\n"))
        .collect();
    std::fs::write(folder.join("t.jsonl"), long).expect("the traffic");
    let mut child = command(folder, &REPLAY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut stdout, &mut first).expect("the run has begun");
    (child, stdout)
}

fn interrupt(child: &std::process::Child) {
    let killed = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(killed.success());
}

#[test]
fn an_interrupted_run_says_so() {
    let folder = folder();
    let (child, mut stdout) = waiting_replay(folder.path());
    interrupt(&child);
    // Room in the pipe again, so that the run goes on and finds out.
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stdout, &mut rest);
    });
    let output = child.wait_with_output().expect("it ends");
    reader.join().expect("the reader ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("interrupted after ")
            && stderr.contains(" of 20000 requests: what was written is not whole"),
        "{stderr}"
    );
}

#[test]
fn a_second_interrupt_ends_the_run_with_a_word() {
    let folder = folder();
    let (mut child, stdout) = waiting_replay(folder.path());
    // One that comes before the one before it was taken note of counts with it.
    while child.try_wait().expect("its state").is_none() {
        interrupt(&child);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("interrupted twice"), "{stderr}");
}
