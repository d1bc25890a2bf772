//! Sealing a run: fix the manifest's bytes, deliver them, move the cursor.
//!
//! From [`freeze`] on a run can only finish: every later holder delivers the same bytes. So a crash
//! between any two steps is mended by doing [`finish`] again.

use bytes::Bytes;

use model::export::Advance;
use model::manifest::Previous;
use model::run::{Plan, Run, RunState};
use model::{ObjectKey, RunId};

use crate::deliver;
use crate::error::Error;
use crate::manifest::{self, Files};
use crate::retry::{Tries, patiently};
use crate::session::Session;
use crate::work::Pages;

/// Fixes the manifest's bytes: `running → sealing`.
pub(crate) async fn freeze(session: &Session, plan: &Plan) -> Result<(), Error> {
    let (run, ports) = (&session.run, &session.ports);
    let mut files = Files::default();
    let mut pages = Pages::new(session);
    while let Some(part) = pages.next().await? {
        let unwritten = || inconsistent(&run.id, "a part is not written");
        files.add(part).ok_or_else(unwritten)?;
    }
    let previous = previous(session).await?;
    let max = session.settings.manifest_files_max;
    let frozen = files.seal((run, plan), previous, ports.clock.now(), max);
    patiently(&*ports.pauses, || ports.ledger.freeze(&session.lease, &frozen)).await?;
    Ok(())
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
    Ok(Some(manifest::previous(&before, frozen)))
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
    // No row is read from here on; done before the last step, a crash cannot leave it undone.
    if let Err(error) = ports.relations.unstage(&run.id, session.lease.epoch).await {
        tracing::warn!(%error, run = %run.id, "staged files could not be removed");
    }
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
