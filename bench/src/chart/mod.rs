//! `report`: results laid side by side in one self-contained page, charts and all.
//!
//! The charts are SVG drawn here: the page runs no script and loads nothing, so that it can be mailed, printed and
//! opened in ten years. A run's colour and line pattern are the same in every chart.

mod page;
mod plot;
mod run;

use std::path::{Path, PathBuf};

use self::run::Run;
use crate::error::{Doing, Error, Result};

/// The most runs in one page: more colours cannot be told apart.
pub const RUNS_MAX: usize = 8;

/// Reads results and writes the page.
pub fn write(inputs: &[PathBuf], output: &Path) -> Result<()> {
    if inputs.is_empty() || inputs.len() > RUNS_MAX {
        return Err(Error::Argument {
            flag: "FILE",
            value: format!("× {}", inputs.len()),
            accepted: format!("1 to {RUNS_MAX} files written with --json"),
        });
    }
    let runs = inputs.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>>>()?;
    std::fs::write(output, page::render(&runs)).doing("write the report")
}
