//! The parts of the guide that are made from `settings/`, and where they stand in `README.md`.
//!
//! A part stands between `<!-- made: NAME -->` and `<!-- end -->`. A test makes them anew and compares, so the guide
//! cannot say something else than the tool.

use std::fmt::Write;

use crate::{
    host::{Facts, Host},
    prove,
    setting::{self, Goal, Profile, Scene, Setting},
};

const BEGIN: &str = "<!-- made: ";
const END: &str = "<!-- end -->";
/// A part that shows what an experiment measured: `measured accept-queue`.
const MEASURED: &str = "measured ";
/// The sizes that the guide's tables show.
const TARGETS: [u64; 3] = [20_000, 120_000, 1_000_000];

/// The guide with every made part made anew; the error names a part that nobody makes.
pub fn fill(guide: &str) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = guide;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").ok_or("a part's name is not closed")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("part `{name}` has no end"))?;
        let part = part(name).ok_or_else(|| format!("nobody makes a part `{name}`"))?;
        filled += &format!("{before}{BEGIN}{name} -->\n{part}{END}");
        rest = after;
    }
    Ok(filled + rest)
}

fn part(name: &str) -> Option<String> {
    let all = setting::all();
    match name {
        "orders" => Some(orders(&all)),
        "conflicts" => Some(conflicts(&all)),
        "copied lines" => Some(copied_lines(&all)),
        figures if figures.starts_with(MEASURED) => {
            prove::recorded(&figures[MEASURED.len()..]).map(|(_, section)| format!("{section}\n"))
        }
        chapter => {
            let of_chapter: Vec<&Setting> =
                all.iter().filter(|setting| setting.text.chapter == chapter).collect();
            (!of_chapter.is_empty()).then(|| table(&of_chapter))
        }
    }
}

/// One row per setting: why, default, how much at three sizes.
fn table(settings: &[&Setting]) -> String {
    let mut text = "| setting | why | default | 20,000 | 120,000 | 1,000,000 | risk | evidence |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for setting in settings {
        let one = &setting.text;
        let [small, middle, large] = TARGETS.map(|target| wanted(setting, target));
        let evidence = match one.experiment {
            Some(experiment) => format!("{}: `prove {experiment}`", one.evidence.name()),
            None => one.evidence.name().to_owned(),
        };
        writeln!(
            text,
            "| [`{0}`](settings/{0}.md) | {1} | {2} | {small} | {middle} | {large} | {3} | {evidence} |",
            one.id,
            one.why,
            one.default,
            one.risk.name(),
        )
        .expect("a string takes every write");
    }
    text
}

/// What the formula asks on the guide's box: 8 CPUs, 32 GiB, one card with 8 queues, Linux 6.12.
fn wanted(setting: &Setting, target: u64) -> String {
    let host = Host::at("/nonexistent");
    let mut facts = Facts::of(&host);
    facts.cpus = 8;
    facts.memory_bytes = Some(32 << 30);
    facts.kernel = Some((6, 12));
    facts.page_bytes = 4096;
    let mut goal = Goal::new(target, Profile::Idle);
    goal.is_client = setting.text.chapter == "ports";
    setting
        .want(&Scene { host: &host, facts: &facts, goal: &goal })
        .demand
        .words(|number| setting.text.readable(number))
}

/// For each goal, the settings that matter to it, most first.
fn orders(all: &[Setting]) -> String {
    let mut text = "| for | does most (3) | does some (2) |\n|---|---|---|\n".to_owned();
    for profile in Profile::ALL {
        let [most, some] = [3, 2].map(|weight| {
            let of_weight = all.iter().filter(|setting| setting.text.matters(profile) == weight);
            of_weight
                .map(|setting| format!("[`{0}`](settings/{0}.md)", setting.text.id))
                .collect::<Vec<_>>()
                .join(", ")
        });
        writeln!(text, "| {} | {most} | {some} |", profile.name()).expect("a string takes every write");
    }
    text
}

fn conflicts(all: &[Setting]) -> String {
    let rows = all.iter().filter_map(|setting| Some((setting.text.id, setting.text.conflict?)));
    let rows: String =
        rows.map(|(id, conflict)| format!("| [`{id}`](settings/{id}.md) | {conflict} |\n")).collect();
    format!("| setting | who wants what |\n|---|---|\n{rows}")
}

fn copied_lines(all: &[Setting]) -> String {
    let is_copied = |setting: &&Setting| {
        setting.text.title.starts_with("Copy-paste error") || setting.text.title.starts_with("Folklore")
    };
    let rows = all.iter().filter(is_copied).map(|setting| {
        let one = &setting.text;
        let title = one.title.split_once(": ").map_or(one.title, |(_, title)| title);
        format!("| {title} | {} | [`{1}`](settings/{1}.md) |\n", one.why, one.id)
    });
    format!("| the line | what it really does | more |\n|---|---|---|\n{}", rows.collect::<String>())
}
