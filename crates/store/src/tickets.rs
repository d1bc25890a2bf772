//! Tickets: the store as [`Tickets`], and what opening and ending a run does to one.
//!
//! Whoever draws holds the workspace's row, so that of any number one does; a look takes no lock.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use model::job::Priority;
use model::limits::{TICKET_DAYS, TICKETS_WAITING_MAX};
use model::ports::{LedgerError, Tickets};
use model::run::RunState;
use model::ticket::{Drawn, How, NewTicket, Next, Ticket, TicketState, pause};
use model::{CommitNumber, JobId, RunId, TicketId, WorkspaceId};

use crate::Store;
use crate::database::{Error, Row, Transaction, Value, args, transact, truncate};
use crate::jobs::short;
use crate::ledger::{exports, take_head, take_places};

/// The columns of a ticket, with what has become of it.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT t.id, t.workspace, t.door, t.key, t.held, t.drawn_at, t.run, t.failures, t.reason,
                 t.failed_at, t.lane, t.from_commit, t.to_commit, r.state, r.created_at, r.ended_at, m.file_count, j.id AS job
             FROM ticket t
             LEFT JOIN run r ON r.id = t.run
             LEFT JOIN run_manifest m ON m.run = t.run
             LEFT JOIN job j ON j.kind = 'ticket' AND j.subject = t.id ",
            $tail
        )
    };
}

/// What becomes of a ticket that is drawn once more.
macro_rules! drawn {
    ($more:literal) => {
        concat!(
            "ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, held = excluded.held,
                 drawn_at = excluded.drawn_at, run = NULL, lane = excluded.lane,
                 from_commit = excluded.from_commit, to_commit = excluded.to_commit",
            $more
        )
    };
}

/// It counts its failures on.
const DRAWN: &str = drawn!("");

/// Nothing of before matters.
const DRAWN_ANEW: &str = drawn!(", failures = 0, reason = NULL, failed_at = NULL, again_at = NULL");

#[async_trait]
impl Tickets for Store {
    async fn ticket(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        key: &str,
    ) -> Result<Option<Ticket>, LedgerError> {
        Ok(find(&mut self.database.glance().await?, workspace, (door, key)).await?)
    }

    async fn tickets(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        keys: &[String],
    ) -> Result<Vec<Ticket>, LedgerError> {
        let tx = &mut self.database.glance().await?;
        let keys: Vec<Value> = keys.iter().map(|key| key.as_str().into()).collect();
        let sql = select!("WHERE t.workspace = $1 AND t.door = $2 AND t.key IN ({})");
        let rows = tx.all_among(sql, args![workspace.as_str(), door], &keys).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn failed_tickets(
        &self,
        door: &str,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Ticket>, LedgerError> {
        let tx = &mut self.database.glance().await?;
        let sql = select!(
            "WHERE t.door = $1 AND t.again_at <= $2 AND j.id IS NULL
                 AND (t.run IS NULL OR r.state IN ('failed', 'cancelled'))
             ORDER BY t.again_at DESC, t.id LIMIT $3"
        );
        let rows = tx.all(sql, args![door, truncate(now), limit]).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn settle(&self, new: &NewTicket) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| settle(tx, new))
    }

    async fn draw(&self, new: &NewTicket) -> Result<Drawn, LedgerError> {
        // Polls are many, and mostly change nothing.
        let found = self.ticket(&new.workspace, &new.door, &new.key).await?;
        if let Some(ticket) = found
            && matches!(new.next(&ticket), Next::Stays | Next::Later(_))
        {
            return Ok(Drawn { ticket, how: How::Known });
        }
        transact!(self.database, LedgerError, |tx| draw(tx, new))
    }

    async fn redraw(&self, all: &[NewTicket]) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| redraw(tx, all))
    }

    async fn lapsed(
        &self,
        workspace: &WorkspaceId,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RunId>, LedgerError> {
        let tx = &mut self.database.glance().await?;
        let sql = "SELECT run FROM ticket_run WHERE workspace = $1 AND held_until < $2
                   ORDER BY held_until, run LIMIT $3";
        let rows = tx.all(sql, args![workspace.as_str(), truncate(before), limit]).await?;
        Ok(rows.iter().map(|row| row.text("run").map(RunId::new)).collect::<Result<_, _>>()?)
    }

    async fn let_go(&self, workspace: &WorkspaceId, run: &RunId) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| let_go(tx, workspace, run))
    }
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    (door, key): (&str, &str),
) -> Result<Option<Ticket>, Error> {
    let sql = select!("WHERE t.workspace = $1 AND t.door = $2 AND t.key = $3");
    let row = tx.first(sql, args![workspace.as_str(), door, key]).await?;
    row.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<Ticket, Error> {
    Ok(Ticket {
        id: TicketId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        door: row.text("door")?,
        key: row.text("key")?,
        lane: row.text("lane")?,
        range: range(row)?,
        held: TimeDelta::microseconds(row.int("held")?),
        drawn_at: row.at("drawn_at")?,
        state: state(row)?,
        failures: row.count("failures")?,
        reason: row.text_or_null("reason")?,
        failed_at: row.at_or_null("failed_at")?,
    })
}

fn state(row: &Row) -> Result<TicketState, Error> {
    if row.text_or_null("job")?.is_some() {
        return Ok(TicketState::Waiting);
    }
    let Some(run) = row.text_or_null("run")?.map(RunId::new) else {
        let is_settled = row.count::<u32>("failures")? == 0;
        return Ok(if is_settled { TicketState::Nothing } else { TicketState::Failed });
    };
    Ok(match row.word("state")? {
        RunState::Sealed => {
            TicketState::Ready { run, since: row.at("ended_at")?, files: row.count("file_count")? }
        }
        RunState::Failed | RunState::Cancelled => TicketState::Failed,
        _ => TicketState::Running { run, since: row.at("created_at")? },
    })
}

async fn settle(tx: &mut Transaction, new: &NewTicket) -> Result<(), LedgerError> {
    take_head(tx, &new.workspace).await?;
    let sql = "INSERT INTO ticket (id, workspace, door, key, lane, definition, held, drawn_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    let (workspace, definition) =
        (new.workspace.as_str(), exports::definition_text(&new.definition));
    let (held, now) = (new.held.num_microseconds().unwrap_or(i64::MAX), truncate(new.now));
    let (id, lane) = (new.id.as_str(), &new.lane);
    tx.execute(sql, args![id, workspace, &new.door, &new.key, lane, definition, held, now]).await?;
    Ok(())
}

/// Reads the range of commits of a ticket.
pub(crate) fn range(row: &Row) -> Result<Option<(CommitNumber, CommitNumber)>, Error> {
    let (Some(_), Some(_)) = (row.int_or_null("from_commit")?, row.int_or_null("to_commit")?)
    else {
        return Ok(None);
    };
    let number = |name| row.count(name).map(CommitNumber);
    Ok(Some((number("from_commit")?, number("to_commit")?)))
}

async fn draw(tx: &mut Transaction, new: &NewTicket) -> Result<Drawn, LedgerError> {
    let (_, place) = take_head(tx, &new.workspace).await?;
    let found = find(tx, &new.workspace, (&new.door, &new.key)).await?;
    let (id, how) = match found.map(|ticket| (new.next(&ticket), ticket)) {
        Some((Next::Stays | Next::Later(_), ticket)) => {
            return Ok(Drawn { ticket, how: How::Known });
        }
        Some((next, ticket)) => {
            (ticket.id, if next == Next::Again { How::Again } else { How::New })
        }
        None => (new.id.clone(), How::New),
    };
    check_room(tx, &line(new), 1).await?;
    write(tx, &[(id, new)], (place, DRAWN)).await?;
    let drawn = find(tx, &new.workspace, (&new.door, &new.key)).await?;
    let ticket = drawn.ok_or_else(|| missing(&new.key))?;
    Ok(Drawn { ticket, how })
}

async fn redraw(tx: &mut Transaction, all: &[NewTicket]) -> Result<(), LedgerError> {
    let Some(NewTicket { workspace, door, .. }) = all.first() else { return Ok(()) };
    let (_, last) = take_places(tx, workspace, all.len() as u64).await?;
    let keys: Vec<Value> = all.iter().map(|new| new.key.as_str().into()).collect();
    let sql = select!("WHERE t.workspace = $1 AND t.door = $2 AND t.key IN ({})");
    let mut known = BTreeMap::new();
    for row in tx.all_among(sql, args![workspace.as_str(), door], &keys).await? {
        let ticket = read(&row)?;
        if matches!(ticket.state, TicketState::Waiting | TicketState::Running { .. }) {
            return Err(LedgerError::UnderWay { key: ticket.key });
        }
        known.insert(ticket.key, ticket.id);
    }
    let mut lines = BTreeMap::<String, u64>::new();
    for new in all {
        *lines.entry(line(new)).or_default() += 1;
    }
    for (line, more) in lines {
        check_room(tx, &line, more).await?;
    }
    let id = |new: &NewTicket| known.get(&new.key).unwrap_or(&new.id).clone();
    let drawn: Vec<_> = all.iter().map(|new| (id(new), new)).collect();
    write(tx, &drawn, (last, DRAWN_ANEW)).await
}

/// Refuses more tickets of a line than may wait.
async fn check_room(tx: &mut Transaction, line: &str, more: u64) -> Result<(), LedgerError> {
    let sql = "SELECT COUNT(*) AS n FROM job WHERE line = $1";
    let waiting = tx.one(sql, args![line]).await?.count::<u64>("n")?;
    if waiting + more > TICKETS_WAITING_MAX {
        return Err(LedgerError::ManyTickets { most: TICKETS_WAITING_MAX });
    }
    Ok(())
}

/// Writes tickets, and the jobs by which their turn comes; the last of them waits at `place`.
async fn write(
    tx: &mut Transaction,
    all: &[(TicketId, &NewTicket)],
    (place, drawn): (i64, &'static str),
) -> Result<(), LedgerError> {
    let (mut tickets, mut jobs) = (Vec::new(), Vec::new());
    for (before, (id, new)) in (0_i64..).zip(all.iter().rev()) {
        let (workspace, now) = (new.workspace.as_str(), truncate(new.now));
        let held = new.held.num_microseconds().unwrap_or(i64::MAX);
        let (from, to) = new.range.map(|(from, to)| (from.0, to.0)).unzip();
        let definition = exports::definition_text(&new.definition);
        tickets.extend_from_slice(args![
            id.as_str(),
            workspace,
            &new.door,
            &new.key,
            &new.lane,
            definition,
            held,
            now,
            from,
            to
        ]);
        let (job, asked) = (JobId::mint(), Priority::Asked as i64);
        jobs.extend_from_slice(args![
            job.as_str(),
            workspace,
            "ticket",
            id.as_str(),
            line(new),
            place - before,
            now,
            now,
            asked
        ]);
    }
    let into = "INSERT INTO ticket (id, workspace, door, key, lane, definition, held, drawn_at, from_commit, to_commit)";
    tx.insert(into, 10, &tickets, drawn).await?;
    let into =
        "INSERT INTO job (id, workspace, kind, subject, line, place, due_at, created_at, priority)";
    tx.insert(into, 9, &jobs, "").await?;
    Ok(())
}

fn missing(key: &str) -> LedgerError {
    LedgerError::NotFound { what: "ticket", name: key.into(), nearest: None }
}

/// Tickets of one line are served one after another.
fn line(NewTicket { workspace, door, lane, .. }: &NewTicket) -> String {
    match &**lane {
        "" => format!("{door}/{workspace}"),
        lane => format!("{door}/{workspace}/{lane}"),
    }
}

/// Notes the run of a ticket, whose job has become the run's.
pub(crate) async fn opened(
    tx: &mut Transaction,
    ticket: &str,
    run: &RunId,
) -> Result<(), LedgerError> {
    tx.execute("UPDATE ticket SET run = $2 WHERE id = $1", args![ticket, run.as_str()]).await?;
    let sql = "INSERT INTO ticket_run (run, ticket, workspace)
               SELECT $2, id, workspace FROM ticket WHERE id = $1";
    tx.execute(sql, args![ticket, run.as_str()]).await?;
    Ok(())
}

/// Notes at a ticket that its run has ended; returns whether there is one.
pub(crate) async fn ended(
    tx: &mut Transaction,
    run: &RunId,
    (state, why): (RunState, Option<&str>),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let sql =
        "SELECT t.id, t.held FROM ticket_run h JOIN ticket t ON t.id = h.ticket WHERE h.run = $1";
    let Some(row) = tx.first(sql, args![run.as_str()]).await? else { return Ok(false) };
    let ticket = row.text("id")?;
    if state == RunState::Sealed {
        let held = TimeDelta::microseconds(row.int("held")?);
        let until = truncate(now).checked_add_signed(held).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let sql = "UPDATE ticket_run SET held_until = $2 WHERE run = $1";
        tx.execute(sql, args![run.as_str(), until]).await?;
        let sql = "UPDATE ticket SET failures = 0, reason = NULL, failed_at = NULL, again_at = NULL
                   WHERE id = $1";
        tx.execute(sql, args![&ticket]).await?;
        return Ok(true);
    }
    // What it wrote is taken away with the run.
    tx.execute("DELETE FROM ticket_run WHERE run = $1", args![run.as_str()]).await?;
    failed(tx, &ticket, why.unwrap_or_default(), now).await?;
    Ok(true)
}

/// Counts a failure of a ticket.
pub(crate) async fn failed(
    tx: &mut Transaction,
    ticket: &str,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let sql = "UPDATE ticket SET failures = failures + 1, reason = $2, failed_at = $3 WHERE id = $1
               RETURNING failures";
    let Some(row) = tx.first(sql, args![ticket, short(why), truncate(now)]).await? else {
        return Ok(());
    };
    let again = truncate(now + pause(row.count("failures")?));
    tx.execute("UPDATE ticket SET again_at = $2 WHERE id = $1", args![ticket, again]).await?;
    Ok(())
}

async fn let_go(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<(), LedgerError> {
    let sql = "DELETE FROM ticket_run
               WHERE workspace = $1 AND run = $2 AND held_until IS NOT NULL";
    tx.execute(sql, args![workspace.as_str(), run.as_str()]).await?;
    Ok(())
}

/// Forgets tickets that nobody has drawn for days, that hold nothing, and whose files would not be held any more.
pub(crate) async fn forget(
    tx: &mut Transaction,
    now: DateTime<Utc>,
    limit: u32,
) -> Result<u64, Error> {
    // The age once more outside: whoever draws one meanwhile keeps it.
    let sql = "DELETE FROM ticket WHERE drawn_at < $1 AND id IN
                   (SELECT t.id FROM ticket t WHERE t.drawn_at < $1 AND t.held < $3 - t.drawn_at
                        AND NOT EXISTS (SELECT 1 FROM ticket_run h WHERE h.ticket = t.id)
                        AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'ticket' AND j.subject = t.id)
                    LIMIT $2)";
    tx.execute(sql, args![truncate(now - TimeDelta::days(TICKET_DAYS)), limit, truncate(now)]).await
}
