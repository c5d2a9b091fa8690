//! A reading compared with a formula: how bad it is, and who can better it.
//!
//! Severity comes from data: a value that holds fewer connections than the target *stops* it; another shortfall
//! *hurts* if the setting's file says that it matters (2 or 3) to the profile, and is a *note* otherwise.

use serde::Serialize;

use crate::{
    change::boot_order,
    host::Reading,
    setting::{Absence, Apply, Demand, Scene, Scope, Setting, Spot, Text, Want},
};

/// From this weight on, a shortfall counts for a profile.
const MATTERS: u8 = 2;

/// How bad a finding is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Short, but not of what this profile is about.
    Note,
    /// Could not be read from here, and matters.
    Unseen,
    /// The target can be held, but worse than it could be.
    Hurts,
    /// The target cannot be held.
    Stops,
}

/// One place of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// A path, or words.
    pub place: String,
    /// What is there.
    pub current: Option<String>,
    /// What would have to be there, if something else.
    pub replacement: Option<String>,
    /// Whether somebody, or an apply, has set what is there.
    #[serde(skip)]
    pub is_set: bool,
}

/// Who can better a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Nothing is to be done.
    None,
    /// `tune apply`, as root.
    Apply,
    /// `tune apply --only` with this id, because somebody may have chosen the present value.
    Ask,
    /// Somebody else, or a reboot; these words say who and how.
    Elsewhere(String),
}

/// What came of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The setting's id.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What goes wrong without it.
    pub why: &'static str,
    /// sysctl, rlimit, …
    pub layer: &'static str,
    /// none to high
    pub risk: &'static str,
    /// measured, documented, folklore
    pub evidence: &'static str,
    /// What was read, the worst place if there are several.
    pub current: String,
    /// What is wanted.
    pub wanted: String,
    /// The formula with this host's numbers.
    pub formula: String,
    /// How bad it is.
    pub severity: Severity,
    /// Who can better it.
    pub remedy: Remedy,
    /// What to tell besides: why something cannot be seen, or what a missing place means.
    pub remark: Option<String>,
    /// Who will set the value again: programs that run here, and files that are read at the next boot.
    pub overwritten: Vec<String>,
    /// Connections that the present value allows.
    pub holds: Option<u64>,
    /// Connections that the value allows after `tune apply` by root.
    pub holds_after: Option<u64>,
    /// Every place that was read.
    pub places: Vec<Place>,
}

/// Judges one setting.
pub fn judge(setting: &Setting, scene: &Scene<'_>) -> Finding {
    let text = &setting.text;
    let want = setting.want(scene);
    let spots = setting.read(scene);
    let judged: Vec<JudgedSpot> =
        spots.into_iter().map(|spot| JudgedSpot::of(setting, scene, &want, spot)).collect();
    let worst = judged.iter().max_by_key(|spot| spot.severity);
    let (mut severity, mut remark) =
        worst.map_or((Severity::Fine, None), |spot| (spot.severity, spot.remark.clone()));
    let current = worst.map_or_else(|| "–".to_owned(), |spot| spot.shown(text));
    if judged.is_empty() {
        (severity, remark) = without_places(text, &want);
    }
    let is_short = judged.iter().any(|spot| spot.falls_short);
    let remedy = if is_short || severity > Severity::Note {
        remedy(setting, scene, &want, &judged)
    } else {
        Remedy::None
    };
    let overwritten = overwritten(text, scene, &want, &judged);
    // What holds until the next boot only deserves a note.
    if !overwritten.is_empty() && severity == Severity::Fine {
        severity = Severity::Note;
    }
    let holds = judged.iter().filter_map(|spot| spot.holds).min();
    let holds_after = match remedy {
        Remedy::Apply => judged.iter().filter_map(|spot| spot.holds_after).min(),
        Remedy::None | Remedy::Ask | Remedy::Elsewhere(_) => holds,
    };
    Finding {
        id: text.id,
        title: text.title,
        why: text.why,
        layer: text.layer.name(),
        risk: text.risk.name(),
        evidence: text.evidence.name(),
        current,
        wanted: want.demand.words(|number| text.readable(number)),
        formula: want.formula,
        severity,
        remedy,
        remark,
        overwritten,
        holds,
        holds_after,
        places: judged.into_iter().map(|spot| spot.place).collect(),
    }
}

/// Judges every setting.
pub fn judge_all(scene: &Scene<'_>) -> Vec<Finding> {
    crate::setting::all().iter().map(|setting| judge(setting, scene)).collect()
}

/// Whether a setting counts for the scene's profile.
pub fn counts(setting: &Setting, scene: &Scene<'_>) -> bool {
    setting.text.matters(scene.goal.profile) >= MATTERS || setting.rule.holds.is_some()
}

struct JudgedSpot {
    place: Place,
    severity: Severity,
    remark: Option<String>,
    holds: Option<u64>,
    holds_after: Option<u64>,
    falls_short: bool,
    is_absent: bool,
    is_default: bool,
}

impl JudgedSpot {
    fn of(setting: &Setting, scene: &Scene<'_>, want: &Want, spot: Spot) -> Self {
        let mut judged = Self {
            place: Place { place: spot.place, current: None, replacement: None, is_set: false },
            severity: Severity::Fine,
            remark: None,
            holds: None,
            holds_after: None,
            falls_short: false,
            is_absent: false,
            is_default: false,
        };
        // A goal that asks nothing asks nothing of any place.
        let own = spot.demand.as_ref().filter(|_| want.demand != Demand::Nothing);
        let demand = own.unwrap_or(&want.demand);
        match spot.reading {
            Reading::Value(value) => judged.weigh(setting, scene, demand, &value),
            Reading::Missing => judged.miss(setting, scene),
            Reading::Unreadable(reason) => judged.hide(setting, scene, reason),
        }
        judged
    }

    fn weigh(&mut self, setting: &Setting, scene: &Scene<'_>, demand: &Demand, value: &str) {
        self.place.current = Some(value.to_owned());
        self.place.replacement = demand.replacement(value);
        self.falls_short = demand.is_met_by(value) == Ok(false);
        self.place.is_set = demand.is_set(value, setting.text.stock);
        self.is_default = demand.is_default(value, setting.text.stock);
        self.holds = setting.holds(scene, value);
        self.holds_after =
            self.place.replacement.as_deref().map_or(self.holds, |value| setting.holds(scene, value));
        self.severity = match demand.is_met_by(value) {
            Err(reason) => return self.hide(setting, scene, reason),
            Ok(true) => Severity::Fine,
            Ok(false) if self.holds.is_some_and(|holds| holds < scene.goal.target) => Severity::Stops,
            Ok(false) => shortfall(setting, scene),
        };
    }

    fn miss(&mut self, setting: &Setting, scene: &Scene<'_>) {
        let (absence, meaning) = setting.text.absence;
        self.remark = Some(meaning.to_owned());
        self.falls_short = absence == Absence::Short;
        self.is_absent = true;
        self.severity = match absence {
            Absence::Fine => Severity::Fine,
            Absence::Short => shortfall(setting, scene),
            Absence::Unseen if counts(setting, scene) => Severity::Unseen,
            Absence::Unseen => Severity::Note,
        };
    }

    fn hide(&mut self, setting: &Setting, scene: &Scene<'_>, reason: String) {
        self.remark = Some(format!("{}: {reason}", self.place.place));
        self.severity = if counts(setting, scene) { Severity::Unseen } else { Severity::Note };
    }

    fn shown(&self, text: &Text) -> String {
        match (&self.place.current, self.severity) {
            (Some(current), _) => {
                current.parse().map_or_else(|_| current.clone(), |number| text.readable(number))
            }
            (None, Severity::Fine) => "absent".to_owned(),
            (None, _) => "unseen".to_owned(),
        }
    }
}

fn shortfall(setting: &Setting, scene: &Scene<'_>) -> Severity {
    if setting.text.matters(scene.goal.profile) >= MATTERS { Severity::Hurts } else { Severity::Note }
}

/// Advice has no places; a pattern that matched nothing means what the text says of a missing one.
fn without_places(text: &Text, want: &Want) -> (Severity, Option<String>) {
    let severity = if want.demand == Demand::Nothing || text.absence.0 == Absence::Fine {
        Severity::Fine
    } else {
        Severity::Note
    };
    (severity, Some(text.absence.1.to_owned()))
}

fn remedy(setting: &Setting, scene: &Scene<'_>, want: &Want, spots: &[JudgedSpot]) -> Remedy {
    let text = &setting.text;
    if exists_nowhere(text, scene, spots) {
        return Remedy::Elsewhere(format!("there is nothing to set: {}", text.absence.1));
    }
    if let Some(obstacle) = obstacle(text, scene, spots) {
        return Remedy::Elsewhere(format!("{obstacle}: {}", cure(text, want, spots)));
    }
    let writable = spots.iter().any(|spot| spot.place.replacement.is_some());
    if text.apply != Apply::Runtime || !writable {
        return Remedy::Elsewhere(cure(text, want, spots));
    }
    let is_nobodys = |spot: &JudgedSpot| spot.place.replacement.is_none() || spot.is_default;
    if want.demand.only_raises() || spots.iter().all(is_nobodys) { Remedy::Apply } else { Remedy::Ask }
}

/// What stands against the value that is there or that is wanted: a program that sets it, or a line that sets less at
/// the next boot.
fn overwritten(text: &Text, scene: &Scene<'_>, want: &Want, spots: &[JudgedSpot]) -> Vec<String> {
    let mut told = Vec::new();
    let is_asked = want.demand != Demand::Nothing;
    let is_read = boot_order::is_read(scene.host, scene.facts);
    for spot in
        spots.iter().filter(|spot| is_asked && text.apply == Apply::Runtime && spot.place.current.is_some())
    {
        let place = &spot.place.place;
        let programs = scene.facts.overwriters.iter().filter(|program| program.sets(place));
        told.extend(programs.map(|program| format!("{} sets it {}", program.name, program.when)));
        let lines = [
            boot_order::sysctl_line(scene.host, place).map(|line| (line, "at the next boot")),
            boot_order::sysctl_conf_line(scene.host, place)
                .map(|line| (line, "whenever `sysctl --system` reads it")),
        ];
        for (line, when) in lines.into_iter().flatten().filter(|_| is_read) {
            if want.demand.is_met_by(&line.value) == Ok(false) {
                told.push(format!("{}:{} sets {} {when}", line.path, line.number, line.value));
            }
        }
    }
    told.dedup();
    told
}

/// Where a key does not exist, no command sets it. Keys of the network that belong to the whole kernel are shown in the
/// first network namespace only, and exist there all the same.
fn exists_nowhere(text: &Text, scene: &Scene<'_>, spots: &[JudgedSpot]) -> bool {
    let is_hidden =
        text.scope == Scope::Host && scene.facts.owns_network && text.reads.starts_with("/proc/sys/net/");
    let is_absent = !spots.is_empty() && spots.iter().all(|spot| spot.is_absent);
    text.reads.starts_with("/proc/sys/") && is_absent && !is_hidden
}

/// What keeps even root on this host from making the change.
fn obstacle(text: &Text, scene: &Scene<'_>, spots: &[JudgedSpot]) -> Option<String> {
    let container = scene.facts.container.as_deref();
    match (text.scope, container) {
        (Scope::Network, Some(_)) if scene.facts.owns_network && are_writable(scene, spots) => None,
        (Scope::Host, Some(name)) => {
            Some(format!("cannot be set inside this container ({name}); on its host"))
        }
        (Scope::Network, Some(name)) => Some(format!(
            "set it where this container ({name}) is created, or in its namespace if it is privileged"
        )),
        (Scope::Process, Some(name)) => {
            Some(format!("set it where this container ({name}) is created, or in the program"))
        }
        (Scope::Process, None) if text.apply == Apply::Runtime && scene.facts.limits_are_sealed => {
            Some("out of this session's reach, which has dropped CAP_SYS_RESOURCE; from another".to_owned())
        }
        // A sysctl of the network that belongs to the whole kernel is not even shown here.
        (Scope::Host, None)
            if scene.facts.owns_network
                && text.reads.starts_with("/proc/sys/net/")
                && spots.iter().all(|spot| spot.place.current.is_none()) =>
        {
            Some("cannot be set from this network namespace; in the machine's first".to_owned())
        }
        (Scope::Host | Scope::Network | Scope::Process, None) => None,
    }
}

fn are_writable(scene: &Scene<'_>, spots: &[JudgedSpot]) -> bool {
    let mut due = spots.iter().filter(|spot| spot.place.replacement.is_some());
    due.all(|spot| scene.host.is_writable(&spot.place.place))
}

fn cure(text: &Text, want: &Want, spots: &[JudgedSpot]) -> String {
    let replacement = spots.iter().find_map(|spot| spot.place.replacement.clone());
    let wanted = replacement.unwrap_or_else(|| want.demand.text());
    text.cure_for(&wanted)
}
