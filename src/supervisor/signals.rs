//! Signals as events of the supervisor. SIGPIPE is not here: Rust's start-up code ignores it for every program.

use std::{io, sync::mpsc, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::{Handle, Signals},
};

use super::watch::Event;

/// Signals are forwarded until this is dropped.
pub(super) struct Forwarding(Handle);

/// Begins to send every signal that means something here to `events`; none of them ends the process by itself. Where there is a
/// keeper, it is told by `asked` that one asks for the end, and counts them: it is sent the same, where a group of processes is.
pub(super) fn forward(
    events: mpsc::Sender<Event>,
    asked: Option<impl Fn() + Send + 'static>,
) -> io::Result<Forwarding> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let handle = signals.handle();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let event = match (signal, &asked) {
                (SIGTERM | SIGINT, Some(asked)) => {
                    asked();
                    Event::Asked(signal)
                }
                (_, Some(_) | None) => Event::Signal(signal),
            };
            // The supervisor has gone, and with it whoever a signal could concern.
            if events.send(event).is_err() {
                break;
            }
        }
    })?;
    Ok(Forwarding(handle))
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The signal's name.
pub(super) fn name(signal: i32) -> &'static str {
    match signal {
        SIGHUP => "SIGHUP",
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGUSR1 => "SIGUSR1",
        SIGUSR2 => "SIGUSR2",
        _ => "a signal",
    }
}
