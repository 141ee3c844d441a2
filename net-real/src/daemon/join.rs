//! A node that joins asks the cluster to take it in: as a learner first, as a voter once it has
//! caught up. It goes on asking until it is one, whatever fails meanwhile, over restarts too; from
//! then on it never asks again: an operator may have taken it out.

use std::sync::Arc;
use std::time::Duration;

use mfsha_client::admin::{AddStep, Added};
use mfsha_client::{Address, Client, ClientOptions, TlsFiles};
use tracing::{info, warn};

use super::SharedDir;
use super::neighbours::Surroundings;
use crate::clients::{Desk, Phase};
use crate::config::Settings;
use crate::transport;

/// Catching up takes as long as the state is large.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks until this node votes, or the process ends.
pub(super) async fn join(
    desk: Arc<Desk>,
    surroundings: Arc<Surroundings>,
    peers: transport::Handle,
    directory: SharedDir,
) {
    loop {
        // Each time as they are now: a token may have been corrected.
        let settings = surroundings.settings();
        match try_join(&desk, &settings, &peers).await {
            Ok(added) => {
                match added {
                    Added::Now => info!("this node is a voter now"),
                    Added::Before => info!("this node is a voter"),
                }
                return note(directory).await;
            }
            Err(why) => warn!("the cluster has not taken this node in yet: {why}"),
        }
        tokio::time::sleep(PAUSE).await;
        if !matches!(desk.phase(), Phase::Opening | Phase::Running) {
            return;
        }
    }
}

/// What cannot be noted is asked again at the next start.
async fn note(directory: SharedDir) {
    let noted = tokio::task::spawn_blocking(move || directory.get().store_admitted()).await;
    match noted {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("it cannot be noted that this node is a voter: {error}"),
        Err(error) => warn!("it cannot be noted that this node is a voter: {error}"),
    }
}

async fn try_join(
    desk: &Desk,
    settings: &Settings,
    peers: &transport::Handle,
) -> Result<Added, String> {
    let others = peers.addresses().into_iter();
    let others = others.filter(|(node, _)| *node != desk.node());
    let addresses = others.map(|(_, address)| address.to_string().parse::<Address>());
    let addresses = addresses
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let token = settings.auth_token().unwrap_or_default();
    let options = ClientOptions {
        token: token.as_bytes().to_vec(),
        tls: settings.tls().map(|paths| TlsFiles {
            ca: paths.ca,
            identity: Some((paths.cert, paths.key)),
        }),
        cluster: Some(desk.cluster()),
        program: format!("mfsha node {} joining", desk.node().0),
        timeout: PATIENCE,
        ..ClientOptions::new(addresses)
    };
    let client = Client::connect(options).await.map_err(|e| e.to_string())?;
    let client = client.map_err(|error| error.to_string())?;
    let mut told = None;
    let progress = |step: AddStep| {
        let kind = std::mem::discriminant(&step);
        if told.replace(kind) != Some(kind) {
            info!("joining: {step:?}");
        }
    };
    client
        .admin()
        .add_node(desk.node(), progress)
        .await
        .map_err(|error| error.to_string())
}
