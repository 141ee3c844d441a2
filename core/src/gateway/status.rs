//! Refusals of the namespace as statuses. No number of a status is known anywhere else.

use crate::moosefs::status::Status;
use crate::moosefs::version::Version;
use crate::namespace::error::FsError;

/// The status of a refusal.
#[must_use]
pub fn of_refusal(error: FsError) -> Status {
    match error {
        FsError::Perm => Status::EPERM,
        FsError::NotDir => Status::ENOTDIR,
        FsError::NoEnt => Status::ENOENT,
        FsError::Access => Status::EACCES,
        FsError::Exist => Status::EEXIST,
        FsError::Invalid => Status::EINVAL,
        FsError::NotEmpty => Status::ENOTEMPTY,
        FsError::ChunkLost => Status::CHUNKLOST,
        FsError::IndexTooBig => Status::INDEXTOOBIG,
        FsError::Locked => Status::LOCKED,
        FsError::NoChunk => Status::NOCHUNK,
        FsError::ChunkBusy => Status::CHUNKBUSY,
        FsError::NoSpace => Status::NOSPACE,
        FsError::ReadOnly => Status::EROFS,
        FsError::Quota => Status::QUOTA,
        FsError::BadSession => Status::BADSESSIONID,
        FsError::NoAttr => Status::ENOATTR,
        FsError::NotSupported => Status::ENOTSUP,
        FsError::Range => Status::ERANGE,
        FsError::NotOpened => Status::NOTOPENED,
        FsError::Again => Status::EAGAIN,
        FsError::Interrupted => Status::EINTR,
        FsError::NoEntNoCache => Status::ENOENT_NOCACHE,
        FsError::NotAdmin => Status::EPERM_NOTADMIN,
        FsError::ClassExists => Status::CLASSEXISTS,
        FsError::ClassLimit => Status::CLASSLIMITREACH,
        FsError::NoClass => Status::NOSUCHCLASS,
        FsError::ClassInUse => Status::CLASSINUSE,
        FsError::CantCreatePath => Status::CANTCREATEPATH,
        FsError::NotFound => Status::NOTFOUND,
        FsError::Active => Status::ACTIVE,
        // Only a client with two requests under one name at once can see it.
        FsError::Stale => Status::ECANCELED,
    }
}

/// The status that a client of this version knows for it.
#[must_use]
pub fn for_client(status: Status, client: Version) -> Status {
    if status == Status::ENOENT_NOCACHE && client < Version::new(3, 0, 25) {
        return Status::ENOENT;
    }
    status
}

/// [`for_client`] for requests about chunks, where older clients know less.
#[must_use]
pub fn of_chunk_for_client(status: Status, client: Version) -> Status {
    if status == Status::EROFS && client < Version::new(3, 0, 101) {
        return Status::IO;
    }
    if status == Status::EAGAIN && client < Version::new(3, 0, 8) {
        return Status::LOCKED;
    }
    for_client(status, client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_moosefs() {
        for (error, number) in [
            (FsError::Perm, 1),
            (FsError::NotDir, 2),
            (FsError::NoEnt, 3),
            (FsError::Access, 4),
            (FsError::Exist, 5),
            (FsError::Invalid, 6),
            (FsError::NotEmpty, 7),
            (FsError::ChunkLost, 8),
            (FsError::IndexTooBig, 10),
            (FsError::Locked, 11),
            (FsError::NoChunk, 13),
            (FsError::ChunkBusy, 14),
            (FsError::NotOpened, 17),
            (FsError::NoSpace, 21),
            (FsError::CantCreatePath, 31),
            (FsError::ReadOnly, 33),
            (FsError::Quota, 34),
            (FsError::BadSession, 35),
            (FsError::NoAttr, 38),
            (FsError::NotSupported, 39),
            (FsError::Range, 40),
            (FsError::NotFound, 41),
            (FsError::Active, 42),
            (FsError::Again, 45),
            (FsError::Interrupted, 46),
            (FsError::Stale, 47),
            (FsError::NoEntNoCache, 48),
            (FsError::NotAdmin, 49),
            (FsError::ClassExists, 50),
            (FsError::ClassLimit, 51),
            (FsError::NoClass, 52),
            (FsError::ClassInUse, 53),
        ] {
            assert_eq!(of_refusal(error).number(), number, "{error:?}");
        }
    }

    #[test]
    fn older_clients_are_told_what_they_know() {
        let [new, old] = [Version::OURS, Version::new(3, 0, 7)];
        assert_eq!(for_client(Status::ENOENT_NOCACHE, old), Status::ENOENT);
        for status in [Status::ENOENT_NOCACHE, Status::EROFS, Status::EAGAIN] {
            assert_eq!(for_client(status, new), status);
            assert_eq!(of_chunk_for_client(status, new), status);
        }
        assert_eq!(of_chunk_for_client(Status::EROFS, old), Status::IO);
        assert_eq!(of_chunk_for_client(Status::EAGAIN, old), Status::LOCKED);
    }
}
