//! Fault points in drivers: unlikely branches that a run takes on purpose.
//!
//! A site is active in a quarter of the runs and then fires a quarter of the time, so that most
//! runs are free of any one of them, and some are full of it. Each site draws from a stream of its
//! own name: a new site leaves the others as they were.

use std::collections::BTreeMap;

use mfsha_core::rng::{Rng, Seed};

use crate::options::BuggifyOptions;

/// The fault points of one run.
#[derive(Debug)]
pub struct Buggify {
    seed: Seed,
    options: BuggifyOptions,
    sites: BTreeMap<&'static str, Site>,
}

#[derive(Debug)]
struct Site {
    active: bool,
    rng: Rng,
    fired: u64,
}

impl Buggify {
    /// For a run.
    #[must_use]
    pub fn new(seed: &Seed, options: &BuggifyOptions) -> Self {
        Self {
            seed: seed.child("buggify"),
            options: options.clone(),
            sites: BTreeMap::new(),
        }
    }

    /// Whether this site fires now.
    pub fn fires(&mut self, site: &'static str) -> bool {
        let (seed, options) = (&self.seed, &self.options);
        let site = self.sites.entry(site).or_insert_with(|| {
            let mut rng = seed.child(site).rng();
            Site {
                active: rng.chance(u64::from(options.active_percent), 100),
                rng,
                fired: 0,
            }
        });
        let fires = site.active && site.rng.chance(u64::from(options.fire_percent), 100);
        site.fired += u64::from(fires);
        fires
    }

    /// How often each site fired, for those that did.
    pub fn fired(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.sites
            .iter()
            .filter(|(_, site)| site.fired > 0)
            .map(|(name, site)| (*name, site.fired))
    }

    /// No site fires any more: the healed half of a run has none.
    pub fn silence(&mut self) {
        self.options.active_percent = 0;
        for site in self.sites.values_mut() {
            site.active = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_sites_fires_a_quarter_of_the_time() {
        let options = BuggifyOptions {
            active_percent: 25,
            fire_percent: 25,
        };
        let (mut active, mut fired) = (0, 0);
        for seed in 0..400 {
            let mut buggify = Buggify::new(&Seed::from_u64(seed), &options);
            let hits = (0..100).filter(|_| buggify.fires("site")).count();
            active += usize::from(hits > 0);
            fired += hits;
            buggify.silence();
            assert!(!buggify.fires("site") && !buggify.fires("another"));
        }
        assert!((70..130).contains(&active), "{active}");
        assert!((2_000..3_000).contains(&fired), "{fired}");
    }
}
