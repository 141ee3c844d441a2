//! Many clients at two nodes, with requests in pieces, answers in any order, and connections that
//! are lost at any time: every directory is made once, and whoever was told so finds it.

use std::collections::BTreeMap;

use super::rig::*;
use crate::id::{InodeId, SessionId};
use crate::moosefs::client::register::Registered;
use crate::moosefs::client::{FromClient, MsgId, ToClient};
use crate::moosefs::fields::Form;
use crate::moosefs::version::Version;
use crate::native::request::NodeError;
use crate::rng::{Rng, Seed};
use crate::time::Duration;

const CLIENTS: usize = 6;
const THREADS: u32 = 4;
const STEPS: usize = 600;

/// A client that repeats what was not answered whenever it has a connection again.
#[derive(Default)]
struct Mount {
    session: Option<SessionId>,
    conn: Option<Conn>,
    registered: bool,
    /// Bytes that are on their way to the node.
    unsent: Vec<u8>,
    /// What each thread waits for, and whether it was said on this connection.
    waiting: BTreeMap<u32, (String, bool)>,
    made: Vec<String>,
    names: u32,
}

struct World {
    rig: Rig,
    rng: Rng,
    mounts: Vec<Mount>,
    /// Connections that were lost while something was waited for.
    lost: usize,
}

impl World {
    fn step(&mut self) {
        let at = self.rng.below(CLIENTS as u64) as usize;
        match self.rng.below(20) {
            0 => self.lose(at),
            1 => self.rig.pass(Duration::from_millis(100)),
            2 => {
                let modes = [Mode::AtOnce, Mode::HoldAsked, Mode::HoldAnswers];
                self.rig.mode = *self.rng.pick(&modes);
            }
            3 => {
                let fails = self.rng.chance(1, 8);
                self.rig.failing = fails.then_some(NodeError::Unknown);
            }
            4..10 => self.release(),
            10..15 => self.deliver(at),
            _ => self.go_on(at),
        }
        for at in 0..CLIENTS {
            self.listen(at);
        }
    }

    fn release(&mut self) {
        let count = self.rig.held.len() as u64;
        if count > 0 {
            let at = self.rng.below(count) as usize;
            self.rig.release(at);
        }
    }

    fn lose(&mut self, at: usize) {
        let Some(conn) = self.mounts[at].conn else {
            return;
        };
        self.lost += usize::from(!self.mounts[at].waiting.is_empty());
        self.rig.lose(conn);
        self.forget_connection(at);
    }

    fn forget_connection(&mut self, at: usize) {
        let mount = &mut self.mounts[at];
        mount.conn = None;
        mount.registered = false;
        mount.unsent.clear();
        for (_, said) in mount.waiting.values_mut() {
            *said = false;
        }
    }

    /// Says something: registers, or has a thread ask.
    fn go_on(&mut self, at: usize) {
        if self.mounts[at].conn.is_none() {
            let node = self.rng.below(2) as usize;
            let register = match self.mounts[at].session {
                Some(session) => reconnect(session),
                None => new_session(b"/"),
            };
            self.mounts[at].conn = Some(self.rig.connect(node, HOME));
            self.mounts[at].unsent = FromClient::Register(register).encode();
            return;
        }
        let mount = &mut self.mounts[at];
        if !mount.registered {
            return;
        }
        let thread = self.rng.below(u64::from(THREADS)) as u32 + 1;
        let (name, said) = mount.waiting.entry(thread).or_insert_with(|| {
            mount.names += 1;
            (format!("of-{at}-{}", mount.names), false)
        });
        if !std::mem::replace(said, true) {
            let (id, call) = (MsgId(thread), mkdir(name));
            mount.unsent.extend(FromClient::Call { id, call }.encode());
        }
    }

    /// Some of the bytes arrive.
    fn deliver(&mut self, at: usize) {
        let mount = &mut self.mounts[at];
        let (Some(conn), 1..) = (mount.conn, mount.unsent.len()) else {
            return;
        };
        let count = self.rng.between(1, mount.unsent.len() as u64) as usize;
        let piece: Vec<u8> = mount.unsent.drain(..count).collect();
        self.rig.bytes(conn, &piece);
    }

    fn listen(&mut self, at: usize) {
        let Some(conn) = self.mounts[at].conn else {
            return;
        };
        while let Some(packet) = self.rig.hear(conn) {
            let mount = &mut self.mounts[at];
            match ToClient::parse(&packet, Form::of(Version::OURS)).unwrap() {
                ToClient::Registered(Registered::Session(values)) => {
                    mount.session = Some(values.session);
                    mount.registered = true;
                }
                ToClient::Registered(told) => {
                    assert_eq!(
                        told,
                        back(Ok(())),
                        "{:?}, {:?}",
                        self.rig.reports,
                        mount.session
                    );
                    mount.registered = true;
                }
                ToClient::Reply { id, reply } => {
                    let (name, said) = mount.waiting.remove(&id.0).expect("it was asked for");
                    assert!(said, "on this connection");
                    assert_eq!(reply.status(), Ok(()), "{name} was made twice");
                    mount.made.push(name);
                }
                other => panic!("{other:?}"),
            }
        }
        if self.rig.closed(conn).is_some() {
            self.forget_connection(at);
        }
    }

    /// Everybody says again what was not answered, until everything is.
    fn settle(&mut self) {
        self.rig.failing = None;
        for _ in 0..10 {
            self.rig.release_all();
            for at in 0..CLIENTS {
                self.listen(at);
                if self.mounts[at].conn.is_none() {
                    self.go_on(at);
                }
                let mount = &mut self.mounts[at];
                let unsaid = mount.waiting.iter_mut().filter(|(_, (_, said))| !said);
                for (thread, (name, said)) in unsaid.take(usize::from(mount.registered) * 9) {
                    *said = true;
                    let (id, call) = (MsgId(*thread), mkdir(name));
                    mount.unsent.extend(FromClient::Call { id, call }.encode());
                }
                if let Some(conn) = mount.conn {
                    let unsent = std::mem::take(&mut mount.unsent);
                    self.rig.bytes(conn, &unsent);
                }
                self.listen(at);
            }
        }
    }
}

fn torture(seed: u64) -> (usize, usize) {
    let mut world = World {
        rig: Rig::new(),
        rng: Seed::from_u64(seed).rng(),
        mounts: (0..CLIENTS).map(|_| Mount::default()).collect(),
        lost: 0,
    };
    // Their packets are in pieces: nothing may come in between.
    world.rig.alive = false;
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    let names = world.rig.names(InodeId::ROOT);
    let mut made = 0;
    for mount in &world.mounts {
        assert!(mount.waiting.is_empty(), "seed {seed}: {:?}", mount.waiting);
        for name in &mount.made {
            assert!(names.contains(name), "seed {seed}: {name}");
        }
        made += mount.made.len();
    }
    let there = names.iter().filter(|name| name.starts_with("of-")).count();
    assert_eq!(there, made, "seed {seed}: nothing else was made");
    (made, world.lost)
}

#[test]
fn whatever_is_lost_every_directory_is_made_once() {
    let (mut made, mut lost) = (0, 0);
    for seed in 0..25 {
        let (more, losses) = torture(seed);
        made += more;
        lost += losses;
    }
    assert!(made > 500 && lost > 100, "{made} made, {lost} lost");
}
