//! Numbers of the packets between a chunkserver and its master, under MooseFS's own names.

/// Nothing to say, still here; both directions.
pub const ANTOAN_NOP: u32 = 0;
/// A packet's number is not known; both directions.
pub const ANTOAN_UNKNOWN_COMMAND: u32 = 1;
/// A packet has a length that it cannot have; both directions.
pub const ANTOAN_BAD_COMMAND_SIZE: u32 = 2;
/// Asks for a program's version.
pub const ANTOAN_GET_VERSION: u32 = 10;
/// Answers that.
pub const ANTOAN_VERSION: u32 = 11;
/// Asks for the value of an option.
pub const ANTOAN_GET_CONFIG: u32 = 80;
/// Answers that.
pub const ANTOAN_CONFIG_VALUE: u32 = 81;

/// Registration, in several forms.
pub const CSTOMA_REGISTER: u32 = 100;
/// Used and total space.
pub const CSTOMA_SPACE: u32 = 101;
/// Copies that are there and bad.
pub const CSTOMA_CHUNK_DAMAGED: u32 = 102;
/// How busy the server is.
pub const CSTOMA_CURRENT_LOAD: u32 = 103;
/// Answers a registration.
pub const MATOCS_MASTER_ACK: u32 = 104;
/// Copies that are no longer there.
pub const CSTOMA_CHUNK_LOST: u32 = 105;
/// One more error of a disk.
pub const CSTOMA_ERROR_OCCURRED: u32 = 106;
/// Copies that were found after the registration.
pub const CSTOMA_CHUNK_NEW: u32 = 107;
/// The server's labels.
pub const CSTOMA_LABELS: u32 = 109;

/// Makes a chunk.
pub const MATOCS_CREATE: u32 = 110;
/// Answers that.
pub const CSTOMA_CREATE: u32 = 111;
/// Deletes a copy.
pub const MATOCS_DELETE: u32 = 120;
/// Answers that.
pub const CSTOMA_DELETE: u32 = 121;
/// Makes a chunk of another one's content.
pub const MATOCS_DUPLICATE: u32 = 130;
/// Answers that.
pub const CSTOMA_DUPLICATE: u32 = 131;
/// Changes a copy's version.
pub const MATOCS_SET_VERSION: u32 = 140;
/// Answers that.
pub const CSTOMA_SET_VERSION: u32 = 141;
/// Fetches a copy from other servers.
pub const MATOCS_REPLICATE: u32 = 150;
/// Answers that.
pub const CSTOMA_REPLICATE: u32 = 151;
/// Any of the other operations in one form; 3.0.117 masters neither send nor take it.
pub const MATOCS_CHUNKOP: u32 = 152;
/// Answers that.
pub const CSTOMA_CHUNKOP: u32 = 153;
/// Changes a copy's length.
pub const MATOCS_TRUNCATE: u32 = 160;
/// Answers that.
pub const CSTOMA_TRUNCATE: u32 = 161;
/// Makes a chunk of another one's content, of another length.
pub const MATOCS_DUPTRUNC: u32 = 170;
/// Answers that.
pub const CSTOMA_DUPTRUNC: u32 = 171;

/// Asks how many blocks a copy has.
pub const ANTOCS_GET_CHUNK_BLOCKS: u32 = 250;
/// Answers that.
pub const CSTOAN_CHUNK_BLOCKS: u32 = 251;
/// Asks for the checksum of a copy.
pub const ANTOCS_GET_CHUNK_CHECKSUM: u32 = 300;
/// Answers that.
pub const CSTOAN_CHUNK_CHECKSUM: u32 = 301;
/// Asks for the checksums of all blocks of a copy.
pub const ANTOCS_GET_CHUNK_CHECKSUM_TAB: u32 = 302;
/// Answers that.
pub const CSTOAN_CHUNK_CHECKSUM_TAB: u32 = 303;

/// What a chunkserver may say.
pub const TO_MASTER: [u32; 24] = [
    ANTOAN_NOP,
    ANTOAN_UNKNOWN_COMMAND,
    ANTOAN_BAD_COMMAND_SIZE,
    ANTOAN_GET_VERSION,
    ANTOAN_GET_CONFIG,
    CSTOMA_REGISTER,
    CSTOMA_SPACE,
    CSTOMA_CHUNK_DAMAGED,
    CSTOMA_CURRENT_LOAD,
    CSTOMA_CHUNK_LOST,
    CSTOMA_ERROR_OCCURRED,
    CSTOMA_CHUNK_NEW,
    CSTOMA_LABELS,
    CSTOMA_CREATE,
    CSTOMA_DELETE,
    CSTOMA_DUPLICATE,
    CSTOMA_SET_VERSION,
    CSTOMA_REPLICATE,
    CSTOMA_CHUNKOP,
    CSTOMA_TRUNCATE,
    CSTOMA_DUPTRUNC,
    CSTOAN_CHUNK_BLOCKS,
    CSTOAN_CHUNK_CHECKSUM,
    CSTOAN_CHUNK_CHECKSUM_TAB,
];

/// What a master may say.
pub const TO_CHUNKSERVER: [u32; 17] = [
    ANTOAN_NOP,
    ANTOAN_UNKNOWN_COMMAND,
    ANTOAN_BAD_COMMAND_SIZE,
    ANTOAN_VERSION,
    ANTOAN_CONFIG_VALUE,
    MATOCS_MASTER_ACK,
    MATOCS_CREATE,
    MATOCS_DELETE,
    MATOCS_DUPLICATE,
    MATOCS_SET_VERSION,
    MATOCS_REPLICATE,
    MATOCS_CHUNKOP,
    MATOCS_TRUNCATE,
    MATOCS_DUPTRUNC,
    ANTOCS_GET_CHUNK_BLOCKS,
    ANTOCS_GET_CHUNK_CHECKSUM,
    ANTOCS_GET_CHUNK_CHECKSUM_TAB,
];
