//! Tickets: exports that are asked for under a key, wait for their turn, and whose files are held for a while.
//!
//! Contract: a door asks with a key of its own making; the same key finds the same ticket. Tickets of a door, a workspace and a lane are served one
//! after another, in the order in which they were drawn; the commit that is exported is the newest one when its turn comes, unless the ticket is of a range. What becomes of
//! a ticket follows from its run, so that there are no two truths.

use chrono::{DateTime, TimeDelta, Utc};

use crate::export::Definition;
use crate::ids::{CommitNumber, RunId, TicketId, WorkspaceId};
use crate::limits::{TICKET_AGAIN_SECONDS, TICKET_AGAIN_SECONDS_MAX, TICKET_FAILURES_MAX};

/// An export that somebody has asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// Stays the same when it is drawn anew.
    pub id: TicketId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The door that it was asked for at, by name.
    pub door: String,
    /// What it was asked for by; unique within workspace and door.
    pub key: String,
    /// Among which it waits for its turn.
    pub lane: String,
    /// The range of commits `(from, to]` that it is of.
    pub range: Option<(CommitNumber, CommitNumber)>,
    /// For how long its files are held, from the end of the run on.
    pub held: TimeDelta,
    /// When it was drawn last.
    pub drawn_at: DateTime<Utc>,
    /// What has become of it.
    pub state: TicketState,
    /// Runs that failed since one was sealed.
    pub failures: u32,
    /// Why the last of them did.
    pub reason: Option<String>,
    /// When it did.
    pub failed_at: Option<DateTime<Utc>>,
}

/// What has become of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// Its turn has not come.
    Waiting,
    /// Its run is open.
    Running {
        /// The run.
        run: RunId,
        /// When that was opened.
        since: DateTime<Utc>,
    },
    /// Its files are there.
    Ready {
        /// The run.
        run: RunId,
        /// When that was sealed.
        since: DateTime<Utc>,
        /// How many files it has.
        files: u64,
    },
    /// Its run failed, or could not be opened.
    Failed,
    /// It was settled without a run: there is nothing to be had.
    Nothing,
}

/// What asking for a ticket once more does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays as it is.
    Stays,
    /// It is drawn anew: its files are not held any more.
    Lapsed,
    /// It is drawn anew, because it failed.
    Again,
    /// It failed so often that it is not drawn anew before then.
    Later(DateTime<Utc>),
}

impl Ticket {
    /// Returns until when its files are held, if there are any.
    pub fn held_until(&self) -> Option<DateTime<Utc>> {
        match &self.state {
            TicketState::Ready { since, .. } => Some(*since + self.held),
            _ => None,
        }
    }

    /// Returns what asking for it does now.
    ///
    /// Shape: files are held up to and including the instant at which their time is over.
    pub fn next(&self, now: DateTime<Utc>) -> Next {
        match &self.state {
            TicketState::Waiting | TicketState::Running { .. } | TicketState::Nothing => {
                Next::Stays
            }
            TicketState::Ready { .. } if self.held_until() >= Some(now) => Next::Stays,
            TicketState::Ready { .. } => Next::Lapsed,
            TicketState::Failed => {
                let later = self.failed_at.map(|at| at + pause(self.failures));
                match later.filter(|at| *at > now) {
                    Some(at) => Next::Later(at),
                    None => Next::Again,
                }
            }
        }
    }
}

/// Returns how long a ticket rests after so many failures in a row.
pub fn pause(failures: u32) -> TimeDelta {
    let Some(more) = failures.checked_sub(TICKET_FAILURES_MAX) else { return TimeDelta::zero() };
    let doubled = TICKET_AGAIN_SECONDS << more.min(20);
    TimeDelta::seconds(doubled.min(TICKET_AGAIN_SECONDS_MAX))
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTicket {
    /// The id, if there is none of that key.
    pub id: TicketId,
    /// See [`Ticket::workspace`].
    pub workspace: WorkspaceId,
    /// See [`Ticket::door`].
    pub door: String,
    /// See [`Ticket::key`].
    pub key: String,
    /// See [`Ticket::lane`].
    pub lane: String,
    /// See [`Ticket::range`]; where the ticket stays as it is, so does its own.
    pub range: Option<(CommitNumber, CommitNumber)>,
    /// What is exported, as what, where to; where the ticket stays as it is, so does its own.
    pub definition: Definition,
    /// See [`Ticket::held`].
    pub held: TimeDelta,
    /// A run whose files are gone although they should be held: if that is still the ticket's, it is drawn anew.
    pub gone: Option<RunId>,
    /// When.
    pub now: DateTime<Utc>,
}

impl NewTicket {
    /// Returns what asking for a ticket does, which may have lost its files.
    pub fn next(&self, ticket: &Ticket) -> Next {
        match (&ticket.state, &self.gone) {
            (TicketState::Ready { run, .. }, Some(gone)) if run == gone => Next::Lapsed,
            _ => ticket.next(self.now),
        }
    }
}

/// What asking came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The ticket as it is now.
    pub ticket: Ticket,
    /// What was done.
    pub how: How,
}

/// What was done for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A ticket was drawn, the first one or one in the place of what lapsed.
    New,
    /// A ticket was drawn in the place of one that failed.
    Again,
    /// It was there.
    Known,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("in range")
    }

    fn ticket(state: TicketState, failures: u32) -> Ticket {
        Ticket {
            id: TicketId::mint(),
            workspace: WorkspaceId::default_workspace(),
            door: "d".into(),
            key: "k".into(),
            lane: String::new(),
            range: None,
            held: TimeDelta::hours(24),
            drawn_at: at(0),
            state,
            failures,
            reason: None,
            failed_at: (failures > 0).then(|| at(100)),
        }
    }

    #[test]
    fn files_are_held_from_the_end_of_their_run_on() {
        let ready = ticket(TicketState::Ready { run: RunId::new("r"), since: at(50), files: 1 }, 0);
        let day = 24 * 3600;
        assert_eq!(ready.next(at(50 + day)), Next::Stays);
        assert_eq!(ready.next(at(50 + day) + TimeDelta::milliseconds(1)), Next::Lapsed);
    }

    #[test]
    fn what_fails_is_drawn_again_at_once_then_later_and_later() {
        let next = |failures, second| ticket(TicketState::Failed, failures).next(at(second));
        assert_eq!((next(1, 100), next(2, 100)), (Next::Again, Next::Again));
        assert_eq!(next(3, 100), Next::Later(at(100 + TICKET_AGAIN_SECONDS)));
        assert_eq!(next(3, 100 + TICKET_AGAIN_SECONDS), Next::Again);
        assert_eq!(next(4, 101), Next::Later(at(100 + 2 * TICKET_AGAIN_SECONDS)));
        assert_eq!(next(99, 101), Next::Later(at(100 + TICKET_AGAIN_SECONDS_MAX)));
    }

    #[test]
    fn what_is_under_way_stays() {
        assert_eq!(ticket(TicketState::Waiting, 5).next(at(9)), Next::Stays);
        let running = TicketState::Running { run: RunId::new("r"), since: at(1) };
        assert_eq!(ticket(running, 5).next(at(9)), Next::Stays);
    }
}
