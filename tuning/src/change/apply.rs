//! Making the planned writes, each after its journal entry.

use std::io;

use super::{
    Entry, Journal, Step,
    journal::{self, Target},
};
use crate::host::{Host, Reading, settled};

/// What came of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, and reads as written.
    Done,
    /// It was written, and reads otherwise: the kernel bounded or ignored it.
    Otherwise(String),
    /// The write was refused.
    Refused(String),
}

/// Makes the steps one after another; an error is the journal's, after which nothing more is written.
pub fn apply(
    host: &Host,
    boot_id: &str,
    steps: &[Step],
    journal: &mut Journal,
    mut tell: impl FnMut(&Step, &Outcome),
) -> io::Result<usize> {
    let mut done = 0;
    for step in steps {
        let outcome = make(host, boot_id, step, journal)?;
        done += usize::from(outcome == Outcome::Done);
        tell(step, &outcome);
    }
    Ok(done)
}

/// Creates or replaces a file of our own, journaled like any other write.
pub fn put_file(host: &Host, boot_id: &str, path: &str, text: &str, journal: &mut Journal) -> io::Result<()> {
    let target = Target::File { path: path.to_owned() };
    let old = host.read_raw(path).value().cloned();
    let entry = Entry {
        setting: "persist".to_owned(),
        target,
        old,
        new: text.to_owned(),
        time: journal::time(),
        boot_id: boot_id.to_owned(),
    };
    journal.record(&entry)?;
    let place = host.path(path);
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // A name that systemd and sysctl do not read, so that half a file is never taken for a whole one.
    let draft = place.with_extension("draft");
    let mut file = std::fs::File::create(&draft)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, &place)
}

fn make(host: &Host, boot_id: &str, step: &Step, journal: &mut Journal) -> io::Result<Outcome> {
    let old = match super::read(host, &step.target) {
        Reading::Value(old) => old,
        Reading::Missing => return Ok(Outcome::Refused("it is gone".to_owned())),
        Reading::Unreadable(reason) => return Ok(Outcome::Refused(reason)),
    };
    journal.record(&Entry {
        setting: step.setting.to_owned(),
        target: step.target.clone(),
        old: Some(old),
        new: step.new.clone(),
        time: journal::time(),
        boot_id: boot_id.to_owned(),
    })?;
    if let Err(error) = super::write(host, &step.target, &step.new) {
        return Ok(Outcome::Refused(error.to_string()));
    }
    Ok(match super::read(host, &step.target) {
        Reading::Value(now) if settled(&now) == step.new => Outcome::Done,
        Reading::Value(now) => Outcome::Otherwise(settled(&now)),
        Reading::Missing => Outcome::Refused("it is gone".to_owned()),
        Reading::Unreadable(reason) => Outcome::Refused(reason),
    })
}
