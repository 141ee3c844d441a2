//! REGISTER: the first packet of a mount or a tool, and what it is told. Neither has a message id.

use std::net::Ipv4Addr;

use crate::id::SessionId;
use crate::limits;
use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// Number of the request; its answer has the next one.
pub const REGISTER: u32 = 400;

/// What a registration of any client since 2.0 begins with.
pub const BLOB: &[u8; 64] = b"DjI1GAQDULI5d2YjA26ypc3ovkhjvhciTQVx3CS4nYgtBoUcsljiVpsErJENHaw0";

/// Longest sub-folder that can be asked for, bytes: the longest path of Linux.
pub const PATH_BYTES_MAX: usize = 4_096;

/// Clients of this version and later are told the master's version when they come back.
const TOLD_VERSION: Version = Version::new(3, 0, 95);

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Register {
    /// Asks for random bytes, to prove with them that a password is known.
    Random,
    /// A session of a mount.
    Session(NewSession),
    /// Comes back to its session after a connection was lost.
    Reconnect(Reconnect),
    /// A tool, in the session of a mount.
    Tools(Tools),
    /// A session of a mount of the trash. `path` is `None`.
    Meta(NewSession),
    /// The end of a session.
    Close(Close),
}

/// A session that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Version of the client.
    pub client: Version,
    /// Its mount point.
    pub info: Vec<u8>,
    /// Which folder it wants to see as its root; a mount of the trash says none.
    pub path: Option<Vec<u8>>,
    /// The session that it had.
    pub session: Option<Again>,
    /// Proof of the password: MD5 of 16 random bytes, MD5 of the password, 16 random bytes.
    pub passcode: Option<[u8; 16]>,
}

packet! {
    /// A session that a client had.
    Again {
        /// Its number.
        session: SessionId,
        /// The cluster it was of.
        metaid: Option<u64>,
    }
}

packet! {
    /// A client that comes back.
    Reconnect {
        /// Its session.
        session: SessionId,
        /// Version of the client.
        client: Version,
        /// The cluster.
        metaid: Option<u64>,
    }
}

packet! {
    /// A tool.
    Tools {
        /// The session of its mount.
        session: SessionId,
        /// Version of the tool.
        client: Version,
    }
}

packet! {
    /// The end of a session.
    Close {
        /// The session.
        session: SessionId,
        /// The cluster.
        metaid: Option<u64>,
    }
}

impl Register {
    const RANDOM: u8 = 1;
    const SESSION: u8 = 2;
    const RECONNECT: u8 = 3;
    const TOOLS: u8 = 4;
    const META: u8 = 5;
    const CLOSE: u8 = 6;

    /// Version of the client, where the registration says it.
    #[must_use]
    pub fn client(&self) -> Option<Version> {
        match self {
            Self::Random | Self::Close(_) => None,
            Self::Session(new) | Self::Meta(new) => Some(new.client),
            Self::Reconnect(again) => Some(again.client),
            Self::Tools(tools) => Some(tools.client),
        }
    }
}

impl Field for Register {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        if reader.bytes(BLOB.len())? != BLOB {
            return Err(reader.wrong("a client that registers like none since 2.0"));
        }
        match reader.u8()? {
            Self::RANDOM => Ok(Self::Random),
            Self::SESSION => NewSession::read(reader, true).map(Self::Session),
            Self::RECONNECT => Field::read(reader, form).map(Self::Reconnect),
            Self::TOOLS => Field::read(reader, form).map(Self::Tools),
            Self::META => NewSession::read(reader, false).map(Self::Meta),
            Self::CLOSE => Field::read(reader, form).map(Self::Close),
            _ => Err(reader.wrong("a registration of an unknown kind")),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.bytes(BLOB);
        match self {
            Self::Random => {
                writer.u8(Self::RANDOM);
            }
            Self::Session(new) => new.write(writer.u8(Self::SESSION), form),
            Self::Reconnect(again) => again.write(writer.u8(Self::RECONNECT), form),
            Self::Tools(tools) => tools.write(writer.u8(Self::TOOLS), form),
            Self::Meta(new) => new.write(writer.u8(Self::META), form),
            Self::Close(close) => close.write(writer.u8(Self::CLOSE), form),
        }
    }
}

impl NewSession {
    fn read(reader: &mut Reader<'_>, has_path: bool) -> Result<Self, PacketError> {
        let client = Version(reader.u32()?);
        let info = reader.string(limits::SESSION_INFO_BYTES_MAX)?.to_vec();
        let path = match has_path {
            true => Some(reader.string(PATH_BYTES_MAX)?.to_vec()),
            false => None,
        };
        // Of the six lengths that are possible, three have a password's proof at their end.
        let (has_session, has_metaid, has_passcode) = match reader.remaining() {
            0 => (false, false, false),
            4 => (true, false, false),
            12 => (true, true, false),
            16 => (false, false, true),
            20 => (true, false, true),
            28 => (true, true, true),
            _ => return Err(reader.wrong("a registration of none of its lengths")),
        };
        let mut session = None;
        if has_session {
            session = Some(Again {
                session: SessionId(reader.u32()?),
                metaid: match has_metaid {
                    true => Some(reader.u64()?),
                    false => None,
                },
            });
        }
        let passcode = match has_passcode {
            true => Some(reader.array()?),
            false => None,
        };
        Ok(Self {
            client,
            info,
            path,
            session,
            passcode,
        })
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        writer.u32(self.client.0).string(&self.info);
        if let Some(path) = &self.path {
            writer.string(path);
        }
        self.session.write(writer, form);
        self.passcode.write(writer, form);
    }
}

/// What a registration is told. Which of them it is, is told by the length alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// 32 random bytes.
    Random([u8; 32]),
    /// The session is there.
    Session(SessionValues),
    /// The session of a mount of the trash is there.
    Meta(MetaValues),
    /// How coming back went. Clients before 3.0.95 are told the status alone.
    Reconnected(Back),
    /// How it went; of a new session only that it was refused.
    Status(Result<(), Status>),
    /// Ask the node with this address, at the same port; 0.0.0.0: nobody leads.
    Redirect(Ipv4Addr),
}

/// How coming back to a session went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// Version of the master.
    pub master: Version,
    /// What came of it.
    pub result: Result<(), Status>,
}

packet! {
    /// What a mount may do.
    SessionValues {
        /// Version of the master.
        master: Version,
        /// Number of the session.
        session: SessionId,
        /// The cluster.
        metaid: u64 [since 3, 0, 11],
        /// Bits of [`crate::moosefs::flags::session`].
        flags: u8,
        /// ORed into the umask of what is made.
        umask: u16 [since 3, 0, 72],
        /// What user 0 becomes.
        root_uid: u32,
        /// What group 0 becomes.
        root_gid: u32,
        /// What other users become, where all are mapped.
        map_all_uid: u32,
        /// What other groups become, where all are mapped.
        map_all_gid: u32,
        /// Lowest goal that may be set.
        goal_min: u8,
        /// Highest goal that may be set.
        goal_max: u8,
        /// Lowest trash time that may be set, seconds.
        trash_seconds_min: u32,
        /// Highest trash time that may be set, seconds.
        trash_seconds_max: u32,
        /// Bits of operations that are forbidden.
        disables: u32 [since 3, 0, 112],
    }
}

packet! {
    /// What a mount of the trash may do.
    MetaValues {
        /// Version of the master.
        master: Version,
        /// Number of the session.
        session: SessionId,
        /// The cluster.
        metaid: u64 [since 3, 0, 11],
        /// Bits of [`crate::moosefs::flags::session`].
        flags: u8,
        /// Lowest goal that may be set.
        goal_min: u8,
        /// Highest goal that may be set.
        goal_max: u8,
        /// Lowest trash time that may be set, seconds.
        trash_seconds_min: u32,
        /// Highest trash time that may be set, seconds.
        trash_seconds_max: u32,
    }
}

impl Field for Registered {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        match reader.remaining() {
            1 => Ok(Self::Status(Status::of_byte(reader.u8()?))),
            4 => Ok(Self::Redirect(Ipv4Addr::from(reader.u32()?))),
            5 if form.client >= TOLD_VERSION => Ok(Self::Reconnected(Back {
                master: Version(reader.u32()?),
                result: Status::of_byte(reader.u8()?),
            })),
            19 | 27 => Field::read(reader, form).map(Self::Meta),
            32 => reader.array().map(Self::Random),
            35 | 43 | 45 | 49 => Field::read(reader, form).map(Self::Session),
            _ => Err(reader.wrong("an answer to a registration of none of its lengths")),
        }
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        match self {
            Self::Random(bytes) => {
                writer.bytes(bytes);
            }
            Self::Session(values) => values.write(writer, form),
            Self::Meta(values) => values.write(writer, form),
            Self::Reconnected(back) => {
                if form.client >= TOLD_VERSION {
                    writer.u32(back.master.0);
                }
                writer.u8(Status::to_byte(back.result));
            }
            Self::Status(result) => {
                writer.u8(Status::to_byte(*result));
            }
            Self::Redirect(to) => {
                writer.u32(u32::from(*to));
            }
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod samples {
    use super::*;
    use crate::moosefs::fields::Text;
    use crate::moosefs::sample::{Draw, Sample};

    fn new_session(draw: &mut Draw<'_>, form: Form, has_path: bool) -> NewSession {
        NewSession {
            client: Sample::sample(draw, form),
            info: Text::sample(draw, form).0,
            path: has_path.then(|| Text::sample(draw, form).0),
            session: Sample::sample(draw, form),
            passcode: Sample::sample(draw, form),
        }
    }

    impl Sample for Register {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() % 6 {
                0 => Self::Random,
                1 => Self::Session(new_session(draw, form, true)),
                2 => Self::Reconnect(Sample::sample(draw, form)),
                3 => Self::Tools(Sample::sample(draw, form)),
                4 => Self::Meta(new_session(draw, form, false)),
                _ => Self::Close(Sample::sample(draw, form)),
            }
        }
    }

    impl Sample for Registered {
        fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
            match draw.byte() % 6 {
                0 => Self::Random(Sample::sample(draw, form)),
                1 => Self::Session(Sample::sample(draw, form)),
                2 => Self::Meta(Sample::sample(draw, form)),
                3 if form.client >= TOLD_VERSION => Self::Reconnected(Back {
                    master: Sample::sample(draw, form),
                    result: Status::of_byte(draw.byte()),
                }),
                4 => Self::Redirect(Ipv4Addr::from(u32::sample(draw, form))),
                _ => Self::Status(Status::of_byte(draw.byte())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> SessionValues {
        SessionValues {
            master: Version::OURS,
            session: SessionId(4),
            metaid: 7,
            flags: 8,
            umask: 0,
            root_uid: 0,
            root_gid: 0,
            map_all_uid: 999,
            map_all_gid: 999,
            goal_min: 1,
            goal_max: 9,
            trash_seconds_min: 0,
            trash_seconds_max: u32::MAX,
            disables: 0,
        }
    }

    fn length(registered: &Registered, client: Version) -> usize {
        let mut writer = Writer::new(REGISTER + 1);
        registered.write(&mut writer, Form::of(client));
        writer.finish().len() - 8
    }

    #[test]
    fn older_clients_are_told_less_of_their_session() {
        let session = Registered::Session(values());
        let meta = Registered::Meta(MetaValues {
            master: Version::OURS,
            session: SessionId(4),
            metaid: 7,
            flags: 8,
            goal_min: 1,
            goal_max: 9,
            trash_seconds_min: 0,
            trash_seconds_max: 0,
        });
        let back = Registered::Reconnected(Back {
            master: Version::OURS,
            result: Ok(()),
        });
        for (client, lengths) in [
            (Version::OURS, [49, 27, 5]),
            (Version::new(3, 0, 112), [49, 27, 5]),
            (Version::new(3, 0, 111), [45, 27, 5]),
            (Version::new(3, 0, 94), [45, 27, 1]),
            (Version::new(3, 0, 72), [45, 27, 1]),
            (Version::new(3, 0, 71), [43, 27, 1]),
            (Version::new(3, 0, 11), [43, 27, 1]),
            (Version::new(3, 0, 10), [35, 19, 1]),
        ] {
            let found = [&session, &meta, &back].map(|told| length(told, client));
            assert_eq!(found, lengths, "{client}");
        }
    }

    #[test]
    fn texts_and_lengths_are_bounded() {
        let registration = |info: usize, path: usize, spare: usize| {
            let mut writer = Writer::new(REGISTER);
            writer.bytes(BLOB).u8(2).u32(Version::OURS.0);
            writer.string(&vec![b'i'; info]).string(&vec![b'p'; path]);
            writer.bytes(&vec![0; spare]);
            let packet = writer.finish();
            let mut reader = Reader::new(REGISTER, &packet[8..]);
            Register::read(&mut reader, Form::of(Version::OURS)).is_ok()
        };
        assert!(registration(1_024, 4_096, 0));
        assert!(!registration(1_025, 1, 0));
        assert!(!registration(1, 4_097, 0));
        let possible: Vec<usize> = (0..40).filter(|n| registration(1, 1, *n)).collect();
        assert_eq!(possible, [0, 4, 12, 16, 20, 28]);
    }

    #[test]
    fn who_registers_otherwise_is_refused() {
        let mut old = BLOB.to_vec();
        old[..2].copy_from_slice(b"kF");
        for payload in [
            [&old[..], &[1]].concat(),
            [&BLOB[..], &[0]].concat(),
            [&BLOB[..], &[7]].concat(),
        ] {
            let mut reader = Reader::new(REGISTER, &payload);
            let found = Register::read(&mut reader, Form::of(Version::OURS));
            assert!(matches!(found, Err(PacketError::Value { kind: 400, .. })));
        }
    }
}
