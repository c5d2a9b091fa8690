//! Tells the program which commit it is built from, for `roadstead --version` and the metric of the build.
//!
//! Only release builds are told: what developers build would be built anew after every commit.

use std::{env, process::Command};

fn main() {
    let commit = match env::var("PROFILE").as_deref() {
        Ok("release") => commit(),
        _ => None,
    };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rerun-if-changed=src/build.rs");
}

/// The commit that is checked out and its date; a release that is packed has none.
fn commit() -> Option<String> {
    // Where the commit is known to have changed; a worktree keeps it elsewhere.
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["log", "-1", "--format=%h %cs", "--abbrev=12"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
