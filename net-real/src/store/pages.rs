//! The file format of LMDB (data version 1, 64-bit little-endian), read without LMDB.
//!
//! LMDB maps the file and believes it: a damaged page can end the process, or hide keys without a
//! word. This reads page by page with `pread` and believes nothing. It knows layout alone; what
//! is right is judged in `verify`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes before the content of a page.
const HEADER_BYTES: usize = 16;
/// Bytes of a node before its key.
const NODE_BYTES: usize = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
const PAGE_BRANCH: u16 = 0x01;
const PAGE_LEAF: u16 = 0x02;
const PAGE_OVERFLOW: u16 = 0x04;
const PAGE_META: u16 = 0x08;
/// The node's data is the number of the first of some overflow pages.
const NODE_BIG: u16 = 0x01;
/// Flags of the tree of free pages: its keys are integers.
const FREE_FLAGS: u16 = 0x08;
/// Deepest tree that LMDB can walk.
pub(super) const DEPTH_MAX: u16 = 32;
/// No page.
const NONE: u64 = u64::MAX;

/// Number of a page.
pub(super) type PageNumber = u64;

/// Why a page cannot be believed, or not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// The bytes make no sense.
    #[error("page {page}: {what}")]
    Damaged {
        /// Which page.
        page: PageNumber,
        /// What is wrong.
        what: String,
    },
    /// The system could not read it.
    #[error("page {page}: {source}")]
    Io {
        /// Which page.
        page: PageNumber,
        /// What the system said.
        source: io::Error,
    },
}

/// What the system says of a block that the disk cannot read.
const EIO: i32 = 5;

impl PageError {
    /// Whether the state is damaged, rather than out of reach at the moment.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => {
                source.raw_os_error() == Some(EIO) || source.kind() == io::ErrorKind::NotFound
            }
        }
    }
}

/// A tree, as its meta page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    /// Root page, if there is anything.
    pub root: Option<PageNumber>,
    /// Levels.
    pub depth: u16,
    /// Pages that lead to others.
    pub branch_pages: u64,
    /// Pages with keys and values.
    pub leaf_pages: u64,
    /// Pages with long values.
    pub overflow_pages: u64,
    /// Keys.
    pub entries: u64,
}

/// Where a state begins: a meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Free pages.
    pub free: Tree,
    /// Keys and values.
    pub main: Tree,
    /// Last page in use.
    pub last_page: PageNumber,
    /// Transaction that wrote it.
    pub transaction: u64,
}

/// A file of pages.
pub(super) struct PageFile {
    file: File,
    page_bytes: usize,
}

/// One page that belongs to a tree.
pub(super) struct Page {
    number: PageNumber,
    bytes: Vec<u8>,
    /// Whether it leads to other pages.
    pub is_branch: bool,
    /// Where its nodes begin.
    nodes: Vec<usize>,
}

/// What a leaf holds under a key.
pub(super) enum Data<'a> {
    /// The value itself.
    Here(&'a [u8]),
    /// Where it begins, and its length.
    Elsewhere(PageNumber, usize),
}

fn damaged(page: PageNumber, what: impl Into<String>) -> PageError {
    let what = what.into();
    PageError::Damaged { page, what }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A word of eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

impl PageFile {
    /// Opens a file and reads its two meta pages, in order of page number.
    pub fn open(path: &Path) -> Result<(Self, [Meta; 2]), PageError> {
        let failed = |source| PageError::Io { page: 0, source };
        let file = File::open(path).map_err(failed)?;
        let mut first = [0; 512];
        read_exact(&file, 0, &mut first, 0)?;
        let one = parse_meta(0, &first)?;
        let page_bytes = one.page_bytes;
        let mut second = [0; 512];
        read_exact(&file, page_bytes as u64, &mut second, 1)?;
        let other = parse_meta(1, &second)?;
        if other.page_bytes != page_bytes {
            return Err(damaged(1, "the two meta pages disagree on the page size"));
        }
        Ok((Self { file, page_bytes }, [one, other]))
    }

    /// Whole pages that the file is long.
    pub fn pages(&self) -> Result<u64, PageError> {
        let length = self.file.metadata().map(|metadata| metadata.len());
        let length = length.map_err(|source| PageError::Io { page: 0, source })?;
        Ok(length / self.page_bytes as u64)
    }

    /// Reads a page of a tree.
    pub fn read(&self, number: PageNumber) -> Result<Page, PageError> {
        let mut bytes = vec![0; self.page_bytes];
        let offset = self.offset(number)?;
        read_exact(&self.file, offset, &mut bytes, number)?;
        Page::parse(number, bytes)
    }

    /// Reads a long value, and tells how many pages it takes: at least as many as it needs, more
    /// when a longer one was there before it in the same transaction.
    pub fn read_overflow(
        &self,
        first: PageNumber,
        length: usize,
    ) -> Result<(Vec<u8>, u64), PageError> {
        let mut header = [0; HEADER_BYTES];
        let offset = self.offset(first)?;
        read_exact(&self.file, offset, &mut header, first)?;
        let needed = ((HEADER_BYTES - 1 + length) / self.page_bytes + 1) as u64;
        if u64_at(&header, 0) != Some(first) || u16_at(&header, 10) != Some(PAGE_OVERFLOW) {
            return Err(damaged(first, "it is no page of a long value"));
        }
        let pages = u32_at(&header, 12).map_or(0, u64::from);
        if pages < needed {
            return Err(damaged(first, "a long value has too few pages"));
        }
        // Nothing is allocated for a length that the file cannot have.
        if first.saturating_add(needed) > self.pages()? {
            return Err(damaged(first, "a long value ends behind the file's end"));
        }
        let mut value = vec![0; length];
        read_exact(&self.file, offset + HEADER_BYTES as u64, &mut value, first)?;
        Ok((value, pages))
    }

    fn offset(&self, page: PageNumber) -> Result<u64, PageError> {
        let offset = page.checked_mul(self.page_bytes as u64);
        offset
            .filter(|offset| *offset <= i64::MAX as u64 / 2)
            .ok_or_else(|| damaged(page, "it lies behind the end of any file"))
    }
}

fn read_exact(
    file: &File,
    offset: u64,
    into: &mut [u8],
    page: PageNumber,
) -> Result<(), PageError> {
    file.read_exact_at(into, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged(page, "it lies behind the end of the file"),
            _ => PageError::Io { page, source },
        })
}

fn parse_meta(number: PageNumber, bytes: &[u8; 512]) -> Result<Meta, PageError> {
    let short = || damaged(number, "the meta page is too short");
    if u64_at(bytes, 0) != Some(number) || u16_at(bytes, 10) != Some(PAGE_META) {
        return Err(damaged(number, "it is no meta page"));
    }
    let body = &bytes[HEADER_BYTES..];
    if u32_at(body, 0) != Some(MAGIC) || u32_at(body, 4) != Some(DATA_VERSION) {
        return Err(damaged(number, "it is no meta page of a known format"));
    }
    if u64_at(body, 8) != Some(0) {
        return Err(damaged(number, "the map has a fixed address"));
    }
    let page_bytes = u32_at(body, 24).ok_or_else(short)?;
    if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
        return Err(damaged(number, format!("pages of {page_bytes} bytes")));
    }
    if (u16_at(body, 28), u16_at(body, 76)) != (Some(FREE_FLAGS), Some(0)) {
        return Err(damaged(number, "the trees are of another kind"));
    }
    Ok(Meta {
        page_bytes: page_bytes as usize,
        free: parse_tree(body, 24).ok_or_else(short)?,
        main: parse_tree(body, 72).ok_or_else(short)?,
        last_page: u64_at(body, 120).ok_or_else(short)?,
        transaction: u64_at(body, 128).ok_or_else(short)?,
    })
}

fn parse_tree(body: &[u8], at: usize) -> Option<Tree> {
    let root = u64_at(body, at + 40)?;
    Some(Tree {
        depth: u16_at(body, at + 6)?,
        branch_pages: u64_at(body, at + 8)?,
        leaf_pages: u64_at(body, at + 16)?,
        overflow_pages: u64_at(body, at + 24)?,
        entries: u64_at(body, at + 32)?,
        root: (root != NONE).then_some(root),
    })
}

impl Page {
    fn parse(number: PageNumber, bytes: Vec<u8>) -> Result<Self, PageError> {
        let header = |at| u16_at(&bytes, at).map_or(0, usize::from);
        if u64_at(&bytes, 0) != Some(number) {
            return Err(damaged(number, "it says that it is another page"));
        }
        let is_branch = match u16_at(&bytes, 10) {
            Some(PAGE_BRANCH) => true,
            Some(PAGE_LEAF) => false,
            _ => return Err(damaged(number, "it is no page of a tree")),
        };
        let (lower, upper) = (header(12), header(14));
        if lower < HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > bytes.len() {
            return Err(damaged(number, "its free space is nowhere"));
        }
        let count = (lower - HEADER_BYTES) / 2;
        let page = Self {
            number,
            is_branch,
            nodes: (0..count).map(|i| header(HEADER_BYTES + 2 * i)).collect(),
            bytes,
        };
        page.check_nodes(upper)?;
        Ok(page)
    }

    /// Every node lies within the page behind the free space, and none over another.
    fn check_nodes(&self, upper: usize) -> Result<(), PageError> {
        let mut spans = Vec::with_capacity(self.nodes.len());
        for &at in &self.nodes {
            let end = self.node_end(at);
            let end = end.filter(|end| at >= upper && at % 2 == 0 && *end <= self.bytes.len());
            let end = end.ok_or_else(|| damaged(self.number, "a node lies outside"))?;
            spans.push((at, end));
        }
        spans.sort_unstable();
        if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err(damaged(self.number, "two nodes lie over each other"));
        }
        Ok(())
    }

    fn node_end(&self, at: usize) -> Option<usize> {
        let key = usize::from(u16_at(&self.bytes, at + 6)?);
        let data = match (self.is_branch, u16_at(&self.bytes, at + 4)?) {
            (true, _) => 0,
            (false, 0) => u32_at(&self.bytes, at)? as usize,
            (false, NODE_BIG) => 8,
            (false, _) => return None,
        };
        at.checked_add(NODE_BYTES + key)?.checked_add(data)
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Key of a node. The first of a branch has none that counts.
    pub fn key(&self, index: usize) -> &[u8] {
        let at = self.nodes[index];
        let length = usize::from(u16_at(&self.bytes, at + 6).unwrap_or(0));
        &self.bytes[at + NODE_BYTES..at + NODE_BYTES + length]
    }

    /// Where a node of a branch leads.
    pub fn child(&self, index: usize) -> PageNumber {
        let at = self.nodes[index];
        let part = |at| u64::from(u16_at(&self.bytes, at).unwrap_or(0));
        part(at) | part(at + 2) << 16 | part(at + 4) << 32
    }

    /// What a node of a leaf holds.
    pub fn data(&self, index: usize) -> Data<'_> {
        let at = self.nodes[index];
        let length = u32_at(&self.bytes, at).unwrap_or(0) as usize;
        let begin = at + NODE_BYTES + self.key(index).len();
        if u16_at(&self.bytes, at + 4) == Some(NODE_BIG) {
            Data::Elsewhere(u64_at(&self.bytes, begin).unwrap_or(NONE), length)
        } else {
            Data::Here(&self.bytes[begin..begin + length])
        }
    }
}
