//! Unlikely branches that a simulated run takes on purpose.
//!
//! What a site does is always allowed, only rare: a queue that has no room, a segment that ends
//! early, a lease that is not used. A product build has no site that fires: without the feature
//! `planted-bugs` a [`Buggify`] is empty, and [`Buggify::fires`] is `false` for the compiler too.
//!
//! A site is active in a share of the runs, and then fires at a rate of its own, so that most runs
//! are free of any one of them, and some are full of it. Each site draws from a stream of its own
//! name: a new site leaves the others as they were. (The idea is FoundationDB's.)

#[cfg(feature = "planted-bugs")]
use std::sync::{Arc, Mutex};

#[cfg(feature = "planted-bugs")]
use crate::rng::{Rng, Seed};

/// Makes the list of all sites with their names and rates.
macro_rules! sites {
    ($($(#[$doc:meta])* $site:ident = $name:literal, $per_mille:literal;)*) => {
        /// A place in the program where a run may take an unlikely branch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Site {
            $($(#[$doc])* $site,)*
        }

        impl Site {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$site,)*];

            /// Its name in traces and reports, and of its stream.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$site => $name,)*
                }
            }

            /// How often it fires where it is active, in a thousand times that it is passed.
            #[must_use]
            pub const fn per_mille(self) -> u32 {
                match self {
                    $(Self::$site => $per_mille,)*
                }
            }
        }
    };
}

sites! {
    /// A driver's flush takes 20 ms longer.
    FlushStalls = "flush stalls", 250;
    /// A driver's checkpoint takes longer.
    CheckpointStalls = "checkpoint stalls", 250;
    /// The log begins another segment where the present one has room.
    SegmentEndsEarly = "segment ends early", 20;
    /// One entry goes to a peer in a message that has room for more.
    AppendOfOneEntry = "append of one entry", 250;
    /// What the durable state holds leaves the log, whoever needs it: a peer that lags is sent a
    /// state.
    LogPurgedEarly = "log purged early", 100;
    /// Consensus notes the durable state before enough log lies behind it.
    SnapshotEarly = "snapshot early", 50;
    /// A read by lease asks a majority all the same.
    LeaseNotUsed = "lease not used", 250;
    /// A checkpoint begins although little was applied since the last one.
    CheckpointEarly = "checkpoint early", 20;
    /// One step applies one entry, whatever waits.
    OneEntryApplied = "one entry applied", 250;
    /// A request is refused as if too many were waiting.
    RequestRefused = "request refused", 50;
    /// A face's question is asked of the leader again before there can be an answer.
    AskedAgain = "asked again", 100;
    /// A part of a state is as small as can be.
    PartOfLittle = "part of little", 250;
    /// A peer that is sent a state is given up.
    TransferGivenUp = "transfer given up", 10;
    /// A message to a peer finds no room in its queue.
    QueueFull = "queue full", 10;
}

/// Decides at each site. Clones are one: they share all streams and counts.
#[derive(Clone, Debug, Default)]
pub struct Buggify(#[cfg(feature = "planted-bugs")] Option<Arc<Mutex<Sites>>>);

/// They decide nothing that options of a machine could differ in.
impl PartialEq for Buggify {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Buggify {}

#[cfg(feature = "planted-bugs")]
#[derive(Debug)]
struct Sites {
    seed: Seed,
    active_percent: u32,
    rate_percent: u32,
    passed: std::collections::BTreeMap<Site, Stream>,
}

#[cfg(feature = "planted-bugs")]
#[derive(Debug)]
struct Stream {
    active: bool,
    rng: Rng,
    fired: u64,
}

impl Buggify {
    /// Whether this site takes its unlikely branch now.
    #[cfg(not(feature = "planted-bugs"))]
    #[inline]
    #[must_use]
    pub const fn fires(&self, _site: Site) -> bool {
        false
    }

    /// Whether this site takes its unlikely branch now.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn fires(&self, site: Site) -> bool {
        let Some(mut sites) = self.sites() else {
            return false;
        };
        let Sites {
            seed,
            active_percent,
            rate_percent,
            passed,
        } = &mut *sites;
        let stream = passed.entry(site).or_insert_with(|| {
            let mut rng = seed.child(site.name()).rng();
            Stream {
                active: rng.chance(u64::from(*active_percent), 100),
                rng,
                fired: 0,
            }
        });
        let rate = u64::from(site.per_mille()) * u64::from(*rate_percent);
        let fires = stream.active && stream.rng.chance(rate.min(100_000), 100_000);
        stream.fired += u64::from(fires);
        fires
    }
}

#[cfg(feature = "planted-bugs")]
impl Buggify {
    /// For a run: sites that are active, percent, and how often those fire, percent of their own
    /// rates.
    #[must_use]
    pub fn new(seed: &Seed, active_percent: u32, rate_percent: u32) -> Self {
        Self(Some(Arc::new(Mutex::new(Sites {
            seed: seed.child("buggify"),
            active_percent,
            rate_percent,
            passed: std::collections::BTreeMap::new(),
        }))))
    }

    /// How often each site fired, for those that did.
    #[must_use]
    pub fn fired(&self) -> Vec<(Site, u64)> {
        let Some(sites) = self.sites() else {
            return Vec::new();
        };
        let passed = sites.passed.iter();
        passed
            .filter(|(_, stream)| stream.fired > 0)
            .map(|(site, stream)| (*site, stream.fired))
            .collect()
    }

    /// No site fires any more: the healed half of a run has none.
    pub fn silence(&self) {
        if let Some(mut sites) = self.sites() {
            sites.active_percent = 0;
            for stream in sites.passed.values_mut() {
                stream.active = false;
            }
        }
    }

    fn sites(&self) -> Option<std::sync::MutexGuard<'_, Sites>> {
        let sites = self.0.as_ref()?.lock();
        // A machine that panicked elsewhere has left no half change here.
        Some(sites.unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(all(test, feature = "planted-bugs"))]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_sites_fires_at_their_rates() {
        let (mut active, mut fired) = (0, 0);
        for seed in 0..400 {
            let buggify = Buggify::new(&Seed::from_u64(seed), 25, 100);
            let hits = (0..100).filter(|_| buggify.fires(Site::FlushStalls));
            let hits = hits.count() as u64;
            active += u64::from(hits > 0);
            fired += hits;
            let told = buggify.fired();
            assert_eq!(told.first().map_or(0, |(_, count)| *count), hits);
            buggify.silence();
            assert!(Site::ALL.iter().all(|site| !buggify.fires(*site)));
        }
        assert!((70..130).contains(&active), "{active}");
        assert!((2_000..3_000).contains(&fired), "{fired}");
    }

    #[test]
    fn a_site_draws_from_a_stream_of_its_own() {
        let (alone, among) = (
            Buggify::new(&Seed::from_u64(1), 100, 100),
            Buggify::new(&Seed::from_u64(1), 100, 100),
        );
        for _ in 0..200 {
            let others: u32 = Site::ALL
                .iter()
                .filter(|site| **site != Site::LeaseNotUsed)
                .map(|site| u32::from(among.fires(*site)))
                .sum();
            assert!(others <= Site::ALL.len() as u32);
            let (one, other) = (
                alone.fires(Site::LeaseNotUsed),
                among.fires(Site::LeaseNotUsed),
            );
            assert_eq!(one, other);
        }
    }

    #[test]
    fn names_are_unlike_each_other_and_no_site_is_sure() {
        let names: std::collections::BTreeSet<_> =
            Site::ALL.iter().map(|site| site.name()).collect();
        assert_eq!(names.len(), Site::ALL.len());
        assert!(
            Site::ALL
                .iter()
                .all(|site| (1..500).contains(&site.per_mille()))
        );
    }

    #[test]
    fn none_fires_where_there_is_none() {
        assert!(
            Site::ALL
                .iter()
                .all(|site| !Buggify::default().fires(*site))
        );
    }
}
