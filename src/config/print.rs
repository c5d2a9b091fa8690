//! The table of keys as a TOML file: every key with its meaning, its unit and its default. Reading the file gives
//! the defaults back.

use std::fmt::Write;

use super::{
    Config,
    keys::{self, KEYS, Key, Kind},
    live,
};

/// Columns a comment may take.
const COLUMNS: usize = 100;

/// Every key at its default, explained, as a file `--config` takes.
pub fn commented_defaults() -> String {
    let defaults = toml::Value::try_from(Config::default()).expect("TOML can write a Config");
    let mut text = String::from(
        "# Every key of Roadstead at its default. A variable ROADSTEAD_SECTION__KEY and a flag\n\
         # --set section.key=value set the same key; the flag wins over the variable, the variable over the file.\n\
         # Keys marked SIGHUP take effect while the server runs: change the file, then `kill -HUP` the process.\n",
    );
    for section in keys::sections() {
        let is_listed = keys::LISTED.contains(&section);
        match is_listed {
            true => push_line(&mut text, format_args!("\n# [[{section}]]")),
            false => push_line(&mut text, format_args!("\n[{section}]")),
        }
        for key in KEYS {
            let Some(name) = key.name.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let unit = match key.unit {
                "" => String::new(),
                unit => format!(" Unit: {unit}."),
            };
            let live = if live::is_live(key.name) { " SIGHUP." } else { "" };
            push_comment(&mut text, &format!("{}{unit}{live}", key.meaning));
            match is_listed {
                true => push_line(&mut text, format_args!("# {name} = {}", example(key))),
                false => push_line(&mut text, format_args!("{name} = {}", defaults[section][name])),
            }
        }
    }
    text
}

/// A value for a key that has no default, for there are no such sections unless somebody writes one.
fn example(key: &Key) -> toml::Value {
    match key.kind {
        Kind::Word(words) => words[words.len() - 1].into(),
        _ => match key.name {
            "namespace.pattern" => "news:*".into(),
            "token_key.issuer" => "https://login.example.org".into(),
            "namespace.history_publications_max" => 1_000.into(),
            "namespace.history_age_max_ms" => 86_400_000.into(),
            "namespace.publication_bytes_max" => 16_384.into(),
            "namespace.publications_per_second_max" => 5.into(),
            "namespace.presence_members_max" => 50.into(),
            "namespace.state_keys_max" => 100.into(),
            "namespace.state_channel_bytes_max" => 4_096.into(),
            "token_key.kid" | "token_key.url" | "token_key.user_prefix" => "".into(),
            _ => "/etc/roadstead/issuer.json".into(),
        },
    }
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String cannot fail");
}

/// Appends a sentence as comment lines, broken between words.
fn push_comment(text: &mut String, sentence: &str) {
    let mut line = String::from("#");
    for word in sentence.split(' ') {
        if line.len() + 1 + word.len() > COLUMNS {
            push_line(text, format_args!("{line}"));
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    push_line(text, format_args!("{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back_as_the_defaults() {
        let text = commented_defaults();
        assert_eq!(toml::from_str::<Config>(&text).expect("valid TOML"), Config::default());
    }

    #[test]
    fn every_key_is_printed_with_its_default_unit_and_meaning() {
        let text = commented_defaults();
        assert!(text.contains(
            "# The time over which clients are told to go, evenly, when the server drains. Unit: ms. SIGHUP.\n\
             drain_ms = 5000\n"
        ));
        for key in KEYS {
            let (_, name) = key.name.split_once('.').expect("a section");
            let begins = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{name} = "));
            assert!(text.lines().any(begins), "{}", key.name);
        }
        let mut comments = text.lines().filter(|line| line.starts_with('#'));
        assert!(comments.all(|line| line.len() <= COLUMNS + 4), "comments are broken into lines");
    }
}
