//! What MooseFS's own programs say on the wire: mounts, tools and chunkservers of 3.0.117, and
//! older ones where the forms differ by a version.
//!
//! Pure: bytes to values and back. Who may say what, and what comes of it, is decided elsewhere.
//! Integers are big-endian, nothing is aligned or padded.
//!
//! | module | what lives there |
//! |---|---|
//! | [`frame`] | a stream of bytes as packets |
//! | [`reader`], [`writer`] | the fields of a packet |
//! | [`fields`] | fields put together to packets |
//! | [`status`], [`attributes`], [`flags`] | what stands in many packets |
//! | [`client`] | packets of mounts, libmfsio and tools, and what they hear |
//! | [`monitor`] | what tools of operators ask |
//! | [`metadata`] | `metadata.mfs`, the file of a master |
//! | [`version`] | versions of programs, and the one that is reported |
//! | [`chunkserver`] | what chunkservers and their master say to each other |
//! | [`connection`] | one accepted connection, as a machine |
//! | [`connections`] | all of one port |

pub mod attributes;
pub mod chunkserver;
pub mod client;
pub mod connection;
pub mod connections;
pub mod fields;
pub mod flags;
pub mod frame;
pub mod metadata;
pub mod monitor;
pub mod reader;
#[cfg(any(test, feature = "fuzzing"))]
pub mod sample;
pub mod status;
pub mod version;
pub mod writer;
