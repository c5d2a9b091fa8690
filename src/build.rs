//! Tells the program which commit it is built from, for `roadstead --version` and the metric of the build, and lists the files of
//! the module for Node.js, which are compiled in.
//!
//! Only release builds are told the commit: what developers build would be built anew after every commit.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let commit = match env::var("PROFILE").as_deref() {
        Ok("release") => commit(),
        _ => None,
    };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rerun-if-changed=src/build.rs");
    list_module();
}

/// Writes the files of `src/node` that Node.js reads as a Rust expression: a list of names and texts.
fn list_module() {
    let folder = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("src/node");
    let mut list = String::from("&[\n");
    for below in ["", "lib"] {
        println!("cargo::rerun-if-changed=src/node/{below}");
        let entries = fs::read_dir(folder.join(below)).expect("the module's folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        paths.sort();
        let is_read = |path: &&PathBuf| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            matches!(ending, Some("js" | "mjs" | "json"))
        };
        for path in paths.iter().filter(is_read) {
            let name = path.strip_prefix(&folder).expect("it is in the folder");
            list += &format!("    ({name:?}, include_str!({path:?})),\n");
        }
    }
    list += "]\n";
    let out = env::var_os("OUT_DIR").expect("cargo tells it");
    fs::write(Path::new(&out).join("module.rs"), list).expect("the build's folder takes a file");
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
