//! When a client is found to be gone.

/// What is known of whether a client is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// It has been asked, and has not answered.
    pub awaits_pong: bool,
    /// It has said something since.
    pub has_spoken: bool,
    /// In so many milliseconds something is due.
    pub due_ms: u32,
}
