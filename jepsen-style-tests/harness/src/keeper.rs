//! Makes what a round needs, and looks at what is left of it: the tree by strict reads, and what
//! each node holds by reads of its own state.

use std::collections::BTreeMap;
use std::time::Duration;

use mfsha_core::id::{InodeId, LogIndex, NodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{self, NodeKind};
use mfsha_core::native::request::Consistency;
use serde::{Deserialize, Serialize};

use crate::caller::{Asked, Caller};
use crate::door::Door;
use crate::journal::{How, JournalError, RegisterAction, Seen};
use crate::layout::{Layout, Make, layout, makes};
use crate::step::{Place, Step, Want, seen_of_answer};
use crate::workload::{Member, PATIENCE};

/// Looks at the replicas before what they hold is called different.
const DUMP_TRIES: u32 = 3;
const DUMP_PATIENCE: Duration = Duration::from_secs(10);

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// Its number.
    pub inode: u32,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Links.
    pub links: u32,
    /// What its register holds; 0 is nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub register: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A round's subtrees by path.
pub type Tree = BTreeMap<String, Leaf>;

/// What one node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The node.
    pub node: NodeId,
    /// Log index of the state that was read.
    pub applied: u64,
    /// Short hash of the tree.
    pub digest: String,
    /// The tree itself, when it is not the one that strict reads show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
}

/// What is left of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// The round.
    pub round: u32,
    /// What strict reads show.
    pub tree: Tree,
    /// What each node holds.
    pub replicas: Vec<Replica>,
}

/// Why a round cannot be set up or looked at.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster does not answer in time, or not as it must.
    #[error("{what}: {reason}")]
    Cluster {
        /// What was asked.
        what: String,
        /// What went wrong.
        reason: String,
    },
}

/// Makes a round's subtrees.
///
/// # Errors
/// [`KeeperError`].
pub async fn set_up(
    keeper: &mut Member,
    round: u32,
    writers: usize,
) -> Result<Layout, KeeperError> {
    let mut inodes: BTreeMap<String, InodeId> = BTreeMap::new();
    inodes.insert("/".to_owned(), InodeId::ROOT);
    for make in makes(round, writers) {
        let (Make::Dir(parent, name) | Make::File(parent, name)) = &make;
        let place = Place {
            inode: inodes[parent],
            path: parent.clone(),
        };
        let step = match &make {
            Make::Dir(..) => Step::mkdir(&place, name),
            Make::File(..) => Step::create(&place, name),
        };
        let path = place.child(name);
        let inode = match keeper.perform(round, &step, false, PATIENCE).await? {
            How::Answered(answer) => match answer.seen {
                Seen::Tree(reply) if reply.error.is_none() => reply.inode,
                other => return Err(cluster(&path, format!("{other:?}"))),
            },
            How::Failed(reason) | How::Unknown(reason) => return Err(cluster(&path, reason)),
        };
        let inode = inode.and_then(|inode| u32::try_from(inode).ok());
        let inode = inode.ok_or_else(|| cluster(&path, "no inode was told".to_owned()))?;
        inodes.insert(path, InodeId(inode));
    }
    Ok(layout(round, writers, |path| inodes[path]))
}

fn cluster(path: &str, reason: String) -> KeeperError {
    KeeperError::Cluster {
        what: path.to_owned(),
        reason,
    }
}

/// Asks everything in a round once more by strict reads, for the judges.
///
/// # Errors
/// [`KeeperError::Journal`].
pub async fn look_again(
    keeper: &mut Member,
    round: u32,
    layout: &Layout,
) -> Result<(), KeeperError> {
    let mut steps = Vec::new();
    for area in &layout.areas {
        steps.push(Step::readdir(&area.set));
        steps.extend(area.dirs.iter().map(Step::readdir));
        steps.push(Step::getattr(&area.anchor));
        let read = |file| Step::register(file, RegisterAction::Read);
        steps.extend(area.registers.iter().map(read));
    }
    steps.extend(
        layout
            .banks
            .iter()
            .flat_map(|bank| &bank.dirs)
            .map(Step::readdir),
    );
    for step in steps {
        keeper.perform(round, &step, false, PATIENCE).await?;
    }
    Ok(())
}

/// Reads a round's subtrees from one node, or from whichever answers.
pub struct Reader {
    caller: Caller,
    consistency: Consistency,
    /// Lowest and highest index of what was read.
    indexes: Option<(u64, u64)>,
    node: NodeId,
}

impl Reader {
    /// Strict reads, from whichever node answers.
    #[must_use]
    pub fn strict(doors: Vec<Door>) -> Self {
        Self::new(doors, Consistency::Strict)
    }

    /// One node's own state, not older than an index.
    #[must_use]
    pub fn of_node(door: &Door, not_before: u64) -> Self {
        Self::new(
            vec![door.clone()],
            Consistency::Fast {
                not_before: LogIndex(not_before),
            },
        )
    }

    fn new(doors: Vec<Door>, consistency: Consistency) -> Self {
        let caller = Caller::new(doors, 0);
        Self {
            caller,
            consistency,
            indexes: None,
            node: NodeId(0),
        }
    }

    async fn ask(&mut self, want: &Want) -> Result<Result<op::Answer, FsError>, KeeperError> {
        let query = want.to_query(SessionId(0));
        match self
            .caller
            .read(self.consistency, query, DUMP_PATIENCE)
            .await
        {
            Asked::Answered(looked) => {
                let index = looked.index.0;
                let (low, high) = self.indexes.unwrap_or((index, index));
                self.indexes = Some((low.min(index), high.max(index)));
                self.node = looked.node.unwrap_or(self.node);
                Ok(looked.result)
            }
            Asked::Failed(reason) | Asked::Unknown(reason) => {
                Err(cluster(&format!("{want:?}"), reason))
            }
        }
    }

    /// Everything in a round.
    ///
    /// # Errors
    /// [`KeeperError::Cluster`].
    pub async fn tree(&mut self, layout: &Layout) -> Result<Tree, KeeperError> {
        let mut tree = Tree::new();
        for dir in layout.dirs() {
            self.list(dir, &mut tree).await?;
        }
        for file in layout.files() {
            self.look(file, &mut tree).await?;
        }
        Ok(tree)
    }

    async fn list(&mut self, dir: &Place, tree: &mut Tree) -> Result<(), KeeperError> {
        let answer = self.ask(&Want::ReadDir(dir.inode)).await?;
        add_listing(dir, answer, tree).map_err(|reason| cluster(&dir.path, reason))
    }

    async fn look(&mut self, file: &Place, tree: &mut Tree) -> Result<(), KeeperError> {
        let attr = self.ask(&Want::GetAttr(file.inode)).await?;
        let register = self.ask(&Want::GetRegister(file.inode)).await?;
        add_file(file, attr, &register, tree).map_err(|reason| cluster(&file.path, reason))
    }
}

type Told = Result<op::Answer, FsError>;

/// Adds what a directory lists.
///
/// # Errors
/// What is wrong with the answer.
pub fn add_listing(dir: &Place, answer: Told, tree: &mut Tree) -> Result<(), String> {
    let Ok(op::Answer::Entries {
        entries,
        done: true,
    }) = answer
    else {
        return Err(format!("{answer:?}").chars().take(200).collect());
    };
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if name == "." || name == ".." {
            continue;
        }
        let leaf = Leaf {
            inode: entry.inode.0,
            is_dir: entry.kind == NodeKind::Directory,
            links: entry.attr.map_or(0, |attr| attr.nlink),
            register: 0,
        };
        if tree.insert(dir.child(&name), leaf).is_some() {
            return Err(format!("{name} is listed twice"));
        }
    }
    Ok(())
}

/// Adds a file and what its register holds.
///
/// # Errors
/// What is wrong with the answers.
pub fn add_file(file: &Place, attr: Told, register: &Told, tree: &mut Tree) -> Result<(), String> {
    let Ok(op::Answer::Attr(attr)) = attr else {
        return Err(format!("{attr:?}"));
    };
    let register = match seen_of_answer(&Want::GetRegister(file.inode), register) {
        Seen::Held(value) => value,
        other => return Err(format!("{other:?}")),
    };
    let leaf = Leaf {
        inode: file.inode.0,
        is_dir: attr.kind == NodeKind::Directory,
        links: attr.nlink,
        register,
    };
    tree.insert(file.path.clone(), leaf);
    Ok(())
}

/// Short hash of a tree.
#[must_use]
pub fn digest(tree: &Tree) -> String {
    let bytes = serde_json::to_vec(tree).expect("trees are plain");
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}

/// Reads what is left of a round, from everywhere. `not_before` is an index that all nodes have
/// applied.
///
/// # Errors
/// [`KeeperError::Cluster`].
pub async fn remains(
    doors: &[Door],
    round: u32,
    layout: &Layout,
    not_before: u64,
) -> Result<Remains, KeeperError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut strict = Reader::strict(doors.to_vec());
        let tree = strict.tree(layout).await?;
        let mut indexes = vec![strict.indexes.unwrap_or_default()];
        let mut replicas = Vec::new();
        for door in doors {
            let mut reader = Reader::of_node(door, not_before);
            let held = reader.tree(layout).await?;
            let (low, high) = reader.indexes.unwrap_or_default();
            indexes.push((low, high));
            replicas.push(Replica {
                node: reader.node,
                applied: high,
                digest: digest(&held),
                tree: (held != tree).then_some(held),
            });
        }
        // A change that came late, while we looked, is no difference between replicas.
        let stood_still = indexes.iter().all(|it| *it == indexes[0]);
        let agree = replicas.iter().all(|replica| replica.tree.is_none());
        if agree || stood_still || tries == DUMP_TRIES {
            return Ok(Remains {
                round,
                tree,
                replicas,
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
