//! The processes of a program: one, or several among which its clients are spread.
//!
//! ```text
//!   clients ─► shards ─┬─ link ─► process 0      each has a folder, a control link and a link of every shard of its own
//!                      └─ link ─► process 1
//! ```
//!
//! Invariant: a client is one process's for as long as that lives, and a process that ends concerns its own clients alone.

use std::{
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::error;

use super::{
    ProgramError,
    control::{Keeper, Told},
    folder::Folder,
    node::{Node, Place},
    options::Listen,
    shared::Shared,
};
use crate::limits::{PROGRAM_END_MS, PROGRAM_SERVES_MS};

/// One process of a program, and the next that takes its place.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) folder: Arc<Folder>,
    pub(super) shared: Arc<Shared>,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// It begins when the server listens.
    Waits(Box<Keeper>),
    Runs(JoinHandle<()>),
    Ended,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) list: Vec<Worker>,
    roll: Mutex<Roll>,
}

/// Whether one after the other begins anew.
#[derive(Debug, Default)]
struct Roll {
    is_wanted: bool,
    is_under_way: bool,
}

impl Workers {
    /// Starts the first process, and waits until it wants to be served. The others begin with [`Self::tell_listening`].
    pub(super) fn start(node: &Node, count: u16) -> Result<(Arc<Self>, Listen), ProgramError> {
        let (tell, told) = mpsc::channel();
        let make = |index| Worker::make(node, Place { index, count }, tell.clone());
        let list = (0..count).map(make).collect::<Result<Vec<_>, _>>()?;
        let own = Arc::new(Self { list, roll: Mutex::default() });
        drop(tell);
        own.list[0].begin().map_err(ProgramError::Thread)?;
        let error = match told.recv() {
            Ok(Told::Wants(listen)) => return Ok((own, *listen)),
            Ok(Told::Ended(status)) => ProgramError::Ended(status),
            Ok(Told::NotStarted(error)) => ProgramError::Node(error),
            Ok(Told::Refused(error)) => ProgramError::Refused(error.to_string()),
            Err(mpsc::RecvError) => ProgramError::Thread(std::io::ErrorKind::Other.into()),
        };
        own.end();
        Err(error)
    }

    /// The server listens: the first process is told, and the others begin.
    pub(super) fn tell_listening(&self, answer: &str, shards: usize) {
        for worker in &self.list {
            worker.shared.await_shards(shards);
            worker.shared.set_listening(answer.to_owned());
            if let Err(error) = worker.begin() {
                error!("a process of the program is not begun: {error}");
            }
        }
    }

    /// Has another process take the place of each, one after the other. Asked for while that goes on, it is done once more then.
    pub(super) fn begin_anew(self: &Arc<Self>) {
        if let [only] = &*self.list {
            return only.shared.ask_for_another();
        }
        let mut roll = self.roll.lock().unwrap_or_else(PoisonError::into_inner);
        roll.is_wanted = true;
        if roll.is_under_way {
            return;
        }
        let own = Arc::clone(self);
        let begun = thread::Builder::new().name("program-roll".to_owned()).spawn(move || own.roll());
        match begun {
            Ok(_) => roll.is_under_way = true,
            Err(error) => error!("the program does not begin anew: a thread did not start: {error}"),
        }
    }

    fn roll(&self) {
        loop {
            let mut roll = self.roll.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut roll.is_wanted) {
                roll.is_under_way = false;
                return;
            }
            drop(roll);
            for worker in &self.list {
                let before = worker.shared.served();
                worker.shared.ask_for_another();
                if !worker.shared.await_served(before, Duration::from_millis(PROGRAM_SERVES_MS)) {
                    if !worker.shared.is_ending() {
                        error!(
                            "a process of the program has not come to serve within {PROGRAM_SERVES_MS} ms: the others go on as they are"
                        );
                    }
                    break;
                }
            }
        }
    }

    /// Ends all of them, together.
    pub(super) fn end(&self) {
        for worker in &self.list {
            worker.shared.ask_to_end();
        }
        let until = Instant::now() + Duration::from_millis(PROGRAM_END_MS);
        for worker in &self.list {
            let stage = std::mem::replace(
                &mut *worker.stage.lock().unwrap_or_else(PoisonError::into_inner),
                Stage::Ended,
            );
            if let Stage::Runs(thread) = stage {
                worker.shared.end(thread, until);
            }
        }
    }
}

impl Worker {
    fn make(node: &Node, place: Place, tell: mpsc::Sender<Told>) -> Result<Self, ProgramError> {
        let folder = Arc::new(Folder::new().map_err(ProgramError::Folder)?);
        let listener = UnixListener::bind(folder.control()).map_err(ProgramError::Folder)?;
        let shared = Arc::new(Shared::new().map_err(ProgramError::Folder)?);
        let (node, own, another) = (node.clone(), Arc::clone(&folder), Arc::clone(&shared));
        let keeper = Keeper { node, place, folder: own, shared: another, listener, tell };
        Ok(Self { folder, shared, stage: Mutex::new(Stage::Waits(Box::new(keeper))) })
    }

    /// Begins, if it has not.
    fn begin(&self) -> std::io::Result<()> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = match std::mem::replace(&mut *stage, Stage::Ended) {
            Stage::Waits(keeper) => {
                let name = "program".to_owned();
                Stage::Runs(thread::Builder::new().name(name).spawn(move || keeper.run())?)
            }
            other => other,
        };
        Ok(())
    }
}
