//! Whether an environment is what the last checkpoint left: every page, every key, every sum.
//!
//! The file is read without LMDB, so damage cannot end the process that looks for it. Checked are
//! the laws that LMDB itself relies on: the two meta pages fit each other; every page is reached
//! exactly once, from the tree of keys or from the list of free pages; keys rise, within their
//! page and between the separators above it; counts are as the meta page says; and the sum over
//! all keys and values is the one that was written with them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use super::directory::{Current, DATA_FILE, Directory, environment_path, read_current};
use super::pages::{DEPTH_MAX, Data, Meta, Page, PageError, PageFile, PageNumber, Tree, u64_at};
use super::sum::{SUM_KEY, StateSum, user_key};

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as the last finished checkpoint left it.
    Sound {
        /// Count and sum of its keys and values.
        state: StateSum,
    },
    /// There is no state.
    Nothing,
    /// Something is wrong; the state is to be set aside and healed from a peer.
    Damaged {
        /// What.
        reason: String,
    },
    /// The system does not let us read it, which says nothing of the state.
    Unreadable {
        /// What it said.
        reason: String,
    },
}

/// Checks the store in a directory, which no process may have open for writing. Memory: two bits
/// for each page of the file, and one page for each level of the tree.
#[must_use]
pub fn verify(directory: &Path) -> Verdict {
    match read_current(directory) {
        Ok(Current::At(generation)) => verify_environment(&environment_path(directory, generation)),
        Ok(Current::Nothing) => Verdict::Nothing,
        Ok(Current::Unreadable) => Verdict::Damaged {
            reason: "the file CURRENT is damaged".to_owned(),
        },
        Err(error) => Verdict::Unreadable {
            reason: format!("the file CURRENT cannot be read: {error}"),
        },
    }
}

/// Checks the store in a directory and says on standard output what came of it, for an operator.
#[must_use]
pub fn run_verify(directory: &Path) -> ExitCode {
    let _lock = match Directory::lock_if_there(directory) {
        Ok(lock) => lock,
        Err(error) => {
            println!("not checked: {error}");
            return ExitCode::FAILURE;
        }
    };
    match verify(directory) {
        Verdict::Sound { state } => {
            let StateSum { keys, bytes, sum } = state;
            println!("sound: {keys} keys, {bytes} bytes, sum {sum:032x}");
            ExitCode::SUCCESS
        }
        Verdict::Nothing => {
            println!("there is no state in {}", directory.display());
            ExitCode::SUCCESS
        }
        Verdict::Unreadable { reason } => {
            println!("not checked: {reason}");
            ExitCode::FAILURE
        }
        Verdict::Damaged { reason } => {
            println!(
                "damaged: {reason}\nstart the node: it sets this state aside and heals itself \
                 from a peer"
            );
            ExitCode::FAILURE
        }
    }
}

/// Checks one environment.
pub(super) fn verify_environment(environment: &Path) -> Verdict {
    match walk(&environment.join(DATA_FILE)) {
        Ok(state) => Verdict::Sound { state },
        Err(error) => {
            let reason = error.to_string();
            if error.is_damage() {
                Verdict::Damaged { reason }
            } else {
                Verdict::Unreadable { reason }
            }
        }
    }
}

fn walk(path: &Path) -> Result<StateSum, PageError> {
    let (file, metas) = PageFile::open(path)?;
    let meta = newest(&metas)?;
    let mut walk = Walk {
        reached: Reached::new(file.pages()?, meta.last_page),
        file,
        counts: Counts::default(),
        last_key: None,
        state: StateSum::default(),
        written: None,
        last_free: None,
    };
    walk.tree(&meta.main, Which::Main)?;
    walk.tree(&meta.free, Which::Free)?;
    walk.reached.finish()?;
    let Some(written) = walk.written else {
        return Err(wrong(0, "the sum of the state is missing"));
    };
    if written != walk.state {
        let found = walk.state;
        return Err(wrong(
            0,
            format!("the sum of the state was {written:?}, found is {found:?}"),
        ));
    }
    Ok(walk.state)
}

fn wrong(page: PageNumber, what: impl Into<String>) -> PageError {
    let what = what.into();
    PageError::Damaged { page, what }
}

/// The meta page that counts. Transactions take turns, so the other one is of the transaction
/// before: were only the larger number looked at, a damaged number would bring back an old state.
fn newest(metas: &[Meta; 2]) -> Result<Meta, PageError> {
    let [even, odd] = metas;
    let fresh = even.transaction == 0 && odd.transaction == 0;
    let turns = even.transaction % 2 == 0 && odd.transaction % 2 == 1;
    if fresh {
        return Ok(*even);
    }
    if !turns || even.transaction.abs_diff(odd.transaction) != 1 {
        return Err(wrong(0, "the two meta pages do not follow each other"));
    }
    let newest = if even.transaction > odd.transaction {
        even
    } else {
        odd
    };
    Ok(*newest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Main,
    Free,
}

#[derive(Default, PartialEq, Eq, Debug)]
struct Counts {
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
}

struct Walk {
    file: PageFile,
    reached: Reached,
    counts: Counts,
    /// The key before, of the tree that is walked.
    last_key: Option<Vec<u8>>,
    state: StateSum,
    written: Option<StateSum>,
    /// The transaction before in the list of free pages.
    last_free: Option<u64>,
}

/// What a key has to lie between: from inclusive, to exclusive.
#[derive(Clone, Copy, Default)]
struct Limits<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
}

impl Walk {
    fn tree(&mut self, tree: &Tree, which: Which) -> Result<(), PageError> {
        self.counts = Counts::default();
        self.last_key = None;
        if tree.depth > DEPTH_MAX {
            return Err(wrong(0, format!("a tree of {} levels", tree.depth)));
        }
        match tree.root {
            Some(root) if tree.depth > 0 => {
                self.page(root, tree.depth, which, Limits::default())?;
            }
            None if tree.depth == 0 => {}
            _ => return Err(wrong(0, "a tree has a root and no levels, or the reverse")),
        }
        let told = Counts {
            branch_pages: tree.branch_pages,
            leaf_pages: tree.leaf_pages,
            overflow_pages: tree.overflow_pages,
            entries: tree.entries,
        };
        if told != self.counts {
            let found = &self.counts;
            return Err(wrong(
                0,
                format!("a tree should have {told:?}, found is {found:?}"),
            ));
        }
        Ok(())
    }

    fn page(
        &mut self,
        number: PageNumber,
        levels: u16,
        which: Which,
        limits: Limits<'_>,
    ) -> Result<(), PageError> {
        self.reached.reach(number)?;
        let page = self.file.read(number)?;
        if page.is_branch != (levels > 1) {
            return Err(wrong(number, "it stands on the wrong level"));
        }
        if page.count() == 0 {
            return Err(wrong(number, "it is empty"));
        }
        if !page.is_branch {
            self.counts.leaf_pages += 1;
            return self.leaf(number, &page, which, limits);
        }
        self.counts.branch_pages += 1;
        for index in 0..page.count() {
            let key = |index: usize| (index < page.count()).then(|| page.key(index));
            let limits = Limits {
                from: if index == 0 { limits.from } else { key(index) },
                to: key(index + 1).or(limits.to),
            };
            self.page(page.child(index), levels - 1, which, limits)?;
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        number: PageNumber,
        page: &Page,
        which: Which,
        limits: Limits<'_>,
    ) -> Result<(), PageError> {
        for index in 0..page.count() {
            let key = page.key(index);
            if which == Which::Main {
                let rises = self.last_key.as_deref().is_none_or(|last| last < key);
                let below = limits.from.is_none_or(|from| from <= key);
                let above = limits.to.is_none_or(|to| key < to);
                if !rises || !below || !above {
                    return Err(wrong(
                        number,
                        format!("key {index} stands in the wrong place"),
                    ));
                }
                let last = self.last_key.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
            }
            self.counts.entries += 1;
            let long;
            let value = match page.data(index) {
                Data::Here(value) => value,
                Data::Elsewhere(first, length) => {
                    let pages;
                    (long, pages) = self.file.read_overflow(first, length)?;
                    for page in first..first + pages {
                        self.reached.reach(page)?;
                    }
                    self.counts.overflow_pages += pages;
                    &long[..]
                }
            };
            match which {
                Which::Main => self.entry(number, key, value)?,
                Which::Free => self.free(number, key, value, limits)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, page: PageNumber, key: &[u8], value: &[u8]) -> Result<(), PageError> {
        if key == SUM_KEY {
            let written = StateSum::decode(value).map_err(|reason| wrong(page, reason))?;
            self.written = Some(written);
            return Ok(());
        }
        let key = user_key(key).ok_or_else(|| wrong(page, "it holds a key of an unknown kind"))?;
        self.state.add(key, value);
        Ok(())
    }

    /// Pages that a transaction freed: their count, then their numbers, falling.
    fn free(
        &mut self,
        page: PageNumber,
        key: &[u8],
        value: &[u8],
        limits: Limits<'_>,
    ) -> Result<(), PageError> {
        let odd = || wrong(page, "its list of free pages makes no sense");
        let transaction = |key: &[u8]| (key.len() == 8).then(|| u64_at(key, 0)).flatten();
        let of = transaction(key).ok_or_else(odd)?;
        let from = limits.from.map(|from| transaction(from).ok_or_else(odd));
        let to = limits.to.map(|to| transaction(to).ok_or_else(odd));
        if self.last_free.is_some_and(|last| last >= of)
            || from.transpose()?.is_some_and(|from| of < from)
            || to.transpose()?.is_some_and(|to| of >= to)
        {
            return Err(odd());
        }
        self.last_free = Some(of);
        let count = u64_at(value, 0).ok_or_else(odd)?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count < value.len() / 8);
        let mut last = PageNumber::MAX;
        for at in 1..=count.ok_or_else(odd)? {
            let free = u64_at(value, at * 8).ok_or_else(odd)?;
            if free >= last {
                return Err(odd());
            }
            last = free;
            self.reached.reach(free)?;
        }
        Ok(())
    }
}

/// Which pages have been reached. Each may be once: a page that is both in use and free would be
/// written over by a later checkpoint.
struct Reached {
    last_page: PageNumber,
    /// A bit for each page of the file.
    within: Vec<u64>,
    /// Pages behind the file's end: LMDB need not write the last ones when they are free.
    behind: BTreeSet<PageNumber>,
}

impl Reached {
    fn new(file_pages: u64, last_page: PageNumber) -> Self {
        let words = usize::try_from(file_pages / 64 + 1).unwrap_or(usize::MAX);
        Self {
            last_page,
            within: vec![0; words],
            behind: BTreeSet::new(),
        }
    }

    fn has(&self, page: PageNumber) -> bool {
        let word = usize::try_from(page / 64).ok();
        match word.and_then(|word| self.within.get(word)) {
            Some(word) => word & (1 << (page % 64)) != 0,
            None => self.behind.contains(&page),
        }
    }

    fn reach(&mut self, page: PageNumber) -> Result<(), PageError> {
        if page < 2 || page > self.last_page {
            return Err(wrong(page, "there is no such page"));
        }
        if self.has(page) {
            return Err(wrong(page, "it is used twice"));
        }
        let word = usize::try_from(page / 64).ok();
        match word.and_then(|word| self.within.get_mut(word)) {
            Some(word) => *word |= 1 << (page % 64),
            None => {
                self.behind.insert(page);
            }
        }
        Ok(())
    }

    /// The last page is used by somebody; were its number too large, the file would grow there.
    fn finish(&self) -> Result<(), PageError> {
        if self.last_page < 1 || (self.last_page > 1 && !self.has(self.last_page)) {
            return Err(wrong(self.last_page, "the last page is used by nobody"));
        }
        Ok(())
    }
}
