//! Cases of tickets: drawn once, served in order, held for a while, tried again.

use chrono::{DateTime, TimeDelta, Utc};
use model::access;
use model::dataset::{CommitKind, NewCommit, Removal};
use model::enrolment::NewEnrolment;
use model::export::{Advance, NewRun, OpenSlot, Rerun};
use model::job::{AfterFailure, Job, JobLease, Shift, SlotFailure, Task};
use model::limits::{TICKET_AGAIN_SECONDS, TICKET_DAYS, TICKETS_WAITING_MAX};
use model::ports::{Lease, LedgerError, PinOwner, Spare};
use model::run::RunState;
use model::ticket::{Drawn, How, NewTicket, Ticket, TicketState};
use model::{CommitNumber, OrganizationId, RunId, TicketId, WorkspaceId};

use super::jobs::words;
use super::{Rig, append, at, definition, enrolments, incremental, refused, workspace};

fn asked(key: &str, now: DateTime<Utc>) -> NewTicket {
    NewTicket {
        id: TicketId::mint(),
        workspace: workspace(),
        door: "door".into(),
        key: key.into(),
        lane: String::new(),
        range: None,
        definition: definition(),
        held: TimeDelta::seconds(60),
        gone: None,
        now,
    }
}

impl Rig {
    async fn draw(&self, key: &str, second: i64) -> Drawn {
        self.tickets.draw(&asked(key, at(second))).await.unwrap()
    }

    async fn waits(&self) -> Vec<Job> {
        self.jobs.waiting(Shift::Exports, 100, at(1_000_000)).await.unwrap()
    }

    /// Takes the ticket whose turn it is.
    async fn turn(&self) -> JobLease {
        let job = self.waits().await.remove(0);
        self.jobs.claim(&job.id, job.epoch, false).await.unwrap().unwrap()
    }

    /// Opens the run of the ticket whose turn it is, and brings it to a state.
    async fn serve(&self, state: RunState) -> Lease {
        let slot = OpenSlot { lease: self.turn().await, is_window: false };
        let new = NewRun {
            id: RunId::mint(at(3)),
            export: None,
            advance: Advance::None,
            slot: Some(slot),
            ..incremental("none")
        };
        let lease = self.open(&new).await.lease;
        self.bring(&lease, state).await;
        lease
    }

    async fn state_of(&self, key: &str) -> TicketState {
        self.tickets.ticket(&workspace(), "door", key).await.unwrap().unwrap().state
    }
}

/// What a ticket is whose run was sealed.
async fn ready(rig: &Rig, run: &RunId) -> TicketState {
    let sums = rig.runs.brief(&workspace(), run).await.unwrap().sums.unwrap();
    TicketState::Ready { run: run.clone(), since: at(9), files: sums.files }
}

pub async fn of_many_who_ask_one_draws(rig: &Rig) {
    rig.commits(1).await;
    assert_eq!(rig.tickets.ticket(&workspace(), "door", "a").await.unwrap(), None);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let rig = rig.clone();
        asking.spawn(async move { rig.draw("a", 1).await });
    }
    let all = asking.join_all().await;
    let new = all.iter().filter(|drawn| drawn.how == How::New).count();
    assert_eq!((new, rig.waits().await.len()), (1, 1));
    assert!(all.iter().all(|drawn| drawn.ticket == all[0].ticket), "{all:?}");
    let Ticket { drawn_at, state, .. } = &all[0].ticket;
    assert_eq!((*drawn_at, state), (at(1), &TicketState::Waiting));
    // Another key, door or workspace has a ticket of its own.
    assert_eq!(rig.draw("b", 1).await.how, How::New);
    let door = NewTicket { door: "other".into(), ..asked_at("a") };
    assert_eq!(rig.tickets.draw(&door).await.unwrap().how, How::New);
    let elsewhere = another(rig).await;
    let there = NewTicket { workspace: elsewhere.clone(), ..asked_at("a") };
    assert_eq!(rig.tickets.draw(&there).await.unwrap().how, How::New);
    assert_eq!(rig.tickets.ticket(&elsewhere, "door", "b").await.unwrap(), None);
    let nowhere = NewTicket { workspace: WorkspaceId::new("nowhere"), ..asked_at("a") };
    refused!(rig.tickets.draw(&nowhere).await, LedgerError::NotFound { what: "workspace", .. });
}

async fn another(rig: &Rig) -> WorkspaceId {
    let new = access::Workspace {
        id: WorkspaceId::mint(),
        name: "elsewhere".into(),
        organization: OrganizationId::default_organization(),
        created_at: at(0),
    };
    rig.access.create_workspace(&new).await.unwrap();
    new.id
}

fn asked_at(key: &str) -> NewTicket {
    asked(key, at(1))
}

pub async fn tickets_are_served_one_after_another(rig: &Rig) {
    rig.commits(1).await;
    for key in ["c", "a", "b"] {
        rig.draw(key, 1).await;
    }
    // The first one alone, whatever becomes of it, until it is over.
    assert_eq!(words(&rig.waits().await), ["orders"]);
    let first = rig.serve(RunState::Running).await;
    assert_eq!(words(&rig.waits().await), [first.run.to_string()]);
    let since = rig.ledger.run(&workspace(), &first.run).await.unwrap().created_at;
    let running = TicketState::Running { run: first.run.clone(), since };
    assert_eq!(rig.state_of("c").await, running);
    assert_eq!(rig.state_of("a").await, TicketState::Waiting);
    assert_eq!(rig.draw("c", 2).await.how, How::Known);
    rig.bring_on(&first, RunState::Sealing).await;
    rig.bring_on(&first, RunState::Sealed).await;
    assert_eq!(rig.state_of("c").await, ready(rig, &first.run).await);
    let second = rig.serve(RunState::Sealed).await;
    assert_eq!(rig.state_of("a").await, ready(rig, &second.run).await);
    assert_eq!(rig.state_of("b").await, TicketState::Waiting);
    // Runs of exports do not wait for them.
    let other = rig.run_in("e", RunState::Running).await;
    assert!(words(&rig.waits().await).contains(&other.run.to_string()));
}

pub async fn files_are_held_and_then_let_go(rig: &Rig) {
    rig.commits(1).await;
    rig.draw("a", 1).await;
    let first = rig.serve(RunState::Sealed).await.run;
    let lapsed = async |second| rig.tickets.lapsed(&workspace(), at(second), 9).await.unwrap();
    assert_eq!(rig.draw("a", 69).await.how, How::Known);
    assert_eq!(lapsed(69).await, []);
    // What it read is not kept: it is drawn anew, not written again.
    let rerun = Rerun {
        id: RunId::mint(at(10)),
        workspace: workspace(),
        of: first.clone(),
        now: at(10),
        owner: "test".into(),
        key: None,
        kept_since: at(0),
    };
    refused!(rig.ledger.open_rerun(&rerun).await, LedgerError::Gone { .. });
    let again = rig.draw("a", 70).await;
    assert_eq!((again.how, again.ticket.drawn_at), (How::New, at(70)));
    assert_eq!(again.ticket.state, TicketState::Waiting);
    // The files of before are still to be taken away.
    let second = rig.serve(RunState::Sealed).await.run;
    assert_eq!(lapsed(1000).await.len(), 2);
    rig.tickets.let_go(&workspace(), &first).await.unwrap();
    rig.tickets.let_go(&workspace(), &first).await.unwrap();
    assert_eq!(lapsed(1000).await.as_slice(), std::slice::from_ref(&second));
    // Files that are gone before their time are made anew, once.
    let lost = NewTicket { gone: Some(second.clone()), ..asked("a", at(12)) };
    assert_eq!(rig.tickets.draw(&lost).await.unwrap().how, How::New);
    assert_eq!(rig.tickets.draw(&lost).await.unwrap().how, How::Known);
    rig.serve(RunState::Sealed).await;
    assert_eq!(rig.tickets.draw(&lost).await.unwrap().how, How::Known);
    assert_eq!(rig.tickets.lapsed(&WorkspaceId::new("other"), at(1000), 9).await.unwrap(), []);
}

pub async fn what_fails_is_drawn_again_and_then_rests(rig: &Rig) {
    rig.commits(1).await;
    rig.draw("a", 1).await;
    for (failures, how) in [(1, How::Again), (2, How::Again), (3, How::Known)] {
        rig.serve(RunState::Failed).await;
        assert_eq!(rig.state_of("a").await, TicketState::Failed);
        assert!(rig.waits().await.is_empty());
        let drawn = rig.draw("a", 10).await;
        assert_eq!((drawn.how, drawn.ticket.failures), (how, failures));
        assert_eq!(drawn.ticket.reason.as_deref(), Some("reason"));
    }
    // It rests, and holds up no other.
    rig.draw("b", 10).await;
    let rested = 9 + TICKET_AGAIN_SECONDS;
    assert_eq!(rig.draw("a", rested - 1).await.how, How::Known);
    rig.serve(RunState::Sealed).await;
    assert_eq!(rig.draw("a", rested).await.how, How::Again);
    rig.serve(RunState::Sealed).await;
    let ticket = rig.draw("a", 11).await.ticket;
    assert_eq!((ticket.failures, ticket.reason, ticket.failed_at), (0, None, None));
    // Cancelled is not done.
    rig.draw("c", 1).await;
    rig.serve(RunState::Cancelled).await;
    assert_eq!(rig.state_of("c").await, TicketState::Failed);
}

pub async fn what_cannot_be_opened_counts_and_makes_room(rig: &Rig) {
    rig.commits(1).await;
    rig.draw("a", 1).await;
    rig.draw("b", 1).await;
    let lease = rig.turn().await;
    let failure = SlotFailure { why: "no such column", may_help: false, version: None };
    let failed = async || rig.jobs.failed(&lease, &failure, at(5)).await.unwrap();
    assert_eq!(failed().await, AfterFailure::Over);
    assert_eq!(failed().await, AfterFailure::Nothing);
    let ticket = rig.tickets.ticket(&workspace(), "door", "a").await.unwrap().unwrap();
    assert_eq!((ticket.state, ticket.failures), (TicketState::Failed, 1));
    assert_eq!((ticket.reason.as_deref(), ticket.failed_at), (Some("no such column"), Some(at(5))));
    assert_eq!(rig.waits().await.len(), 1);
    // What is put off keeps its turn.
    let lease = rig.turn().await;
    rig.jobs.later(&lease, at(20), "the database is away").await.unwrap();
    rig.draw("c", 1).await;
    assert!(rig.jobs.waiting(Shift::Exports, 9, at(19)).await.unwrap().is_empty());
    assert_eq!(rig.waits().await.len(), 1);
    assert_eq!(rig.state_of("b").await, TicketState::Waiting);
}

pub async fn not_more_tickets_wait_than_may(rig: &Rig) {
    rig.commits(1).await;
    for n in 0..TICKETS_WAITING_MAX {
        rig.draw(&n.to_string(), 1).await;
    }
    let one_more = rig.tickets.draw(&asked_at("more")).await;
    refused!(one_more, LedgerError::ManyTickets { .. });
    assert_eq!(rig.tickets.ticket(&workspace(), "door", "more").await.unwrap(), None);
    assert_eq!(rig.draw("0", 2).await.how, How::Known);
}

pub async fn old_tickets_are_forgotten(rig: &Rig) {
    rig.commits(1).await;
    rig.draw("held", 1).await;
    let run = rig.serve(RunState::Sealed).await.run;
    rig.draw("failed", 1).await;
    rig.serve(RunState::Failed).await;
    rig.draw("waits", 1).await;
    let is_there =
        async |key| rig.tickets.ticket(&workspace(), "door", key).await.unwrap().is_some();
    let old = at(2) + TimeDelta::days(TICKET_DAYS);
    rig.jobs.forget(old - TimeDelta::seconds(2), 9).await.unwrap();
    assert!(is_there("failed").await);
    rig.jobs.forget(old, 9).await.unwrap();
    assert_eq!((is_there("failed").await, is_there("held").await), (false, true));
    rig.tickets.let_go(&workspace(), &run).await.unwrap();
    rig.jobs.forget(old, 9).await.unwrap();
    assert_eq!((is_there("held").await, is_there("waits").await), (false, true));
}

pub async fn lanes_do_not_wait_for_each_other(rig: &Rig) {
    rig.commits(1).await;
    rig.draw("a", 1).await;
    for (key, lane) in [("b", "left"), ("c", "right"), ("d", "right")] {
        let new = NewTicket { lane: lane.into(), ..asked_at(key) };
        let drawn = rig.tickets.draw(&new).await.unwrap();
        assert_eq!(drawn.ticket.lane, lane);
    }
    assert_eq!(rig.waits().await.len(), 3);
}

pub async fn a_ticket_may_be_of_a_range(rig: &Rig) {
    rig.commits(3).await;
    let range = Some((CommitNumber(1), CommitNumber(2)));
    let new = NewTicket { range, ..asked_at("a") };
    assert_eq!(rig.tickets.draw(&new).await.unwrap().ticket.range, range);
    let Task::Ticket { range: told, definition: what } = rig.waits().await.remove(0).task else {
        panic!("no ticket")
    };
    assert_eq!((told, *what), (range, definition()));
    rig.serve(RunState::Sealed).await;
    // Drawn anew it is of what is asked for then.
    let lost = rig.tickets.ticket(&workspace(), "door", "a").await.unwrap().unwrap();
    let TicketState::Ready { run, files, .. } = lost.state else { panic!("it is sealed") };
    let known = rig.runs.brief(&workspace(), &run).await.unwrap().sums.unwrap().files;
    assert_eq!(files, known);
    let again = NewTicket { gone: Some(run), range: None, ..asked("a", at(2)) };
    assert_eq!(rig.tickets.draw(&again).await.unwrap().ticket.range, None);
}

pub async fn what_failed_is_found(rig: &Rig) {
    rig.commits(1).await;
    let failed = async || {
        let all = rig.tickets.failed_tickets("door", at(1000), 9).await.unwrap();
        all.into_iter().map(|ticket| ticket.key).collect::<Vec<_>>()
    };
    let keys = ["b", "a", "c"];
    for key in keys {
        rig.draw(key, 1).await;
    }
    assert!(failed().await.is_empty());
    rig.serve(RunState::Failed).await;
    let lease = rig.turn().await;
    let failure = SlotFailure { why: "no such column", may_help: false, version: None };
    rig.jobs.failed(&lease, &failure, at(50)).await.unwrap();
    rig.serve(RunState::Sealed).await;
    assert_eq!(failed().await, ["a", "b"]);
    assert!(rig.tickets.failed_tickets("other", at(1000), 9).await.unwrap().is_empty());
    // What is drawn again is no failure until it fails again.
    rig.draw("b", 60).await;
    assert_eq!(failed().await, ["a"]);
    rig.serve(RunState::Running).await;
    assert_eq!(failed().await, ["a"]);
    let keys = keys.map(str::to_owned);
    let all = rig.tickets.tickets(&workspace(), "door", &keys).await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(rig.tickets.tickets(&workspace(), "other", &keys).await.unwrap().is_empty());
    assert!(rig.tickets.tickets(&workspace(), "door", &[]).await.unwrap().is_empty());
}

pub async fn what_failed_rests(rig: &Rig) {
    rig.commits(1).await;
    let due = async |second| rig.tickets.failed_tickets("door", at(second), 9).await.unwrap().len();
    for failures in 1..=3 {
        rig.draw("a", 10_000 * failures).await;
        rig.serve(RunState::Failed).await;
    }
    let rested = 9 + TICKET_AGAIN_SECONDS;
    assert_eq!((due(rested - 1).await, due(rested).await), (0, 1));
    // Somebody may not wait.
    rig.tickets.redraw(&[asked("a", at(10))]).await.unwrap();
    assert_eq!(rig.state_of("a").await, TicketState::Waiting);
    assert_eq!(due(1_000_000).await, 0);
    // It begins anew: what fails now is tried at once.
    rig.serve(RunState::Failed).await;
    assert_eq!(due(9).await, 1);
}

pub async fn what_is_settled_needs_no_run(rig: &Rig) {
    rig.commits(1).await;
    let settle = async |key| rig.tickets.settle(&asked(key, at(1))).await.unwrap();
    settle("a").await;
    settle("a").await;
    assert_eq!(rig.state_of("a").await, TicketState::Nothing);
    assert!(rig.waits().await.is_empty());
    assert!(rig.tickets.failed_tickets("door", at(1000), 9).await.unwrap().is_empty());
    assert_eq!(rig.draw("a", 2).await.how, How::Known);
    // What is there stays.
    rig.draw("b", 1).await;
    settle("b").await;
    assert_eq!(rig.state_of("b").await, TicketState::Waiting);
    // Somebody who knows better has it made.
    rig.tickets.redraw(&[asked("a", at(3))]).await.unwrap();
    assert_eq!(rig.state_of("a").await, TicketState::Waiting);
}

pub async fn all_are_drawn_anew_or_none(rig: &Rig) {
    rig.commits(1).await;
    let redraw = async |keys: &[&str], second| {
        let all: Vec<NewTicket> = keys.iter().map(|key| asked(key, at(second))).collect();
        rig.tickets.redraw(&all).await
    };
    rig.draw("b", 1).await;
    let before = rig.serve(RunState::Sealed).await.run;
    rig.draw("d", 1).await;
    refused!(redraw(&["a", "b", "c", "d"], 2).await, LedgerError::UnderWay { .. });
    let find = async |key| rig.tickets.ticket(&workspace(), "door", key).await.unwrap();
    assert_eq!((find("a").await, find("c").await), (None, None));
    assert!(matches!(rig.state_of("b").await, TicketState::Ready { .. }));
    redraw(&["a", "b", "c"], 3).await.unwrap();
    for key in ["a", "b", "c"] {
        let ticket = find(key).await.unwrap();
        assert_eq!((ticket.state, ticket.drawn_at), (TicketState::Waiting, at(3)), "{key}");
    }
    // In order, behind what waited before.
    for key in ["d", "a", "b", "c"] {
        let run = rig.serve(RunState::Sealed).await.run;
        assert!(matches!(rig.state_of(key).await, TicketState::Ready { .. }), "{key}");
        assert_ne!(run, before);
    }
    // The files of before are held for as long as they were to be.
    let lapsed = rig.tickets.lapsed(&workspace(), at(1_000_000), 9).await.unwrap();
    assert!(lapsed.contains(&before), "{lapsed:?}");
    assert_eq!(lapsed.len(), 5);
    redraw(&[], 4).await.unwrap();
    let many: Vec<String> = (0..=TICKETS_WAITING_MAX).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused!(redraw(&many, 5).await, LedgerError::ManyTickets { .. });
    assert_eq!(find("0").await, None);
    redraw(&many[1..], 6).await.unwrap();
    assert_eq!(rig.waits().await.len(), 1);
    refused!(rig.tickets.draw(&asked("0", at(7))).await, LedgerError::ManyTickets { .. });
}

pub async fn rows_stay_readable_for_tickets_that_are_not_served(rig: &Rig) {
    let orders = rig.orders().await;
    let file = append(&orders, 10);
    rig.commit(&file).await;
    let ticket = NewTicket { range: Some((CommitNumber(0), CommitNumber(1))), ..asked("a", at(3)) };
    rig.tickets.draw(&ticket).await.unwrap();
    let expire = NewCommit::new(workspace(), CommitKind::Expire, orders.clone());
    let remove = Removal::Files(vec![file.files[0].id.clone()]);
    rig.commit(&NewCommit { remove, ..expire }).await;
    let spare = Spare {
        merged_before: at(0),
        ended_before: at(99),
        pinned_since: at(0),
        kept_since: at(0),
    };
    let doomed = async || rig.catalog.doom(&workspace(), &spare, 9).await.unwrap().len();
    let pins = async || rig.catalog.pins(&workspace(), &orders).await.unwrap();
    assert_eq!(doomed().await, 0);
    rig.serve(RunState::Failed).await;
    assert_eq!(doomed().await, 0);
    let pin = pins().await.remove(0);
    assert_eq!((pin.owner, pin.at), (PinOwner::Ticket("door a".into()), CommitNumber(1)));
    let new = NewEnrolment { covered: at(0), ..enrolments::new(workspace(), "a") };
    rig.enrolments.enrol(&new).await.unwrap();
    rig.tickets.redraw(&[ticket]).await.unwrap();
    rig.serve(RunState::Sealed).await;
    // Nobody has asked yet for what was there when the rows ended.
    assert_eq!(doomed().await, 0);
    rig.enrolments.cover(&workspace(), &new.door, at(98)).await.unwrap();
    assert_eq!((doomed().await, pins().await), (1, Vec::new()));
}
