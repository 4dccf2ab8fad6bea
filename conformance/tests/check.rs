//! `check` as a command, and what `--strict` refuses.

mod common;

use common::{TRAFFIC, folder, shop, twinmesh_in};
use rstest::rstest;

#[test]
fn standard_input_is_a_snapshot_too() {
    let run = |content: &[u8]| {
        let folder = folder();
        let file = folder.path().join("input");
        std::fs::write(&file, content).expect("the input");
        let input = std::fs::File::open(&file).expect("the input");
        let mut command = common::command(folder.path(), &["check", "-"]);
        command.stdin(input).output().expect("the binary runs")
    };
    let read = run(&std::fs::read(shop()).expect("the snapshot"));
    assert_eq!(read.status.code(), Some(0));
    let utf16: Vec<u8> = "\u{feff}{}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let refused = run(&utf16);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    let expected = "error: standard input: the file is UTF-16, as PowerShell's `>` writes it";
    assert!(message.starts_with(expected), "{message}");
}

/// `max_request_headers_kb` decides: there is nothing to find.
#[test]
fn a_limit_that_decides_is_no_finding() {
    let folder = folder();
    let snapshot = std::fs::read_to_string(shop()).expect("the snapshot");
    let limit = "max_request_headers_kb: 1\n          stat_prefix: shop";
    let limited = snapshot.replace("stat_prefix: shop", limit);
    assert_ne!(limited, snapshot);
    std::fs::write(folder.path().join("s.yaml"), limited).expect("the snapshot");
    let run = twinmesh_in(folder.path(), &["check", "s.yaml", "--strict"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        !run.stdout.contains("max_request_headers_kb"),
        "{}",
        run.stdout
    );
    let long = format!("x: {}", "a".repeat(2000));
    let explain = [
        "explain",
        "--snapshot",
        "s.yaml",
        "--destination",
        "10.0.0.1:8080",
    ];
    let run = twinmesh_in(folder.path(), &[&explain[..], &["-H", &long]].concat());
    assert!(run.stdout.contains("status: 431"), "{}", run.stdout);
}

/// What makes requests unsupported is told before what changes nothing, also in strict mode.
#[test]
fn check_tells_first_what_makes_requests_unsupported() {
    let folder = folder();
    let told: String = (0..25)
        .map(|index| format!("  - {{ name: c{index}, type: STATIC, outlier_detection: {{}} }}\n"))
        .collect();
    let undecided =
        "  - { name: last, type: STATIC, preconnect_policy: { predictive_preconnect_ratio: 2 } }\n";
    let write = |clusters: &str| {
        let snapshot = format!("static_resources:\n  clusters:\n{clusters}");
        std::fs::write(folder.path().join("s.yaml"), snapshot).expect("the snapshot");
    };
    write(&format!("{told}{undecided}"));
    let run = twinmesh_in(folder.path(), &["check", "s.yaml"]);
    let place = |text: &str| {
        let found = run.stdout.find(text);
        found.unwrap_or_else(|| panic!("{text} in {}", run.stdout))
    };
    assert!(place("preconnect_policy") < place("resources (decided"));
    assert!(place("kernel (and") < place("\nread over:"));
    let run = twinmesh_in(folder.path(), &["check", "s.yaml", "--strict"]);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("preconnect_policy"), "{}", run.stderr);
    write(undecided);
    let run = twinmesh_in(folder.path(), &["check", "s.yaml"]);
    assert!(run.stdout.contains("1 finding: "), "{}", run.stdout);
    let run = twinmesh_in(folder.path(), &["check", "s.yaml", "--strict"]);
    assert!(run.stderr.contains("1 finding is not"), "{}", run.stderr);
}

/// The tables' sizes are their own affair: that they are told is what counts.
fn without_sizes(report: &str) -> String {
    let sizes = [
        "policy, bytes",
        "balancer state",
        "trie entries",
        "header, query",
    ];
    let lines = report.lines().map(|line| {
        let told = sizes.iter().any(|name| line.trim_start().starts_with(name));
        match line.find(|c: char| c.is_ascii_digit()) {
            Some(at) if told => {
                let (name, rest) = line.split_at(at);
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{}  …{rest}\n", name.trim_end())
            }
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn check_counts_resources_and_reports_findings() {
    let folder = folder();
    let run = twinmesh_in(folder.path(), &["check", "shop.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!(without_sizes(&run.stdout));
    let run = twinmesh_in(folder.path(), &["check", "shop.yaml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["resources"]["routes"]["total"], 8);
    assert_eq!(report["resources"]["endpoints"], 6);
    assert!(
        report["tables"]["sizes"]["policy_bytes"].as_u64() > Some(0),
        "{report}"
    );
    assert_eq!(report["kernel"]["fits"], true);
    assert_eq!(report["kernel"]["routes"]["decided"], 8);
    assert_eq!(report["kernel"]["undecided"], serde_json::json!([]));
    assert_eq!(report["table_findings"], serde_json::json!([]));
}

fn folder_with_undecided() -> tempfile::TempDir {
    let folder = folder();
    let data = shop().with_file_name("undecided.yaml");
    let case = folder.path().join("case");
    std::fs::create_dir(&case).expect("a folder");
    for to in [
        folder.path().join("undecided.yaml"),
        case.join("config_dump.yaml"),
    ] {
        std::fs::copy(&data, to).expect("the snapshot");
    }
    std::fs::write(case.join("case.toml"), "").expect("the settings");
    std::fs::write(case.join("requests.traffic.jsonl"), TRAFFIC).expect("the traffic");
    folder
}

#[test]
fn check_tells_what_only_the_tables_leave_undecided() {
    let folder = folder_with_undecided();
    let run = twinmesh_in(folder.path(), &["check", "undecided.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!(without_sizes(&run.stdout));
    let run = twinmesh_in(folder.path(), &["check", "undecided.yaml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(report["resources"]["routes"]["decided"], 3);
    assert_eq!(report["kernel"]["routes"]["decided"], 2);
    assert_eq!(report["kernel"]["clusters"]["decided"], 1);
    let findings = report["table_findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 2, "{report}");
    assert_eq!(findings[0]["resource"], "cluster \"large\"");
    assert_eq!(findings[0]["path"], "load_assignment.endpoints");
    assert_eq!(findings[0]["requests"], "requests that choose the cluster");
}

#[rstest]
#[case::check(&["check", "undecided.yaml"])]
#[case::replay(&["replay", "--snapshot", "undecided.yaml", "--traffic", "t.jsonl"])]
#[case::replay_by_spec(&["replay", "--snapshot", "undecided.yaml", "--traffic", "t.jsonl", "--engine", "spec"])]
#[case::events(&["replay", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--events", "e.jsonl"])]
#[case::explain(&["explain", "--snapshot", "undecided.yaml", "--authority", "a", "--destination", "10.0.0.1:8080"])]
#[case::conform(&["conform", "case", "--engines", "spec,sim"])]
fn strict_refuses_what_the_tables_leave_undecided(#[case] arguments: &[&str]) {
    let folder = folder_with_undecided();
    std::fs::write(
        folder.path().join("e.jsonl"),
        "{\"time_us\":3,\"snapshot\":\"undecided.yaml\"}\n",
    )
    .expect("the events");
    let run = twinmesh_in(folder.path(), arguments);
    let lax = run.code;
    let mut strict = arguments.to_vec();
    strict.push("--strict");
    let run = twinmesh_in(folder.path(), &strict);
    // Nothing was recorded for the case, but spec and sim can be compared.
    assert_eq!(lax, Some(0), "{}", run.stderr);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    let all = format!("{}{}", run.stdout, run.stderr);
    for text in [
        "refused, as strict asks: the compiled tables leave 2 findings undecided",
        "cluster \"large\": load_assignment.endpoints: 65538 turns",
        "typed_config.route_config.virtual_hosts[0].routes[0].match.headers[0].name: `referer`",
    ] {
        assert!(all.contains(text), "{text} in {all}");
    }
}

#[rstest]
#[case::check(&["check", "shop.yaml", "--strict"])]
#[case::replay(&["replay", "--snapshot", "shop.yaml", "--traffic", "t.jsonl", "--strict"])]
#[case::explain(&["explain", "--snapshot", "shop.yaml", "--authority", "a", "--destination", "10.0.0.1:8080", "--strict"])]
fn strict_takes_what_is_decided_in_full(#[case] arguments: &[&str]) {
    let run = twinmesh_in(folder().path(), arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[rstest]
#[case::looked_at("via: gw", "name: via", true)]
#[case::not_looked_at("via: gw", "name: x-a", false)]
#[case::not_written("add_user_agent: false", "name: via", false)]
fn check_says_where_headers_are_left_to_userspace(
    #[case] manager: &str,
    #[case] matcher: &str,
    #[case] expected: bool,
) {
    let folder = folder();
    let text = std::fs::read_to_string(folder.path().join("shop.yaml")).expect("the snapshot");
    let matched = text.replacen("name: end-user", matcher, 1);
    assert_ne!(matched, text, "it has that matcher");
    let written = matched.replacen(
        "stat_prefix:",
        &format!("{manager}\n          stat_prefix:"),
        1,
    );
    std::fs::write(folder.path().join("via.yaml"), written).expect("a file");
    let run = twinmesh_in(folder.path(), &["check", "via.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let told = "headers that the connection manager writes or takes off are looked at";
    assert_eq!(run.stdout.contains(told), expected, "{}", run.stdout);
}
