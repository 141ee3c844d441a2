//! The parts of the process that the desk asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mfsha_core::id::NodeId;
use mfsha_core::native::admin::{AdminAnswer, AdminError, AdminRequest, PeerStatus};
use tracing::{error, info, warn};

use crate::clients::{Neighbours, Token};
use crate::config::{Configuration, Key, Reload, Settings};
use crate::driver::NodeHandle;
use crate::logs::LogControl;
use crate::store::StoreStats;
use crate::tls::Tls;
use crate::{mounts, transport};

pub(super) struct Surroundings {
    peers: transport::Handle,
    configuration: Mutex<Configuration>,
    logs: LogControl,
    tls: Option<Tls>,
    log_path: PathBuf,
    store: OnceLock<StoreStats>,
    /// Where mounts are served, if anywhere.
    mounts: Option<mounts::Handle>,
    token: Token,
    node: OnceLock<NodeHandle>,
}

impl Surroundings {
    pub(super) fn new(
        peers: transport::Handle,
        configuration: Configuration,
        logs: LogControl,
        tls: Option<Tls>,
        log_path: PathBuf,
        mounts: Option<mounts::Handle>,
        token: Token,
    ) -> Self {
        Self {
            peers,
            configuration: Mutex::new(configuration),
            logs,
            tls,
            log_path,
            store: OnceLock::new(),
            mounts,
            token,
            node: OnceLock::new(),
        }
    }

    /// The state is open, by settings that may have changed since.
    pub(super) fn set_store(&self, stats: StoreStats) {
        // The state is opened once.
        let _ = self.store.set(stats);
        self.bound_memory(self.configuration().settings());
    }

    /// The node's thread is there, as for [`Self::set_store`].
    pub(super) fn set_node(&self, node: NodeHandle) {
        // It is started once.
        let _ = self.node.set(node);
        self.tune(self.configuration().settings());
    }

    fn bound_memory(&self, settings: &Settings) {
        if let Some(store) = self.store.get() {
            store.set_memory_bytes_max(settings.memory_bytes_max());
        }
    }

    fn tune(&self, settings: &Settings) {
        if let Some(node) = self.node.get() {
            node.tune(settings.tuning());
        }
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        // A change is checked whole before it is kept.
        self.configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> Settings {
        self.configuration().settings().clone()
    }

    /// SIGHUP: as an operator's reload, but what came of it goes to the log.
    pub(super) fn reload(&self) {
        match self.try_reload() {
            Ok(reload) => {
                let names = |keys: &[Key]| keys.iter().map(|key| key.name()).collect::<Vec<_>>();
                info!(changed = ?names(&reload.changed), need_restart = ?names(&reload.need_restart), "reloaded");
            }
            Err(why) => error!("nothing was reloaded: {why}"),
        }
    }

    /// All of it or nothing: settings and certificates are kept only when both can be.
    fn try_reload(&self) -> Result<Reload, String> {
        let mut current = self.configuration();
        let mut next = current.clone();
        let reload = next.reload().map_err(|error| error.to_string())?;
        let exports = match &self.mounts {
            Some(mounts) => {
                let path = next.settings().exports_path();
                let (exports, warnings) = mounts::read_exports(path)?;
                for warning in warnings {
                    warn!("{warning}");
                }
                Some((mounts, exports))
            }
            None => None,
        };
        if let Some(tls) = &self.tls {
            tls.reload()
                .map_err(|error| format!("the certificates in use stay: {error}"))?;
        }
        for key in &reload.changed {
            self.act_on(*key, next.settings())?;
        }
        if let Some((mounts, exports)) = exports {
            mounts.exports(exports);
        }
        *current = next;
        for warning in &reload.warnings {
            warn!("{warning}");
        }
        Ok(reload)
    }

    /// Takes over the new value of a key that may change while the node runs.
    fn act_on(&self, key: Key, settings: &Settings) -> Result<(), String> {
        match key {
            Key::LogLevel => self
                .logs
                .set_filter(settings.log_filter())
                .map_err(|error| error.to_string()),
            Key::Priority => {
                self.peers.set_priority(settings.priority());
                self.tune(settings);
                Ok(())
            }
            Key::SyncInterval => {
                self.tune(settings);
                Ok(())
            }
            Key::MemoryMax => {
                self.bound_memory(settings);
                Ok(())
            }
            Key::AuthToken => {
                let token = settings.auth_token().unwrap_or_default();
                self.token.set(token.as_bytes());
                Ok(())
            }
            other => Err(format!(
                "{} cannot change while the node runs",
                other.name()
            )),
        }
    }
}

impl Neighbours for Arc<Surroundings> {
    fn peers(&self) -> BTreeMap<NodeId, PeerStatus> {
        self.peers.status()
    }

    fn dropped(&self) -> u64 {
        self.peers.dropped()
    }

    fn memory_bytes(&self) -> (u64, u64) {
        let figures = self.store.get().map(StoreStats::figures);
        figures.map_or((0, 0), |figures| {
            (figures.dirty_bytes, figures.memory_bytes_max)
        })
    }

    fn state_bytes(&self) -> u64 {
        let figures = self.store.get().map(StoreStats::figures);
        figures.map_or(0, |figures| figures.disk_bytes)
    }

    fn log_bytes(&self) -> u64 {
        let Ok(files) = std::fs::read_dir(&self.log_path) else {
            return 0;
        };
        let lengths = files.flatten().filter_map(|file| file.metadata().ok());
        lengths.map(|metadata| metadata.len()).sum()
    }

    fn addresses(&self) -> BTreeMap<NodeId, String> {
        let addresses = self.peers.addresses().into_iter();
        addresses
            .map(|(node, address)| (node, address.to_string()))
            .collect()
    }

    fn settings(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
        match request {
            AdminRequest::SetSetting { key, value } => {
                let mut current = self.configuration();
                let mut next = current.clone();
                let key = next
                    .set(&key, &value)
                    .map_err(|error| AdminError::Setting(error.to_string()))?;
                self.act_on(key, next.settings())
                    .map_err(AdminError::Setting)?;
                *current = next;
                info!(key = key.name(), "set by an operator");
                Ok(AdminAnswer::SettingSet)
            }
            AdminRequest::ReloadSettings => {
                let reload = self.try_reload().map_err(AdminError::Reload)?;
                let names = |keys: Vec<Key>| keys.iter().map(|key| key.name().to_owned()).collect();
                Ok(AdminAnswer::Reloaded {
                    changed: names(reload.changed),
                    need_restart: names(reload.need_restart),
                })
            }
            _ => Ok(AdminAnswer::Settings(self.configuration().listing())),
        }
    }
}
