//! The comparison, as an opponent would try it: what must not pass does not.

mod common;

use common::{Case, TRAFFIC};
use rstest::rstest;

const PHASE: &str = r#"
[comparison]
exact = ["outcome", "listener", "filter_chain", "route_config", "virtual_host", "route", "cluster", "endpoint", "priority", "locality", "status", "location", "path", "authority"]
ignored = ["engine", "reason"]
[[comparison.phase]]
cluster = "reviews-v1"
fields = ["endpoint", "priority", "locality"]
period = 3
"#;

#[test]
fn what_was_recorded_agrees_with_itself() {
    let case = Case::new("");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("1 case, 12 decisions compared: 12 agreements, 0 divergences, 0 unsupported"),
        "{}",
        run.stdout
    );
}

#[rstest]
#[case::cluster(
    "r1",
    "\"cluster\":\"reviews-v2\"",
    "\"cluster\":\"reviews-v1\"",
    "* cluster"
)]
#[case::outcome("r5", "no_route", "no_virtual_host", "* outcome")]
#[case::route("r0", "\"#4\"", "\"canary\"", "* route")]
#[case::virtual_host(
    "r7",
    "\"virtual_host\":\"down\"",
    "\"virtual_host\":\"reviews\"",
    "* virtual_host"
)]
#[case::listener("r0", "\"listener\":\"shop\"", "\"listener\":\"shop2\"", "* listener")]
#[case::filter_chain(
    "r0",
    "\"filter_chain\":\"plain\"",
    "\"filter_chain\":\"tls\"",
    "* filter_chain"
)]
#[case::endpoint("r1", "10.2.0.1:9080", "10.2.0.2:9080", "* endpoint")]
#[case::priority("r1", "\"priority\":0", "\"priority\":1", "* priority")]
#[case::locality("r0", "r1/z1/", "r1/z2/", "* locality")]
#[case::status("r4", "\"status\":301", "\"status\":302", "* status")]
#[case::location("r4", "/reviews\"", "/review\"", "* location")]
#[case::field_gone("r0", "\"route_config\":\"shop\",", "", "* route_config")]
#[case::field_too_many("r5", "\"outcome\"", "\"path\":\"/x\",\"outcome\"", "* path")]
fn one_changed_field_is_one_divergence(
    #[case] id: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] marked: &str,
) {
    let case = Case::new("");
    case.tamper(id, from, to);
    let run = case.conform(&["--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains(&format!("request `{id}`")),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains(marked), "{}", run.stdout);
    assert!(
        run.stdout
            .contains("11 agreements, 1 divergence, 0 unsupported"),
        "{}",
        run.stdout
    );
}

#[rstest]
#[case::engine("r0", "\"engine\":\"spec\"", "\"engine\":\"envoy\"")]
#[case::null("r5", "\"outcome\"", "\"cluster\":null,\"outcome\"")]
fn what_is_not_compared_does_not_diverge(#[case] id: &str, #[case] from: &str, #[case] to: &str) {
    let case = Case::new("");
    case.tamper(id, from, to);
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

#[test]
fn missing_extra_and_reversed_lines_are_errors() {
    let whole = Case::new("");
    let recorded = whole.recorded();
    let lines: Vec<&str> = recorded.lines().collect();
    let missing = lines[..11].join("\n") + "\n";
    let extra = format!("{recorded}{{\"id\":\"r12\",\"outcome\":\"no_route\"}}\n");
    let reversed: Vec<&str> = lines.iter().rev().copied().collect();
    for (content, message) in [
        (missing, "the first that is missing is `r11`"),
        (
            extra,
            "recorded.decisions.jsonl:13: field `id`: `r12` is no request",
        ),
        (
            reversed.join("\n") + "\n",
            "recorded.decisions.jsonl:1: field `id`: expected `r0`",
        ),
        (
            recorded.replace("\"r11\"", "\"r10\""),
            "`r10` is used on line 11 already",
        ),
        (
            recorded[..recorded.len() - 20].to_owned(),
            "recorded.decisions.jsonl:12:",
        ),
    ] {
        whole.write_recorded(&content);
        let run = whole.conform(&[]);
        assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
}

/// The endpoints of reviews-v1 in the order given, in place of those recorded.
fn with_endpoints(case: &Case, order: &[usize]) {
    let mut turn = order.iter().cycle();
    let lines: String = case
        .recorded()
        .lines()
        .map(|line| match line.find("10.1.0.") {
            Some(place) => {
                let next = turn.next().expect("a cycle");
                format!("{}{next}{}\n", &line[..place + 7], &line[place + 8..])
            }
            None => format!("{line}\n"),
        })
        .collect();
    case.write_recorded(&lines);
}

#[rstest]
#[case::same(&[1, 2, 3])]
#[case::by_one(&[2, 3, 1])]
#[case::by_two(&[3, 1, 2])]
fn a_rotated_phase_agrees(#[case] order: &[usize]) {
    let case = Case::new(PHASE);
    with_endpoints(&case, order);
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("12 agreements"), "{}", run.stdout);
}

#[rstest]
#[case::reversed(&[3, 2, 1])]
#[case::swapped(&[2, 1, 3])]
fn a_wrong_order_diverges(#[case] order: &[usize]) {
    let case = Case::new(PHASE);
    with_endpoints(&case, order);
    let run = case.conform(&["--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("no rotation of the recorded sequence fits"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("in another order"), "{}", run.stdout);
}

#[test]
fn another_period_is_named() {
    let case = Case::new(&PHASE.replace("period = 3", "period = 2"));
    with_endpoints(&case, &[1, 2]);
    let run = case.conform(&["--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("recorded picks repeat after 2, these after 3"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_recording_that_contradicts_its_period_is_an_error() {
    let case = Case::new(PHASE);
    with_endpoints(&case, &[1, 2, 3, 3, 2, 1]);
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("do not repeat after 3"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_phase_frees_its_own_fields_only() {
    let case = Case::new(PHASE);
    case.tamper("r0", "\"route\":\"#4\"", "\"route\":\"#5\"");
    let run = case.conform(&["--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
}

/// A hundred requests for the canary route, without random numbers.
fn canary_traffic() -> String {
    (0..200)
        .map(|index| {
            format!(
                "{{\"id\":\"c{index}\",\"authority\":\"reviews.test\",\"path\":\"/reviews/canary\",\"destination\":\"10.0.0.1:8080\"}}\n"
            )
        })
        .collect()
}

fn canary(weights: &str) -> String {
    let exact = PHASE
        .split("[[comparison.phase]]")
        .next()
        .expect("the exact fields");
    format!(
        "{exact}[[comparison.distribution]]\nroute = \"canary\"\nfields = [\"cluster\", \"endpoint\", \"priority\", \"locality\"]\nweights = {weights}\n"
    )
}

#[rstest]
#[case::its_weights("{ reviews-v1 = 90, reviews-v2 = 10 }", Some(0), "")]
#[case::other_weights(
    "{ reviews-v1 = 50, reviews-v2 = 50 }",
    Some(1),
    "are not those of the weights"
)]
#[case::swapped(
    "{ reviews-v1 = 10, reviews-v2 = 90 }",
    Some(1),
    "are not those of the weights"
)]
#[case::another_cluster(
    "{ reviews-v1 = 90, ratings = 10 }",
    Some(1),
    "cluster `reviews-v2` is none of those with a weight"
)]
#[case::no_weight(
    "{ reviews-v1 = 90, reviews-v2 = 0 }",
    Some(1),
    "cluster `reviews-v2` is none of those with a weight"
)]
fn shares_are_compared_with_weights(
    #[case] weights: &str,
    #[case] code: Option<i32>,
    #[case] message: &str,
) {
    let case = Case::with_traffic(&canary_traffic(), &canary(weights));
    // Another seed, so that requests fall to other clusters than those recorded.
    let run = case.conform(&["--seed", "7", "--no-reproducers"]);
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains(message), "{}", run.stdout);
}

#[test]
fn without_the_distribution_another_seed_diverges() {
    let case = Case::with_traffic(&canary_traffic(), "");
    let run = case.conform(&["--seed", "7", "--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
}

#[rstest]
#[case::unknown_key("nam = \"x\"", "case.toml:1:1: unknown field `nam`")]
#[case::unknown_section("[envoi]\nversion = \"1\"", "unknown field `envoi`")]
#[case::unknown_in_source("[source]\nfrom = \"x\"", "unknown field `from`")]
#[case::unknown_in_envoy("[envoy]\nconcurency = 1", "unknown field `concurency`")]
#[case::wrong_type("requests = \"12\"", "case.toml:1:12: invalid type")]
#[case::fewer_requests(
    "requests = 11",
    "field `requests`: 11, but requests.traffic.jsonl has 12 lines"
)]
#[case::no_toml("requests = = 3", "case.toml:1:")]
#[case::field_left_open(
    "[comparison]\nexact = [\"outcome\"]\nignored = [\"engine\", \"reason\"]",
    "`listener` is in neither `exact` nor `ignored`"
)]
#[case::field_unknown(
    "[comparison]\nexact = [\"outcom\"]\nignored = []",
    "unknown variant `outcom`"
)]
fn wrong_settings_are_errors(#[case] settings: &str, #[case] message: &str) {
    let case = Case::new("");
    std::fs::write(case.folder.join("case.toml"), settings).expect("settings");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

#[rstest]
#[case::period_of_zero(&PHASE.replace("period = 3", "period = 0"), "phase[0].period`: expected at least 1")]
#[case::unknown_rule_key(&format!("{PHASE}share = 3"), "unknown field `share`")]
#[case::rule_for_everything(&format!("{PHASE}[[comparison.distribution]]\nfields = [\"cluster\"]"), "it frees every request")]
#[case::weights_without_cluster(&format!("{PHASE}[[comparison.distribution]]\nroute = \"x\"\nfields = [\"endpoint\"]\nweights = {{ a = 1 }}"), "weights are those of clusters")]
#[case::unknown_id(&format!("{PHASE}[[comparison.distribution]]\nids = [\"r99\"]\nfields = [\"endpoint\"]"), "`r99` is no request")]
#[case::engine_exact(&PHASE.replace("ignored = [\"engine\", \"reason\"]", "ignored = [\"reason\"]").replace("\"authority\"]", "\"authority\", \"engine\"]"), "no two engines agree in it")]
fn wrong_comparisons_are_errors(#[case] settings: &str, #[case] message: &str) {
    let case = Case::new("");
    std::fs::write(case.folder.join("case.toml"), settings).expect("settings");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

#[test]
fn traffic_of_the_case_is_read_strictly() {
    let case = Case::new("");
    let traffic = TRAFFIC.replace("\"id\":\"r3\"", "\"id\":\"r3\",\"hedaers\":[]");
    std::fs::write(case.folder.join("requests.traffic.jsonl"), traffic).expect("traffic");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("requests.traffic.jsonl:4:") && run.stderr.contains("`hedaers`"),
        "{}",
        run.stderr
    );
}
