//! `tune apply` and `tune rollback`: what is told while a host is changed.

use std::path::PathBuf;

use clap::Args;

use super::{Aim, FAILED, FINE, SHORT, Sight};
use crate::{
    change::{
        Journal, Plan, Step, Target, apply as making,
        boot_order::{self, Line},
        journal::{self, LimitName},
        persist,
        plan::plan,
        rollback as undoing,
    },
    host::Host,
    output::{program, say, sayln, wrapped},
    setting::{self, Scene},
};

/// `tune apply`
#[derive(Debug, Args)]
pub struct ApplyArguments {
    #[command(flatten)]
    aim: Aim,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only these settings, also those that only deserve a note.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    only: Vec<String>,
    /// Write files that set the same values at every boot.
    #[arg(long)]
    persist: bool,
    /// Where to write the journal, instead of /var/lib/roadstead/tune.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// `tune rollback`
#[derive(Debug, Args)]
pub struct RollbackArguments {
    /// The journal to undo; by default the newest that was not undone.
    journal: Option<PathBuf>,
    /// The host whose file systems are mounted here.
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

pub fn apply(arguments: &ApplyArguments) -> u8 {
    let Some(sight) = Sight::of(&arguments.aim) else { return FAILED };
    if let Some(unknown) = arguments.only.iter().find(|id| setting::find(id).is_none()) {
        eprintln!("there is no setting `{unknown}`; `roadstead tune explain` lists them");
        return FAILED;
    }
    let scene = sight.scene();
    let plan = plan(&scene, &arguments.only);
    let persists = arguments.persist && boot_order::is_read(&sight.host, &sight.facts);
    show(&scene, &plan, persists);
    if arguments.persist && !persists {
        say!("{}", wrapped("", NOT_READ));
    }
    if arguments.dry_run {
        let takes_root = !plan.steps.is_empty() && lacks_rights(&sight);
        sayln!("\nNothing was changed{}.", if takes_root { "; changing it takes root" } else { "" });
        return FINE;
    }
    if plan.steps.is_empty() && !persists {
        return if plan.left.is_empty() { FINE } else { SHORT };
    }
    if lacks_rights(&sight) {
        sayln!("\nNothing was changed: that takes root. `sudo {} apply …` does it.", program());
        return FAILED;
    }
    let mut journal = match Journal::create(&sight.host, arguments.journal.as_deref()) {
        Ok(journal) => journal,
        Err(error) => {
            eprintln!(
                "nothing was changed: no journal could be written ({error}); --journal names another place"
            );
            return FAILED;
        }
    };
    sayln!("\njournal {}", journal.path().display());
    let files = if persists { persist::files(&scene, &arguments.only) } else { Vec::new() };
    make(&sight, &plan, files, &mut journal)
}

const NOT_READ: &str = "\
--persist writes nothing here: no systemd runs in this container to read it. Whoever creates the container sets the \
values: `render docker` and `render kubernetes` print them.";

fn lacks_rights(sight: &Sight) -> bool {
    sight.host.is_live() && !sight.facts.can_administer_network
}

/// `files` is what boots next: decided before the values change, while the scene still tells what falls short.
fn make(sight: &Sight, plan: &Plan, files: Vec<(&str, String)>, journal: &mut Journal) -> u8 {
    let boot_id = &sight.facts.boot_id;
    let made = making::apply(&sight.host, boot_id, &plan.steps, journal, |step, outcome| {
        let place = place(&step.target);
        let new = step.new.rsplit(':').next().unwrap_or(&step.new);
        match outcome {
            making::Outcome::Done => sayln!("  set      {:<18} {place} = {new}", step.setting),
            making::Outcome::Otherwise(now) => {
                sayln!("  differs  {:<18} {place}: asked {}, reads {now}", step.setting, step.new);
            }
            making::Outcome::Refused(reason) => sayln!("  REFUSED  {:<18} {place}: {reason}", step.setting),
        }
    });
    let done = match made {
        Ok(done) => done,
        Err(error) => {
            eprintln!("stopped: the journal could not be written ({error}); `rollback` undoes what was done");
            return FAILED;
        }
    };
    let is_persistent = !files.is_empty();
    for (path, text) in files {
        if let Err(error) = making::put_file(&sight.host, boot_id, path, &text, journal) {
            eprintln!("  {path}: {error}");
            return SHORT;
        }
        sayln!("  wrote    {path}");
    }
    if !is_persistent {
        sayln!("\nThis holds until the next boot; --persist keeps it.");
    }
    let chosen = journal.path().display();
    let undoing = if is_default_place(sight, journal) { String::new() } else { format!(" {chosen}") };
    sayln!("`{} rollback{undoing}` undoes it; `{} check` shows what is left.", program(), program());
    if done == plan.steps.len() && plan.left.is_empty() { FINE } else { SHORT }
}

/// Whether a rollback finds the journal by itself.
fn is_default_place(sight: &Sight, journal: &Journal) -> bool {
    journal.path().starts_with(sight.host.path(journal::FOLDER))
}

fn show(scene: &Scene<'_>, plan: &Plan, is_persistent: bool) {
    if plan.steps.is_empty() {
        sayln!("There is nothing that can be changed from here while the system runs.");
    }
    for step in &plan.steps {
        // Of a limit, what stands before the colon is the soft one, which stays.
        let new = step.new.rsplit(':').next().unwrap_or(&step.new);
        sayln!("{:<20}  {} → {new}", step.setting, step.current);
        sayln!("{:20}  {}", "", place(&step.target));
        let at_boot = match boot_order::is_read(scene.host, scene.facts) {
            true => at_boot(scene.host, step, is_persistent),
            false => Vec::new(),
        };
        for line in overwriters(scene, step).into_iter().chain(at_boot) {
            say!("{}", wrapped(&" ".repeat(22), &line));
        }
    }
    for (id, reason) in &plan.left {
        say!("{}", wrapped(&format!("{id:<20}  "), &format!("left: {reason}")));
    }
}

/// Programs that will set it again.
fn overwriters(scene: &Scene<'_>, step: &Step) -> Vec<String> {
    let Target::File { path } = &step.target else { return Vec::new() };
    let programs = scene.facts.overwriters.iter().filter(|program| program.sets(path));
    programs.map(|program| format!("{} sets it {}: tell it there", program.name, program.when)).collect()
}

/// What will stand there after the next boot, and by which line.
fn at_boot(host: &Host, step: &Step, is_persistent: bool) -> Vec<String> {
    let line = match &step.target {
        Target::File { path } => boot_order::sysctl_line(host, path),
        Target::Limit { resource: LimitName::Nofile, .. } => {
            boot_order::unit_line(host, persist::UNIT, "LimitNOFILE")
        }
        Target::Limit { resource: LimitName::Memlock, .. } => {
            boot_order::unit_line(host, persist::UNIT, "LimitMEMLOCK")
        }
    };
    let mut told: Vec<String> = line.iter().map(|line| at_next_boot(line, is_persistent)).collect();
    if let Target::File { path } = &step.target {
        let conf = boot_order::sysctl_conf_line(host, path).map(|line| {
            format!(
                "{}:{} sets {} whenever `sysctl --system`, or an init without systemd, reads it after all other \
                 files: delete that line",
                line.path, line.number, line.value
            )
        });
        told.extend(conf);
    }
    told
}

fn at_next_boot(line: &Line, is_persistent: bool) -> String {
    let (path, number, value) = (&line.path, line.number, &line.value);
    let is_later = path.rsplit('/').next() > persist::SYSCTL_FILE.rsplit('/').next();
    let end = match (&line.glob, is_later) {
        _ if path == persist::SYSCTL_FILE || path == persist::DROP_IN_FILE => "",
        (None, true) if is_persistent => ", after the file that --persist writes: change or delete that line",
        (None, false) if is_persistent => ", before the file that --persist writes",
        // systemd lets a line that names the key win; `sysctl --system` takes whichever comes last.
        (Some(_), true) if is_persistent => {
            ", which systemd passes over for the line that --persist writes, and `sysctl --system` does not"
        }
        (None | Some(_), _) => "",
    };
    let glob = line.glob.as_ref().map_or_else(String::new, |glob| format!(" by the glob {glob}"));
    format!("at the next boot {path}:{number} sets {value}{glob}{end}")
}

pub fn rollback(arguments: &RollbackArguments) -> u8 {
    let host = if arguments.root.as_os_str() == "/" { Host::live() } else { Host::at(&arguments.root) };
    let Some(path) = arguments.journal.clone().or_else(|| journal::newest(&host)) else {
        sayln!("No journal is left to undo in {}.", journal::FOLDER);
        return FINE;
    };
    let entries = match journal::load(&path) {
        Ok(entries) => entries,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return FAILED;
        }
    };
    sayln!("journal {}", path.display());
    let is_whole = undoing::rollback(&host, &entries, |entry, outcome| {
        let place = place(&entry.target);
        match outcome {
            undoing::Outcome::Restored => sayln!("  restored  {place}"),
            undoing::Outcome::AsBefore => sayln!("  as before {place}"),
            undoing::Outcome::Left(now) => sayln!("  LEFT      {place}: somebody has set {now} since"),
            undoing::Outcome::Gone => sayln!("  gone      {place}"),
            undoing::Outcome::Refused(reason) => sayln!("  REFUSED   {place}: {reason}"),
        }
    });
    if !is_whole {
        return SHORT;
    }
    match journal::retire(&path) {
        Ok(()) => FINE,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            SHORT
        }
    }
}

fn place(target: &Target) -> String {
    match target {
        Target::File { path } => path.clone(),
        Target::Limit { pid, resource: LimitName::Nofile, .. } => {
            format!("open files of process {pid}, and what it starts from now on")
        }
        Target::Limit { pid, resource: LimitName::Memlock, .. } => {
            format!("locked memory of process {pid}, and what it starts from now on")
        }
    }
}
