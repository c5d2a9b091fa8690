//! What becomes of upgrades of this process, as its keeper says: one process has one keeper, so there is one of this.
//!
//! It is asked by operators alone, on the admin listener. Nothing is known without a keeper, or of one that does not tell.

use std::sync::{Mutex, PoisonError};

/// So many characters of the reason are kept.
const REASON_CHARS_MAX: usize = 1_000;

static UPGRADING: Mutex<Upgrading> = Mutex::new(Upgrading { is_told: false, stage: Stage::Idle });

/// How far an upgrade is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// None has been asked for, or nothing is known.
    Idle,
    /// One is under way.
    UnderWay,
    /// The last one has failed, for this reason, and the old version serves on: in this process, or begun again in it.
    Failed(String),
}

struct Upgrading {
    /// Whether the keeper tells what becomes of them.
    is_told: bool,
    stage: Stage,
}

/// How far an upgrade is.
pub fn stage() -> Stage {
    with(|upgrading| upgrading.stage.clone())
}

/// Somebody asks for one; whether that may be passed on to the keeper: one at a time is under way.
pub fn may_begin() -> bool {
    with(Upgrading::may_begin)
}

/// The keeper of this process tells what becomes of upgrades, and what became of the last.
pub(crate) fn is_told(failed: Option<&str>) {
    with(|upgrading| {
        upgrading.is_told = true;
        failed.into_iter().for_each(|reason| upgrading.fail(reason));
    });
}

/// The keeper has begun one.
pub(crate) fn begin() {
    with(|upgrading| upgrading.stage = Stage::UnderWay);
}

/// It has failed.
pub(crate) fn fail(reason: &str) {
    with(|upgrading| upgrading.fail(reason));
}

fn with<T>(act: impl FnOnce(&mut Upgrading) -> T) -> T {
    act(&mut UPGRADING.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Upgrading {
    fn may_begin(&mut self) -> bool {
        let may_begin = self.stage != Stage::UnderWay;
        // One whose end would not be told is not taken for under way for ever.
        if may_begin {
            self.stage = if self.is_told { Stage::UnderWay } else { Stage::Idle };
        }
        may_begin
    }

    fn fail(&mut self, reason: &str) {
        self.stage = Stage::Failed(reason.chars().take(REASON_CHARS_MAX).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_under_way_at_a_time_where_its_end_is_told() {
        let mut upgrading = Upgrading { is_told: false, stage: Stage::Idle };
        assert!(upgrading.may_begin() && upgrading.may_begin());
        upgrading.is_told = true;
        assert!(upgrading.may_begin() && !upgrading.may_begin());
        upgrading.fail(&"é".repeat(REASON_CHARS_MAX + 1));
        assert_eq!(upgrading.stage, Stage::Failed("é".repeat(REASON_CHARS_MAX)));
        assert!(upgrading.may_begin() && upgrading.stage == Stage::UnderWay, "that is over");
    }
}
