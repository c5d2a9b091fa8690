//! The guide says what the tool says.

use std::fs;

use roadstead_tuning::{guide, prove, setting};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_made_parts_of_the_guide_are_up_to_date() {
    let written = fs::read_to_string(PATH).unwrap();
    let made = guide::fill(&written).unwrap();
    if std::env::var_os("WRITE_GUIDE").is_some() {
        fs::write(PATH, made).unwrap();
        return;
    }
    assert!(
        written == made,
        "run `WRITE_GUIDE=1 cargo test -p roadstead-tuning --test guide` and commit README.md"
    );
}

#[test]
fn every_setting_stands_in_the_guide() {
    let guide = fs::read_to_string(PATH).unwrap();
    for setting in setting::all() {
        assert!(guide.contains(&format!("(settings/{}.md)", setting.text.id)), "{}", setting.text.id);
    }
}

/// The sizes of the headings, and the text below each.
fn rungs(guide: &str) -> Vec<(u64, &str)> {
    let parts = guide.split("\n## ").skip(1);
    let size = |heading: &str| heading.split(':').next()?.trim().replace(',', "").parse().ok();
    parts
        .filter_map(|part| part.split_once('\n'))
        .filter_map(|(heading, text)| Some((size(heading)?, text)))
        .collect()
}

#[test]
fn the_guide_is_one_ladder_from_a_thousand_to_a_million() {
    let guide = fs::read_to_string(PATH).unwrap();
    let rungs = rungs(&guide);
    let sizes: Vec<u64> = rungs.iter().map(|(size, _)| *size).collect();
    assert!(
        sizes.is_sorted() && sizes.first() == Some(&1_000) && sizes.last() == Some(&1_000_000),
        "{sizes:?}"
    );
    assert!(!guide.to_lowercase().contains("\n## beyond"), "a rung has a size");
    // No table stands on the ladder: what a table would hold is in `explain` and figures.md.
    for (size, text) in &rungs {
        assert!(!text.contains("\n|"), "a table at {size}");
    }
}

#[test]
fn each_setting_has_one_sentence_and_one_number_on_its_rung() {
    let guide = fs::read_to_string(PATH).unwrap();
    for setting in setting::all() {
        let id = setting.text.id;
        let begin = format!("- [`{id}`](settings/{id}.md) **");
        let lines: Vec<&str> = guide.lines().filter(|line| line.starts_with(&begin)).collect();
        // What grows with the size stands once more at the top, with its number alone.
        let (told, numbers): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.contains("**: "));
        assert!(told.len() == 1 && numbers.len() <= 1, "{id}: {lines:?}");
        let (number, rest) = told[0].trim_start_matches(&begin).split_once("**: ").unwrap();
        assert!(!number.is_empty() && number.len() < 40, "{id}: `{number}`");
        assert!(rest.starts_with(setting.text.why), "{id}: {rest}");
    }
}

#[test]
fn every_file_of_settings_belongs_to_a_rule_of_the_same_name() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/settings");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        let setting = setting::find(&id).unwrap_or_else(|| panic!("{id} has a file and no rule"));
        assert_eq!(fs::read_to_string(&path).unwrap(), setting.rule.source);
    }
}

#[test]
fn every_setting_says_what_it_does_how_much_when_not_and_where_from() {
    for setting in setting::all() {
        for section in ["## What the kernel does", "## How much", "## When not to", "## Sources"] {
            assert!(setting.text.body.contains(section), "{} lacks `{section}`", setting.text.id);
        }
        let is_measured = setting.text.evidence == setting::Evidence::Measured;
        assert_eq!(is_measured, setting.text.experiment.is_some(), "{}: measured by what?", setting.text.id);
    }
}

#[test]
fn every_experiment_has_recorded_figures() {
    for experiment in prove::EXPERIMENTS {
        let (machine, section) = prove::recorded(experiment.id).unwrap_or_else(|| {
            panic!("`roadstead-tune prove --all --markdown > tuning/figures.md`: {}", experiment.id)
        });
        assert!(machine.starts_with("Linux "), "{machine}");
        assert!(section.starts_with(experiment.question), "{}: {section}", experiment.id);
    }
}

#[test]
fn every_experiment_that_a_setting_names_exists() {
    for setting in setting::all() {
        if let Some(name) = setting.text.experiment {
            let known = prove::EXPERIMENTS.iter().any(|experiment| experiment.id == name);
            assert!(known, "{} names experiment {name}", setting.text.id);
        }
    }
}
