//! The parts of the guide that are made from `settings/`, and where they stand in `README.md`.
//!
//! A part stands between `<!-- made: NAME -->` and `<!-- end -->`. A test makes them anew and compares, so the guide
//! cannot say something else than the tool.

use std::fmt::Write;

use crate::{
    host::{Facts, Host, Nic},
    setting::{self, Goal, Profile, Scene, Setting},
};

const BEGIN: &str = "<!-- made: ";
const END: &str = "<!-- end -->";
/// A rung's list: `storm at 20000`, `processor at 300000 for latency`.
const AT: &str = " at ";
const FOR: &str = " for ";
/// What grows with the target and has grown most at the top of the ladder.
const LARGEST: &str = "largest";

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
        rung => list(&all, rung),
    }
}

/// One line per setting: its number at this size, one sentence, what it rests on.
fn list(all: &[Setting], rung: &str) -> Option<String> {
    let (chapter, rest) = rung.split_once(AT)?;
    let (target, profile) = rest.split_once(FOR).unwrap_or((rest, Profile::Idle.name()));
    let target = target.parse().ok()?;
    let profile = Profile::ALL.into_iter().find(|known| known.name() == profile)?;
    let is_due = |setting: &&Setting| match chapter {
        LARGEST => grows(setting, target, profile),
        _ => setting.text.chapter == chapter,
    };
    let line = |setting: &Setting| match chapter {
        // Their sentences stand further down the ladder.
        LARGEST => format!("- {}\n", linked(setting, target, profile)),
        _ => line(setting, target, profile),
    };
    let lines: String = all.iter().filter(is_due).map(line).collect();
    (!lines.is_empty()).then_some(lines)
}

fn line(setting: &Setting, target: u64, profile: Profile) -> String {
    let one = &setting.text;
    format!("- {}: {} *{}*\n", linked(setting, target, profile), one.why, one.evidence.name())
}

/// A setting's name and number.
fn linked(setting: &Setting, target: u64, profile: Profile) -> String {
    let wanted = match wanted(setting, target, profile).as_str() {
        "–" => "as it is".to_owned(),
        wanted => wanted.to_owned(),
    };
    format!("[`{0}`](settings/{0}.md) **{wanted}**", setting.text.id)
}

/// Whether more is asked at this size than at a tenth of it, and more than a stock box has.
fn grows(setting: &Setting, target: u64, profile: Profile) -> bool {
    let is_stock = |wanted: &str| setting.text.stock.is_some_and(|stock| wanted.ends_with(stock));
    let large = wanted(setting, target, profile);
    large != wanted(setting, target / 10, profile) && !is_stock(&large)
}

/// What the formula asks on the guide's box: 8 CPUs, 32 GiB, one card with 8 queues, Linux 6.12.
fn wanted(setting: &Setting, target: u64, profile: Profile) -> String {
    let host = Host::at("/nonexistent");
    let mut facts = Facts::of(&host);
    facts.cpus = 8;
    facts.memory_bytes = Some(32 << 30);
    facts.kernel = Some((6, 12));
    facts.page_bytes = 4096;
    facts.nics = vec![Nic { name: "eth0".to_owned(), receive_queues: 8, megabits: Some(10_000) }];
    let mut goal = Goal::new(target, profile);
    goal.is_client = setting.text.chapter == "ports";
    setting
        .want(&Scene { host: &host, facts: &facts, goal: &goal })
        .demand
        .words(|number| setting.text.readable(number))
}

/// For each goal, the settings that matter to it, most first.
fn orders(all: &[Setting]) -> String {
    let mut text = "| for | does most | does some |\n|---|---|---|\n".to_owned();
    for profile in Profile::ALL {
        let [most, some] = [3, 2].map(|weight| {
            let of_weight = all.iter().filter(|setting| setting.text.matters(profile) == weight);
            of_weight.map(|setting| setting.text.id).collect::<Vec<_>>().join(", ")
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
