//! The terms of TLS while the server runs: read again when their files change or somebody asks, and tickets' keys
//! replaced in time.
//!
//! Whatever is read is checked whole before any shard hears of it: a certificate without its key, or half a file,
//! changes nothing, and is tried again when the files change once more.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info, warn};

use crate::{
    config::Tls,
    limits::TICKET_ROTATION_S,
    tls::{Terms, TermsError, TicketKeys},
};

/// Where the terms come from, and what they were last.
pub(super) struct Certificates {
    settings: Tls,
    tickets: TicketKeys,
    /// What the files were like when they were last read.
    seen: Vec<Option<Stamp>>,
    next_look: Instant,
    next_rotation: Instant,
}

/// What tells one state of a file from another: its inode, its length, its time.
type Stamp = (u64, u64, i64, i64);

impl Certificates {
    /// Reads the terms for the first time; `None` where nothing speaks TLS.
    pub(super) fn load(settings: &Tls) -> Result<Option<(Self, Terms)>, Vec<TermsError>> {
        if !settings.is_enabled() {
            return Ok(None);
        }
        let now = Instant::now();
        let mut certificates = Self {
            settings: settings.clone(),
            tickets: TicketKeys::random(),
            seen: Vec::new(),
            next_look: now + Duration::from_millis(settings.watch_ms.into()),
            next_rotation: now + Duration::from_secs(TICKET_ROTATION_S.into()),
        };
        certificates.seen = certificates.stamps();
        let terms = certificates.read(settings)?;
        Ok(Some((certificates, terms)))
    }

    /// Reads the terms again, with other settings perhaps. What cannot be changes nothing.
    pub(super) fn load_again(&mut self, settings: &Tls) -> Result<Terms, String> {
        let told =
            |errors: Vec<TermsError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.seen = self.stamps();
        let terms = self.read(settings).map_err(told)?;
        self.settings = settings.clone();
        self.seen = self.stamps();
        Ok(terms)
    }

    /// What the shards are to be told now, if anything.
    pub(super) fn pass_time(&mut self, now: Instant) -> Option<Terms> {
        let is_rotated = now >= self.next_rotation;
        if is_rotated {
            self.next_rotation = now + Duration::from_secs(TICKET_ROTATION_S.into());
            self.tickets.rotate();
        }
        let mut has_changed = false;
        if self.watches() && now >= self.next_look {
            self.next_look = now + Duration::from_millis(self.settings.watch_ms.into());
            has_changed = self.stamps() != self.seen;
        }
        if !is_rotated && !has_changed {
            return None;
        }
        let settings = self.settings.clone();
        match self.load_again(&settings) {
            Ok(terms) => {
                if has_changed {
                    info!("certificates have changed and are in force: {}", terms.names().join(", "));
                }
                Some(terms)
            }
            Err(told) => {
                error!("certificates have changed and are refused; those before stay in force: {told}");
                None
            }
        }
    }

    /// When there is something to do next.
    pub(super) fn next_due(&self) -> Instant {
        if self.watches() { self.next_rotation.min(self.next_look) } else { self.next_rotation }
    }

    fn watches(&self) -> bool {
        self.settings.watch_ms > 0
    }

    fn read(&self, settings: &Tls) -> Result<Terms, Vec<TermsError>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (terms, warnings) = Terms::load(&settings.terms(), &self.tickets, now.as_secs() as i64)?;
        warnings.iter().for_each(|warning| warn!("{warning}"));
        Ok(terms)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let terms = self.settings.terms();
        let pairs = terms.certificates.into_iter().flat_map(|files| [files.chain, files.key]);
        pairs.chain(terms.ticket_keys).map(stamp).collect()
    }
}

fn stamp(path: PathBuf) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
