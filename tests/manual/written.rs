//! What users see has its sentence: every code of a refusal is on the page of codes.
//!
//! Settings, metrics and the ends of sessions are there because their tables are made (`made.rs`), routes because the
//! description of the HTTP surface is held to them.

use std::{fs, path::Path};

use crate::blocks::{documents, page};

/// Where refusals get their codes, and the function that gives them.
const SOURCES: [&str; 3] = ["src/api/refusal.rs", "src/wire/json/fault.rs", "src/wire/http1/error.rs"];
/// What is refused in passing says its code where it is refused.
const IN_PASSING: &str = "Response::refused(";

#[test]
fn every_code_of_a_refusal_is_on_the_page_of_codes() {
    let codes = page("codes").text;
    for source in SOURCES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).expect("a source");
        let (_, body) = text.split_once("fn code(self)").expect("the function that gives codes");
        let (body, _) = body.split_once("\n    }\n").expect("its end");
        let quoted: Vec<_> = body.split('"').skip(1).step_by(2).collect();
        assert!(quoted.len() >= 10, "{source}");
        for code in quoted {
            assert!(
                codes.contains(&format!("`{code}`")),
                "src/manual/codes.md: say what {code} of {source} means"
            );
        }
    }
}

#[test]
fn every_code_of_what_is_refused_in_passing_is_on_the_page_of_codes() {
    let codes = page("codes").text;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for path in
            fs::read_dir(folder).expect("the tree is readable").map(|entry| entry.expect("readable").path())
        {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for call in text.split(IN_PASSING).skip(1) {
                // Where the code is not written out, it comes from a table that is looked at elsewhere.
                let arguments = call.split(')').next().unwrap_or_default();
                let Some(code) = arguments.split('"').nth(1).filter(|_| !arguments.contains("code()")) else {
                    continue;
                };
                found += 1;
                assert!(
                    codes.contains(&format!("`{code}`")),
                    "src/manual/codes.md: say what {code} of {path:?} means"
                );
            }
        }
    }
    assert!(found > 8, "{found}");
}

#[test]
fn every_page_is_short() {
    // Tables that are made are looked things up in, not read.
    for document in documents().iter().filter(|document| !document.text.contains("<!-- made: ")) {
        let words = document.text.split_whitespace().count();
        assert!(words <= 2_500, "{}: {words} words; divide it", document.path);
    }
}
