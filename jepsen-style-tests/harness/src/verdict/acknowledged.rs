//! What was acknowledged is there, and happened once; nothing else is there.
//!
//! Names in a set directory are made once, by one writer, and never removed: one that was
//! acknowledged must be listed with the inode that was told, one that is listed must have been
//! asked for, and a refusal because the name exists is the writer's own change seen twice. Files
//! of a bank only move: each must be in exactly one of its directories, as the inode it was made
//! as. For every file, links and names must agree.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_linearizability::history::End;
use mfsha_linearizability::models::{Errno, NamespaceCall};

use super::{Finding, Law, Verdict};
use crate::journal::{Call, Operation, Seen};
use crate::keeper::{Leaf, Tree};
use crate::recording::Recording;

/// Judges a round.
pub fn check(recording: &Recording, round: u32, verdict: &mut Verdict) {
    check_refusals(recording, round, verdict);
    let Some(remains) = recording.remains.get(&round) else {
        return;
    };
    check_sets(recording, round, &remains.tree, verdict);
    check_banks(recording, round, &remains.tree, verdict);
    check_links(round, &remains.tree, verdict);
}

fn check_refusals(recording: &Recording, round: u32, verdict: &mut Verdict) {
    for (client, operation) in recording.operations(round) {
        if let Some((_, answer)) = Recording::answered(operation)
            && let Seen::Odd(what) = &answer.seen
        {
            let text = format!(
                "client {}: {:?} was answered {what}",
                client.client, operation.call
            );
            verdict
                .findings
                .push(Finding::new(Law::Refusal, round, text));
        }
    }
}

/// The path, when the operation makes a name in a set directory.
fn made_in_set(operation: &Operation, round: u32) -> Option<&str> {
    match &operation.call {
        Call::Tree(NamespaceCall::Create { path, .. }) => {
            let path = path.as_str();
            path.starts_with(&format!("/s{round}-")).then_some(path)
        }
        _ => None,
    }
}

fn check_sets(recording: &Recording, round: u32, tree: &Tree, verdict: &mut Verdict) {
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    let mut acknowledged = 0;
    for (client, operation) in recording.operations(round) {
        let Some(path) = made_in_set(operation, round) else {
            continue;
        };
        if !matches!(operation.end, End::Failed { .. }) {
            asked.insert(path);
        }
        let Some((at, answer)) = Recording::answered(operation) else {
            continue;
        };
        let Seen::Tree(reply) = &answer.seen else {
            continue;
        };
        match reply.error {
            None => {
                acknowledged += 1;
                let is_there = tree.get(path).map(|leaf| u64::from(leaf.inode));
                if is_there.is_none() || is_there != reply.inode {
                    let text = format!(
                        "{path}, made by client {} and acknowledged at {at} ns as inode {:?} at \
                         log index {:?}, is {is_there:?} at the end",
                        client.client, reply.inode, answer.index
                    );
                    verdict
                        .findings
                        .push(Finding::new(Law::AcknowledgedLost, round, text));
                }
            }
            Some(Errno::Eexist) => {
                let text = format!(
                    "client {} alone makes {path}, once, and was told at {at} ns that it exists",
                    client.client
                );
                verdict
                    .findings
                    .push(Finding::new(Law::TakesEffectOnce, round, text));
            }
            Some(errno) => {
                let text = format!(
                    "client {} makes {path} and is told {errno:?}",
                    client.client
                );
                verdict
                    .findings
                    .push(Finding::new(Law::Refusal, round, text));
            }
        }
    }
    let prefix = format!("/s{round}-");
    for path in tree.keys().filter(|path| path.starts_with(&prefix)) {
        if !asked.contains(path.as_str()) {
            let text = format!("{path} is there, and nobody made it");
            verdict
                .findings
                .push(Finding::new(Law::Phantom, round, text));
        }
    }
    verdict.count("acknowledged creations found again", acknowledged);
}

fn check_banks(recording: &Recording, round: u32, tree: &Tree, verdict: &mut Verdict) {
    let prefix = format!("/b{round}-");
    let mut made: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (_, operation) in recording.operations(round) {
        if let Call::Tree(NamespaceCall::Create { path, .. }) = &operation.call
            && let Some((bank, name)) = bank_and_name(path.as_str(), &prefix)
            && let Some((_, answer)) = Recording::answered(operation)
            && let Seen::Tree(reply) = &answer.seen
            && let Some(inode) = reply.inode
        {
            made.insert((bank.to_owned(), name.to_owned()), inode);
        }
    }
    let mut found: BTreeMap<(String, String), Vec<(&String, &Leaf)>> = BTreeMap::new();
    for (path, leaf) in tree {
        if let Some((bank, name)) = bank_and_name(path, &prefix) {
            found
                .entry((bank.to_owned(), name.to_owned()))
                .or_default()
                .push((path, leaf));
        }
    }
    for ((bank, name), inode) in &made {
        let at = found
            .remove(&(bank.clone(), name.clone()))
            .unwrap_or_default();
        let is_right = at.len() == 1 && u64::from(at[0].1.inode) == *inode;
        if !is_right {
            let text = format!("{bank}: {name} was made as inode {inode} and is {at:?} at the end");
            verdict
                .findings
                .push(Finding::new(Law::Population, round, text));
        }
    }
    for ((bank, name), at) in found {
        let text = format!("{bank}: nobody made {name}, which is {at:?}");
        verdict
            .findings
            .push(Finding::new(Law::Population, round, text));
    }
    verdict.count("files of banks found once", made.len() as u64);
}

/// `/b3-0/d1/f4` as `/b3-0` and `f4`.
fn bank_and_name<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    if !path.starts_with(prefix) {
        return None;
    }
    let (dir, name) = path.rsplit_once('/')?;
    let (bank, _) = dir.rsplit_once('/')?;
    (!bank.is_empty()).then_some((bank, name))
}

fn check_links(round: u32, tree: &Tree, verdict: &mut Verdict) {
    let mut names: BTreeMap<u32, Vec<&String>> = BTreeMap::new();
    for (path, leaf) in tree.iter().filter(|(_, leaf)| !leaf.is_dir) {
        names.entry(leaf.inode).or_default().push(path);
    }
    for (path, leaf) in tree.iter().filter(|(_, leaf)| !leaf.is_dir) {
        let own = &names[&leaf.inode];
        if own.len() != leaf.links as usize {
            let text = format!(
                "{path} says it has {} links, its names are {own:?}",
                leaf.links
            );
            verdict
                .findings
                .push(Finding::new(Law::LinkCount, round, text));
        }
    }
    verdict.count("files whose links were counted", names.len() as u64);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Vec<Law> {
        let mut verdict = Verdict::default();
        check(&story.recording, 1, &mut verdict);
        laws(&verdict)
    }

    #[test]
    fn a_run_without_breach_is_accepted() {
        let story = Story::kept();
        let mut verdict = Verdict::default();
        check(&story.recording, 1, &mut verdict);
        assert_eq!(verdict.findings, []);
        assert!(
            verdict.counts["acknowledged creations found again"] > 3,
            "{verdict:?}"
        );
        assert!(
            verdict.counts["files of banks found once"] >= 10,
            "{verdict:?}"
        );
    }

    #[test]
    fn a_lost_creation_is_refused() {
        let mut story = Story::kept();
        let path = story.some_set_name();
        story.tree().remove(&path);
        assert_eq!(judged(&story), [Law::AcknowledgedLost]);
        // As is one that is there as something else.
        let mut story = Story::kept();
        story.tree().get_mut(&path).unwrap().inode += 1_000;
        assert_eq!(judged(&story), [Law::AcknowledgedLost]);
    }

    #[test]
    fn a_name_that_nobody_made_is_refused() {
        let mut story = Story::kept();
        let leaf = Leaf {
            inode: 999,
            is_dir: false,
            links: 1,
            register: 0,
        };
        story.tree().insert("/s1-0/w9-9".to_owned(), leaf);
        assert_eq!(judged(&story), [Law::Phantom]);
    }

    #[test]
    fn a_name_refused_to_its_only_maker_is_refused() {
        let mut story = Story::kept();
        let path = story.some_set_name();
        story.answer_with_error(&path, Errno::Eexist);
        assert_eq!(judged(&story), [Law::TakesEffectOnce]);
    }

    #[test]
    fn a_file_that_moved_twice_or_nowhere_is_refused() {
        let mut story = Story::kept();
        let (path, leaf) = story.some_bank_file();
        let double = path
            .replace("/d0/", "/dx/")
            .replace("/d1/", "/dx/")
            .replace("/d2/", "/dx/");
        story.tree().insert(double, leaf);
        assert!(judged(&story).contains(&Law::Population));
        let mut story = Story::kept();
        story.tree().remove(&path);
        assert_eq!(judged(&story), [Law::Population]);
    }

    #[test]
    fn links_that_do_not_agree_with_names_are_refused() {
        let mut story = Story::kept();
        story.tree().get_mut("/t1-0/anchor").unwrap().links += 1;
        assert!(judged(&story).contains(&Law::LinkCount));
    }

    #[test]
    fn a_refusal_that_nothing_explains_is_refused() {
        let mut story = Story::kept();
        story.answer_oddly();
        assert_eq!(judged(&story), [Law::Refusal]);
    }
}
