//! Whether a node and its peer fit together: one rule after the other, no state of its own.

use super::hello::{PeerHello, PeerRefusal};
use super::identity::{Identity, Standing};
use super::{Options, Speaker};
use crate::id::NodeId;

/// What is known of the two when a hello is judged.
pub(super) struct Case<'a> {
    pub options: &'a Options,
    pub own: &'a Identity,
    /// Start and life of the peer's process that was liked last.
    pub last_life: Option<(u64, u64)>,
    /// Whom this node meant to reach, when it dialed a certain node.
    pub meant: Option<NodeId>,
    pub speaker: &'a Speaker,
}

impl Case<'_> {
    /// Whether this node wants anything to do with who says this.
    pub fn judge(&self, hello: &PeerHello) -> Result<(), PeerRefusal> {
        self.judge_protocol(hello)?;
        self.judge_name(hello)?;
        if !self.speaker.may_be(hello.node) {
            return Err(PeerRefusal::Certificate {
                refused: hello.node,
            });
        }
        judge_standing(self.own, hello)?;
        self.judge_memory(hello)
    }

    fn judge_protocol(&self, hello: &PeerHello) -> Result<(), PeerRefusal> {
        let (oldest, newest) = self.options.protocol;
        if hello.protocol.0 > newest || hello.protocol.1 < oldest {
            return Err(PeerRefusal::Protocol {
                node: self.own.node,
                oldest,
                newest,
            });
        }
        Ok(())
    }

    fn judge_name(&self, hello: &PeerHello) -> Result<(), PeerRefusal> {
        let own = self.own;
        if hello.node == own.node {
            return Err(if hello.disk != own.disk {
                PeerRefusal::SameId { node: own.node }
            } else if hello.life == self.options.life {
                PeerRefusal::Oneself
            } else {
                PeerRefusal::SecondProcess { refused: own.node }
            });
        }
        let node = hello.node;
        match (self.meant, hello.meant) {
            (Some(meant), _) if meant != node => Err(PeerRefusal::NotMeant { meant, node }),
            (_, Some(meant)) if meant != own.node => Err(PeerRefusal::NotMeant {
                meant,
                node: own.node,
            }),
            _ => Ok(()),
        }
    }

    /// Who is of a cluster knows its peers by their disks and their starts.
    fn judge_memory(&self, hello: &PeerHello) -> Result<(), PeerRefusal> {
        let refused = hello.node;
        let Some(known) = self.own.peers.get(&refused) else {
            return Ok(());
        };
        let Some(disk) = known.disk.filter(|_| self.own.is_formed()) else {
            return Ok(());
        };
        if disk != hello.disk {
            return Err(PeerRefusal::OtherDisk { refused });
        }
        if hello.incarnation < known.incarnation {
            return Err(PeerRefusal::OlderCopy {
                refused,
                seen: known.incarnation,
                found: hello.incarnation,
            });
        }
        match self.last_life {
            Some((start, life)) if start == hello.incarnation && life != hello.life => {
                Err(PeerRefusal::SecondProcess { refused })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the ways of two nodes into a cluster fit each other.
pub(super) fn judge_standing(own: &Identity, hello: &PeerHello) -> Result<(), PeerRefusal> {
    let node = own.node;
    match (&own.standing, &hello.standing) {
        (Standing::Formed { founders }, theirs) => {
            let cluster = own.cluster();
            // First: two clusters may count their nodes alike, and their disks differ anyway.
            if matches!(theirs, Standing::Formed { .. }) && theirs.cluster() != cluster {
                return Err(PeerRefusal::OtherCluster { node, cluster });
            }
            let place = founders.get(&hello.node);
            if place.is_some_and(|disk| *disk != hello.disk) {
                let refused = hello.node;
                return Err(PeerRefusal::OtherDisk { refused });
            }
            match theirs {
                Standing::Formed { .. } => Ok(()),
                Standing::Pledged { founders: theirs } if place.is_some() && theirs == founders => {
                    Ok(())
                }
                // A hello may have been on its way since before its sender pledged; what became of
                // it follows.
                Standing::Open if place.is_some() => Ok(()),
                // All founders had pledged this before anybody was formed, once and for all.
                Standing::Pledged { .. } if place.is_some() => Err(PeerRefusal::OlderCopy {
                    refused: hello.node,
                    seen: own
                        .peers
                        .get(&hello.node)
                        .map_or(0, |peer| peer.incarnation),
                    found: hello.incarnation,
                }),
                Standing::Open if hello.joins => Ok(()),
                Standing::Open | Standing::Pledged { .. } => {
                    Err(PeerRefusal::NotFounder { node, cluster })
                }
            }
        }
        (Standing::Pledged { founders }, theirs) => {
            let fits = match theirs {
                Standing::Open => match founders.get(&hello.node) {
                    Some(disk) => *disk == hello.disk,
                    None => hello.joins,
                },
                Standing::Pledged { founders: theirs } | Standing::Formed { founders: theirs } => {
                    theirs == founders
                }
            };
            let founders = founders.clone();
            fits.then_some(())
                .ok_or(PeerRefusal::OtherFounders { node, founders })
        }
        // Nothing to defend yet; the other side may refuse.
        (Standing::Open, _) => Ok(()),
    }
}
