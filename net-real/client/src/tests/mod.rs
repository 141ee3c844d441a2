//! The client against a played cluster, with the clock stopped.

mod admin;
mod once;
mod route;
mod socket;
mod tree;

use std::time::Duration;

use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::op::{Caller, Op, Reply};

use crate::options::ClientOptions;
use crate::testing::Fake;
use crate::{Address, Client, Error, Fail};

fn options(nodes: &str) -> ClientOptions {
    ClientOptions::new(Address::parse_list(nodes).unwrap())
}

async fn try_client(fake: &Fake, options: ClientOptions) -> Result<Client, Fail> {
    Client::connect_by(options, fake.dial()).await.unwrap()
}

/// A client that was given all three nodes.
async fn client(fake: &Fake) -> Client {
    let options = options("node-1,node-2,node-3");
    try_client(fake, options).await.expect("somebody answers")
}

fn mkdir(name: &str) -> impl Fn(SessionId) -> Op + Send + Sync + 'static {
    let name = name.as_bytes().to_vec();
    move |session| Op::Mkdir {
        caller: Caller {
            session,
            uid: 0,
            gids: vec![0],
        },
        parent: InodeId::ROOT,
        name: name.clone(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    }
}

#[track_caller]
fn is_node(result: Result<Reply, Error>) {
    assert!(matches!(result, Ok(Reply::Node { .. })), "{result:?}");
}

/// Lets everything run that can, without letting a caller's time pass.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}
