//! What users see has its sentence: every code of a refusal is on the page of codes.
//!
//! Settings, metrics and the ends of sessions are there because their tables are made (`made.rs`), routes because the
//! description of the HTTP surface is held to them.

use std::{fs, path::Path};

use crate::blocks::{documents, page};

/// Where refusals get their codes, and the function that gives them.
const SOURCES: [&str; 2] = ["src/api/refusal.rs", "src/wire/json/fault.rs"];

#[test]
fn every_code_of_a_refusal_is_on_the_page_of_codes() {
    let codes = page("codes").text;
    for source in SOURCES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)).expect("a source");
        let (_, body) = text.split_once("fn code(self)").expect("the function that gives codes");
        let (body, _) = body.split_once("\n    }\n").expect("its end");
        let quoted: Vec<_> = body.split('"').skip(1).step_by(2).collect();
        assert!(quoted.len() > 10, "{source}");
        for code in quoted {
            assert!(
                codes.contains(&format!("`{code}`")),
                "src/manual/codes.md: say what {code} of {source} means"
            );
        }
    }
}

#[test]
fn every_page_is_short() {
    // Tables that are made are looked things up in, not read.
    for document in documents().iter().skip(1).filter(|document| !document.text.contains("<!-- made: ")) {
        let words = document.text.split_whitespace().count();
        assert!(words <= 2_500, "{}: {words} words; divide it", document.path);
    }
}
