//! What keeps a node from starting though its settings are sound: its id, where others reach it, and
//! the files that the settings name.
//!
//! A start meets these one after the other and says them in the same words; `check-config` tells
//! them all. Nothing is written, no lock is taken, and nobody is asked over the network.

use std::io::ErrorKind;

use mfsha_core::id::NodeId;

use super::settings::Settings;
use crate::cli::check_own;
use crate::data_dir::{DataDir, DataDirError};
use crate::mounts;
use crate::tls::{Tls, TlsFiles};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Obstacles {
    /// What keeps a node from starting.
    pub errors: Vec<String>,
    /// What an operator should hear.
    pub warnings: Vec<String>,
}

/// Looks at everything; `is_here` says whether a host is this machine.
pub(super) fn look(settings: &Settings, is_here: &dyn Fn(&str) -> bool) -> Obstacles {
    let mut found = Obstacles::default();
    let node = found.look_at_node(settings);
    found.look_at_address(settings, node, is_here);
    found.look_at_tls(settings, node);
    found.look_at_exports(settings);
    found
}

impl Obstacles {
    fn refuse(&mut self, error: impl ToString) {
        self.errors.push(error.to_string());
    }

    /// The node's id, given or kept in the data directory.
    fn look_at_node(&mut self, settings: &Settings) -> Option<NodeId> {
        match DataDir::owner(settings.data_path(), settings.node_id()) {
            Ok(node) => return Some(node),
            // It may well be open to the user that the node runs as.
            Err(DataDirError::Io { path, source, .. })
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                self.warnings.push(format!(
                    "{} cannot be read by this user, so whose the data directory is was not \
                     looked at; run this as mfsha's user",
                    path.display()
                ));
            }
            Err(error) => self.refuse(error),
        }
        settings.node_id()
    }

    fn look_at_address(
        &mut self,
        settings: &Settings,
        node: Option<NodeId>,
        is_here: &dyn Fn(&str) -> bool,
    ) {
        // With an id that nobody has, every entry of the list is another node's.
        match (
            node,
            settings.own_address(node.unwrap_or(NodeId(0)), is_here),
        ) {
            (Some(node), Ok(own)) => {
                if let Err(error) = check_own(settings, (node, &own)) {
                    self.refuse(error);
                }
            }
            (None, Ok(_)) => {}
            // The id may be one of those in the list.
            (None, Err(_)) if settings.peers().iter().any(|peer| peer.node.is_some()) => {}
            (_, Err(error)) => self.refuse(error),
        }
    }

    fn look_at_tls(&mut self, settings: &Settings, node: Option<NodeId>) {
        let Some(paths) = settings.tls() else {
            return;
        };
        let files = TlsFiles {
            ca: paths.ca,
            certificate: paths.cert,
            key: paths.key,
            node,
        };
        if let Err(error) = Tls::load(files) {
            self.refuse(error);
        }
    }

    fn look_at_exports(&mut self, settings: &Settings) {
        if settings.mounts_port().is_none() {
            return;
        }
        match mounts::read_exports(settings.exports_path()) {
            Ok((_, warnings)) => self.warnings.extend(warnings),
            Err(error) => self.refuse(error),
        }
    }
}
