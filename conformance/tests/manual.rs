//! Manual pages and completions, which come from the definition of the command line.

mod common;

use common::twinmesh_in;
use rstest::rstest;
use twinmesh::{cli, man};

#[test]
fn every_command_has_a_page() {
    let pages = man::pages().expect("pages");
    let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
    let command = cli::command();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(|command| command.get_name())
        .collect();
    assert!(names.contains(&"router-check"), "{names:?}");
    for name in &names {
        let file = format!("twinmesh-{name}.1");
        let page = pages.iter().find(|page| page.file == file);
        let page = page.unwrap_or_else(|| panic!("{file} in {files:?}"));
        let text = String::from_utf8_lossy(&page.text);
        assert!(text.contains(".SH SYNOPSIS"), "{file}: {text}");
    }
    assert_eq!(files.len(), names.len() + 1);
    assert_eq!(files.first(), Some(&"twinmesh.1"));
}

#[test]
fn pages_are_written_to_a_folder_or_to_standard_output() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = twinmesh_in(folder.path(), &["man", "-o", "man1"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let written = std::fs::read_dir(folder.path().join("man1")).expect("the folder");
    assert_eq!(written.count(), man::pages().expect("pages").len());
    let run = twinmesh_in(folder.path(), &["man"]);
    assert!(run.stdout.contains(".TH twinmesh 1"), "{}", run.stdout);
}

#[rstest]
#[case("bash", "complete -F _twinmesh")]
#[case("zsh", "#compdef twinmesh")]
#[case("fish", "complete -c twinmesh")]
#[case("elvish", "twinmesh")]
#[case("powershell", "twinmesh")]
fn shells(#[case] shell: &str, #[case] part: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = twinmesh_in(folder.path(), &["completions", shell]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains(part), "{}", run.stdout);
    assert!(run.stdout.contains("router-check"), "{}", run.stdout);
}
