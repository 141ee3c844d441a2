//! Hosts as network namespaces on one bridge, so that each can be cut off, slowed down and healed.
//!
//! A lab needs root and `ip` (Debian's `iproute2`, installed when it is missing). Its namespaces
//! are called `mfsha-NAME-HOST`; the bridge lives in one of its own, so nothing of a lab is seen
//! outside, labs of different names never meet, and all of them may use the same addresses. A
//! lab knows nothing of what runs on its hosts.

mod command;
mod delay;
mod leftovers;
mod netns;
mod probe;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use command::CommandError;
pub use leftovers::{Remains, find_remains, remove, remove_dead};
pub use netns::{NamespaceError, enter, inside};
pub use probe::Mesh;

use command::{ip, ip_in, tc_in};
use delay::DelayLine;
use leftovers::Claim;

/// Port on each host to which [`Mesh`] sends its probes.
pub const PROBE_PORT: u16 = 9_499;
/// The address of nobody: frames to it die at every port.
const DEAD_MAC: &str = "02:00:00:00:de:ad";
const BRIDGE: &str = "br0";
const SWITCH: &str = "sw";
/// Most hosts of a kind, so that addresses stay within one /24.
pub const HOSTS_MAX: usize = 64;
/// Longest name: interface and namespace names stay readable.
const NAME_BYTES_MAX: usize = 24;

/// Looks at what is possible here, so that each has a name of its own.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// One machine of a lab. Its name is short, begins with a letter, and has no dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Host(pub String);

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no lab, or why it does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// This machine or this user cannot have one; says what is missing.
    #[error("no lab can be made here: {reason}")]
    CannotRun {
        /// What is missing.
        reason: String,
    },
    /// A name that cannot be one.
    #[error("lab name {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits or dashes")]
    Name {
        /// The name.
        name: String,
    },
    /// Another lab has this name.
    #[error("lab {name:?} exists already; `mfsha-jepsen lab down {name}` removes it")]
    Exists {
        /// The name.
        name: String,
    },
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A file of the lab cannot be written or read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

/// How links are made slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowBy {
    /// The kernel's `netem`.
    Netem,
    /// Frames are carried by this program and held back: for kernels without `netem`.
    Carrier,
}

/// What was done to a host's link and has to be undone.
#[derive(Debug)]
enum Slowed {
    Netem,
    Carrier(DelayLine),
}

/// A bridge and its hosts. Dropping it removes everything, and ends every process on its hosts.
#[derive(Debug)]
pub struct Lab {
    name: String,
    addresses: BTreeMap<Host, Ipv4Addr>,
    slowed: BTreeMap<Host, Slowed>,
    slow_by: SlowBy,
    /// Held while the lab lives, so that `lab down` knows what is a leftover.
    claim: Option<Claim>,
    /// Whether the namespaces outlive this value.
    stays: bool,
}

impl Lab {
    /// Says whether a lab can be made here, without making one; installs `iproute2` when that is
    /// all that is missing.
    ///
    /// # Errors
    /// [`LabError::CannotRun`].
    pub fn possible() -> Result<(), LabError> {
        let cannot = |reason: String| LabError::CannotRun { reason };
        if !nix::unistd::geteuid().is_root() {
            return Err(cannot("network namespaces need root".to_owned()));
        }
        command::ensure_installed().map_err(cannot)?;
        let number = TRIED.fetch_add(1, Ordering::Relaxed);
        let name = format!("mfsha-try{}-{number}", std::process::id());
        let made = ip(&["netns", "add", &name])
            .and_then(|()| ip_in(&name, &["link", "add", BRIDGE, "type", "bridge"]))
            .and_then(|()| {
                ip_in(
                    &name,
                    &["link", "add", "v0", "type", "veth", "peer", "name", "v1"],
                )
            });
        let _ = ip(&["netns", "del", &name]);
        made.map_err(|error| {
            cannot(format!(
                "network namespaces, bridges or veth pairs are refused: {error}"
            ))
        })
    }

    /// Makes a lab with these hosts.
    ///
    /// # Errors
    /// [`LabError`]; what was made until then is removed again.
    pub fn up(name: &str, hosts: &[Host]) -> Result<Self, LabError> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_fine) {
            return Err(LabError::Name {
                name: name.to_owned(),
            });
        }
        assert!(
            hosts.len() <= HOSTS_MAX,
            "a lab has at most {HOSTS_MAX} hosts"
        );
        Self::possible()?;
        let claim = Claim::take(name)?;
        let mut lab = Self {
            name: name.to_owned(),
            addresses: BTreeMap::new(),
            slowed: BTreeMap::new(),
            slow_by: SlowBy::Carrier,
            claim: Some(claim),
            stays: false,
        };
        lab.make_switch()?;
        if lab.netem_works() {
            lab.slow_by = SlowBy::Netem;
        }
        for (number, host) in (1_u8..).zip(hosts) {
            lab.make_host(host, Ipv4Addr::new(10, 94, 30, number))?;
        }
        Ok(lab)
    }

    fn make_switch(&self) -> Result<(), CommandError> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        ip_in(&switch, &["link", "set", "lo", "up"])?;
        ip_in(
            &switch,
            &[
                "link",
                "add",
                BRIDGE,
                "type",
                "bridge",
                "stp_state",
                "0",
                "forward_delay",
                "0",
            ],
        )?;
        ip_in(&switch, &["link", "set", BRIDGE, "up"])
    }

    fn netem_works(&self) -> bool {
        let switch = self.switch();
        let tried = tc_in(
            &switch,
            &["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
        );
        let _ = tc_in(&switch, &["qdisc", "del", "dev", "lo", "root"]);
        tried.is_ok()
    }

    fn make_host(&mut self, host: &Host, address: Ipv4Addr) -> Result<(), CommandError> {
        let (namespace, switch) = (self.namespace(host), self.switch());
        ip(&["netns", "add", &namespace])?;
        ip_in(
            &switch,
            &[
                "link", "add", "name", &host.0, "type", "veth", "peer", "name", "eth0", "netns",
                &namespace,
            ],
        )?;
        ip_in(
            &switch,
            &["link", "set", "dev", &host.0, "master", BRIDGE, "up"],
        )?;
        ip_in(&namespace, &["link", "set", "lo", "up"])?;
        if self.slow_by == SlowBy::Carrier {
            // A carrier passes frames as they would stand on a wire, so none may be larger.
            ip_in(&namespace, &["link", "set", "eth0", "gso_max_segs", "1"])?;
        }
        ip_in(
            &namespace,
            &["addr", "add", &format!("{address}/24"), "dev", "eth0"],
        )?;
        ip_in(&namespace, &["link", "set", "eth0", "up"])?;
        self.addresses.insert(host.clone(), address);
        Ok(())
    }

    /// Leaves the lab standing when this value goes, until `lab down`.
    ///
    /// # Errors
    /// The claim cannot be rewritten.
    pub fn leave_standing(mut self) -> Result<(), LabError> {
        if let Some(claim) = self.claim.take() {
            claim.leave_standing()?;
        }
        self.stays = true;
        Ok(())
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How this lab makes links slow.
    #[must_use]
    pub fn slow_by(&self) -> SlowBy {
        self.slow_by
    }

    /// The hosts and their addresses.
    #[must_use]
    pub fn hosts(&self) -> &BTreeMap<Host, Ipv4Addr> {
        &self.addresses
    }

    /// A host's address.
    ///
    /// # Panics
    /// When the host is of another lab.
    #[must_use]
    pub fn address(&self, host: &Host) -> Ipv4Addr {
        self.addresses[host]
    }

    /// Name of a host's network namespace, as `ip netns` knows it.
    #[must_use]
    pub fn namespace(&self, host: &Host) -> String {
        format!("mfsha-{}-{host}", self.name)
    }

    fn switch(&self) -> String {
        format!("mfsha-{}-{SWITCH}", self.name)
    }

    /// Drops every frame from and to a host; nobody is told.
    ///
    /// # Errors
    /// [`LabError::Command`].
    pub fn cut(&mut self, host: &Host) -> Result<(), LabError> {
        Ok(ip_in(
            &self.switch(),
            &["link", "set", "dev", &host.0, "nomaster"],
        )?)
    }

    /// Drops what one host sends to another; the other way stays open.
    ///
    /// # Errors
    /// [`LabError::Command`].
    pub fn drop_from(&mut self, from: &Host, to: &Host) -> Result<(), LabError> {
        let address = self.address(to).to_string();
        Ok(ip_in(
            &self.namespace(from),
            &[
                "neigh",
                "replace",
                &address,
                "lladdr",
                DEAD_MAC,
                "nud",
                "permanent",
                "dev",
                "eth0",
            ],
        )?)
    }

    /// Holds back every frame from and to a host by `delay`, and loses some.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn slow(&mut self, host: &Host, delay: Duration, loss_percent: u8) -> Result<(), LabError> {
        let slowed = match self.slow_by {
            SlowBy::Netem => {
                let (delay, loss) = (
                    format!("{}us", delay.as_micros()),
                    format!("{loss_percent}%"),
                );
                for (namespace, dev) in [(self.namespace(host), "eth0"), (self.switch(), &*host.0)]
                {
                    let what = ["netem", "delay", &delay, "loss", &loss];
                    tc_in(
                        &namespace,
                        &[&["qdisc", "replace", "dev", dev, "root"], &what[..]].concat(),
                    )?;
                }
                Slowed::Netem
            }
            SlowBy::Carrier => Slowed::Carrier(self.carry(host, delay, loss_percent)?),
        };
        self.slowed.insert(host.clone(), slowed);
        Ok(())
    }

    /// host's port -- carrier -- veth pair -- bridge.
    fn carry(&self, host: &Host, delay: Duration, loss: u8) -> Result<DelayLine, LabError> {
        let switch = self.switch();
        let (near, far) = (format!("{host}-a"), format!("{host}-b"));
        ip_in(
            &switch,
            &[
                "link", "add", "name", &near, "type", "veth", "peer", "name", &far,
            ],
        )?;
        let line = DelayLine::start(&switch, &host.0, &near, delay, loss)?;
        ip_in(&switch, &["link", "set", "dev", &near, "up"])?;
        ip_in(&switch, &["link", "set", "dev", &host.0, "nomaster"])?;
        ip_in(
            &switch,
            &["link", "set", "dev", &far, "master", BRIDGE, "up"],
        )?;
        Ok(line)
    }

    /// Undoes everything that was done to a host's link.
    ///
    /// # Errors
    /// [`LabError::Command`].
    pub fn heal(&mut self, host: &Host) -> Result<(), LabError> {
        let switch = self.switch();
        match self.slowed.remove(host) {
            Some(Slowed::Carrier(line)) => {
                drop(line);
                ip_in(&switch, &["link", "del", "dev", &format!("{host}-a")])?;
            }
            Some(Slowed::Netem) => {
                tc_in(&switch, &["qdisc", "del", "dev", &host.0, "root"])?;
                tc_in(
                    &self.namespace(host),
                    &["qdisc", "del", "dev", "eth0", "root"],
                )?;
            }
            None => {}
        }
        for other in self.addresses.keys().filter(|other| *other != host) {
            for (from, to) in [(host, other), (other, host)] {
                let address = self.address(to).to_string();
                // Fails when there is no such entry, which is what is wanted.
                let _ = ip_in(
                    &self.namespace(from),
                    &["neigh", "del", &address, "dev", "eth0"],
                );
            }
        }
        Ok(ip_in(
            &switch,
            &["link", "set", "dev", &host.0, "master", BRIDGE],
        )?)
    }

    /// Undoes everything that was done to any link.
    ///
    /// # Errors
    /// [`LabError::Command`].
    pub fn heal_all(&mut self) -> Result<(), LabError> {
        let hosts: Vec<Host> = self.addresses.keys().cloned().collect();
        hosts.iter().try_for_each(|host| self.heal(host))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        self.slowed.clear();
        for trouble in leftovers::remove_namespaces(&self.name) {
            eprintln!("mfsha-jepsen: lab {}: {trouble}", self.name);
        }
    }
}
