//! Sealing a run: fix the manifest's bytes, deliver them, move the cursor.
//!
//! From [`freeze`] on a run can only finish: every later holder delivers the same bytes. So a crash
//! between any two steps is mended by doing [`finish`] again. A run [`into_dataset`] is sealed by one transaction, which
//! commits its rows, too: before it there is nothing to finish, after it nothing to do.

use bytes::Bytes;

use model::export::Advance;
use model::into::{Batches, IntoDataset, Write};
use model::limits::{INTO_BATCHES_MAX, INTO_FILES_MAX};
use model::manifest::Previous;
use model::part::Part;
use model::ports::{Arrival, CatalogError, LedgerError};
use model::run::{FrozenManifest, Plan, Run, RunState};
use model::{ObjectKey, RunId};

use crate::deliver;
use crate::error::Error;
use crate::manifest::{self, Files};
use crate::retry::{Tries, patiently};
use crate::session::Session;
use crate::work::Pages;

/// Times a commit is made anew because somebody else has changed the dataset meanwhile.
const COMMIT_TRIES: u32 = 20;

/// Fixes the manifest's bytes: `running → sealing`.
pub(crate) async fn freeze(session: &Session, plan: &Plan) -> Result<(), Error> {
    let ports = &session.ports;
    let frozen = manifest(session, plan, |_| Ok(())).await?;
    patiently(&*ports.pauses, || ports.ledger.freeze(&session.lease, &frozen)).await?;
    Ok(())
}

/// Writes the manifest of what the ledger says is written, and shows every part that it is made of.
async fn manifest(
    session: &Session,
    plan: &Plan,
    mut look: impl FnMut(&Part) -> Result<(), Error>,
) -> Result<FrozenManifest, Error> {
    let run = &session.run;
    let mut files = Files::default();
    let mut pages = Pages::new(session);
    while let Some(part) = pages.next().await? {
        look(&part)?;
        let unwritten = || inconsistent(&run.id, "a part is not written");
        files.add(part).ok_or_else(unwritten)?;
    }
    let previous = previous(session).await?;
    let max = session.settings.manifest_files_max;
    Ok(files.seal((run, plan), previous, session.ports.clock.now(), max))
}

/// Commits what was written as rows of a dataset, which seals the run: `running → sealed`.
pub(crate) async fn into_dataset(
    session: &Session,
    plan: &Plan,
    into: &IntoDataset,
) -> Result<Run, Error> {
    let (run, ports) = (&session.run, &session.ports);
    let mut arrivals = Vec::new();
    let frozen = manifest(session, plan, |part| {
        let receipt = part.receipt.as_ref().filter(|receipt| receipt.rows > 0);
        arrivals.extend(receipt.map(|receipt| Arrival {
            key: receipt.key.clone(),
            batch: into.batch(&run.id, part.id),
            rows: receipt.rows,
            bytes: receipt.bytes,
            sha256: receipt.sha256.clone(),
        }));
        check_files(into, arrivals.len() as u64)
    })
    .await?;
    // Done before the last step, a crash cannot leave it undone.
    unstage(session).await;
    let columns = &plan.relation.output;
    let mut tries = 1;
    loop {
        let commits = ports.intake.commits(&run.workspace, into, (columns, &arrivals)).await?;
        let now = ports.clock.now();
        // What a later run would read is no matter of patience.
        let seal = || async {
            match ports.ledger.seal_into(&session.lease, &frozen, &commits, now).await {
                Err(late @ LedgerError::Replaced { .. }) => Ok(Err(late)),
                sealed => sealed.map(Ok),
            }
        };
        match patiently(&*ports.pauses, seal).await.flatten() {
            // Somebody else has changed the dataset since the commit was made.
            Err(LedgerError::Catalog(error))
                if matches!(*error, CatalogError::Moved) && tries < COMMIT_TRIES =>
            {
                tries += 1;
            }
            sealed => {
                sealed?;
                break;
            }
        }
    }
    reread(session).await
}

/// Refuses to put a part of the rows in the place of all.
pub(crate) fn check_whole(into: &IntoDataset, is_part: bool) -> Result<(), Error> {
    if into.write == Write::Replace && is_part {
        return Err(Error::ReplacesByPart { dataset: into.dataset.clone() });
    }
    Ok(())
}

/// Refuses more files than one transaction may bring.
pub(crate) fn check_files(into: &IntoDataset, files: u64) -> Result<(), Error> {
    let most = match into.batches {
        Batches::Run => INTO_FILES_MAX,
        Batches::File => INTO_BATCHES_MAX,
    };
    if files <= most {
        return Ok(());
    }
    Err(Error::ManyFiles { dataset: into.dataset.clone(), most })
}

/// No row is read any more.
async fn unstage(session: &Session) {
    let run = &session.run.id;
    if let Err(error) = session.ports.relations.unstage(run, session.lease.epoch).await {
        tracing::warn!(%error, %run, "staged files could not be removed");
    }
}

/// Returns the manifest that this one follows: the one that moved the cursor to where this run begins.
async fn previous(session: &Session) -> Result<Option<Previous>, Error> {
    let (run, ports) = (&session.run, &session.ports);
    let (Advance::Cursor, Some(export)) = (run.advance, &run.export_name) else { return Ok(None) };
    let find = || ports.ledger.sealed_at(&run.workspace, export, run.from);
    let Some(before) = patiently(&*ports.pauses, find).await? else { return Ok(None) };
    // One that began again may begin where it was before: that is another chain.
    let saved = patiently(&*ports.pauses, || ports.ledger.export(&run.workspace, export)).await?;
    if saved.last_run.as_ref() != Some(&before.id) {
        return Ok(None);
    }
    let frozen = before.manifest.as_ref();
    let frozen =
        frozen.ok_or_else(|| inconsistent(&before.id, "it is sealed without a manifest"))?;
    Ok(Some(manifest::previous(run, (&before, frozen))))
}

/// Delivers the frozen bytes and ends the seal: `sealing → sealed`.
pub(crate) async fn finish(session: &Session) -> Result<Run, Error> {
    let ports = &session.ports;
    let run = reread(session).await?;
    let frozen = run.manifest.as_ref();
    let frozen = frozen.ok_or_else(|| inconsistent(&run.id, "its manifest is not fixed"))?;
    if let Some(sidecar) = &frozen.sidecar {
        let key = ObjectKey::new(format!("{}/{}", run.folder(), sidecar.name));
        put(session, &key, &sidecar.text).await?;
    }
    put(session, &run.manifest_key(), &frozen.text).await?;
    // Done before the last step, a crash cannot leave it undone.
    unstage(session).await;
    let now = ports.clock.now();
    patiently(&*ports.pauses, || ports.ledger.sealed(&session.lease, now)).await?;
    Ok(Run { state: RunState::Sealed, leased: false, ended_at: Some(now), ..run })
}

async fn reread(session: &Session) -> Result<Run, Error> {
    let (ports, run) = (&session.ports, &session.run);
    let read = || ports.ledger.run(&run.workspace, &run.id);
    Ok(patiently(&*ports.pauses, read).await?)
}

async fn put(session: &Session, key: &ObjectKey, text: &str) -> Result<(), deliver::Error> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let mut tries = Tries::new(&*session.ports.pauses);
    deliver::put(&*session.objects, key, bytes, &mut tries).await
}

fn inconsistent(run: &RunId, what: &'static str) -> Error {
    Error::Inconsistent { run: run.clone(), what }
}
