//! A run as it was written down: the directory that `run` fills and `verdict` reads.
//!
//! ```text
//! run.json                    the plan
//! journal/client-NN.jsonl     what each client asked and was told
//! journal/nemesis.jsonl       what was broken, and when
//! rounds/NNNN.json            what was left of a round
//! last/NNNN.json              what was left of it when the run ended
//! deaths.json                 nodes that ended by themselves, and what did not come back in time
//! data/, log/                 of the nodes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mfsha_linearizability::history::End;

use crate::journal::{
    Answer, ClientJournal, JournalError, Operation, Role, read_client, read_json, read_lines,
};
use crate::keeper::{Remains, Tree};
use crate::nemesis::Note;
use crate::plan::Plan;
use crate::verdict::Finding;

/// Everything that a run left.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was to be done.
    pub plan: Plan,
    /// What each client did.
    pub clients: Vec<ClientJournal>,
    /// What was broken.
    pub notes: Vec<Note>,
    /// What was left of each round.
    pub remains: BTreeMap<u32, Remains>,
    /// What was left of each round when the run ended; empty when it did not get that far.
    pub last: BTreeMap<u32, Tree>,
    /// What the harness itself saw go wrong.
    pub troubles: Vec<Finding>,
}

/// Names of the files.
#[derive(Clone, Debug)]
pub struct Files(pub PathBuf);

impl Files {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Of the clients and the nemesis.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// What was broken.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.journal().join("nemesis.jsonl")
    }

    /// What was left of a round.
    #[must_use]
    pub fn remains(&self, round: u32) -> PathBuf {
        self.0.join("rounds").join(format!("{round:04}.json"))
    }

    /// What was left of it at the end of the run.
    #[must_use]
    pub fn last(&self, round: u32) -> PathBuf {
        self.0.join("last").join(format!("{round:04}.json"))
    }

    /// What the harness itself saw go wrong.
    #[must_use]
    pub fn troubles(&self) -> PathBuf {
        self.0.join("troubles.jsonl")
    }
}

impl Recording {
    /// Reads a run's directory.
    ///
    /// # Errors
    /// [`JournalError`] when a file is missing or damaged.
    pub fn read(dir: &Path) -> Result<Self, JournalError> {
        let files = Files(dir.to_owned());
        let plan: Plan = read_json(&files.plan())?;
        let mut clients = Vec::new();
        for path in journals(&files.journal())? {
            clients.push(read_client(&path)?);
        }
        clients.sort_by_key(|client| client.client);
        let (mut remains, mut last) = (BTreeMap::new(), BTreeMap::new());
        for round in plan.rounds.iter().map(|round| round.number) {
            if files.remains(round).exists() {
                remains.insert(round, read_json(&files.remains(round))?);
            }
            if files.last(round).exists() {
                last.insert(round, read_json(&files.last(round))?);
            }
        }
        let troubles = match files.troubles().exists() {
            true => read_lines(&files.troubles())?,
            false => Vec::new(),
        };
        let notes = read_lines(&files.notes())?;
        Ok(Self {
            plan,
            clients,
            notes,
            remains,
            last,
            troubles,
        })
    }

    /// Rounds that were begun.
    #[must_use]
    pub fn rounds(&self) -> BTreeSet<u32> {
        let operations = self.clients.iter().flat_map(|client| &client.operations);
        operations.map(|operation| operation.round).collect()
    }

    /// Operations of a round, with their clients.
    pub fn operations(&self, round: u32) -> impl Iterator<Item = (&ClientJournal, &Operation)> {
        self.clients.iter().flat_map(move |client| {
            // A client goes through the rounds in order.
            let from = client.operations.partition_point(|it| it.round < round);
            let to = client.operations.partition_point(|it| it.round <= round);
            client.operations[from..to]
                .iter()
                .map(move |operation| (client, operation))
        })
    }

    /// Whether an operation changed something for certain, and what it was told.
    #[must_use]
    pub fn answered(operation: &Operation) -> Option<(u64, &Answer)> {
        match &operation.end {
            End::Returned { at, value } => Some((*at, value)),
            _ => None,
        }
    }

    /// Clients of one kind.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &ClientJournal> {
        self.clients
            .iter()
            .filter(move |client| client.role == role)
    }
}

fn journals(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let fail = |error| JournalError::Io {
        path: dir.to_owned(),
        error,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with("client-") && name.ends_with(".jsonl")) {
            paths.push(path);
        }
    }
    Ok(paths)
}
