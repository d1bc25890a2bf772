//! Which range of commits a run delivers: the rules, without a database.
//!
//! Shape: half open, `(from, to]`. What was asked, the cursor and the head go in; the range or the
//! refusal comes out.

use model::CommitNumber;
use model::export::{Advance, NewRun};
use model::ports::LedgerError;

/// What the range is judged by.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// The newest commit; 0 before the first.
    pub(super) head: CommitNumber,
    /// The cursor of the saved export; none for an export that is not saved yet or a run without one.
    pub(super) cursor: Option<CommitNumber>,
    /// The commit after which its cursor began.
    pub(super) began: CommitNumber,
    /// Where its runs end.
    pub(super) bound: Option<CommitNumber>,
}

/// Returns `(from, to)`.
pub(super) fn settle(
    new: &NewRun,
    at: Position,
) -> Result<(CommitNumber, CommitNumber), LedgerError> {
    if let Some(asked) = new.to.filter(|to| *to > at.head) {
        return Err(LedgerError::NoCommit { asked, head: at.head });
    }
    if let (Some(from), Some(to)) = (new.from, new.to) {
        forwards(from, to)?;
    }
    let cursor = at.cursor.unwrap_or_default();
    match (new.advance, &new.export) {
        (Advance::Cursor, Some(export)) => onward(new, export, cursor, at),
        (Advance::Again, Some(export)) => again(new, export, at),
        _ => {
            let from = new.from.unwrap_or_default();
            forwards(from, new.to.unwrap_or(at.head))
        }
    }
}

fn forwards(
    from: CommitNumber,
    to: CommitNumber,
) -> Result<(CommitNumber, CommitNumber), LedgerError> {
    if from > to { Err(LedgerError::Backwards { from, to }) } else { Ok((from, to)) }
}

/// From the cursor on: no commit twice, none left out.
fn onward(
    new: &NewRun,
    export: &str,
    cursor: CommitNumber,
    at: Position,
) -> Result<(CommitNumber, CommitNumber), LedgerError> {
    let last = at.bound.unwrap_or(at.head).min(at.head);
    let to = new.to.unwrap_or(last);
    if let Some(bound) = at.bound.filter(|bound| to > *bound) {
        return Err(LedgerError::Bound { export: export.into(), bound });
    }
    let from = new.from.unwrap_or(cursor);
    if from > cursor {
        return Err(LedgerError::Gap { export: export.into(), cursor, from });
    }
    if from < cursor || to < cursor {
        let from = new.from.unwrap_or_default();
        return Err(LedgerError::Overlap { export: export.into(), cursor, from, to });
    }
    Ok((from, to))
}

/// Within what was delivered.
fn again(
    new: &NewRun,
    export: &str,
    at: Position,
) -> Result<(CommitNumber, CommitNumber), LedgerError> {
    let from = new.from.unwrap_or(at.began);
    let cursor = at.cursor.unwrap_or_default();
    // An export that is not saved yet has delivered nothing, not even the empty range.
    let default = at.cursor.unwrap_or(at.head);
    let to = new.to.unwrap_or(default);
    if at.cursor.is_none() || to > cursor || from < at.began {
        return Err(LedgerError::NotDelivered { export: export.into(), cursor, from, to });
    }
    forwards(from, to)
}
