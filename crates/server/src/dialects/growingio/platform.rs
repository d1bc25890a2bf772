//! What the platform does by itself: slots whose time has come are closed and asked for, and what failed is asked for again.
//!
//! Contract: each process looks, each second. An hour is closed by a commit at or after its end, so that nothing can enter it any more; which commits
//! it has then follows from their times alone, whoever looks when. Each data type is a ticket under a key of its own, so that of any number of processes one
//! draws it; only then is the hour noted as covered, so that none is left out, whoever dies when. `docs/dialects/growingio.md`, GI-10 to GI-16.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::dataset::{CommitKind, Committed, NewCommit};
use model::enrolment::Enrolment;
use model::export::Definition;
use model::format::FormatSpec;
use model::limits::SCHEDULE_SECONDS;
use model::ports::LedgerError;
use model::relation::{Relation, Selection, Source};
use model::ticket::{How, NewTicket, Ticket};
use model::{Code, CommitNumber, DatasetId, Failure, Fault, PortError, TicketId, WorkspaceId};

use super::slots::{Hour, held_until, shown_until};
use super::types::{DataType, TYPES};
use super::{NAME, Ports, Settings};
use crate::Core;
use crate::canonical::{self, Growth};

/// Where files are held.
const PLACE: &str = "managed";

/// What views of the dialect read.
pub(super) const READS: &[&str] = &["event"];

/// Tickets that failed, looked at together.
const FAILED_AT_ONCE: u32 = 100;

/// Works for as long as it is polled.
pub(super) async fn work(core: Core) {
    let ports = Ports::of(&core);
    loop {
        match ports.round().await {
            Ok(true) => core.executor.wake.notify_one(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "slots that are due could not be looked for"),
        }
        core.executor.claims.pauses.pause(Duration::from_secs(SCHEDULE_SECONDS)).await;
    }
}

impl Ports {
    /// Asks for all that is due; returns whether there was something.
    async fn round(&self) -> Result<bool, PortError> {
        let mut found = false;
        for enrolment in self.enrolments.enrolments(NAME).await? {
            // What cannot be done for one project holds up no other.
            match self.cover(&enrolment).await {
                Ok(some) => found |= some,
                Err(error) => {
                    tracing::warn!(workspace = %enrolment.workspace, %error, "slots are left for the next look");
                }
            }
        }
        let now = self.clock.now();
        for ticket in self.tickets.failed_tickets(NAME, now, FAILED_AT_ONCE).await? {
            // What nobody could fetch any more is left.
            let Some((of, hour)) = parse(&ticket.key).filter(|_| now < shown_until(&ticket)) else {
                continue;
            };
            let until = ticket.drawn_at + ticket.held;
            let Ticket { lane, range, .. } = ticket.clone();
            let asked = Asked { of, hour, lane, range, until };
            match self.draw(&ticket.workspace, asked).await {
                Ok(how) => found |= how != How::Known,
                Err(error) => {
                    tracing::warn!(%error, "a slot that failed is left for the next look");
                }
            }
        }
        Ok(found)
    }

    /// Asks for the hours of a project that are due, in order.
    async fn cover(&self, enrolment: &Enrolment) -> Result<bool, PortError> {
        let (settings, workspace) = (self.settings(), &enrolment.workspace);
        // Nobody could fetch what is older.
        let kept = TimeDelta::days(i64::from(settings.keep_days) + 1);
        let oldest = Hour::of(self.clock.now() - kept);
        let (mut hour, mut found) = (Hour::of(enrolment.covered).max(oldest), false);
        loop {
            if self.clock.now() < hour.due(&settings) {
                return Ok(found);
            }
            found |= self.ask_for(workspace, hour).await?;
            hour = hour.next();
            self.enrolments.cover(workspace, NAME, hour.start()).await?;
        }
    }

    /// Asks for an hour; returns whether it has rows: one without is there as soon as it is covered (GI-34).
    async fn ask_for(&self, workspace: &WorkspaceId, hour: Hour) -> Result<bool, PortError> {
        self.close(workspace, hour.end()).await?;
        let before = async |at| self.catalog.last_before(workspace, at).await;
        let range = (before(hour.start()).await?, before(hour.end()).await?);
        let until = held_until(hour, &self.settings());
        let asked = |of: &'static DataType| Asked {
            of,
            hour,
            lane: of.name.into(),
            range: Some(range),
            until,
        };
        if self.catalog.rows_between(workspace, range).await? == 0 {
            let new = self.ticket(workspace, asked(&TYPES[0]), &self.place(workspace).await?);
            let (key, lane) = (hour.empty_key(), String::new());
            self.tickets.settle(&NewTicket { key, lane, ..new }).await?;
            return Ok(false);
        }
        // One that was built before it was due, because somebody asked, is of all commits and stays so, also if it failed.
        let there = self.tickets.tickets(workspace, NAME, &hour.keys()).await?;
        let is_new = |of: &&DataType| there.iter().all(|ticket| ticket.key != hour.key(of));
        for of in TYPES.iter().filter(is_new) {
            self.draw(workspace, asked(of)).await?;
        }
        Ok(true)
    }

    /// Sees to it that every later commit is at or after that instant (GI-11), which is in the past.
    pub(super) async fn close(
        &self,
        workspace: &WorkspaceId,
        end: DateTime<Utc>,
    ) -> Result<CommitNumber, PortError> {
        let head = self.catalog.head(workspace).await?;
        if let Some((number, _)) = head.filter(|(_, time)| *time >= end) {
            return Ok(number);
        }
        let mark = NewCommit::new(workspace.clone(), CommitKind::Mark, DatasetId::new(""));
        let (Committed::New(marked) | Committed::Repeated(marked)) =
            self.catalog.commit(&mark, self.clock.now().max(end)).await?;
        Ok(marked.number)
    }

    /// Has a data type of an hour built, unless it is or will be.
    async fn draw(&self, workspace: &WorkspaceId, asked: Asked) -> Result<How, PortError> {
        self.fit(workspace, &[asked.of]).await?;
        let new = self.ticket(workspace, asked, &self.place(workspace).await?);
        Ok(self.tickets.draw(&new).await?.how)
    }

    /// Has data types of hours built anew, all of them or none.
    pub(super) async fn redraw(
        &self,
        workspace: &WorkspaceId,
        all: Vec<Asked>,
    ) -> Result<(), PortError> {
        self.fit(workspace, &TYPES.iter().collect::<Vec<_>>()).await?;
        let place = self.place(workspace).await?;
        let all = all.into_iter().map(|asked| self.ticket(workspace, asked, &place));
        let all: Vec<NewTicket> = all.collect();
        self.tickets.redraw(&all).await.map_err(|error| match &error {
            LedgerError::UnderWay { key } => {
                let hour = parse(key).map_or_else(|| key.clone(), |(_, hour)| hour.name());
                let text = format!("the hour {hour} is being built; wait until it is there");
                PortError::new(Code::Conflict, Fault::Request, text)
            }
            _ => error.into(),
        })
    }

    /// Sees to it that there is what data types are read from, but for those of which the workspace has a view of its own.
    async fn fit(&self, workspace: &WorkspaceId, types: &[&DataType]) -> Result<(), PortError> {
        let views = self.catalog.views(workspace).await?;
        if types.iter().all(|of| views.iter().any(|view| view.name == of.view)) {
            return Ok(());
        }
        let ports = (&*self.catalog, &*self.clock);
        let ensured = canonical::ensure(ports, workspace, (READS, Growth::Allowed)).await;
        // A dataset that does not fit is for the run to complain of, which is told and tried again.
        match ensured {
            Err(error) if error.fault() != Fault::Source => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Returns where files are held.
    async fn place(&self, workspace: &WorkspaceId) -> Result<String, PortError> {
        self.destinations.resolve(workspace, PLACE).await
    }

    fn ticket(&self, workspace: &WorkspaceId, asked: Asked, place: &str) -> NewTicket {
        let (settings, now) = (self.settings(), self.clock.now());
        NewTicket {
            id: TicketId::mint(),
            workspace: workspace.clone(),
            door: NAME.into(),
            key: asked.hour.key(asked.of),
            held: asked.until - now,
            lane: asked.lane,
            range: asked.range,
            definition: definition((asked.of, asked.hour), &settings, place.to_owned()),
            gone: None,
            now,
        }
    }
}

/// A data type of an hour to be built.
pub(super) struct Asked {
    pub(super) of: &'static DataType,
    pub(super) hour: Hour,
    pub(super) lane: String,
    pub(super) range: Option<(CommitNumber, CommitNumber)>,
    /// Until when files are held.
    pub(super) until: DateTime<Utc>,
}

/// Returns what a key is of.
fn parse(key: &str) -> Option<(&'static DataType, Hour)> {
    let (name, stamp) = key.split_once('/')?;
    let at = chrono::NaiveDateTime::parse_from_str(stamp, "%Y%m%d%H%M").ok()?;
    Some((DataType::named(name)?, Hour::of(at.and_utc())))
}

/// Returns what is exported of a data type of an hour (GI-10, GI-30 to GI-33).
fn definition(
    (of, hour): (&DataType, Hour),
    settings: &Settings,
    destination: String,
) -> Definition {
    let selection = Selection {
        columns: Some(of.select(settings)),
        filter: None,
        since: Some(hour.start()),
        until: Some(hour.end()),
    };
    let options = [
        ("csv.escape", "backslash"),
        ("csv.header", "true"),
        ("csv.line_breaks", "space"),
        ("csv.line_end", "lf"),
    ];
    let format = FormatSpec {
        compression: Some("gzip".into()),
        file_bytes: Some(settings.package_bytes),
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        md5: true,
        ..FormatSpec::new("csv")
    };
    let relation = Relation { source: Source::View(of.view.into()), selection };
    Definition { relation, format, destination, meaning: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_what_they_are_of() {
        let hour = Hour::parse("2026030105").expect("an hour");
        for of in &TYPES {
            let (found, at) = parse(&hour.key(of)).expect("a key");
            assert_eq!((found.name, at), (of.name, hour));
        }
        for wrong in ["", "page", "pages/202603010000", "page/x"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
