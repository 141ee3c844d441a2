//! A recorded run that keeps every promise, made by carrying out the real workload on one tree in
//! memory, and the ways in which tests spoil it.
#![expect(missing_docs, reason = "only tests see it; the names say it")]

use std::collections::BTreeMap;

use mfsha_core::id::{NodeId, SessionId};
use mfsha_core::rng::Seed;
use mfsha_linearizability::history::End;
use mfsha_linearizability::models::{Errno, NamespaceCall, NamespaceReply};

use super::{Law, Verdict};
use crate::journal::{Answer, Call, ClientJournal, Operation, RegisterAction, Role, Seen, Via};
use crate::keeper::{Leaf, Remains, Replica, Tree, add_file, add_listing, digest};
use crate::layout::{Layout, Make, Script, layout, makes};
use crate::nemesis::Note;
use crate::plan::{Kind, Plan};
use crate::recording::Recording;
use crate::stand_in;
use crate::step::{Place, Step, Want, seen_of_answer, seen_of_reply};

pub const WRITERS: usize = 8;
const STEPS: usize = 40;

/// The laws that were broken, each once.
pub fn laws(verdict: &Verdict) -> Vec<Law> {
    let mut laws: Vec<Law> = verdict.findings.iter().map(|finding| finding.law).collect();
    laws.sort();
    laws.dedup();
    laws
}

/// Where an operation stands: client, number.
pub type At = (usize, usize);

pub struct Story {
    pub recording: Recording,
    layout: Layout,
    tree: stand_in::Tree,
    now: u64,
}

impl Story {
    /// One round of eight writers and three readers, with a kill in it.
    pub fn kept() -> Self {
        let plan = Plan::draw(1, 1, 3, WRITERS, &[Kind::Kill]);
        let mut clients = vec![journal(0, Role::Keeper)];
        clients.extend((1..=WRITERS as u64).map(|number| journal(number, Role::Writer)));
        let readers = WRITERS as u64 + 1..=WRITERS as u64 + 3;
        clients.extend(readers.map(|number| journal(number, Role::Reader)));
        let recording = Recording {
            plan,
            clients,
            notes: notes(),
            remains: BTreeMap::new(),
            last: BTreeMap::new(),
            troubles: Vec::new(),
        };
        let (layout, tree) = (Layout::default(), stand_in::Tree::new());
        let mut story = Self {
            recording,
            layout,
            tree,
            now: 0,
        };
        story.set_up();
        story.work();
        story.look();
        story
    }

    fn set_up(&mut self) {
        let mut inodes = BTreeMap::from([("/".to_owned(), mfsha_core::id::InodeId::ROOT)]);
        for make in makes(1, WRITERS) {
            let (Make::Dir(parent, name) | Make::File(parent, name)) = &make;
            let place = Place {
                inode: inodes[parent],
                path: parent.clone(),
            };
            let step = match &make {
                Make::Dir(..) => Step::mkdir(&place, name),
                Make::File(..) => Step::create(&place, name),
            };
            let at = self.perform_alone(0, &step, false);
            let Seen::Tree(reply) = self.answer(at).seen.clone() else {
                panic!("{step:?}")
            };
            let inode = u32::try_from(reply.inode.expect("it was made")).unwrap();
            inodes.insert(place.child(name), mfsha_core::id::InodeId(inode));
        }
        self.layout = layout(1, WRITERS, |path| inodes[path]);
    }

    fn work(&mut self) {
        let scripts = |client: usize| {
            let rng = Seed::from_u64(5).index(client as u64).rng();
            Script::new(self.layout.clone(), client - 1, rng)
        };
        let mut scripts: Vec<Script> = (1..self.recording.clients.len()).map(scripts).collect();
        for number in 0..STEPS {
            for (client, script) in (1..).zip(&mut scripts) {
                let (step, is_fast) = match (client <= WRITERS, number % 4) {
                    (true, 3) => (script.next_read(), false),
                    (true, _) => (script.next_write(), false),
                    (false, _) => (script.next_read(), number % 2 == 0),
                };
                self.perform(client, &step, is_fast);
            }
        }
    }

    /// Carries a step out and writes it down; it overlaps the one before and the one after.
    fn perform(&mut self, client: usize, step: &Step, is_fast: bool) {
        let (via, index, version, seen) = if step.want.is_read() {
            let (index, result) = self.tree.read(&step.want.to_query(SessionId(0)));
            let via = if is_fast {
                Via::Fast { not_before: 1 }
            } else {
                Via::Strict
            };
            (via, index, None, seen_of_answer(&step.want, &result))
        } else {
            let op = step.want.to_op(SessionId(0));
            let (index, outcome) = self.tree.write(None, op, false).unwrap();
            let seen = seen_of_reply(&step.want, &outcome.result);
            (Via::Write, index, Some(outcome.version), seen)
        };
        let answer = Answer {
            index: Some(index.0),
            version,
            repeated: false,
            node: Some(NodeId(1)),
            seen,
        };
        self.now += 10;
        self.recording.clients[client].operations.push(Operation {
            round: 1,
            invoked_at: self.now,
            via,
            call: step.call.clone(),
            end: End::Returned {
                at: self.now + 15,
                value: answer,
            },
        });
    }

    /// As [`Self::perform`], when everything before is over.
    fn perform_alone(&mut self, client: usize, step: &Step, is_fast: bool) -> At {
        self.now += 20;
        self.perform(client, step, is_fast);
        self.now += 20;
        (client, self.recording.clients[client].operations.len() - 1)
    }

    fn look(&mut self) {
        let mut tree = Tree::new();
        let ask = |want: &Want| self.tree.read(&want.to_query(SessionId(0))).1;
        for dir in self.layout.dirs() {
            add_listing(dir, ask(&Want::ReadDir(dir.inode)), &mut tree).unwrap();
        }
        for file in self.layout.files() {
            let register = ask(&Want::GetRegister(file.inode));
            add_file(file, ask(&Want::GetAttr(file.inode)), &register, &mut tree).unwrap();
        }
        let applied = self.tree.index().0;
        let replica = |node| Replica {
            node: NodeId(node),
            applied,
            digest: digest(&tree),
            tree: None,
        };
        let replicas = (1..=3).map(replica).collect();
        self.recording.last.insert(1, tree.clone());
        self.recording.remains.insert(
            1,
            Remains {
                round: 1,
                tree,
                replicas,
            },
        );
    }

    /// What is left of the round.
    pub fn tree(&mut self) -> &mut Tree {
        &mut self.recording.remains.get_mut(&1).unwrap().tree
    }

    pub fn answer(&mut self, at: At) -> &mut Answer {
        match &mut self.recording.clients[at.0].operations[at.1].end {
            End::Returned { value, .. } => value,
            other => panic!("{other:?}"),
        }
    }

    fn find(&self, wanted: impl Fn(&ClientJournal, &Operation) -> bool) -> At {
        let clients = self.recording.clients.iter().enumerate();
        let all = clients.flat_map(|(client, it)| {
            it.operations
                .iter()
                .enumerate()
                .map(move |(at, operation)| (client, at, it, operation))
        });
        let mut all = all.filter(|(_, _, client, operation)| wanted(client, operation));
        all.next()
            .map(|(client, at, ..)| (client, at))
            .expect("the workload has one")
    }

    fn find_creation(&self, wanted: impl Fn(&str) -> bool) -> At {
        self.find(|_, operation| match &operation.call {
            Call::Tree(NamespaceCall::Create { path, .. }) => wanted(path.as_str()),
            _ => false,
        })
    }

    /// A name in a set directory, acknowledged.
    pub fn some_set_name(&mut self) -> String {
        let found = self
            .tree()
            .keys()
            .find(|path| path.starts_with("/s1-"))
            .cloned();
        found.expect("sets are filled")
    }

    pub fn some_bank_file(&mut self) -> (String, Leaf) {
        let mut files = self
            .tree()
            .iter()
            .filter(|(path, _)| path.starts_with("/b1-0/"));
        let (path, leaf) = files.next().expect("banks are filled");
        (path.clone(), leaf.clone())
    }

    pub fn answer_with_error(&mut self, path: &str, errno: Errno) {
        let at = self.find_creation(|it| it == path);
        let error = Some(errno);
        self.answer(at).seen = Seen::Tree(NamespaceReply {
            error,
            ..NamespaceReply::default()
        });
    }

    pub fn answer_oddly(&mut self) {
        let at = self
            .find(|client, operation| client.role == Role::Writer && operation.via == Via::Strict);
        self.answer(at).seen = Seen::Odd("Quota".to_owned());
    }

    /// Two changes, one after the other was over.
    pub fn two_changes(&mut self) -> (At, At) {
        let register = self.layout.areas[0].registers[0].clone();
        let set = |value| Step::register(&register, RegisterAction::Set(value));
        (
            self.perform_alone(1, &set(111), false),
            self.perform_alone(2, &set(222), false),
        )
    }

    /// Somebody reads what was overwritten before.
    pub fn make_a_read_stale(&mut self) {
        self.two_changes();
        let register = self.layout.areas[0].registers[0].clone();
        let read = Step::register(&register, RegisterAction::Read);
        let at = self.perform_alone(3, &read, false);
        self.answer(at).seen = Seen::Held(111);
    }

    pub fn make_a_fast_read_wrong(&mut self) {
        self.two_changes();
        let register = self.layout.areas[0].registers[0].clone();
        let read = Step::register(&register, RegisterAction::Read);
        let at = self.perform_alone(WRITERS + 1, &read, true);
        self.answer(at).seen = Seen::Held(111);
    }

    /// A change of every register of which nobody knows whether it happened.
    pub fn forget_outcomes_of_registers(&mut self) {
        let areas = self.layout.areas.clone();
        for register in areas.iter().flat_map(|area| &area.registers) {
            let set = Step::register(register, RegisterAction::Set(111));
            let (client, at) = self.perform_alone(4, &set, false);
            let operation = &mut self.recording.clients[client].operations[at];
            operation.end = End::Unknown {
                gave_up_at: operation.ended_at(),
            };
        }
    }

    /// A file is moved away, and somebody else is told to have moved it away as well.
    pub fn repeat_a_rename(&mut self) {
        let (path, _) = self.some_bank_file();
        let (dir, name) = path.rsplit_once('/').unwrap();
        let dirs = self.layout.banks[0].dirs.clone();
        let from = dirs.iter().find(|it| it.path == dir).unwrap();
        let to = dirs.iter().find(|it| it.path != dir).unwrap();
        let rename = Step::rename(from, name, to, name);
        let first = self.perform_alone(1, &rename, false);
        let second = self.perform_alone(2, &rename, false);
        self.answer(second).seen = self.answer(first).seen.clone();
    }

    /// A later read of a reader's.
    pub fn some_fast_read(&mut self) -> At {
        let (client, _) = self.find(|client, _| client.role == Role::Reader);
        let operations = &self.recording.clients[client].operations;
        let at = operations
            .iter()
            .rposition(|it| matches!(it.via, Via::Fast { .. }));
        (client, at.expect("readers read fast"))
    }

    pub fn hide_an_own_creation(&mut self) {
        let set = self.layout.areas[0].set.clone();
        self.perform_alone(1, &Step::create(&set, "w0-999"), false);
        let at = self.perform_alone(1, &Step::lookup(&set, "w0-999"), true);
        let error = Some(Errno::Enoent);
        self.answer(at).seen = Seen::Tree(NamespaceReply {
            error,
            ..NamespaceReply::default()
        });
    }

    pub fn leave_a_creation_unknown(&mut self) -> String {
        let path = self.some_set_name();
        let at = self.find_creation(|it| it == path);
        let operation = &mut self.recording.clients[at.0].operations[at.1];
        operation.end = End::Unknown {
            gave_up_at: operation.ended_at(),
        };
        path
    }
}

fn journal(client: u64, role: Role) -> ClientJournal {
    ClientJournal {
        client,
        role,
        operations: Vec::new(),
    }
}

fn notes() -> Vec<Note> {
    vec![
        Note::Begin {
            at: 500,
            round: 1,
            kind: Kind::Kill,
            seats: vec![0],
            nodes: vec![NodeId(1)],
            leader: Some(0),
        },
        Note::Effect {
            at: 510,
            round: 1,
            shown: true,
            what: "killed".to_owned(),
        },
        Note::End {
            at: 600,
            round: 1,
            healed: true,
            what: "started".to_owned(),
        },
    ]
}
