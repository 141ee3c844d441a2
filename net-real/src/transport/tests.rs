//! Three nodes over real sockets of the loopback device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mfsha_core::codec;
use mfsha_core::id::NodeId;
use mfsha_core::native::{ClientHello, ClusterId, HelloReply, Refusal};
use mfsha_core::rng::Seed;
use mfsha_core::transport::{Address, Class, DiskId, Identity, Options, Start};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{AcceptedClient, Handle, TransportEvent, TransportOptions, listen, spawn};
use crate::room::Room;
use crate::tls::Tls;
use crate::tls::tests::Ca;

const KIND: u16 = 0x7777;
/// Far more than anything here takes; a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(60);

struct Node {
    handle: Handle,
    events: mpsc::UnboundedReceiver<TransportEvent>,
    clients: mpsc::Receiver<AcceptedClient>,
    stored: Arc<Mutex<Option<Identity>>>,
    address: Address,
}

impl Node {
    /// The next event that the test is interested in.
    async fn until(&mut self, wanted: impl Fn(&TransportEvent) -> bool) -> TransportEvent {
        let found = async {
            let mut seen = Vec::new();
            loop {
                let Some(event) = self.events.recv().await else {
                    panic!("the transport has ended; before: {seen:?}");
                };
                if wanted(&event) {
                    return event;
                }
                seen.push(format!("{event:?}"));
            }
        };
        tokio::time::timeout(LONG, found).await.expect("it happens")
    }

    async fn delivered(&mut self) -> (NodeId, Vec<u8>) {
        match self
            .until(|event| matches!(event, TransportEvent::Deliver { .. }))
            .await
        {
            TransportEvent::Deliver { from, message } => (from, message),
            _ => unreachable!("it was looked for"),
        }
    }
}

struct Setup {
    tls: Option<Ca>,
    /// Connections that each node takes, beside those of peers.
    places: usize,
}

impl Setup {
    /// Without TLS.
    fn clear() -> Self {
        let (tls, places) = (None, 1_000);
        Self { tls, places }
    }

    fn room(&self) -> Room {
        Room::new(self.places, Counter::default())
    }

    fn node(&self, id: u64, listener: TcpListener, start: Start, identity: Identity) -> Node {
        let (events, heard) = mpsc::unbounded_channel();
        let (to_daemon, clients) = mpsc::channel(4);
        let stored = Arc::new(Mutex::new(None));
        let persist = {
            let stored = stored.clone();
            Arc::new(move |identity: &Identity| {
                *stored.lock().unwrap() = Some(identity.clone());
                Ok(())
            })
        };
        let address = Address::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let life = u64::from(listener.local_addr().unwrap().port()) << 8 | id;
        let mut machine = Options::new(address.clone(), life, start);
        // Other tests share the processor: what is late here is not dead.
        machine.silence_max = Duration::from_secs(20);
        machine.unheard_max = Duration::from_secs(30);
        machine.handshake_timeout = Duration::from_secs(20);
        let tls = self.tls.as_ref().map(|ca| Tls::load(ca.node(id)).unwrap());
        let mut options =
            TransportOptions::new(machine, Seed::from_u64(id), tls, persist, self.room());
        options.hello_timeout = 10 * LONG;
        options.hello_waiting_max = 8;
        let tell = move |event| {
            // A test that has ended listens no more.
            let _ = events.send(event);
        };
        let handle = spawn(options, identity, vec![listener], tell, to_daemon).unwrap();
        Node {
            handle,
            events: heard,
            clients,
            stored,
            address,
        }
    }

    async fn three(&self) -> BTreeMap<u64, Node> {
        let mut listeners = Vec::new();
        for id in 1..=3 {
            let one = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
            listeners.push((id, one.into_iter().next().unwrap()));
        }
        let addresses = listeners.iter().map(|(_, listener)| {
            let address = listener.local_addr().unwrap().to_string();
            address.parse().unwrap()
        });
        let start = Start::Together {
            nodes: addresses.collect(),
        };
        let nodes = listeners.into_iter().map(|(id, listener)| {
            let identity = Identity::new(NodeId(id), DiskId(id.into()));
            (id, self.node(id, listener, start.clone(), identity))
        });
        let mut nodes: BTreeMap<_, _> = nodes.collect();
        for node in nodes.values_mut() {
            let event = node
                .until(|event| matches!(event, TransportEvent::Formed(_)))
                .await;
            let TransportEvent::Formed(identity) = event else {
                unreachable!("it was looked for");
            };
            assert_eq!(identity.founding_voters().unwrap().len(), 3);
            assert_eq!(
                node.stored
                    .lock()
                    .unwrap()
                    .as_ref()
                    .map(Identity::is_formed),
                Some(true)
            );
            for _ in 0..2 {
                node.until(|event| matches!(event, TransportEvent::PeerUp { .. }))
                    .await;
            }
        }
        nodes
    }
}

fn message(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(bytes.max(4), 7);
    codec::seal(KIND, 1, &payload)
}

fn number(message: &[u8]) -> u32 {
    let payload = codec::unseal_all(KIND, 1, message).unwrap();
    u32::from_le_bytes(payload[..4].try_into().unwrap())
}

async fn three_nodes_talk(setup: Setup) {
    let mut nodes = setup.three().await;
    let handle = nodes[&1].handle.clone();
    // As the node does it: from a thread that knows no runtime.
    std::thread::spawn(move || {
        for at in 0..500 {
            handle.send(NodeId(2), Class::Control, message(at, 100));
        }
    })
    .join()
    .unwrap();
    for at in 0..500 {
        let (from, message) = nodes.get_mut(&2).unwrap().delivered().await;
        assert_eq!((from, number(&message)), (NodeId(1), at));
    }
    nodes[&2]
        .handle
        .send(NodeId(3), Class::Bulk, message(7, 3 << 20));
    let (from, whole) = nodes.get_mut(&3).unwrap().delivered().await;
    assert_eq!((from, whole), (NodeId(2), message(7, 3 << 20)));
    let status = nodes[&1].handle.status();
    assert_eq!(status.len(), 2);
    assert!(
        status
            .values()
            .all(|peer| peer.connected && peer.trouble.is_none()),
        "{status:?}"
    );
    assert_eq!(nodes[&1].handle.addresses().len(), 3);

    // A node that ends is missed, and found again when it is started from what it stored.
    let gone = nodes.remove(&2).unwrap();
    gone.handle.shutdown().await;
    for id in [1, 3] {
        let lost = TransportEvent::PeerLost(NodeId(2));
        nodes
            .get_mut(&id)
            .unwrap()
            .until(|event| *event == lost)
            .await;
    }
    let identity = gone.stored.lock().unwrap().clone().unwrap();
    let listener = listen(&[gone.address.as_str().parse().unwrap()]).unwrap();
    let listener = listener.into_iter().next().unwrap();
    let mut again = setup.node(2, listener, Start::Known, identity);
    for id in [1, 3] {
        let up = TransportEvent::PeerUp {
            peer: NodeId(2),
            priority: 0,
        };
        nodes
            .get_mut(&id)
            .unwrap()
            .until(|event| *event == up)
            .await;
    }
    for _ in 0..2 {
        again
            .until(|event| matches!(event, TransportEvent::PeerUp { .. }))
            .await;
    }
    again.handle.send(NodeId(1), Class::Control, message(9, 10));
    let (_, message) = nodes.get_mut(&1).unwrap().delivered().await;
    assert_eq!(number(&message), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_talk_in_the_clear() {
    three_nodes_talk(Setup::clear()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_talk_under_tls() {
    three_nodes_talk(Setup {
        tls: Some(Ca::new()),
        ..Setup::clear()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_room_for_clients_there_is_for_peers() {
    let setup = Setup {
        places: 0,
        ..Setup::clear()
    };
    let node = alone(&setup).await;
    let mut socket = TcpStream::connect(node.address.as_str()).await.unwrap();
    socket.write_all(&client_hello()).await.unwrap();
    let mut said = Vec::new();
    let read = socket.read_to_end(&mut said);
    tokio::time::timeout(LONG, read).await.unwrap().unwrap();
    let reply = HelloReply::from_bytes(&said).unwrap();
    let HelloReply::Refused(Refusal::NotReady { reason }) = reply else {
        panic!("{reply:?}");
    };
    assert!(reason.contains("ask another"), "{reason}");
    three_nodes_talk(setup).await;
}

fn client_hello() -> Vec<u8> {
    ClientHello {
        protocol: (1, 1),
        token: Vec::new(),
        cluster: Some(ClusterId(0)),
        program: "test".into(),
    }
    .to_bytes()
}

async fn alone(setup: &Setup) -> Node {
    let listener = listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let listener = listener.into_iter().next().unwrap();
    let identity = Identity::new(NodeId(1), DiskId(1));
    setup.node(1, listener, Start::Alone, identity)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_handed_on_with_what_it_said() {
    let mut node = alone(&Setup::clear()).await;
    let mut socket = TcpStream::connect(node.address.as_str()).await.unwrap();
    let hello = client_hello();
    // Cut in two, and the beginning of more behind it.
    socket.write_all(&hello[..20]).await.unwrap();
    socket.flush().await.unwrap();
    socket
        .write_all(&[&hello[20..], b"more"].concat())
        .await
        .unwrap();
    let client = tokio::time::timeout(LONG, node.clients.recv())
        .await
        .unwrap();
    let mut client = client.unwrap();
    assert!(client.read.starts_with(&hello));
    assert!(!client.certified);
    client.stream.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_closed_and_reported() {
    let mut node = alone(&Setup::clear()).await;
    for (bytes, wanted) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not a record of mfsha"),
        (
            &[0x16, 3, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11][..],
            "it speaks TLS",
        ),
        (&codec::seal(KIND, 1, b"x"), "no hello"),
    ] {
        // One report a second comes through, so it may take more than one try.
        let told = async {
            loop {
                let mut socket = TcpStream::connect(node.address.as_str()).await.unwrap();
                socket.write_all(bytes).await.unwrap();
                let mut rest = Vec::new();
                // Closed, with or without a reset.
                let _ = socket.read_to_end(&mut rest).await;
                assert_eq!(rest, b"");
                while let Ok(event) = node.events.try_recv() {
                    if matches!(event, TransportEvent::Report(text) if text.contains(wanted)) {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(LONG, told).await.expect(wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_makes_room_for_others() {
    let setup = Setup::clear();
    let mut node = alone(&setup).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(node.address.as_str()).await.unwrap());
    }
    let mut socket = TcpStream::connect(node.address.as_str()).await.unwrap();
    socket.write_all(&client_hello()).await.unwrap();
    let client = tokio::time::timeout(LONG, node.clients.recv())
        .await
        .unwrap();
    assert!(client.is_some(), "somebody with something to say is heard");
    // More than eight may not wait: the first ones were closed long before their time.
    let closed = tokio::time::timeout(LONG, silent[0].read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}
