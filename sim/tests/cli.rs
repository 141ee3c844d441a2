//! The simulator as people and CI use it: one process per seed, hashes, exit codes, shrinking.

use std::path::Path;
use std::process::{Command, Output};

const CALM: [&str; 6] = [
    "--set",
    "safety_ms=1000",
    "--set",
    "faults.mean_ms=0",
    "--set",
    "leave_rest_broken=false",
];

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mfsha-sim"))
        .args(arguments)
        .output()
        .expect("the binary under test runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hashes(output: &Output) -> Vec<String> {
    text(output)
        .lines()
        .filter_map(|line| Some(line.split_once("trace hash ")?.1[..64].to_owned()))
        .collect()
}

#[test]
fn run_and_replay_print_one_hash_for_one_seed() {
    let mut arguments = vec!["run", "--seeds", "1..3", "--twice-percent", "100"];
    arguments.extend(CALM);
    let swept = sim(&arguments);
    assert_eq!(swept.status.code(), Some(0), "{}", text(&swept));
    let mut arguments = vec!["replay", "2"];
    arguments.extend(CALM);
    let replayed = sim(&arguments);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed));
    assert_eq!(hashes(&swept).len(), 2);
    assert_eq!(hashes(&swept)[1], hashes(&replayed)[0]);
}

#[test]
fn a_failing_seed_prints_one_block_with_the_command_that_replays_it() {
    let mut arguments = vec!["run", "--seeds", "1..2", "--set", "canary=true"];
    arguments.extend(CALM);
    let output = sim(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert_eq!(said.matches("== violation").count(), 1, "{said}");
    let line = said
        .lines()
        .find(|line| line.contains("cargo sim replay 1"));
    assert!(
        line.is_some_and(|line| line.contains("--set 'canary=true'")),
        "{said}"
    );
}

#[test]
fn a_seed_that_makes_two_different_runs_is_told_with_the_event_at_which_they_part() {
    let mut arguments = vec!["run", "--seeds", "1..2", "--twice-percent", "100"];
    arguments.extend(["--set", "undetermined=true"]);
    arguments.extend(CALM);
    let output = sim(&arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("seed 1 lost determinism"), "{said}");
    assert!(said.contains("events are the same; the next"), "{said}");
    for which in ["  one       ", "  the other "] {
        let told = |line: &&str| line.starts_with(which);
        let line = said.lines().find(told).unwrap_or_else(|| panic!("{said}"));
        // The first time that the world looks at everybody it says which process lives it.
        assert!(line.contains("1.000000000"), "{line}");
        assert!(line.contains("lives this run"), "{line}");
    }
}

#[test]
fn seeds_that_a_sweep_gave_up_are_named() {
    let mut arguments = vec!["run", "--seeds", "1..6", "--set", "canary=true"];
    arguments.extend(["--failures-max", "1", "--jobs", "1"]);
    arguments.extend(CALM);
    let output = sim(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let lines: Vec<&str> = said.lines().collect();
    for seed in 1..6 {
        let lived = format!("seed {seed} trace hash ");
        let lived = lines.iter().filter(|line| line.starts_with(&lived)).count();
        let given_up = format!("seed {seed}: not lived");
        let given_up = lines.iter().filter(|line| **line == given_up).count();
        assert_eq!(lived + given_up, 1, "{said}");
    }
    assert!(lines.contains(&"seed 5: not lived"), "{said}");
}

#[test]
fn a_sweep_that_demands_no_coverage_says_so() {
    let mut arguments = vec!["run", "--seeds", "1..2"];
    arguments.extend(CALM);
    let said = text(&sim(&arguments));
    assert!(
        said.contains("coverage was not demanded of 1 seeds"),
        "{said}"
    );
    arguments.push("--require-coverage");
    let output = sim(&arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(!said.contains("was not demanded"), "{said}");
}

#[test]
fn a_shrunk_failure_is_written_down_and_fails_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("canary.toml");
    let name = file.to_str().unwrap();
    let mut arguments = vec!["shrink", "1", "--out", name, "--tries", "60"];
    arguments.extend(["--set", "canary=true"]);
    arguments.extend(CALM);
    let shrunk = sim(&arguments);
    assert_eq!(shrunk.status.code(), Some(1), "{}", text(&shrunk));
    // The canary needs neither faults nor operations, so none may be left.
    assert!(
        text(&shrunk).contains("0 faults and 0 operations are left"),
        "{}",
        text(&shrunk)
    );
    let replayed = sim(&["replay", name]);
    assert_eq!(replayed.status.code(), Some(1));
    assert_eq!(hashes(&replayed).len(), 1);
    // As a regression it is met as long as it fails in this way.
    let kept = regressions(directory.path());
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
    let cured = std::fs::read_to_string(&file)
        .unwrap()
        .replace("canary = true", "canary = false");
    std::fs::write(&file, cured).unwrap();
    let kept = regressions(directory.path());
    assert_eq!(kept.status.code(), Some(1), "{}", text(&kept));
}

fn regressions(directory: &Path) -> Output {
    let directory = directory.to_str().unwrap();
    let output = sim(&["run", "--regressions", directory]);
    let said = text(&output);
    assert!(said.contains("1 regressions lived"), "{said}");
    assert_eq!(said.matches("trace hash").count(), 1, "no seed: {said}");
    output
}

#[test]
fn a_seed_with_nothing_wrong_is_not_shrunk() {
    let mut arguments = vec!["shrink", "1", "--out", "/dev/null"];
    arguments.extend(CALM);
    let output = sim(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("nothing to shrink"));
}

#[test]
fn the_ideal_tier_and_the_canary_run() {
    let ideal = sim(&[
        "run",
        "--tier",
        "ideal",
        "--seeds",
        "0..2",
        "--twice-percent",
        "100",
    ]);
    assert_eq!(ideal.status.code(), Some(0), "{}", text(&ideal));
    assert_eq!(hashes(&ideal).len(), 2);
    assert_eq!(sim(&["canary"]).status.code(), Some(0));
}

#[test]
fn a_drawing_is_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.html");
    let mut arguments = vec!["trace", "1", "--html", file.to_str().unwrap()];
    arguments.extend(CALM);
    assert_eq!(sim(&arguments).status.code(), Some(0));
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("seat0"));
}

#[test]
fn bad_usage_has_its_own_code_and_help_is_none() {
    for arguments in [
        &["run", "--seeds", "5..1"][..],
        &["run", "--set", "knots=3"],
        &["replay", "no-such-file.toml"],
        &["bugs", "a-bug-of-another-house"],
        &["dance"],
    ] {
        assert_eq!(sim(arguments).status.code(), Some(64), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["bugs", "--list"]] {
        assert_eq!(sim(arguments).status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn bugs_are_listed_with_their_numbers_among_the_mistakes_of_others() {
    let said = text(&sim(&["bugs", "--list"]));
    let words = |name: &str| -> Vec<String> {
        let line = said.lines().find(|line| line.starts_with(name));
        let words = line.unwrap_or_default().split_whitespace().take(3);
        words.map(str::to_owned).collect()
    };
    let numbered = ["vote-not-persisted", "10", "RAFT"];
    assert_eq!(words("vote-not-persisted"), numbered, "{said}");
    assert_eq!(words("half-frame-kept")[1], "STREAM", "{said}");
}

#[test]
fn a_run_without_a_report_is_a_crash() {
    let output = sim(&["run", "--seeds", "1..2", "--timeout", "0"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("longer than"));
}

#[test]
fn the_failure_that_the_documentation_walks_through_is_still_one() {
    let page = include_str!("../../docs/simulator.md");
    let plan = "docs/examples/retry-executes-twice.toml";
    assert!(page.contains(plan), "the page names the plan");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(plan);
    let file = file.to_str().expect("a path of this repository is text");
    let replayed = sim(&["replay", file, "--whole"]);
    let said = text(&replayed);
    assert_eq!(replayed.status.code(), Some(1), "{said}");
    assert!(said.contains("  checker   once\n"), "{said}");
    assert!(said.contains("0 faults, 2 operations"), "{said}");
    let mkdirs = said.lines().filter(|line| {
        line.contains("seat2    apply") && line.contains("n3") && line.contains("Mkdir")
    });
    assert_eq!(mkdirs.count(), 2, "carried out twice at the leader: {said}");
}
