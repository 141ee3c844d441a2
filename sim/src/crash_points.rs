//! Every state in which a power loss could leave a disk, given what was done to it.
//!
//! A crash may come after any operation and after any flush. What finished flushes cover is there;
//! what came later is there or not, according to a variant. Which of it an opener may find, and
//! which it must, is for the caller to judge.

use mfsha_core::disk::FlushId;
use mfsha_core::rng::{Rng, Seed};

use crate::disk::{Event, Files, Pending, Record, apply, tear, tear_pages};

/// What became of the operations that no finished flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// All of them happened.
    Kept,
    /// None of them happened.
    Lost,
    /// All happened but the last, of which some sectors did.
    Torn,
    /// The last one happened, of the others any.
    Reordered,
    /// Each happened, or not, or in part.
    Scattered,
    /// All happened but the last, of which each page did, or did not, or is spoilt with all that
    /// was in it: a disk whose sectors are as long as pages, and which offers shorter ones.
    PageTorn,
    /// On such a disk, each happened, or not, or in part.
    PagesScattered,
}

impl Variant {
    /// Those of any disk that keeps whole what was written to its sectors before.
    pub const OF_SECTORS: &[Self] = &[
        Self::Kept,
        Self::Lost,
        Self::Torn,
        Self::Reordered,
        Self::Scattered,
    ];
    /// Those that a disk has besides whose pages are torn whole: for whoever begins at a page of
    /// its own each time.
    pub const OF_PAGES: &[Self] = &[Self::PageTorn, Self::PagesScattered];
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Kept,
        Self::Lost,
        Self::Torn,
        Self::Reordered,
        Self::Scattered,
        Self::PageTorn,
        Self::PagesScattered,
    ];
}

/// One state that a crash could leave.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    /// Events of the record that came before the crash.
    pub events: usize,
    /// What became of the pending operations.
    pub variant: Variant,
    /// The disk afterwards.
    pub files: Files,
}

/// All crash points of a record that began on a disk holding `base`, with each of these variants.
/// The same seed gives the same points.
pub fn crash_points(
    base: &Files,
    record: &Record,
    variants: &'static [Variant],
    seed: Seed,
) -> impl Iterator<Item = CrashPoint> {
    let mut unflushed = Unflushed::new(base.clone());
    (0..=record.events.len()).flat_map(move |events| {
        if let Some(event) = events.checked_sub(1).map(|at| &record.events[at]) {
            unflushed.add(event);
        }
        let mut rng = seed.index(events as u64).rng();
        let point = |variant: &Variant| {
            let mut files = unflushed.durable.clone();
            leave(&mut files, &unflushed.pending, *variant, &mut rng);
            CrashPoint {
                events,
                variant: *variant,
                files,
            }
        };
        variants.iter().map(point).collect::<Vec<_>>()
    })
}

/// The disk that a crash leaves after the first `events` of a record: as one of [`crash_points`],
/// with a fate of its own.
#[must_use]
pub fn crash_point(
    base: &Files,
    record: &[Event],
    events: usize,
    variant: Variant,
    seed: &Seed,
) -> Files {
    let mut unflushed = Unflushed::new(base.clone());
    for event in &record[..events] {
        unflushed.add(event);
    }
    let Unflushed {
        mut durable,
        pending,
        ..
    } = unflushed;
    let mut rng = seed.index(events as u64).index(variant as u64).rng();
    leave(&mut durable, &pending, variant, &mut rng);
    durable
}

/// What is durable on a disk, and what is not yet.
struct Unflushed {
    durable: Files,
    pending: Vec<Pending>,
    /// Flushes under way, and how many of the pending operations each covers.
    covered: Vec<(FlushId, usize)>,
}

impl Unflushed {
    fn new(durable: Files) -> Self {
        Self {
            durable,
            pending: Vec::new(),
            covered: Vec::new(),
        }
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Operation(operation) => self.pending.push(operation.clone()),
            Event::FlushBegan(flush) => self.covered.push((*flush, self.pending.len())),
            Event::FlushEnded(flush) => {
                let at = self.covered.iter().position(|(id, _)| id == flush);
                let (_, count) = self
                    .covered
                    .remove(at.expect("a flush ends after it began"));
                for operation in self.pending.drain(..count) {
                    apply(&mut self.durable, &operation);
                }
                for (_, later) in &mut self.covered {
                    *later -= count;
                }
            }
        }
    }
}

fn leave(files: &mut Files, pending: &[Pending], variant: Variant, rng: &mut Rng) {
    let Some((last, others)) = pending.split_last() else {
        return;
    };
    match variant {
        Variant::Lost => {}
        Variant::Kept => pending.iter().for_each(|operation| apply(files, operation)),
        Variant::Torn | Variant::PageTorn => {
            others.iter().for_each(|operation| apply(files, operation));
            torn(last, variant, rng)
                .iter()
                .for_each(|piece| apply(files, piece));
        }
        Variant::Reordered => {
            let kept = others.iter().filter(|operation| {
                // A file that was not made cannot be written to: then nothing is learnt.
                matches!(operation, Pending::Create { .. }) || rng.chance(1, 2)
            });
            kept.for_each(|operation| apply(files, operation));
            apply(files, last);
        }
        Variant::Scattered | Variant::PagesScattered => {
            for operation in pending {
                match rng.below(3) {
                    0 => apply(files, operation),
                    1 => {}
                    _ => torn(operation, variant, rng)
                        .iter()
                        .for_each(|piece| apply(files, piece)),
                }
            }
        }
    }
}

fn torn(operation: &Pending, variant: Variant, rng: &mut Rng) -> Vec<Pending> {
    match Variant::OF_PAGES.contains(&variant) {
        true => tear_pages(operation, rng),
        false => tear(operation, rng),
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::disk::Disk;

    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn what_is_flushed_is_at_every_later_point_and_the_rest_varies() {
        let mut disk = SimDisk::new(1 << 20, Seed::from_u64(1).rng());
        disk.start_record();
        disk.create("a", 4_096).unwrap();
        disk.write("a", 0, &[1; 512]).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        disk.write("a", 512, &[2; 512]).unwrap();
        disk.write("a", 1_024, &[3; 512]).unwrap();
        let record = disk.take_record();
        let all = Variant::OF_SECTORS;
        let points: Vec<_> = crash_points(&Files::new(), &record, all, Seed::from_u64(2)).collect();
        assert_eq!(points.len(), (record.events.len() + 1) * all.len());
        for point in &points {
            if point.events >= 4 {
                assert_eq!(point.files["a"][..512], [1; 512], "{point:?}");
            }
        }
        let at_end = |variant| {
            let last = |point: &&CrashPoint| point.events == 6 && point.variant == variant;
            points.iter().find(last).unwrap().files["a"].clone()
        };
        assert_eq!(at_end(Variant::Lost)[512..1_536], [0; 1_024]);
        assert_eq!(at_end(Variant::Kept)[512..1_024], [2; 512]);
        assert_eq!(at_end(Variant::Reordered)[1_024..1_536], [3; 512]);
    }

    #[test]
    fn a_page_that_is_torn_takes_what_was_flushed_in_it_along() {
        let mut disk = SimDisk::new(1 << 20, Seed::from_u64(1).rng());
        disk.start_record();
        disk.create("a", 8_192).unwrap();
        disk.write("a", 0, &[1; 512]).unwrap();
        let flush = disk.start_flush();
        disk.finish_flush(flush);
        disk.write("a", 512, &[2; 512]).unwrap();
        let record = disk.take_record();
        let (mut spoilt, mut whole) = (0, 0);
        for seed in 0..60 {
            let seed = Seed::from_u64(seed);
            for point in crash_points(&Files::new(), &record, Variant::OF_PAGES, seed) {
                if point.events < record.events.len() {
                    continue;
                }
                match point.files["a"][..512] == [1; 512] {
                    true => whole += 1,
                    false => spoilt += 1,
                }
                assert_eq!(point.files["a"][4_096..], [0; 4_096], "another page");
            }
        }
        assert!(spoilt > 10, "{spoilt}");
        assert!(whole > 10, "{whole}");
    }
}
