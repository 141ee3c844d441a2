//! Files of which a client was told with their name where their chunk is, or that it may keep its
//! cache, and what changed of them since.
//!
//! A client keeps what it was told for a second. It takes it when the file is opened, and says only
//! then that it has it open. Until it says so it is not sure to hear what others change, so that
//! is kept for it and told when it opens the file.

use std::collections::BTreeMap;

use crate::id::InodeId;
use crate::namespace::op::Notice;
use crate::time::{Duration, Instant};

/// For so long a file that was told of may be opened by it, and what a client says may be on its
/// way: a client keeps it for 1 s, and leaves a connection on which nothing comes for 10 s.
pub(super) const TOLD_FOR: Duration = Duration::from_secs(15);
/// Files of one client at most: beyond that it is told of none.
const FILES_MAX: usize = 4_096;
/// News of one file at most. The client hears them when they come, too: those that are missing here
/// it missed only if they came just as it opened the file.
const NEWS_MAX: usize = 64;

#[derive(Debug)]
struct File {
    until: Instant,
    /// The last news of its length and of each chunk, in order.
    news: Vec<Notice>,
}

/// Whether two news of a file are of the same thing.
fn are_alike(one: &Notice, other: &Notice) -> bool {
    match (one, other) {
        (Notice::ChunkChanged { index: one, .. }, Notice::ChunkChanged { index: other, .. }) => {
            one == other
        }
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Told {
    files: BTreeMap<InodeId, File>,
    /// Before this no file makes room: who looks up very many is not made to wait for a search.
    full_until: Option<Instant>,
}

impl Told {
    /// A client is about to be told of a file; whether there is room to remember it. What
    /// changed since an earlier time stays: the client may still open the file by that.
    pub fn begin(&mut self, inode: InodeId, now: Instant) -> bool {
        if !self.files.contains_key(&inode) && self.files.len() >= FILES_MAX {
            if self.full_until.is_some_and(|until| until > now) {
                return false;
            }
            self.files.retain(|_, file| file.until > now);
            if self.files.len() >= FILES_MAX {
                self.full_until = self.files.values().map(|file| file.until).min();
                return false;
            }
        }
        let until = now + TOLD_FOR;
        match self.files.get_mut(&inode) {
            Some(file) if file.until > now => file.until = until,
            _ => {
                let news = Vec::new();
                self.files.insert(inode, File { until, news });
            }
        }
        true
    }

    /// A file changed; whether the client may still believe what it was told.
    pub fn note(&mut self, inode: InodeId, notice: &Notice, now: Instant) -> bool {
        let Some(file) = self.files.get_mut(&inode).filter(|it| it.until > now) else {
            return false;
        };
        file.news.retain(|old| !are_alike(old, notice));
        if file.news.len() >= NEWS_MAX {
            file.news.remove(0);
        }
        file.news.push(notice.clone());
        true
    }

    /// What changed of a file since the client was told of it.
    pub fn news(&self, inode: InodeId, now: Instant) -> &[Notice] {
        let file = self.files.get(&inode).filter(|it| it.until > now);
        file.map_or(&[], |it| &it.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    fn length(length: u64) -> Notice {
        let inode = InodeId(5);
        Notice::LengthChanged { inode, length }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_news_are_kept_as_long_as_a_client_may_believe_otherwise() {
        let mut told = Told::default();
        assert!(
            !told.note(InodeId(5), &length(1), at(0)),
            "nothing was told"
        );
        assert!(told.begin(InodeId(5), at(0)));
        assert_eq!(told.news(InodeId(5), at(0)), []);
        assert!(told.note(InodeId(5), &length(2), at(1)));
        assert!(told.note(InodeId(5), &length(3), at(1)));
        assert!(
            told.begin(InodeId(5), at(10)),
            "an earlier time counts, too"
        );
        assert_eq!(told.news(InodeId(5), at(24)), [length(3)]);
        assert_eq!(told.news(InodeId(6), at(24)), []);
        assert_eq!(told.news(InodeId(5), at(25)), []);
        assert!(!told.note(InodeId(5), &length(4), at(25)));
        assert!(told.begin(InodeId(5), at(25)));
        assert_eq!(told.news(InodeId(5), at(25)), [], "it begins anew");
    }

    #[test]
    fn news_of_every_chunk_are_kept_the_newest_if_they_are_many() {
        let chunk = |index: u32, version| Notice::ChunkChanged {
            inode: InodeId(5),
            index,
            chunk: ChunkId(9),
            version,
            length: 10,
            truncated: false,
        };
        let mut told = Told::default();
        assert!(told.begin(InodeId(5), at(0)));
        for news in [chunk(0, 1), chunk(1, 1), length(7), chunk(0, 2)] {
            told.note(InodeId(5), &news, at(0));
        }
        let kept = [chunk(1, 1), length(7), chunk(0, 2)];
        assert_eq!(told.news(InodeId(5), at(0)), kept);
        for index in 2..1_000 {
            told.note(InodeId(5), &chunk(index, 1), at(0));
        }
        let news = told.news(InodeId(5), at(0));
        assert_eq!((news.len(), &news[63]), (NEWS_MAX, &chunk(999, 1)));
    }

    #[test]
    fn files_are_bounded_and_those_that_nobody_opens_make_room() {
        let mut told = Told::default();
        for number in 0..FILES_MAX as u32 {
            assert!(told.begin(InodeId(number), at(0)));
        }
        assert!(!told.begin(InodeId(u32::MAX), at(13)));
        assert_eq!(told.full_until, Some(at(15)));
        assert!(!told.begin(InodeId(u32::MAX), at(14)));
        assert!(told.begin(InodeId(7), at(14)), "it is there already");
        assert!(told.begin(InodeId(u32::MAX), at(15)));
        assert_eq!(told.files.len(), 2);
    }
}
