//! `tune explain`: a setting's file, with this host's numbers in it.

use clap::Args;

use super::{Aim, FAILED, FINE, Sight};
use crate::{
    output::{program, say, sayln, wrapped},
    prove,
    setting::{self, Profile, Setting},
    verdict::{self, Remedy},
};

/// `tune explain`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The setting; without one, all of them are listed.
    id: Option<String>,
    #[command(flatten)]
    aim: Aim,
}

pub fn run(arguments: &Arguments) -> u8 {
    let Some(id) = &arguments.id else {
        for setting in setting::all() {
            sayln!("{:<22} {}", setting.text.id, setting.text.title);
        }
        return FINE;
    };
    let Some(found) = setting::find(id) else {
        eprintln!("there is no setting `{id}`{}", nearest(id));
        return FAILED;
    };
    let Some(sight) = Sight::of(&arguments.aim) else { return FAILED };
    say!("{}", explained(&found, &sight));
    FINE
}

fn explained(setting: &Setting, sight: &Sight) -> String {
    let text = &setting.text;
    let finding = verdict::judge(setting, &sight.scene());
    let mut out = format!("{}\n\n{}\n", text.title, wrapped("", text.why));
    let mut line = |name: &str, value: &str| out += &wrapped(&format!("  {name:<12} "), value);
    line("reads", text.reads);
    line("here", &finding.current);
    line("wanted", &format!("{}   = {}", finding.wanted, finding.formula));
    line("formula", text.formula);
    line("default", text.default);
    line("layer", text.layer.name());
    line("risk", text.risk.name());
    line("evidence", text.evidence.name());
    if let Some(experiment) = text.experiment {
        line("prove", &format!("{} prove {experiment}", program()));
    }
    let weights: Vec<String> =
        Profile::ALL.iter().map(|profile| format!("{} {}", profile.name(), text.matters(*profile))).collect();
    line("matters", &format!("{} (0 to 3)", weights.join(", ")));
    if let Some(conflict) = text.conflict {
        line("conflict", conflict);
    }
    if let Some(remark) = &finding.remark {
        line("remark", remark);
    }
    for words in &finding.overwritten {
        line("again", words);
    }
    if let Remedy::Elsewhere(words) = &finding.remedy {
        line("who", words);
    }
    out += &format!("\n{}", lines(text.body));
    if let Some((machine, figures)) = text.experiment.and_then(prove::recorded) {
        out += &format!("\n## Measured\n\n{machine}\n\n{figures}\n");
    }
    out
}

/// Paragraphs broken into lines; headings, tables and commands stay as they are.
fn lines(markdown: &str) -> String {
    let is_fixed = |line: &str| line.starts_with(['#', '|', ' ']) || line.starts_with("```");
    let line = |line: &str| if is_fixed(line) { format!("{line}\n") } else { wrapped("", line) };
    markdown.lines().map(line).collect()
}

/// A setting whose id begins or contains what was typed.
fn nearest(typed: &str) -> String {
    let all = setting::all();
    let similar =
        all.iter().map(|setting| setting.text.id).find(|id| id.contains(typed) || typed.contains(id));
    similar.map_or_else(|| "; `explain` alone lists them".to_owned(), |id| format!("; did you mean `{id}`?"))
}
