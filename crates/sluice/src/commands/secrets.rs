//! `secrets rotate`: every secret under a new key.
//!
//! The folder's own file gets the new key first, durably; then the database seals nothing under the old one any more,
//! and every secret is sealed anew; then the old key goes. Killed in between, every secret opens with the keys of the
//! file, and the next rotation goes on. Servers read the file at each use. Keys that somebody else keeps are only used.

use store::{Lost, Resealed};

use crate::app::App;
use crate::cli;
use crate::failed::Failed;
use crate::keys::{KeyPlace, OwnKeys};
use crate::output::counted;

/// Lost secrets that are named; the rest is counted.
const LOST_NAMED: usize = 5;

/// Does a `secrets` command.
pub(crate) async fn secrets(app: &App, command: cli::Secrets) -> Result<(), Failed> {
    let cli::Secrets::Rotate = command;
    match &app.keys {
        KeyPlace::Own(own) => rotate_own(app, own).await,
        KeyPlace::Given(_) => {
            let done = reseal(app).await?;
            let ring = app.keys.keys().read()?;
            let old = ring.keys().iter().map(store::Key::id).filter(|id| *id != done.key);
            tell(app, &done, &old.collect::<Vec<_>>())
        }
    }
}

async fn rotate_own(app: &App, own: &OwnKeys) -> Result<(), Failed> {
    let one = own.clone();
    let blocking = tokio::task::spawn_blocking(move || {
        let held = one.hold()?;
        one.renew().map(|_| held)
    });
    let _held = blocking.await.expect("writing keys does not panic")?;
    let done = reseal(app).await?;
    own.keep(&done.key)?;
    tell(app, &done, &[])
}

/// Fails if a secret is lost: the old keys stay then.
async fn reseal(app: &App) -> Result<Resealed, Failed> {
    let done = app.store.reseal().await?;
    if done.lost.is_empty() {
        return Ok(done);
    }
    let why = |lost: &Lost| format!("workspace `{}`: {}", lost.workspace, lost.reason);
    let mut named: Vec<String> = done.lost.iter().map(why).collect();
    named.sort();
    named.truncate(LOST_NAMED);
    let lost = counted(done.lost.len() as u64, "secret");
    Err(Failed::internal(format!(
        "{lost} could not be opened, so the old keys stay: {}; then rotate again",
        named.join("; ")
    )))
}

fn tell(app: &App, done: &Resealed, old: &[&str]) -> Result<(), Failed> {
    let told = serde_json::json!({ "key": done.key, "resealed": done.secrets, "not_needed": old });
    app.output.value(&told, |out| {
        let secrets = counted(done.secrets, "secret");
        writeln!(out, "{secrets} sealed anew; all are under the key {}", done.key)?;
        if !old.is_empty() {
            writeln!(out, "not needed any more: {}", old.join(", "))?;
        }
        Ok(())
    })?;
    Ok(())
}
