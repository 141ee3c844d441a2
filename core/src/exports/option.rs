//! The options of a line.

use super::error::Problem;
use super::line::shown;
use super::password::PasswordDigest;
use super::record::{ExportPath, Record};
use crate::namespace::op::Disable;
use crate::spelling;

/// What the caller knows of users and groups, for options that name them.
pub trait Accounts {
    /// Id of a user, and of its group.
    fn user(&self, name: &str) -> Option<(u32, u32)>;
    /// Id of a group.
    fn group(&self, name: &str) -> Option<u32>;
    /// Id of the group of the user with this id.
    fn group_of(&self, uid: u32) -> Option<u32>;
}

/// Knows nobody: only `UID:GID` is understood. Records then mean the same on every node.
#[derive(Clone, Copy, Debug)]
pub struct NoAccounts;

impl Accounts for NoAccounts {
    fn user(&self, _name: &str) -> Option<(u32, u32)> {
        None
    }

    fn group(&self, _name: &str) -> Option<u32> {
        None
    }

    fn group_of(&self, _uid: u32) -> Option<u32> {
        None
    }
}

/// Names of the operations that can be disabled, in the order of their bits.
pub const DISABLES: [(&str, Disable); 25] = [
    ("chown", Disable::Chown),
    ("chmod", Disable::Chmod),
    ("symlink", Disable::Symlink),
    ("mkfifo", Disable::Mkfifo),
    ("mkdev", Disable::Mkdev),
    ("mksock", Disable::Mksock),
    ("mkdir", Disable::Mkdir),
    ("unlink", Disable::Unlink),
    ("rmdir", Disable::Rmdir),
    ("rename", Disable::Rename),
    ("move", Disable::Move),
    ("link", Disable::Link),
    ("create", Disable::Create),
    ("readdir", Disable::Readdir),
    ("read", Disable::Read),
    ("write", Disable::Write),
    ("truncate", Disable::Truncate),
    ("setlength", Disable::SetLength),
    ("appendchunks", Disable::AppendChunks),
    ("snapshot", Disable::Snapshot),
    ("settrash", Disable::SetTrash),
    ("setsclass", Disable::SetSclass),
    ("seteattr", Disable::SetEattr),
    ("setxattr", Disable::SetXattr),
    ("setfacl", Disable::SetFacl),
];

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    ReadOnly,
    ReadWrite,
    AllDirs,
    DynamicIp,
    IgnoreGid,
    Admin,
    MapRoot,
    MapAll,
    Password,
    Md5Pass,
    MinVersion,
    MinGoal,
    MaxGoal,
    MinTrashTime,
    MaxTrashTime,
    Umask,
    Disable,
}

/// Every option's name, what it is, and an example of its value.
const OPTIONS: [(&str, Key, Option<&str>); 20] = [
    ("ro", Key::ReadOnly, None),
    ("readonly", Key::ReadOnly, None),
    ("rw", Key::ReadWrite, None),
    ("readwrite", Key::ReadWrite, None),
    ("alldirs", Key::AllDirs, None),
    ("dynamicip", Key::DynamicIp, None),
    ("ignoregid", Key::IgnoreGid, None),
    ("admin", Key::Admin, None),
    (OLD_ADMIN, Key::Admin, None),
    ("maproot", Key::MapRoot, Some("0:0")),
    ("mapall", Key::MapAll, Some("1000:1000")),
    ("password", Key::Password, Some("SECRET")),
    ("md5pass", Key::Md5Pass, Some("32 HEXADECIMAL DIGITS")),
    ("minversion", Key::MinVersion, Some("3.0.0")),
    ("mingoal", Key::MinGoal, Some("1")),
    ("maxgoal", Key::MaxGoal, Some("9")),
    ("mintrashtime", Key::MinTrashTime, Some("1d12h")),
    ("maxtrashtime", Key::MaxTrashTime, Some("2w")),
    ("umask", Key::Umask, Some("0022")),
    ("disable", Key::Disable, Some("rename:unlink")),
];

const OLD_ADMIN: &str = "canchangequota";

/// Whether this looks like the options of a line.
pub(super) fn is_option(word: &[u8]) -> bool {
    let end = word.iter().position(|byte| matches!(byte, b',' | b'='));
    let name = &word[..end.unwrap_or(word.len())];
    OPTIONS.iter().any(|(known, ..)| known.as_bytes() == name)
}

/// A record that is not complete yet.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub record: Record,
    /// Whether `maproot` was given, so that `mapall` does not map root.
    root_given: bool,
}

impl Draft {
    pub fn new() -> Self {
        Self {
            record: Record::defaults(),
            root_given: false,
        }
    }

    /// Under `mapall` root is mapped like everybody, unless `maproot` says otherwise.
    pub fn map_root(&mut self) {
        if self.record.flags.map_all && !self.root_given {
            self.record.root_uid = self.record.map_all_uid;
            self.record.root_gid = self.record.map_all_gid;
        }
    }

    /// Root stays root in the meta file system, unless `maproot` says otherwise.
    pub fn unmap_root(&mut self) {
        if !self.root_given {
            self.record.root_uid = 0;
            self.record.root_gid = 0;
        }
    }

    /// What does not fit together, once all options are read.
    pub fn contradictions(&self) -> Vec<Problem> {
        let record = &self.record;
        let order = |wrong: bool, low, high| wrong.then_some(Problem::Order { low, high });
        let goals = record.goal_min > record.goal_max;
        let times = record.trash_seconds_min > record.trash_seconds_max;
        let goals = order(goals, "mingoal", "maxgoal");
        let times = order(times, "mintrashtime", "maxtrashtime");
        goals.into_iter().chain(times).collect()
    }

    /// Takes one option; gives what is wrong or suspicious about it.
    pub fn take(&mut self, word: &[u8], accounts: &dyn Accounts) -> Vec<Problem> {
        let wrong = self.try_take(word, accounts);
        wrong.err().into_iter().flatten().collect()
    }

    fn try_take(&mut self, word: &[u8], accounts: &dyn Accounts) -> Result<(), Vec<Problem>> {
        let equals = word.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let found = OPTIONS.iter().find(|(known, ..)| known.as_bytes() == name);
        let Some(&(option, key, example)) = found else {
            return Err(vec![unknown(name)]);
        };
        let value = match (example, value) {
            (None, None) => "",
            (Some(_), Some(value)) if !value.is_empty() => match std::str::from_utf8(value) {
                Ok(value) => value,
                Err(_) => match key {
                    Key::Password => return self.take_password(value),
                    _ => return Err(vec![bad(option, value, "it is not UTF-8")]),
                },
            },
            (None, Some(_)) => return Err(vec![Problem::NeedlessValue { option }]),
            (Some(example), _) => return Err(vec![Problem::MissingValue { option, example }]),
        };
        if self.record.path == ExportPath::Meta && !key.is_for_meta() {
            return Err(vec![Problem::NotForMeta { option }]);
        }
        self.set(key, option, value, accounts)
    }

    fn set(
        &mut self,
        key: Key,
        option: &'static str,
        value: &str,
        accounts: &dyn Accounts,
    ) -> Result<(), Vec<Problem>> {
        let record = &mut self.record;
        match key {
            Key::ReadOnly => record.flags.read_only = true,
            Key::ReadWrite => record.flags.read_only = false,
            Key::AllDirs => record.all_dirs = true,
            Key::DynamicIp => record.flags.dynamic_ip = true,
            Key::IgnoreGid => record.flags.ignore_gid = true,
            Key::Admin => {
                record.flags.admin = true;
                if option == OLD_ADMIN {
                    return Err(vec![Problem::OldName { option }]);
                }
            }
            Key::MapRoot => {
                let ids = ids(option, value, accounts).map_err(|problem| vec![problem])?;
                (record.root_uid, record.root_gid) = ids;
                self.root_given = true;
            }
            Key::MapAll => {
                let ids = ids(option, value, accounts).map_err(|problem| vec![problem])?;
                (record.map_all_uid, record.map_all_gid) = ids;
                record.flags.map_all = true;
            }
            Key::Password => return self.take_password(value.as_bytes()),
            Key::Md5Pass => {
                let wanted = "it has 32 hexadecimal digits";
                let digest = PasswordDigest::of_hex(value.as_bytes());
                let digest = digest.ok_or(vec![Problem::Secret { option, wanted }])?;
                record.password = Some(digest);
            }
            Key::MinVersion => return self.take_min_version(option, value),
            Key::MinGoal => record.goal_min = goal(option, value)?,
            Key::MaxGoal => record.goal_max = goal(option, value)?,
            Key::MinTrashTime => record.trash_seconds_min = seconds(option, value)?,
            Key::MaxTrashTime => record.trash_seconds_max = seconds(option, value)?,
            Key::Umask => record.umask = umask(option, value)?,
            Key::Disable => return self.take_disables(value),
        }
        Ok(())
    }

    fn take_password(&mut self, password: &[u8]) -> Result<(), Vec<Problem>> {
        self.record.password = Some(PasswordDigest::of(password));
        Ok(())
    }

    fn take_min_version(&mut self, option: &'static str, value: &str) -> Result<(), Vec<Problem>> {
        let wrong = || vec![bad(option, value.as_bytes(), VERSION)];
        let mut parts = value.split('.').map(number::<u8>);
        let major = parts.next().flatten().ok_or_else(wrong)?;
        let mut next = || parts.next().unwrap_or(Some(0)).ok_or_else(wrong);
        let (middle, minor) = (next()?, next()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        self.record.min_version = u32::from_be_bytes([0, major, middle, minor]);
        if minor > 0 {
            let value = value.to_owned();
            let lowest = format!("{major}.{middle}.{}", minor.div_ceil(2));
            return Err(vec![Problem::MinVersion { value, lowest }]);
        }
        Ok(())
    }

    fn take_disables(&mut self, value: &str) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for word in value.split(':') {
            let word = word.trim_matches([' ', '\t']);
            let known = DISABLES.iter().find(|(name, _)| *name == word);
            if let Some((_, disable)) = known {
                self.record.disables |= 1 << *disable as u32;
                continue;
            }
            let nearest = spelling::nearest(word, DISABLES.iter().map(|(name, _)| *name));
            let word = shown(word.as_bytes());
            problems.push(Problem::UnknownOperation { word, nearest });
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(problems)
    }
}

impl Key {
    fn is_for_meta(self) -> bool {
        let not = [
            Self::AllDirs,
            Self::IgnoreGid,
            Self::Admin,
            Self::MapRoot,
            Self::MapAll,
            Self::Disable,
        ];
        !not.contains(&self)
    }
}

impl Problem {
    /// Whether the file is good all the same.
    pub(super) fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::NotForMeta { .. } | Self::OldName { .. } | Self::MinVersion { .. }
        )
    }
}

const VERSION: &str = "it is X, X.Y or X.Y.Z, each from 0 to 255";

fn unknown(name: &[u8]) -> Problem {
    if name.is_empty() {
        return Problem::EmptyOption;
    }
    if name.starts_with(b"#") || name.windows(2).any(|pair| pair == b" #" || pair == b"\t#") {
        return Problem::Comment;
    }
    let word = shown(name);
    let nearest = spelling::nearest(&word, OPTIONS.iter().map(|(name, ..)| *name));
    Problem::UnknownOption { word, nearest }
}

fn bad(option: &'static str, value: &[u8], wanted: &'static str) -> Problem {
    let value = shown(value);
    Problem::Value {
        option,
        value,
        wanted,
    }
}

/// A number of digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn goal(option: &'static str, value: &str) -> Result<u8, Vec<Problem>> {
    match value.as_bytes() {
        [digit @ b'1'..=b'9'] => Ok(digit - b'0'),
        other => Err(vec![bad(option, other, "it is one digit from 1 to 9")]),
    }
}

fn umask(option: &'static str, value: &str) -> Result<u16, Vec<Problem>> {
    let wrong = || {
        vec![bad(
            option,
            value.as_bytes(),
            "it is 0 and three octal digits",
        )]
    };
    match value.as_bytes() {
        [b'0', digits @ ..] if digits.len() == 3 => digits.iter().try_fold(0, |all, digit| {
            let digit = char::from(*digit).to_digit(8).ok_or_else(wrong)?;
            Ok(all * 8 + digit as u16)
        }),
        _ => Err(wrong()),
    }
}

/// Seconds: a number, or numbers with units, each unit once and the longer ones first.
fn seconds(option: &'static str, value: &str) -> Result<u32, Vec<Problem>> {
    const WANTED: &str = "it is a number of seconds below 2^32, or parts like 1w2d3h4m5s, the \
                          longest first";
    let wrong = || vec![bad(option, value.as_bytes(), WANTED)];
    if let Some(seconds) = number(value) {
        return Ok(seconds);
    }
    let units = [
        (b'w', 604_800),
        (b'd', 86_400),
        (b'h', 3_600),
        (b'm', 60),
        (b's', 1),
    ];
    let mut units = units.iter();
    let mut all = 0_u64;
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit());
        let end = end.ok_or_else(wrong)?;
        let unit = rest.as_bytes()[end].to_ascii_lowercase();
        let count: u32 = number(&rest[..end]).ok_or_else(wrong)?;
        let found = units.find(|(name, _)| *name == unit);
        let (_, length) = found.ok_or_else(wrong)?;
        all += u64::from(count) * length;
        rest = &rest[end + 1..];
    }
    all.try_into().map_err(|_| wrong())
}

/// `USER` or `USER:GROUP`, each a number or a name.
fn ids(option: &'static str, value: &str, accounts: &dyn Accounts) -> Result<(u32, u32), Problem> {
    let (user, group) = match value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value, None),
    };
    let account = |what, name: &str| {
        let name = shown(name.as_bytes());
        Problem::Account { option, what, name }
    };
    let group = match group {
        None => None,
        Some(group) => {
            let known = number(group).or_else(|| accounts.group(group));
            Some(known.ok_or_else(|| account("group", group))?)
        }
    };
    if let Some(uid) = number(user) {
        let known = group.or_else(|| accounts.group_of(uid));
        return Ok((uid, known.ok_or(Problem::Group { option, uid })?));
    }
    let (uid, own_group) = accounts.user(user).ok_or_else(|| account("user", user))?;
    Ok((uid, group.unwrap_or(own_group)))
}
