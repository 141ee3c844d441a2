//! The state as a file of `mfsmaster`, written on a thread of its own and handed out a part at a
//! time. One export at once: it holds on to the state as it was when it began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mfsha_core::moosefs::metadata::Sink;
use mfsha_core::namespace;
use mfsha_core::native::admin::{AdminError, ExportPart, ExportPiece};
use mfsha_core::store::StateView;

use crate::driver::View;
use crate::panics;

/// Bytes of one part, about.
const PART_BYTES: usize = 256 << 10;
/// Parts that wait to be asked for.
const WAITING_MAX: usize = 4;
/// Who does not ask for the next part for so long has given up.
const IDLE_MAX: Duration = Duration::from_secs(60);

type Part = Result<ExportPart, String>;

/// The export that is under way, if one is.
#[derive(Default)]
pub struct Exports(Mutex<Option<Running>>);

struct Running {
    export: u64,
    parts: Receiver<Part>,
    /// The part that was handed out last, and its number.
    last: Option<(u64, Part)>,
    touched: Instant,
}

impl Exports {
    /// `None` while somebody waits for a part.
    fn running(&self) -> Option<MutexGuard<'_, Option<Running>>> {
        match self.0.try_lock() {
            Ok(running) => Some(running),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether this export is the one that is under way, or that may be.
    pub fn is_begun(&self, export: u64) -> bool {
        self.running()
            .is_none_or(|running| running.as_ref().is_some_and(|it| it.export == export))
    }

    /// Begins an export of this state; one that nobody asks for any more ends.
    pub fn begin(&self, export: u64, view: View, own: u64) -> Result<(), String> {
        let busy = || "another export is under way".to_owned();
        let mut running = self.running().ok_or_else(busy)?;
        if running.as_ref().is_some_and(Running::goes_on) {
            return Err(busy());
        }
        let (sender, parts) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("export".into())
            .spawn(move || panics::on_its_own_here(|| write(&*view, own, &sender)))
            .map_err(|error| format!("the system gives no thread: {error}"))?;
        *running = Some(Running {
            export,
            parts,
            last: None,
            touched: Instant::now(),
        });
        Ok(())
    }

    /// Ends the export when nobody has asked for a part of it for long: the state that it holds on
    /// to keeps the store from using its room again. Says when to look again, if there is still one.
    pub fn end_idle(&self) -> Option<Duration> {
        // Somebody waits for a part.
        let Some(mut running) = self.running() else {
            return Some(IDLE_MAX);
        };
        let left = running.as_ref().and_then(Running::left);
        if left.is_none() {
            *running = None;
        }
        left
    }

    /// A part of the export; waits until it is there.
    pub fn part(&self, export: u64, part: u64) -> Result<ExportPart, AdminError> {
        let Some(mut running) = self.running() else {
            let why = "a part is being written".to_owned();
            return Err(AdminError::Unavailable(why));
        };
        let gone = || AdminError::Refused("the export has ended: begin anew".to_owned());
        let it = running.as_mut().filter(|it| it.export == export);
        let it = it.ok_or_else(gone)?;
        let next = it.last.as_ref().map_or(0, |(last, _)| last + 1);
        if part == next {
            let told = it.parts.recv().map_err(|_| gone())?;
            it.last = Some((part, told));
        }
        it.touched = Instant::now();
        match &it.last {
            Some((last, told)) if *last == part => told.clone().map_err(AdminError::Refused),
            _ => Err(gone()),
        }
    }
}

impl Running {
    /// Whether somebody is to ask for another part.
    fn goes_on(&self) -> bool {
        let is_over = match &self.last {
            Some((_, Ok(part))) => part.is_last,
            Some((_, Err(_))) => true,
            None => false,
        };
        !is_over && self.left().is_some()
    }

    /// How long somebody may still ask for a part.
    fn left(&self) -> Option<Duration> {
        let left = IDLE_MAX.checked_sub(self.touched.elapsed())?;
        (!left.is_zero()).then_some(left)
    }
}

/// Gives what is written to whoever asks for parts.
struct Parts<'s> {
    sender: &'s SyncSender<Part>,
    pieces: Vec<ExportPiece>,
    bytes: usize,
    nodes: Arc<[AtomicU64; 2]>,
}

impl Parts<'_> {
    fn take(&mut self, piece: ExportPiece, bytes: usize) -> Result<(), String> {
        self.pieces.push(piece);
        self.bytes += bytes;
        match self.bytes >= PART_BYTES {
            true => self.give(false),
            false => Ok(()),
        }
    }

    fn give(&mut self, is_last: bool) -> Result<(), String> {
        self.bytes = 0;
        let [done, all] = &*self.nodes;
        let part = ExportPart {
            pieces: std::mem::take(&mut self.pieces),
            nodes: (done.load(Ordering::Relaxed), all.load(Ordering::Relaxed)),
            is_last,
        };
        let sent = self.sender.send(Ok(part));
        sent.map_err(|_| "nobody asks for it any more".to_owned())
    }
}

impl Sink for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.take(ExportPiece::Append(bytes.to_vec()), bytes.len())
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let length = bytes.len();
        let bytes = bytes.to_vec();
        self.take(ExportPiece::Patch { at, bytes }, length)
    }
}

fn write(view: &dyn StateView, own: u64, sender: &SyncSender<Part>) {
    panics::plant("export");
    let nodes = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let parts = Parts {
        sender,
        pieces: Vec::new(),
        bytes: 0,
        nodes: Arc::clone(&nodes),
    };
    let written = namespace::export(view, own, parts, &mut |done, all| {
        nodes[0].store(done, Ordering::Relaxed);
        nodes[1].store(all, Ordering::Relaxed);
    });
    let given = written
        .map_err(|error| error.to_string())
        .and_then(|mut parts| parts.give(true));
    if let Err(why) = given {
        // Where nobody asks any more, nobody hears of it.
        let _ = sender.send(Err(why));
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::namespace::Namespace;
    use mfsha_core::store::{MemStore, StateStore};

    use super::*;

    fn view() -> View {
        let tree = Namespace::open(MemStore::new()).unwrap();
        Box::new(tree.store().snapshot())
    }

    fn all(exports: &Exports, export: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in 0.. {
            let told = exports.part(export, part).unwrap();
            assert_eq!(exports.part(export, part), Ok(told.clone()), "asked again");
            for piece in told.pieces {
                match piece {
                    ExportPiece::Append(more) => bytes.extend(more),
                    ExportPiece::Patch { at, bytes: over } => {
                        let at = usize::try_from(at).unwrap();
                        bytes[at..at + over.len()].copy_from_slice(&over);
                    }
                }
            }
            if told.is_last {
                return bytes;
            }
        }
        unreachable!("it ends")
    }

    #[test]
    fn parts_are_the_file_and_one_export_goes_on_at_once() {
        let exports = Exports::default();
        assert!(exports.part(1, 0).is_err(), "nothing has begun");
        exports.begin(1, view(), 7).unwrap();
        assert!(exports.is_begun(1));
        assert!(!exports.is_begun(2));
        let refused = exports.begin(2, view(), 7).unwrap_err();
        assert!(refused.contains("another"), "{refused}");
        assert!(exports.part(1, 1).is_err(), "parts come in order");
        let bytes = all(&exports, 1);
        let expected = namespace::export(&*view(), 7, Vec::new(), &mut |_, _| {}).unwrap();
        assert_eq!(bytes, expected);
        exports.begin(2, view(), 7).unwrap();
        assert_eq!(all(&exports, 2), expected);
        assert!(exports.part(1, 0).is_err(), "it has ended");
    }

    #[test]
    fn an_export_that_nobody_asks_for_ends_and_lets_its_state_go() {
        let exports = Exports::default();
        assert_eq!(exports.end_idle(), None, "there is none");
        exports.begin(1, view(), 7).unwrap();
        let left = exports.end_idle().expect("somebody may still ask");
        assert!(left <= IDLE_MAX);
        assert!(exports.part(1, 0).is_ok());
        let mut running = exports.running().unwrap();
        let it = running.as_mut().unwrap();
        it.touched = it.touched.checked_sub(IDLE_MAX).unwrap();
        drop(running);
        assert_eq!(exports.end_idle(), None);
        assert!(
            exports.running().unwrap().is_none(),
            "and with it what it held"
        );
        assert!(exports.part(1, 0).is_err());
    }
}
