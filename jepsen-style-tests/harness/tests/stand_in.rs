//! The whole harness against the stand-in: an honest one is accepted, and each mistake that it can
//! make is found. Needs root and network namespaces; says loudly when it cannot have them.

use std::io::Write;
use std::path::Path;

use mfsha_jepsen::lab::{Host, Lab, Mesh, find_remains, inside};
use mfsha_jepsen::plan::Kind;
use mfsha_jepsen::run::{self, Options, Stop, Through, exit_code};
use mfsha_jepsen::verdict;

/// Whether labs can be made here.
fn possible() -> bool {
    match Lab::possible() {
        Ok(()) => true,
        Err(error) => {
            // Not `eprintln!`, which a test that passes does not show.
            let _ = writeln!(std::io::stderr(), "!!! SKIPPED: {error}");
            false
        }
    }
}

fn options(out: &Path, name: &str, rounds: u32, kinds: &[Kind]) -> Options {
    Options {
        tls: false,
        name: format!("{name}-{}", std::process::id()),
        rounds,
        seed: 7,
        writers: 8,
        nodes: 3,
        binary: env!("CARGO_BIN_EXE_mfsha-stand-in").into(),
        out: out.to_owned(),
        kinds: kinds.to_vec(),
        keep: false,
        through: Through::Both,
        pause_ms: (1, 10),
    }
}

#[test]
fn an_honest_cluster_is_accepted_and_the_lab_is_gone_afterwards() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let kinds = [Kind::Kill, Kind::CutIn, Kind::Slow, Kind::Pause];
    let mut options = options(dir.path(), "honest", 4, &kinds);
    options.writers = 16;
    let outcome = run::run(&options, &Stop::default()).unwrap();
    assert_eq!(outcome.verdict.findings, []);
    assert_eq!((outcome.exit_code(), outcome.rounds), (0, 4));
    assert!(
        outcome.verdict.counts["changes acknowledged"] > 100,
        "{}",
        outcome.summary()
    );
    assert!(
        find_remains()
            .iter()
            .all(|remains| remains.name != options.name)
    );
    // Judging again what was written down comes to the same.
    let again = verdict::judge(&mfsha_jepsen::recording::Recording::read(dir.path()).unwrap());
    assert_eq!(again, outcome.verdict);
    // And a fault that was not written down is missed.
    let notes = dir.path().join("journal/nemesis.jsonl");
    let text = std::fs::read_to_string(&notes).unwrap();
    let kept = text
        .lines()
        .filter(|line| !line.contains("\"slow\""))
        .map(|it| format!("{it}\n"));
    std::fs::write(&notes, kept.collect::<String>()).unwrap();
    let again = verdict::judge(&mfsha_jepsen::recording::Recording::read(dir.path()).unwrap());
    assert_eq!(exit_code(&again), 5, "{:?}", again.findings);
}

/// Lives in a process of its own, so that the mistake reaches its children alone.
fn with_mistake(mistake: &str, kinds: &str) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_mfsha-jepsen"))
        .args([
            "run",
            "--rounds",
            "2",
            "--seed",
            "3",
            "--writers",
            "8",
            "--pause",
            "1..8",
        ])
        .args([
            "--nemesis",
            kinds,
            "--binary",
            env!("CARGO_BIN_EXE_mfsha-stand-in"),
        ])
        .arg("--out")
        .arg(dir.path())
        .env("MFSHA_STAND_IN_MISTAKE", mistake)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    (
        out.status.code().unwrap(),
        said + &String::from_utf8_lossy(&out.stderr),
    )
}

#[test]
fn a_cluster_that_forgets_what_it_acknowledged_is_refused() {
    if possible() {
        let (code, said) = with_mistake("forget", "kill-all");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("acknowledged-lost"), "{said}");
    }
}

#[test]
fn a_cluster_that_carries_repeats_out_again_is_refused() {
    if possible() {
        let (code, said) = with_mistake("twice", "bridge");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("takes-effect-once"), "{said}");
    }
}

#[test]
fn a_cluster_that_answers_from_the_past_is_refused() {
    if possible() {
        let (code, said) = with_mistake("stale", "bridge");
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("never-back") || said.contains("linearizable"),
            "{said}"
        );
    }
}

#[test]
fn cuts_have_the_direction_that_they_say_and_labs_of_two_names_do_not_meet() {
    if !possible() {
        return;
    }
    let host = |name: &str| Host(name.to_owned());
    let (a, b, c) = (host("a"), host("b"), host("c"));
    let name = |number| format!("cuts{number}-{}", std::process::id());
    let hosts = [a.clone(), b.clone(), c.clone()];
    let mut lab = Lab::up(&name(1), &hosts).unwrap();
    let other = Lab::up(&name(2), &hosts).unwrap();
    assert!(Lab::up(&name(1), &hosts).is_err(), "a name is taken once");
    let mesh = Mesh::open(&lab).unwrap();
    let links = [
        (a.clone(), b.clone()),
        (b.clone(), a.clone()),
        (a.clone(), c.clone()),
    ];
    assert_eq!(mesh.carry(&links), [true, true, true]);
    lab.drop_from(&a, &b).unwrap();
    assert_eq!(mesh.carry(&links), [false, true, true]);
    lab.cut(&c).unwrap();
    assert_eq!(mesh.carry(&links), [false, true, false]);
    lab.heal_all().unwrap();
    assert_eq!(mesh.carry(&links), [true, true, true]);
    let delay = std::time::Duration::from_millis(80);
    lab.slow(&b, delay, 5).unwrap();
    assert!(mesh.reach(&a, &b).is_some_and(|took| took >= delay));
    lab.heal(&b).unwrap();
    assert!(mesh.reach(&a, &b).is_some_and(|took| took < delay));
    // What runs on a host ends with its lab.
    let namespace = lab.namespace(&a);
    let mut sleeper = inside(&namespace, || {
        std::process::Command::new("sleep").arg("600").spawn()
    })
    .unwrap()
    .unwrap();
    drop(lab);
    assert!(!sleeper.wait().unwrap().success());
    assert!(!Path::new("/run/netns").join(&namespace).exists());
    assert!(Path::new("/run/netns").join(other.namespace(&a)).exists());
}
