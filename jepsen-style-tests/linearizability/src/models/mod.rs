//! Objects that histories are judged against. Each file is one object and its journal format.

mod namespace;
mod register;
mod set;

pub use namespace::{
    Entry, Errno, Kind, Namespace, NamespaceCall, NamespaceReply, NamespaceState, Path, PathError,
};
pub use register::{RegisterCall, RegisterReturn, Registers};
pub use set::{Set, SetCall, SetReturn};
