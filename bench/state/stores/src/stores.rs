//! The stores: each as its own documentation says that a transaction is on disk when it ends, and otherwise as it comes.

use std::path::Path;

/// A publication.
pub struct Entry {
    pub channel: u32,
    pub offset: u64,
    pub data: [u8; 100],
}

/// What is measured of each.
pub trait Store {
    /// Writes these, and the newest offset of each channel; they are on disk when this returns.
    fn commit(&mut self, entries: &[Entry]);
    /// How many there are, and how many bytes of data.
    fn read_all(&self) -> (u64, u64);
}

/// Opens a store by its name, or makes it.
pub fn open(name: &str, folder: &Path) -> Box<dyn Store> {
    match name {
        "redb 2" => Box::new(two::Redb::open(folder)),
        "redb 4" => Box::new(four::Redb::open(folder)),
        "SQLite" => Box::new(Sqlite::open(folder)),
        "LMDB" => Box::new(Lmdb::open(folder)),
        "fjall" => Box::new(Fjall::open(folder)),
        "sled" => Box::new(Sled::open(folder)),
        _ => panic!("{name}: redb 2, redb 4, SQLite, LMDB, fjall or sled"),
    }
}

impl Entry {
    /// In the order of channels, and of offsets in each.
    fn key(&self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&self.channel.to_be_bytes());
        key[4..].copy_from_slice(&self.offset.to_be_bytes());
        key
    }
}

/// Both versions have the same words for it.
macro_rules! redb_store {
    ($module:ident, $redb:ident, $($read:ident)?) => {
        mod $module {
            use super::*;
            use $redb::{Database, ReadableTable, TableDefinition, $($read)?};

            const HISTORY: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("history");
            const STREAMS: TableDefinition<'_, u32, u64> = TableDefinition::new("streams");

            pub struct Redb(Database);

            impl Redb {
                pub fn open(folder: &Path) -> Self {
                    // As the server has it.
                    let cache = 32 * 1024 * 1024;
                    let made = Database::builder().set_cache_size(cache).create(folder.join("store.redb"));
                    Self(made.expect("it opens"))
                }
            }

            impl Store for Redb {
                fn commit(&mut self, entries: &[Entry]) {
                    let write = self.0.begin_write().expect("nobody else writes");
                    {
                        let mut history = write.open_table(HISTORY).expect("there is room");
                        let mut streams = write.open_table(STREAMS).expect("there is room");
                        for entry in entries {
                            history.insert((entry.channel, entry.offset), &entry.data[..]).expect("there is room");
                            streams.insert(entry.channel, entry.offset).expect("there is room");
                        }
                    }
                    write.commit().expect("there is room");
                }

                fn read_all(&self) -> (u64, u64) {
                    let read = self.0.begin_read().expect("it can be read");
                    let history = read.open_table(HISTORY).expect("it is there");
                    history.iter().expect("it can be read").fold((0, 0), |(count, bytes), entry| {
                        let (_, data) = entry.expect("it can be read");
                        (count + 1, bytes + data.value().len() as u64)
                    })
                }
            }
        }
    };
}

redb_store!(two, redb,);
redb_store!(four, redb_newest, ReadableDatabase);

struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(folder: &Path) -> Self {
        let connection = rusqlite::Connection::open(folder.join("store.sqlite")).expect("it opens");
        let made = connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS history
                 (channel INTEGER, number INTEGER, data BLOB, PRIMARY KEY (channel, number)) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS streams (channel INTEGER PRIMARY KEY, number INTEGER);",
        );
        made.expect("there is room");
        Self(connection)
    }
}

impl Store for Sqlite {
    fn commit(&mut self, entries: &[Entry]) {
        let write = self.0.transaction().expect("nobody else writes");
        {
            let history = write.prepare_cached("INSERT INTO history VALUES (?, ?, ?)");
            let streams = write.prepare_cached("INSERT OR REPLACE INTO streams VALUES (?, ?)");
            let (mut history, mut streams) = (history.expect("it is SQL"), streams.expect("it is SQL"));
            for Entry { channel, offset, data } in entries {
                history.execute((channel, *offset as i64, &data[..])).expect("there is room");
                streams.execute((channel, *offset as i64)).expect("there is room");
            }
        }
        write.commit().expect("there is room");
    }

    fn read_all(&self) -> (u64, u64) {
        let mut read = self.0.prepare("SELECT data FROM history").expect("it is SQL");
        let mut rows = read.query(()).expect("it can be read");
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = rows.next().expect("it can be read") {
            let data = row.get_ref(0).expect("it is a column");
            count += 1;
            bytes += data.as_blob().expect("it was one").len() as u64;
        }
        (count, bytes)
    }
}

struct Lmdb {
    environment: heed::Env,
    history: heed::Database<heed::types::Bytes, heed::types::Bytes>,
    streams: heed::Database<heed::types::Bytes, heed::types::Bytes>,
}

impl Lmdb {
    fn open(folder: &Path) -> Self {
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(4 << 30).max_dbs(2);
        // SAFETY: nobody else opens or changes the file while this process has it.
        let environment = unsafe { options.open(folder) }.expect("it opens");
        let mut write = environment.write_txn().expect("nobody else writes");
        let history = environment.create_database(&mut write, Some("history")).expect("there is room");
        let streams = environment.create_database(&mut write, Some("streams")).expect("there is room");
        write.commit().expect("there is room");
        Self { environment, history, streams }
    }
}

impl Store for Lmdb {
    fn commit(&mut self, entries: &[Entry]) {
        let mut write = self.environment.write_txn().expect("nobody else writes");
        for entry in entries {
            let Entry { channel, offset, data } = entry;
            self.history.put(&mut write, &entry.key(), data).expect("there is room");
            self.streams
                .put(&mut write, &channel.to_be_bytes(), &offset.to_be_bytes())
                .expect("there is room");
        }
        write.commit().expect("there is room");
    }

    fn read_all(&self) -> (u64, u64) {
        let read = self.environment.read_txn().expect("it can be read");
        self.history.iter(&read).expect("it can be read").fold((0, 0), |(count, bytes), entry| {
            let (_, data) = entry.expect("it can be read");
            (count + 1, bytes + data.len() as u64)
        })
    }
}

struct Fjall {
    database: fjall::Database,
    history: fjall::Keyspace,
    streams: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Self {
        let database = fjall::Database::builder(folder).open().expect("it opens");
        let keyspace =
            |name| database.keyspace(name, fjall::KeyspaceCreateOptions::default).expect("there is room");
        let (history, streams) = (keyspace("history"), keyspace("streams"));
        Self { database, history, streams }
    }
}

impl Store for Fjall {
    fn commit(&mut self, entries: &[Entry]) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncAll));
        for entry in entries {
            batch.insert(&self.history, entry.key(), &entry.data[..]);
            batch.insert(&self.streams, entry.channel.to_be_bytes(), entry.offset.to_be_bytes());
        }
        batch.commit().expect("there is room");
    }

    fn read_all(&self) -> (u64, u64) {
        self.history.iter().fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + entry.value().expect("it can be read").len() as u64)
        })
    }
}

struct Sled {
    database: sled::Db,
    history: sled::Tree,
    streams: sled::Tree,
}

impl Sled {
    fn open(folder: &Path) -> Self {
        let database = sled::open(folder).expect("it opens");
        let tree = |name: &str| database.open_tree(name).expect("there is room");
        let (history, streams) = (tree("history"), tree("streams"));
        Self { database, history, streams }
    }
}

impl Store for Sled {
    fn commit(&mut self, entries: &[Entry]) {
        let (mut history, mut streams) = (sled::Batch::default(), sled::Batch::default());
        for entry in entries {
            history.insert(&entry.key()[..], &entry.data[..]);
            streams.insert(&entry.channel.to_be_bytes(), &entry.offset.to_be_bytes());
        }
        // One batch is of one tree, so these are two that reach the disk together.
        self.history.apply_batch(history).expect("there is room");
        self.streams.apply_batch(streams).expect("there is room");
        self.database.flush().expect("there is room");
    }

    fn read_all(&self) -> (u64, u64) {
        self.history.iter().fold((0, 0), |(count, bytes), entry| {
            let (_, data) = entry.expect("it can be read");
            (count + 1, bytes + data.len() as u64)
        })
    }
}
