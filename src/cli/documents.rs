//! What packages install beside the program, made from its arguments: completions for shells, and man pages.

use std::{io, path::Path};

use clap::CommandFactory;

use super::Arguments;

/// What a shell reads to complete the program's arguments.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut <Arguments as CommandFactory>::command(), "roadstead", &mut text);
    String::from_utf8(text).expect("completions are made of text")
}

/// Writes a page for the program and one for each of its commands.
pub fn man_pages(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(<Arguments as CommandFactory>::command(), directory)
}
