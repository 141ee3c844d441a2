//! One record: for whom it is, and what they may do.

use std::net::Ipv4Addr;

use super::Asker;
use super::password::PasswordDigest;
use crate::id::InodeId;
use crate::namespace::op::{SessionFlags, SessionParams};

/// What a record lets be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportPath {
    /// A directory, without slashes at its ends: empty for the root.
    Tree(Vec<u8>),
    /// The meta file system: trash and sustained files.
    Meta,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// First address that it is for.
    pub from: Ipv4Addr,
    /// Last address that it is for.
    pub to: Ipv4Addr,
    /// What it is about.
    pub path: ExportPath,
    /// Whether directories below may be mounted, too.
    pub all_dirs: bool,
    /// The password that is needed.
    pub password: Option<PasswordDigest>,
    /// Lowest version of a client, as it is compared: `major << 16 | middle << 8 | minor`. The
    /// minor number is not doubled as it is in a client's version, so `3.0.117` lets 3.0.59 in.
    pub min_version: u32,
    /// Flags of its sessions.
    pub flags: SessionFlags,
    /// ORed into the umask of requests.
    pub umask: u16,
    /// Bit set of [`crate::namespace::op::Disable`].
    pub disables: u32,
    /// What uid 0 becomes.
    pub root_uid: u32,
    /// What gid 0 becomes.
    pub root_gid: u32,
    /// What every other uid becomes under `mapall`.
    pub map_all_uid: u32,
    /// What every other gid becomes under `mapall`.
    pub map_all_gid: u32,
    /// Lowest plain goal that may be set.
    pub goal_min: u8,
    /// Highest plain goal that may be set.
    pub goal_max: u8,
    /// Lowest trash time that may be set, seconds.
    pub trash_seconds_min: u32,
    /// Highest trash time that may be set, seconds.
    pub trash_seconds_max: u32,
}

impl Record {
    /// What a line without options says, but for its address and path.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::UNSPECIFIED,
            path: ExportPath::Tree(Vec::new()),
            all_dirs: false,
            password: None,
            min_version: 0,
            flags: SessionFlags {
                read_only: true,
                ..SessionFlags::default()
            },
            umask: 0,
            disables: 0,
            root_uid: 999,
            root_gid: 999,
            map_all_uid: 999,
            map_all_gid: 999,
            goal_min: 1,
            goal_max: 9,
            trash_seconds_min: 0,
            trash_seconds_max: u32::MAX,
        }
    }

    /// Whether it is for a client, its password left out.
    pub(super) fn is_for(&self, asker: &Asker<'_>) -> bool {
        let at_home = (self.from..=self.to).contains(&asker.ip);
        at_home && asker.version.0 >= self.min_version && self.holds(asker.path)
    }

    fn holds(&self, path: Option<&[u8]>) -> bool {
        match (&self.path, path) {
            (ExportPath::Meta, None) => true,
            (ExportPath::Tree(own), Some(path)) => {
                let path = without_slashes(path);
                path == own || self.all_dirs && is_below(path, own)
            }
            _ => false,
        }
    }

    /// Whether it takes the place of one that came before it; see [`super::Exports::choose`].
    pub(super) fn is_preferred_to(&self, before: &Self) -> bool {
        let (new, old) = (self.flags, before.flags);
        let writable = !new.read_only && old.read_only;
        let root = self.root_uid == 0 && before.root_uid != 0;
        let admin = new.admin && !old.admin;
        let password = self.password.is_some() && before.password.is_none();
        let nearer = self.path_bytes() > before.path_bytes();
        writable || root || admin || password || nearer
    }

    fn path_bytes(&self) -> usize {
        match &self.path {
            ExportPath::Tree(path) => path.len(),
            ExportPath::Meta => 0,
        }
    }

    /// What a session under this record may do.
    #[must_use]
    pub fn session_params(
        &self,
        root: InodeId,
        exports_checksum: u64,
        peer_ip: Ipv4Addr,
        info: Vec<u8>,
    ) -> SessionParams {
        let meta = self.path == ExportPath::Meta;
        // Nobody is mapped who only sees the trash.
        let id = |id| if meta { 0 } else { id };
        SessionParams {
            root: if meta { InodeId(0) } else { root },
            flags: self.flags,
            umask: self.umask,
            disables: self.disables,
            root_uid: id(self.root_uid),
            root_gid: id(self.root_gid),
            map_all_uid: id(self.map_all_uid),
            map_all_gid: id(self.map_all_gid),
            goal_min: self.goal_min,
            goal_max: self.goal_max,
            trash_seconds_min: self.trash_seconds_min,
            trash_seconds_max: self.trash_seconds_max,
            exports_checksum,
            peer_ip: peer_ip.into(),
            info,
        }
    }

    /// A number that stands for everything in the record.
    pub(super) fn checksum(&self) -> u64 {
        let hash = blake3::derive_key("mfsha 2026 exports record", &self.to_bytes());
        let (first, _) = hash.split_first_chunk().expect("32 bytes");
        u64::from_be_bytes(*first)
    }

    /// The record as bytes, differently for every two that differ.
    fn to_bytes(&self) -> Vec<u8> {
        let Self {
            from,
            to,
            path,
            all_dirs,
            password,
            min_version,
            flags,
            umask,
            disables,
            root_uid,
            root_gid,
            map_all_uid,
            map_all_gid,
            goal_min,
            goal_max,
            trash_seconds_min,
            trash_seconds_max,
        } = self;
        let SessionFlags {
            read_only,
            dynamic_ip,
            ignore_gid,
            admin,
            map_all,
        } = *flags;
        let mut bytes = Vec::new();
        for number in [
            u32::from(*from),
            u32::from(*to),
            *min_version,
            u32::from(*umask),
            *disables,
            *root_uid,
            *root_gid,
            *map_all_uid,
            *map_all_gid,
            *trash_seconds_min,
            *trash_seconds_max,
        ] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([*goal_min, *goal_max]);
        let meta = *path == ExportPath::Meta;
        let has_password = password.is_some();
        let switches = [
            read_only,
            dynamic_ip,
            ignore_gid,
            admin,
            map_all,
            *all_dirs,
            meta,
            has_password,
        ];
        bytes.extend(switches.map(u8::from));
        bytes.extend(password.iter().flat_map(|password| password.0));
        if let ExportPath::Tree(path) = path {
            bytes.extend(path);
        }
        bytes
    }
}

/// The path without slashes at its ends.
pub(super) fn without_slashes(path: &[u8]) -> &[u8] {
    let begin = path.iter().position(|byte| *byte != b'/');
    let end = path.iter().rposition(|byte| *byte != b'/');
    match (begin, end) {
        (Some(begin), Some(end)) => &path[begin..=end],
        _ => &[],
    }
}

/// Whether a path is within a directory, both without slashes at their ends.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    directory.is_empty() || rest.is_some_and(|rest| rest.starts_with(b"/"))
}
