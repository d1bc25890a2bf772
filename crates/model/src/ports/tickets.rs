//! Tickets.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ids::{RunId, WorkspaceId};
use crate::ports::LedgerError;
use crate::ticket::{Drawn, NewTicket, Ticket};

/// Keeps tickets, and makes the jobs by which their turn comes.
#[async_trait]
pub trait Tickets: Send + Sync {
    /// Returns the ticket of a key.
    async fn ticket(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        key: &str,
    ) -> Result<Option<Ticket>, LedgerError>;

    /// Returns the tickets of keys, those that are there, in no order.
    async fn tickets(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        keys: &[String],
    ) -> Result<Vec<Ticket>, LedgerError>;

    /// Returns tickets of a door whose last run failed or could not be opened and that have rested, up to `limit`, those first that
    /// have for the shortest time: what nobody takes holds up no other.
    async fn failed_tickets(
        &self,
        door: &str,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Ticket>, LedgerError>;

    /// Notes under a key that there is nothing to be had, unless there is a ticket of it.
    async fn settle(&self, new: &NewTicket) -> Result<(), LedgerError>;

    /// Finds the ticket of a key as [`Ticket::next`] says, or draws one: then there is a job that waits behind those of
    /// the tickets drawn before. Of any number who ask at once one draws. Refused where
    /// [`crate::limits::TICKETS_WAITING_MAX`] wait.
    async fn draw(&self, new: &NewTicket) -> Result<Drawn, LedgerError>;

    /// Draws tickets of one workspace and door, each of a key of its own, anew, whatever became of those before: all of them, or none. Refused where one of them waits or runs, and where more
    /// would wait than may.
    async fn redraw(&self, all: &[NewTicket]) -> Result<(), LedgerError>;

    /// Returns runs of tickets whose files have not been held any more since `before`, up to `limit`, oldest first. They are
    /// returned until they are let go.
    async fn lapsed(
        &self,
        workspace: &WorkspaceId,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RunId>, LedgerError>;

    /// Notes that the files of a ticket's run are gone.
    async fn let_go(&self, workspace: &WorkspaceId, run: &RunId) -> Result<(), LedgerError>;
}
