//! One result as the page needs it, read back from its JSON.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::{
    error::{Doing, Error, Result},
    host::machine::Origin,
    latency::{Interval, LatencySummary},
    verdict::Verdict,
};

/// One result.
#[derive(Debug, Deserialize)]
pub struct Run {
    /// What it is called: the file's name.
    #[serde(skip)]
    pub name: String,
    /// The scenario.
    pub scenario: String,
    /// Open or closed loop.
    #[serde(default)]
    pub load: Option<String>,
    /// Measured time.
    #[serde(default)]
    pub seconds: f64,
    /// Whether it may be believed.
    pub verdict: Verdict,
    /// The latencies.
    pub latency: LatencySummary,
    /// The percentile curve.
    #[serde(default)]
    pub percentiles: Vec<(f64, u64)>,
    /// Interval by interval.
    #[serde(default)]
    pub timeline: Vec<Interval>,
    #[serde(default)]
    per_second: Option<f64>,
    #[serde(default)]
    deliveries_per_second: Option<f64>,
    #[serde(default, alias = "publications_per_second_asked")]
    per_second_asked: Option<f64>,
    #[serde(default)]
    memory_per_connection: Option<Memory>,
    #[serde(default)]
    waves: Vec<Wave>,
    /// The server's CPU.
    #[serde(default)]
    pub server: Option<Cpu>,
    /// The generator's.
    #[serde(default)]
    pub client: Option<Cpu>,
    /// Where it comes from.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Bytes per connection.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Memory {
    /// The server's own.
    pub server_rss_bytes: Option<f64>,
    /// The generator's own.
    pub client_anonymous_bytes: Option<f64>,
    /// The kernel's, for both ends.
    pub kernel_slab_bytes: Option<f64>,
}

/// CPU of one side.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Cpu {
    /// Cores kept busy.
    pub cores: f64,
    /// Microseconds per message.
    pub us_per_message: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Wave {
    connections_per_second: f64,
    per_connection: Memory,
}

impl Run {
    /// Reads the file of one result.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).doing("read a result")?;
        let mut run: Self = serde_json::from_str(&text).map_err(|error| Error::Argument {
            flag: "FILE",
            value: path.display().to_string(),
            accepted: format!("what a measurement prints with --json ({error})"),
        })?;
        run.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(run)
    }

    /// Messages, deliveries or connections per second.
    pub fn achieved(&self) -> Option<f64> {
        let connections = self.waves.last().map(|wave| wave.connections_per_second);
        self.per_second.or(self.deliveries_per_second).or(connections)
    }

    /// What was asked for.
    pub fn asked(&self) -> Option<f64> {
        self.per_second_asked
    }

    /// What a connection costs.
    pub fn memory(&self) -> Option<Memory> {
        self.memory_per_connection.or(self.waves.last().map(|wave| wave.per_connection))
    }
}
