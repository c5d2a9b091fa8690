//! A store that nobody serves: looked into, checked, made smaller, written out and read in.
//!
//! Nothing here goes on with a store: whether it was closed in order stays as it was, so that the server which opens it next
//! knows what it may promise.

use std::{
    io::{BufRead, Write},
    path::Path,
};

use redb::{Database, ReadableTable};
use serde::Serialize;

use super::{
    error::{Problem, StoreError},
    lines::{self, Line},
    store::{self, FILE, channel_of, guarded},
    tables::{COUNTED, FORMAT, HISTORY, MEMBERS, META, STATE, STREAMS, SYNCED, Tables, next_name},
};
use crate::{auth::Pattern, model::Position};

/// Lines that are read in with one transaction.
const LINES_PER_TRANSACTION: usize = 10_000;

/// A store that this process alone has open.
pub struct Depot {
    database: Database,
    file: std::path::PathBuf,
}

/// What stands in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Its file.
    pub file: String,
    /// How large that is.
    pub file_bytes: u64,
    /// The version of its format.
    pub format: u64,
    /// Whether it was closed in order.
    pub is_clean: bool,
    /// Its channels, in the order of their names.
    pub channels: Vec<Shelf>,
}

/// What stands under one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shelf {
    /// The channel.
    pub channel: String,
    /// Where it is.
    pub position: String,
    /// Whether nobody was told anything before it stood here.
    pub synced: bool,
    /// Publications of its history.
    pub publications: u64,
    /// The oldest of them.
    pub oldest: Option<u64>,
    /// Bytes of the history.
    pub history_bytes: u64,
    /// Its keys and counters.
    pub keys: u64,
    /// Bytes of those.
    pub state_bytes: u64,
    /// Who was present when this was written.
    pub members: u64,
}

impl Depot {
    /// Opens the store in a folder. After a crash of its server this repairs what was being written, as the server would.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(FILE);
        let failed = |problem| StoreError { path: file.clone(), problem };
        if !file.exists() {
            return Err(failed(Problem::Missing));
        }
        let open = || -> Result<Database, Problem> {
            let database = Database::builder().open(&file)?;
            let read = database.begin_read()?;
            let meta = read.open_table(META)?;
            match meta.get("format")?.map(|format| format.value()) {
                Some(1 | FORMAT) => {}
                other => return Err(Problem::Format(other.unwrap_or_default())),
            }
            let has_all = read.open_table(SYNCED).is_ok();
            drop((meta, read));
            if !has_all {
                let write = database.begin_write()?;
                drop(Tables::open(&write)?);
                write.commit()?;
            }
            Ok(database)
        };
        Ok(Self { database: guarded(open).map_err(failed)?, file })
    }

    /// What stands in it.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        self.told(guarded(|| self.look()))
    }

    /// Whether all of it can be read, each publication, and the file's own sums are right; what stands in it.
    pub fn check(&mut self) -> Result<Inventory, StoreError> {
        let all = guarded(|| match self.database.check_integrity()? {
            true => lines::all(&self.database, |_| true, &mut |_| Ok(())),
            false => Err(Problem::Damaged("its sums were wrong, and have been set right".into())),
        });
        self.told(all)?;
        self.inventory()
    }

    /// Gives back what the file does not use; its bytes before and after.
    pub fn compact(&mut self) -> Result<(u64, u64), StoreError> {
        let before = self.file_bytes();
        // One run gives back what the one before it has made free.
        while guarded(|| Ok(self.database.compact()?)).map_err(|problem| self.failed(problem))? {}
        Ok((before, self.file_bytes()))
    }

    /// Writes the channels of a pattern out, a line each.
    pub fn export(&self, pattern: &Pattern, out: &mut dyn Write) -> Result<u64, StoreError> {
        let mut count = 0;
        let mut write = |line: Line| {
            count += 1;
            let text = serde_json::to_string(&line).expect("a line is written as JSON");
            writeln!(out, "{text}").map_err(Problem::Output)
        };
        let all = guarded(|| {
            write(Line::first())?;
            lines::all(&self.database, |channel| pattern.fits(channel.as_str()), &mut write)
        });
        self.told(all)?;
        Ok(count)
    }

    fn look(&self) -> Result<Inventory, Problem> {
        let read = self.database.begin_read()?;
        let meta = read.open_table(META)?;
        let (streams, synced) = (read.open_table(STREAMS)?, read.open_table(SYNCED)?);
        let (history, state) = (read.open_table(HISTORY)?, read.open_table(STATE)?);
        let (counted, members) = (read.open_table(COUNTED)?, read.open_table(MEMBERS)?);
        let mut channels = Vec::new();
        for entry in streams.iter()? {
            let (name, position) = entry?;
            let (epoch, offset) = position.value();
            let channel = channel_of(name.value())?;
            let (name, next) = (channel.as_str(), next_name(channel.as_str()));
            let mut shelf = Shelf {
                channel: name.to_owned(),
                position: Position { epoch, offset }.to_string(),
                synced: synced.get(name)?.is_some(),
                publications: 0,
                oldest: None,
                history_bytes: 0,
                keys: 0,
                state_bytes: 0,
                members: members.range((name, "")..(&*next, ""))?.count() as u64,
            };
            for entry in history.range((name, 0)..=(name, u64::MAX))? {
                let (place, bytes) = entry?;
                shelf.publications += 1;
                shelf.oldest = shelf.oldest.or(Some(place.value().1));
                shelf.history_bytes += bytes.value().len() as u64;
            }
            for entry in state.range((name, "")..(&*next, ""))? {
                let (place, bytes) = entry?;
                shelf.keys += 1;
                shelf.state_bytes += (place.value().1.len() + bytes.value().len()) as u64;
            }
            shelf.state_bytes += 8 * counted.range((name, "")..(&*next, ""))?.count() as u64;
            channels.push(shelf);
        }
        Ok(Inventory {
            file: self.file.display().to_string(),
            file_bytes: self.file_bytes(),
            format: meta.get("format")?.map_or(FORMAT, |format| format.value()),
            is_clean: meta.get("clean")?.is_some_and(|clean| clean.value() == 1),
            channels,
        })
    }

    fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    fn told<T>(&self, result: Result<T, Problem>) -> Result<T, StoreError> {
        result.map_err(|problem| self.failed(problem))
    }

    fn failed(&self, problem: Problem) -> StoreError {
        StoreError { path: self.file.clone(), problem }
    }
}

/// Makes a store in a folder that has none, of what was written out; how many lines that were. Its channels go on under new
/// epochs, unless it is said that nothing has come to them since.
pub fn import(folder: &Path, lines: impl BufRead, keeps_epochs: bool) -> Result<u64, StoreError> {
    let file = folder.join(FILE);
    let failed = |problem| StoreError { path: file.clone(), problem };
    if file.exists() {
        return Err(failed(Problem::Exists));
    }
    std::fs::create_dir_all(folder).map_err(|error| failed(Problem::Folder(error)))?;
    let result = store::create(&file).and_then(|database| fill(&database, lines, keeps_epochs));
    result.map_err(|problem| {
        // Half of it would be taken for all.
        std::fs::remove_file(&file).ok();
        failed(problem)
    })
}

fn fill(database: &Database, lines: impl BufRead, keeps_epochs: bool) -> Result<u64, Problem> {
    let (mut count, mut lines) = (0, lines.lines());
    loop {
        let write = database.begin_write()?;
        let mut tables = Tables::open(&write)?;
        let mut is_over = false;
        for _ in 0..LINES_PER_TRANSACTION {
            let Some(text) = lines.next() else {
                is_over = true;
                break;
            };
            let text = text.map_err(Problem::Output)?;
            count += 1;
            let line = serde_json::from_str::<Line>(&text)
                .map_err(|error| Problem::Line(count, error.to_string()))?;
            let is_first = matches!(line, Line::Store { .. });
            if is_first != (count == 1) {
                return Err(Problem::Line(count, "the first line, and no other, tells the format".into()));
            }
            line.put(&mut tables, keeps_epochs).map_err(|what| what.at_line(count))?;
        }
        drop(tables);
        let mut meta = write.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("clean", u64::from(keeps_epochs && is_over))?;
        drop(meta);
        write.commit()?;
        if is_over {
            return match count {
                0 => Err(Problem::Line(1, "there is none".into())),
                count => Ok(count),
            };
        }
    }
}
