//! Who has been shut out, as it stands in the file: so that a restart lets nobody in again.
//!
//! ```text
//!   shut_out  "user" or "token", its name  → up to which issue, until when (seconds since the Unix epoch)
//! ```
//!
//! A version that knows nothing of the table leaves it as it is, so the format is the same with it and without.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::error::Problem;
use crate::auth::{Revocation, Revoked};

const SHUT_OUT: TableDefinition<'_, (&str, &str), (u64, u64)> = TableDefinition::new("shut_out");
const USER: &str = "user";
const TOKEN: &str = "token";

/// Writes down all of these.
pub(super) fn put(write: &WriteTransaction, revoked: &Revoked) -> Result<(), Problem> {
    let mut table = write.open_table(SHUT_OUT)?;
    for revocation in revoked.all() {
        let place = match (revocation.user(), revocation.token()) {
            (Some(user), _) => (USER, user),
            (None, Some(id)) => (TOKEN, id),
            (None, None) => continue,
        };
        table.insert(place, (revocation.issued_until_s(), revocation.until_s()))?;
    }
    Ok(())
}

/// What stands there and is of use still; the rest goes.
pub(super) fn take_over(write: &WriteTransaction, now_s: u64) -> Result<Revoked, Problem> {
    let mut table = write.open_table(SHUT_OUT)?;
    table.retain(|_, (_, until_s)| until_s > now_s)?;
    let mut revoked = Revoked::default();
    for entry in table.iter()? {
        let (place, times) = entry?;
        let ((kind, name), (issued_until_s, until_s)) = (place.value(), times.value());
        let revocation = match kind {
            USER => Revocation::of_user(name, issued_until_s, until_s),
            TOKEN => Revocation::of_token(name, until_s),
            other => return Err(Problem::Damaged(format!("nobody is shut out as {other:?}"))),
        };
        revoked.add(revocation, now_s);
    }
    Ok(revoked)
}
