//! Running the parts of a run: some at a time, each one written down before it begins and after it ends.

use std::sync::Arc;

use tokio::task::JoinSet;

use model::ObjectKey;
use model::part::{Part, PartId, PartTask, Receipt};
use model::ports::Progress;
use model::run::{Intent, Plan};

use crate::cut::check_name;
use crate::error::Error;
use crate::part::{Stores, Watch, run_part};
use crate::retry::patiently;
use crate::session::Session;
use crate::stop::Why;

/// Parts read from the ledger at once.
const PAGE: u32 = 500;

/// Runs every part that is not written yet. When it returns, nothing is running any more.
pub(crate) async fn run_parts(session: &Arc<Session>, plan: &Arc<Plan>) -> Result<(), Error> {
    let mut pages = Pages::new(session);
    let mut unfinished = Unfinished::default();
    let mut running = JoinSet::new();
    let mut first_error = None;
    announce(session, plan).await?;
    loop {
        while running.len() < session.settings.parallel.max(1) && session.stop.why().is_none() {
            match pages.next().await {
                Ok(Some(part)) => {
                    if let Some(part) = unfinished.take(part) {
                        let work = chain(Arc::clone(session), Arc::clone(plan), part);
                        running.spawn(work);
                    }
                }
                Ok(None) => break,
                Err(error) => fail(session, &mut first_error, error),
            }
        }
        let Some(done) = running.join_next().await else { break };
        let run = session.run.id.clone();
        let done = done.unwrap_or_else(|source| Err(Error::Broken { run, source }));
        if let Err(error) = done {
            fail(session, &mut first_error, error);
        }
    }
    first_error.map_or_else(|| session.check(), Err)
}

/// Keeps the first error that is a reason, and asks everybody else to stop.
fn fail(session: &Session, first: &mut Option<Error>, error: Error) {
    if error.is_fenced() {
        session.stop.ask(Why::Fenced);
    }
    session.stop.ask(Why::Failed);
    if first.is_none() && !error.is_stopped() {
        *first = Some(error);
    }
}

async fn announce(session: &Session, plan: &Plan) -> Result<(), Error> {
    let mut done = 0;
    if session.run.plan.is_some() {
        let mut pages = Pages::new(session);
        while let Some(part) = pages.next().await? {
            done += part.receipt.map_or(0, |receipt| receipt.rows_read);
        }
    }
    session.observer.planned(plan.rows, done);
    Ok(())
}

/// Runs a part and then, one after the other, what it leaves over.
async fn chain(session: Arc<Session>, plan: Arc<Plan>, part: Part) -> Result<(), Error> {
    let mut next = Some(part);
    while let Some(part) = next {
        session.check()?;
        next = Box::pin(one(&session, &plan, part)).await?;
    }
    Ok(())
}

async fn one(session: &Session, plan: &Plan, part: Part) -> Result<Option<Part>, Error> {
    let (ports, lease, id) = (&session.ports, &session.lease, part.id);
    let receipt = write(session, plan, part.clone(), &*session.observer).await?;
    let remainder = remainder(session, plan, &part, &receipt)?;
    let finish = || ports.ledger.finish_part(lease, id, &receipt, remainder.as_ref());
    patiently(&*ports.pauses, finish).await?;
    session.observer.part(id, &receipt);
    Ok(remainder)
}

/// Writes the file of a part, after saying in the ledger that it will.
pub(crate) async fn write(
    session: &Session,
    plan: &Plan,
    part: Part,
    progress: &dyn Progress,
) -> Result<Receipt, Error> {
    let (ports, lease, id) = (&session.ports, &session.lease, part.id);
    let key = ObjectKey::new(format!("{}/{}", session.run.folder(), part.name));
    let token = format!("{}-{id}-e{}", session.run.id, lease.epoch);
    let intent = Intent { epoch: lease.epoch, key: key.clone(), token: token.clone() };
    patiently(&*ports.pauses, || ports.ledger.intend(lease, id, &intent)).await?;
    let task = PartTask {
        run: session.run.id.clone(),
        epoch: lease.epoch,
        key,
        part,
        relation: plan.relation.clone(),
        encoding: plan.encoding.clone(),
        md5: plan.md5,
    };
    let stores = Stores {
        relations: Arc::clone(&ports.relations),
        encoder: Arc::clone(&ports.encoder),
        objects: Arc::clone(&session.objects),
        pauses: Arc::clone(&ports.pauses),
        put_bytes_max: session.settings.put_bytes_max,
    };
    let watch = Watch { progress, stop: &session.stop };
    let receipt = run_part(&task, &stores, &token, watch).await?;
    if receipt.rows > 0 {
        session.wrote(&receipt.key);
    }
    Ok(receipt)
}

fn remainder(
    session: &Session,
    plan: &Plan,
    part: &Part,
    receipt: &Receipt,
) -> Result<Option<Part>, Error> {
    if receipt.rows_read == part.rows_planned() {
        return Ok(None);
    }
    let inputs = part.clone().cut(receipt.rows_read);
    let id = part.id.remainder();
    // At least two files now, whatever was planned: a template without the part's number is refused.
    let parts = plan.parts.max(2);
    let encoder = &session.ports.encoder;
    let name = encoder.name(&plan.encoding, &session.run.names(), id, parts)?;
    check_name(&name)?;
    Ok(Some(Part { id, inputs, name, receipt: None }))
}

/// Picks the parts to be run. A remainder that appears while its part's chain is running belongs to
/// that chain.
#[derive(Debug, Default)]
struct Unfinished {
    taken: Option<u32>,
}

impl Unfinished {
    fn take(&mut self, part: Part) -> Option<Part> {
        let PartId { sequence, .. } = part.id;
        if part.receipt.is_some() || self.taken == Some(sequence) {
            return None;
        }
        self.taken = Some(sequence);
        Some(part)
    }
}

/// The parts of a run in order, read page by page.
pub(crate) struct Pages<'a> {
    session: &'a Session,
    page: std::vec::IntoIter<Part>,
    after: Option<PartId>,
    over: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self { session, page: Vec::new().into_iter(), after: None, over: false }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Part>, Error> {
        if let Some(part) = self.page.next() {
            return Ok(Some(part));
        }
        if self.over {
            return Ok(None);
        }
        let (ports, run) = (&self.session.ports, &self.session.run);
        let after = self.after;
        let read = || ports.ledger.parts(&run.workspace, &run.id, after, PAGE);
        let page = patiently(&*ports.pauses, read).await?;
        self.over = page.is_empty();
        self.after = page.last().map(|part| part.id).or(after);
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}
