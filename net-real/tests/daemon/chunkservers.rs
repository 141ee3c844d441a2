//! Chunkservers, played by the test, at real nodes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use mfsha_core::chunkservers::AuthCode;
use mfsha_core::id::{ChunkId, CsId};
use mfsha_core::moosefs::chunkserver::{
    Ack, Begin, ChunkCopy, Labels, ListBuf, Place, Register, RemovalSpace, ToChunkserver, ToMaster,
};
use mfsha_core::moosefs::frame::{Packet, PacketReader};
use mfsha_core::moosefs::version::Version;

use crate::support::{Cluster, PATIENCE, fault_library};

const PORT: u16 = 9420;
const SECRET: &str = "sesame-open";

/// A chunkserver's end of a connection.
struct Chunkserver {
    stream: TcpStream,
    reader: PacketReader,
}

impl Chunkserver {
    fn connect(cluster: &Cluster, node: u64) -> Self {
        let stream = TcpStream::connect((cluster.ip(node), PORT)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = PacketReader::new(10_000);
        Self { stream, reader }
    }

    fn say(&mut self, said: &ToMaster<'_>) {
        self.stream.write_all(&said.encode().unwrap()).unwrap();
    }

    fn register(&mut self, register: Register<'_>) {
        self.say(&ToMaster::Register(register));
    }

    /// The next packet, whatever it is; `None` when the node has closed.
    fn hear(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.reader.next_packet().unwrap() {
                return Some(packet);
            }
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.reader.push(&bytes[..count]),
                Err(error) => panic!("the node says nothing: {error}"),
            }
        }
    }

    /// What it is told next, signs of life left out.
    fn ack(&mut self) -> Option<Ack> {
        loop {
            let packet = self.hear()?;
            match ToChunkserver::parse(packet.kind, &packet.payload).unwrap() {
                ToChunkserver::Nop => {}
                ToChunkserver::Ack(ack) => return Some(ack),
                other => panic!("{other:?} is no answer"),
            }
        }
    }

    /// It says something, and hears a sign of life.
    fn lives(&mut self) {
        self.say(&ToMaster::Labels(Labels(5)));
        assert_eq!(self.hear().expect("it is served").kind, 0);
    }

    fn challenge(&mut self) -> [u8; 32] {
        self.register(Register::Begin(begin(CsId(0))));
        match self.ack() {
            Some(Ack::Authenticate { challenge }) => challenge,
            other => panic!("no challenge: {other:?}"),
        }
    }

    /// Registers with the secret: the number and the cluster that it is told.
    fn join(&mut self, csid: CsId) -> (CsId, u64) {
        let challenge = self.challenge();
        let passcode = AuthCode::new(SECRET.as_bytes()).passcode(&challenge);
        self.register(Register::Begin(Begin {
            passcode: Some(passcode),
            ..begin(csid)
        }));
        match self.ack() {
            Some(Ack::Welcome {
                csid,
                metaid,
                timeout_seconds,
                ..
            }) => {
                assert_eq!(timeout_seconds.get(), 7, "as it is set");
                (csid, metaid)
            }
            other => panic!("no welcome: {other:?}"),
        }
    }
}

fn begin(csid: CsId) -> Begin {
    Begin {
        passcode: None,
        version: Version::OURS,
        // All of the test is on the loopback, where no chunkserver may be.
        place: Place {
            ip: Ipv4Addr::new(10, 9, 8, 7),
            port: 9422,
        },
        timeout_seconds: 0,
        csid,
        space: RemovalSpace::default(),
    }
}

fn connected(cluster: &Cluster, node: u64, count: u32) {
    cluster.until(node, &format!("counts {count} chunkservers"), || {
        cluster.metric(node, "mfsha_chunkservers_connected") == Some(f64::from(count))
    });
}

#[test]
fn a_chunkserver_registers_at_any_node_under_one_number_and_others_are_refused() {
    let mut cluster = Cluster::new(3);
    for node in 1..=3 {
        let options = [
            format!("--set=MATOCS_LISTEN_PORT={PORT}"),
            "--set=MATOCS_TIMEOUT=7".to_owned(),
        ];
        cluster.options.insert(node, options.to_vec());
        let mut command = cluster.command(node);
        command.env("AUTH_CODE", SECRET);
        cluster.start_by(node, command);
    }
    (1..=3).for_each(|node| cluster.ready(node));

    // At every node, whoever leads, it has the number that it got first.
    let mut names = Vec::new();
    for node in 1..=3 {
        let mut server = Chunkserver::connect(&cluster, node);
        let known = names.first().map_or(CsId(0), |(csid, _)| *csid);
        names.push(server.join(known));
        server.say(&ToMaster::Labels(Labels(5)));
        let copies: ListBuf<ChunkCopy> = (1..=100)
            .map(|number| ChunkCopy {
                chunk: ChunkId(number),
                version: 1,
                to_remove: false,
            })
            .collect();
        server.register(Register::Copies(copies.as_list()));
        assert_eq!(server.ack(), Some(Ack::Next));
        server.register(Register::End);
        assert_eq!(server.hear().unwrap().kind, 0, "a sign of life");
        connected(&cluster, node, 1);
        if node < 3 {
            // Without a word.
            drop(server);
        } else {
            server.register(Register::Disconnect);
            while server.hear().is_some() {}
        }
        connected(&cluster, node, 0);
    }
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    assert_ne!(names[0].0, CsId(0));

    // Nobody else gets in.
    let mut wrong = Chunkserver::connect(&cluster, 1);
    let challenge = wrong.challenge();
    wrong.register(Register::Begin(Begin {
        passcode: Some(AuthCode::new(b"other").passcode(&challenge)),
        ..begin(CsId(0))
    }));
    assert_eq!(wrong.ack(), None, "it is closed");
    let mut local = Chunkserver::connect(&cluster, 2);
    let challenge = local.challenge();
    let place = Place {
        ip: Ipv4Addr::UNSPECIFIED,
        port: 9422,
    };
    local.register(Register::Begin(Begin {
        passcode: Some(AuthCode::new(SECRET.as_bytes()).passcode(&challenge)),
        place,
        ..begin(CsId(0))
    }));
    assert_eq!(local.ack(), None, "it comes from the loopback");

    let lines = [
        (1, "a chunkserver has registered", 1),
        (1, "a chunkserver is lost", 1),
        (1, "its AUTH_CODE is another", 1),
        (2, "where no other machine finds it", 1),
        (3, "a chunkserver has left", 1),
        (3, "a chunkserver is lost", 0),
    ];
    for (node, line, count) in lines {
        cluster.until(node, &format!("says {line:?} {count} times"), || {
            cluster.said(node).matches(line).count() == count
        });
    }
    for node in 1..=3 {
        assert!(!cluster.said(node).contains(SECRET), "it is never shown");
    }
}

#[test]
fn who_is_there_is_served_while_nobody_can_be_accepted() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let switch = cluster.directory.path().join("no-descriptor");
    let options = [
        format!("--set=MATOCS_LISTEN_PORT={PORT}"),
        "--set=MATOCS_TIMEOUT=7".to_owned(),
    ];
    cluster.options.insert(1, options.to_vec());
    let mut command = cluster.command(1);
    command
        .env("AUTH_CODE", SECRET)
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_NO_DESCRIPTOR", &switch);
    cluster.start_by(1, command);
    cluster.ready(1);
    let mut server = Chunkserver::connect(&cluster, 1);
    server.join(CsId(0));
    server.register(Register::End);
    server.lives();
    File::create(&switch).unwrap();
    // It waits in the kernel's queue.
    let mut late = Chunkserver::connect(&cluster, 1);
    let told = |count: usize| {
        let said = cluster.said(1);
        let lines = said
            .lines()
            .filter(|line| line.contains("a chunkserver cannot be accepted"));
        let lines: Vec<&str> = lines.collect();
        assert!(
            lines.iter().all(|line| line.contains("LimitNOFILE")),
            "{said}"
        );
        lines.len() == count
    };
    cluster.until(1, "says it once", || told(1));
    // Signs of life come every second or so; what fails is told once a second at most.
    cluster.until(1, "counts what it does not say", || {
        server.lives();
        cluster.said(1).contains("more of this kind")
    });
    fs::remove_file(&switch).unwrap();
    // It comes from the same address, so it takes the other one's place.
    late.join(CsId(0));
    late.register(Register::End);
    late.lives();
}
