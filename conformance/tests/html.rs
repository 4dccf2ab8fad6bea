//! `conform --html`: one page, and nothing in it that a snapshot could have put there as markup.

mod common;

use common::{Case, twinmesh_in};

/// Runs `conform --html` and gives the page.
fn page(case: &Case, more: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec![
        "conform",
        "shop",
        "--html",
        "report.html",
        "--no-reproducers",
    ];
    arguments.extend(more);
    let run = twinmesh_in(case.parent.path(), &arguments);
    let page = std::fs::read_to_string(case.parent.path().join("report.html"));
    (run.code, page.expect("a page"))
}

/// The opening tags of a page, in order.
fn tags(page: &str) -> Vec<&str> {
    page.split('<')
        .skip(1)
        .filter_map(|rest| rest.split(['>', ' ', '\n']).next())
        .filter(|tag| !tag.starts_with(['/', '!']))
        .collect()
}

#[test]
fn all_that_agrees_is_said_so() {
    let case = Case::new("");
    let (code, page) = page(&case, &["--engines", "spec,sim"]);
    assert_eq!(code, Some(0));
    assert!(page.contains("All decisions agree"), "{page}");
    assert!(page.contains("✓ 12 agree"), "{page}");
    assert!(!page.contains("id=\"divergences\""), "{page}");
    // Latencies of every decision, and the routes that were reached.
    assert!(page.contains("<b>sim</b>, 12 decisions"), "{page}");
    assert!(page.contains("5 of 8 routes"), "{page}");
    assert!(page.contains("not reached"), "{page}");
}

#[test]
fn a_divergence_has_both_decisions_its_place_and_its_trace() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "reviews-v1");
    let (code, page) = page(&case, &["--engines", "spec,sim"]);
    assert_eq!(code, Some(1));
    assert!(page.contains("id=\"divergences\""), "{page}");
    assert!(page.contains("<code>reviews-v1</code>"), "{page}");
    // The cluster differs: it stands where the route names it.
    assert!(
        page.contains("shop/config_dump.yaml:25:35: listener &#34;shop&#34;: filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster"),
        "{page}"
    );
    assert!(page.contains("They are equal, step by step"), "{page}");
    assert!(page.contains("end-user"), "{page}");
}

#[test]
fn a_divergence_of_the_recording_is_told_once_for_all_engines() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "reviews-v1");
    let (_, page) = page(&case, &["--engines", "spec,sim,bpf-vm"]);
    assert!(
        page.contains("<bdi>shop</bdi>, spec, sim and bpf-vm: 1</h3>"),
        "{page}"
    );
    assert_eq!(
        page.matches("<summary><code>r1</code>").count(),
        1,
        "{page}"
    );
    assert_eq!(page.matches("href=\"#divergences-0\"").count(), 3, "{page}");
}

#[test]
fn shares_stand_beside_their_weights() {
    let traffic: String = (0..200)
        .map(|index| {
            format!(
                "{{\"id\":\"r{index}\",\"authority\":\"canary.test\",\"path\":\"/canary\",\"destination\":\"10.0.0.1:8080\"}}\n"
            )
        })
        .collect();
    let case = Case::with_traffic(&traffic, "");
    let snapshot = std::fs::read_to_string(common::shop()).expect("the mesh");
    let snapshot = snapshot
        .replace("domains: [\"down.test\"]", "domains: [\"down.test\", \"canary.test\"]")
        .replace(
            "              - name: down\n                match: { prefix: / }\n",
            "              - name: canary\n                match: { prefix: /canary }\n                route: { weighted_clusters: { clusters: [{ name: reviews-v1, weight: 90 }, { name: reviews-v2, weight: 10 }] } }\n              - name: down\n                match: { prefix: / }\n",
        );
    std::fs::write(case.folder.join("config_dump.yaml"), snapshot).expect("the snapshot");
    std::fs::remove_file(case.folder.join("recorded.decisions.jsonl")).expect("removed");
    let (code, page) = page(&case, &["--engines", "spec,sim"]);
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("<code>shop / down / canary</code>"), "{page}");
    assert!(
        page.contains(">90.0 %</td>") && page.contains(">10.0 %</td>"),
        "{page}"
    );
    assert!(page.contains("reviews-v1 at priority 0"), "{page}");
    assert!(page.contains(">33.3 %</td>"), "{page}");
}

#[test]
fn no_text_of_the_input_becomes_markup() {
    const HOSTILE: &str =
        r#"</style></script><script>alert(1)</script><img src=x onerror='alert(1)'>&\"{{7*7}}"#;
    let case = Case::new("");
    let plain = page(&case, &["--engines", "spec,sim"]).1;
    let snapshot = std::fs::read_to_string(common::shop()).expect("the mesh");
    let quoted = HOSTILE.replace("\\\"", "").replace('\'', "");
    let snapshot = snapshot
        .replace("name: jason\n", &format!("name: '{quoted}'\n"))
        .replace("- name: reviews\n", &format!("- name: '{quoted}'\n"))
        .replace("name: shop\n", &format!("name: '{quoted}'\n"))
        .replace("reviews-v2", &format!("'{quoted}'"));
    std::fs::write(case.folder.join("config_dump.yaml"), snapshot).expect("the snapshot");
    let traffic: String = common::TRAFFIC
        .replace("/reviews/2", "/reviews/<b>2</b>")
        .replace("\"r2\"", &format!("\"{HOSTILE}\""));
    std::fs::write(case.folder.join("requests.traffic.jsonl"), &traffic).expect("the traffic");
    let recorded = case.recorded().replace("\"r2\"", &format!("\"{HOSTILE}\""));
    let recorded: String = recorded
        .lines()
        .map(|line| line.replace("reviews-v1", "<script>") + "\n")
        .collect();
    case.write_recorded(&recorded);
    // The case's folder is a name as well.
    let hostile_folder = case.parent.path().join("<script>alert(2)<");
    std::fs::rename(&case.folder, &hostile_folder).expect("renamed");
    let run = twinmesh_in(
        case.parent.path(),
        &[
            "conform",
            ".",
            "--engines",
            "spec,sim",
            "--html",
            "report.html",
            "--no-reproducers",
        ],
    );
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let page = std::fs::read_to_string(case.parent.path().join("report.html")).expect("a page");
    assert!(
        page.contains("alert(1)") && page.contains("alert(2)"),
        "{page}"
    );
    assert!(page.contains("{{7*7}}"), "{page}");
    let known: std::collections::BTreeSet<&str> = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "nav",
        "ul",
        "li",
        "main",
        "section",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "bdi",
        "code",
        "b",
        "span",
        "details",
        "summary",
        "svg",
        "line",
        "rect",
        "path",
        "text",
        "figure",
        "figcaption",
        "dl",
        "dt",
        "dd",
        "meter",
        "footer",
    ]
    .into();
    for tag in tags(&page) {
        assert!(
            known.contains(tag),
            "<{tag}> is none of the template's tags"
        );
    }
    for (name, page) in [("plain", &plain), ("hostile", &page)] {
        assert_eq!(page.matches("</style>").count(), 1, "{name}");
        for attribute in ["onerror=", "href=\"http", "src=", "url("] {
            let inside = page.split('<').filter_map(|tag| tag.split_once('>'));
            let mut attributes = inside.map(|(attributes, _)| attributes);
            assert!(
                !attributes.any(|it| it.contains(attribute)),
                "{name}: {attribute}"
            );
        }
    }
}

#[test]
fn every_link_inside_the_page_leads_somewhere() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "reviews-v1");
    let (_, page) = page(&case, &["--engines", "spec,sim"]);
    for link in page.split("href=\"#").skip(1) {
        let target = link.split('"').next().unwrap_or_default();
        assert!(page.contains(&format!("id=\"{target}\"")), "{target}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_and_the_table_comes_all_the_same() {
    let case = Case::new("");
    let run = twinmesh_in(
        case.parent.path(),
        &[
            "conform",
            "shop",
            "--engines",
            "spec",
            "--html",
            "/dev/full",
        ],
    );
    assert_eq!(run.code, Some(2));
    assert!(run.stdout.contains("12 agreements"), "{}", run.stdout);
    assert!(
        run.stderr.contains("/dev/full: cannot be written"),
        "{}",
        run.stderr
    );
}
