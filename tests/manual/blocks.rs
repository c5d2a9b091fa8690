//! The fenced blocks of the README and of the manual's pages.

use std::{fs, path::Path};

use roadstead::manual::PAGES;

/// A document whose commands are run.
pub struct Document {
    /// Its path from the root of the repository.
    pub path: String,
    pub text: String,
}

/// One fenced block.
pub struct Block {
    /// The first word behind the fence.
    pub language: String,
    /// Why it is not run here, if it says so; what runs it elsewhere.
    pub not_run: Option<String>,
    pub run_by: Option<String>,
    /// The line of its fence.
    pub line: usize,
    pub text: String,
}

/// The README, and every page.
pub fn documents() -> Vec<Document> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = Document { path: "README.md".into(), text: fs::read_to_string(readme).expect("a README") };
    // Read from the files, so that who mends a page need not build the program for it.
    let page = |page: &roadstead::manual::Page| {
        let path = format!("src/manual/{}.md", page.name);
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).expect("a page");
        Document { path, text }
    };
    [readme].into_iter().chain(PAGES.iter().map(page)).collect()
}

/// The text of a page's file.
pub fn page(name: &str) -> Document {
    let path = format!("src/manual/{name}.md");
    documents().into_iter().find(|document| document.path == path).expect("a page")
}

impl Document {
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(info), None) => {
                    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
                    let said = |before| rest.strip_prefix(before)?.strip_suffix(')').map(str::to_owned);
                    let (not_run, run_by) = (said("(not run: "), said("(run by "));
                    let is_read = not_run.is_some() || run_by.is_some() || rest.is_empty();
                    assert!(is_read, "{}:{}: {info}", self.path, number + 1);
                    let language = language.to_owned();
                    open = Some(Block { language, not_run, run_by, line: number + 1, text: String::new() });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.text += line;
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path);
        blocks
    }
}

impl Block {
    /// Whether the tests of this folder run it.
    pub fn is_run_here(&self) -> bool {
        self.not_run.is_none() && self.run_by.is_none()
    }
}

/// Whether `text` is what `pattern` shows, in which `…` stands for anything.
pub fn shows(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn dots_stand_for_anything_and_everything_else_for_itself() {
    for (pattern, text) in [("a", "a"), ("…", ""), ("a…c", "abbc"), ("…b…", "abc"), ("a…", "a")] {
        assert!(shows(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a…b", "a"), ("…x…", "abc"), ("ab…bc", "abc")] {
        assert!(!shows(pattern, text), "{pattern} {text}");
    }
}
