//! Engines against one another: what two runs must have in common.

use rstest::rstest;
use std::sync::Arc;

use twinmesh::case::Comparison;
use twinmesh::comparison::{Field, Verdict, compare_traces, compare_with_engine};
use twinmesh::judge::{Question, Run};
use twinmesh_engine::{Decision, Outcome, Request, Step, Strictness, Trace, Try};
use twinmesh_xds::Snapshot;

fn decision(outcome: Outcome, cluster: &str) -> Decision {
    Decision {
        id: "a".to_owned(),
        outcome,
        cluster: Some(cluster.to_owned()),
        ..Decision::default()
    }
}

const DECIDED: Outcome = Outcome::NoHealthyUpstream;

#[rstest]
#[case::equal(DECIDED, DECIDED, Strictness::Exact, "agrees")]
#[case::equal_within_limits(DECIDED, DECIDED, Strictness::ExactWithinLimits, "agrees")]
#[case::other(DECIDED, Outcome::NoCluster, Strictness::Exact, "diverges")]
#[case::other_within_limits(DECIDED, Outcome::NoCluster, Strictness::ExactWithinLimits, "diverges")]
#[case::gives_up(DECIDED, Outcome::Unsupported, Strictness::Exact, "diverges")]
#[case::gives_up_within_limits(
    DECIDED,
    Outcome::Unsupported,
    Strictness::ExactWithinLimits,
    "unsupported"
)]
#[case::both_give_up(
    Outcome::Unsupported,
    Outcome::Unsupported,
    Strictness::Exact,
    "unsupported"
)]
#[case::decides_too_much(Outcome::Unsupported, DECIDED, Strictness::Exact, "diverges")]
#[case::decides_too_much_within_limits(
    Outcome::Unsupported,
    DECIDED,
    Strictness::ExactWithinLimits,
    "diverges"
)]
fn outcomes(
    #[case] reference: Outcome,
    #[case] found: Outcome,
    #[case] strictness: Strictness,
    #[case] expected: &str,
) {
    let verdict = compare_with_engine(&decision(reference, "c"), &decision(found, "c"), strictness);
    let name = match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Unsupported => "unsupported",
        Verdict::Diverges(_) => "diverges",
    };
    assert_eq!(name, expected);
}

#[test]
fn every_field_but_who_and_why_is_compared() {
    let whole = Decision {
        id: "a".to_owned(),
        outcome: Outcome::Forward,
        listener: Some("x".to_owned()),
        filter_chain: Some("x".to_owned()),
        route_config: Some("x".to_owned()),
        virtual_host: Some("x".to_owned()),
        route: Some("x".to_owned()),
        cluster: Some("x".to_owned()),
        endpoint: Some("x".to_owned()),
        priority: Some(1),
        locality: Some("x".to_owned()),
        status: Some(1),
        body: Some("x".to_owned()),
        location: Some("x".to_owned()),
        path: Some("x".to_owned()),
        authority: Some("x".to_owned()),
        request_headers: Some([("x".to_owned(), None)].into()),
        response_headers: Some([("x".to_owned(), Some(vec![]))].into()),
        mirrors: vec!["x".to_owned()],
        attempts: Some(1),
        response_flags: Some("x".to_owned()),
        duration_us: Some(1),
        tries: vec![Try::default()],
        engine: Some("x".to_owned()),
        reason: Some("x".to_owned()),
    };
    let value = serde_json::to_value(&whole).expect("JSON");
    let fields = value.as_object().expect("an object").clone();
    assert_eq!(fields.len(), Field::ALL.len() + 1, "every field but the id");
    for name in fields.keys().filter(|name| *name != "id") {
        let mut other = value.clone();
        other[name] = match name.as_str() {
            "outcome" => "no_route".into(),
            "priority" | "status" | "attempts" | "duration_us" => 2.into(),
            "tries" | "mirrors" => serde_json::json!([]),
            "request_headers" | "response_headers" => serde_json::json!({"x": ["y"]}),
            _ => "y".into(),
        };
        let other: Decision = serde_json::from_value(other).expect("a decision");
        let verdict = compare_with_engine(&whole, &other, Strictness::Exact);
        if ["engine", "reason"].contains(&name.as_str()) {
            assert_eq!(verdict, Verdict::Agrees, "{name}");
        } else {
            let Verdict::Diverges(divergence) = verdict else {
                panic!("{name} is not compared");
            };
            let fields: Vec<&str> = divergence.fields.iter().map(Field::name).collect();
            assert_eq!(fields, [name.as_str()]);
        }
    }
}

fn trace(steps: &[usize]) -> Trace {
    Trace {
        steps: steps.iter().map(|step| Step::Route(*step)).collect(),
    }
}

#[rstest]
#[case::equal(&[1, 2], &[1, 2], None)]
#[case::other(&[1, 2], &[1, 3], Some(1))]
#[case::shorter(&[1, 2], &[1], Some(1))]
#[case::longer(&[1], &[1, 2], Some(1))]
#[case::empty(&[], &[1], Some(0))]
#[case::both_empty(&[], &[], None)]
fn traces_part_at_the_first_step_that_differs(
    #[case] one: &[usize],
    #[case] other: &[usize],
    #[case] expected: Option<usize>,
) {
    assert_eq!(compare_traces(&trace(one), &trace(other)), expected);
}

#[test]
fn equal_decisions_with_other_traces_diverge() {
    let request: Request = serde_json::from_str("{\"id\":\"a\"}").expect("a request");
    let comparison = Comparison::default();
    let question = Question {
        snapshot: Arc::new(Snapshot::default()),
        requests: &[request],
        recorded: None,
        comparison: &comparison,
        schedule: None,
        endpoints: None,
        seed: 0,
    };
    let run = |steps: &[usize]| Run {
        decisions: vec![decision(DECIDED, "c")],
        traces: vec![trace(steps)],
        ..Run::default()
    };
    let judge = |found: &Run, reference: &Run| {
        question
            .judge(found, Strictness::Exact, Some(reference))
            .expect("a verdict")
    };
    assert_eq!(judge(&run(&[1, 2]), &run(&[1, 2])), [Verdict::Agrees]);
    let Some(Verdict::Diverges(divergence)) = judge(&run(&[1, 2]), &run(&[1])).pop() else {
        panic!("another trace agrees");
    };
    assert!(divergence.fields.is_empty());
    assert_eq!(
        divergence.note.as_deref(),
        Some("the decisions are equal, and their traces are not")
    );
}
