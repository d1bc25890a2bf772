//! `destination create | list | show | update | test | delete`: named places, with secrets that go in and never come out.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use export::destinations;
use model::destination::{Destination, NewDestination, Terms};
use model::limits::SECRET_BYTES_MAX;
use model::ports::Places;
use model::{DestinationId, SecretText, names};
use objects::Egress;
use run::{Destinations, Step, StepState, Trial};
use uuid::Uuid;

use crate::app::App;
use crate::cli::{self, CreateDestination, Fields, UpdateDestination};
use crate::failed::Failed;
use crate::output::{say, table};
use crate::places::Who;

/// Does a `destination` command.
pub(crate) async fn destination(app: &App, command: cli::Destination) -> Result<(), Failed> {
    match command {
        cli::Destination::Create(args) => create(app, args).await,
        cli::Destination::List => list(app).await,
        cli::Destination::Show { name } => {
            let one = app.store.destination(&app.workspace, &name).await?;
            show(app, &one)
        }
        cli::Destination::Update(args) => update(app, args).await,
        cli::Destination::Test { name } => test(app, &name).await,
        cli::Destination::Delete { name } => {
            app.store.delete_destination(&app.workspace, &name, None).await?;
            let done = serde_json::json!({ "deleted": name });
            Ok(app.output.value(&done, |out| writeln!(out, "deleted the destination `{name}`"))?)
        }
    }
}

async fn test(app: &App, name: &str) -> Result<(), Failed> {
    let places = app.places(Who::Operator);
    let url = places.resolve(&app.workspace, &format!("destination:{name}")).await?;
    let objects = places.open(&app.workspace, &url).await?;
    let folder = format!("sluice-trial-{}", Uuid::new_v4().simple());
    let Trial { ok, steps } = run::trial(&*objects, &folder, app.clock.now()).await;
    let told: Vec<_> = steps
        .iter()
        .map(|step| {
            serde_json::json!({ "step": step.step, "state": step.state.as_str(),
                "detail": step.detail, "remedy": step.remedy })
        })
        .collect();
    let row = |step: &Step| {
        let words = [step.detail.as_deref(), step.remedy.as_deref()];
        let words = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
        vec![step.step.to_owned(), step.state.as_str().to_owned(), words]
    };
    let rows: Vec<_> = steps.iter().map(row).collect();
    let told = serde_json::json!({ "ok": ok, "steps": told });
    app.output.value(&told, |out| table(out, &["step", "state", ""], &rows))?;
    if ok {
        return Ok(());
    }
    let failed = steps.iter().filter(|step| step.state == StepState::Failed);
    let failed: Vec<&str> = failed.map(|step| step.step).collect();
    Err(Failed::destination(format!(
        "the destination `{name}` cannot be delivered to: {} failed; what to do stands above",
        failed.join(", ")
    )))
}

async fn create(app: &App, args: CreateDestination) -> Result<(), Failed> {
    names::check("a destination", &args.name)?;
    let mut terms = Terms {
        url: args.url,
        settings: args.fields.set.iter().cloned().collect(),
        secrets: BTreeMap::new(),
    };
    check(app, &mut terms, (&[], &args.fields))?;
    terms.secrets = secrets(&args.fields)?;
    terms.check(&[])?;
    let new = NewDestination { id: DestinationId::mint(), name: args.name, terms };
    let made = app.store.create_destination(&app.workspace, &new, app.clock.now()).await?;
    app.output.value(&made, |out| writeln!(out, "made the destination `{}`", made.name))?;
    Ok(())
}

async fn list(app: &App) -> Result<(), Failed> {
    let all = app.store.destinations(&app.workspace).await?;
    let row = |one: &Destination| vec![one.name.clone(), one.url.clone(), one.secrets.join(", ")];
    let rows: Vec<_> = all.iter().map(row).collect();
    app.output.value(&all, |out| table(out, &["destination", "url", "secrets"], &rows))?;
    Ok(())
}

fn show(app: &App, one: &Destination) -> Result<(), Failed> {
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![fact("url", one.url.clone())];
    rows.extend(one.settings.iter().map(|(name, value)| fact(name, value.clone())));
    rows.extend(one.secrets.iter().map(|name| fact(name, "(secret, set)".into())));
    rows.push(fact("version", one.version.to_string()));
    rows.push(fact("changed", one.updated_at.format("%Y-%m-%d %H:%M").to_string()));
    app.output.value(one, |out| table(out, &["destination", &one.name], &rows))?;
    Ok(())
}

async fn update(app: &App, args: UpdateDestination) -> Result<(), Failed> {
    let found = app.store.destination(&app.workspace, &args.name).await?;
    let mut terms = Terms {
        url: args.url.unwrap_or_else(|| found.url.clone()),
        settings: found.settings.clone(),
        secrets: BTreeMap::new(),
    };
    for name in &args.unset {
        let is_secret = found.secrets.contains(name);
        if is_secret {
            terms.secrets.insert(name.clone(), None);
        } else if terms.settings.remove(name).is_none() {
            let name = &args.name;
            return Err(Failed::request(format!(
                "the destination `{name}` has no such setting or secret to remove; see `sluice destination show {name}`"
            )));
        }
    }
    terms.settings.extend(args.fields.set.iter().cloned());
    check(app, &mut terms, (&found.secrets, &args.fields))?;
    terms.secrets.extend(secrets(&args.fields)?);
    terms.check(&found.secrets)?;
    let (seen, now) = (found.seen(), app.clock.now());
    let changed =
        app.store.change_destination(&app.workspace, &args.name, (&seen, &terms), now).await?;
    app.output
        .value(&changed, |out| writeln!(out, "changed the destination `{}`", changed.name))?;
    Ok(())
}

/// Checks all but new secrets, before somebody types those.
fn check(app: &App, terms: &mut Terms, (set, fields): (&[String], &Fields)) -> Result<(), Failed> {
    terms.check(set)?;
    terms.url = destinations::canonical(&terms.url, &std::env::current_dir()?)?;
    match destinations::local_path(&terms.url) {
        Ok(path) => app.folder.check_outside(&path)?,
        Err(destinations::Error::NotLocal { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut secrets = terms.secrets_after(set);
    secrets.extend(fields.secrets().cloned());
    Ok(destinations::check(&terms.url, &terms.settings, &secrets, &Egress::everywhere())?)
}

/// Reads secrets from where the arguments say.
fn secrets(fields: &Fields) -> Result<BTreeMap<String, Option<SecretText>>, Failed> {
    let mut all = BTreeMap::new();
    let mut add = |name: &str, secret: SecretText| match all.insert(name.to_owned(), Some(secret)) {
        None => Ok(()),
        Some(_) => {
            Err(Failed::request(format!("the secret `{name}` is given twice; give it once")))
        }
    };
    for (name, variable) in &fields.secret_env {
        let text = std::env::var(variable).map_err(|_| {
            Failed::request(format!("the environment has no text in `{variable}`; set it first"))
        })?;
        add(name, SecretText::new(text))?;
    }
    for (name, path) in &fields.secret_file {
        add(name, from_file(path)?)?;
    }
    let mut lines = io::stdin().lock();
    for name in &fields.secret {
        if io::stdin().is_terminal() {
            say(&format!("{name} (what is typed can be seen):"));
        }
        add(name, from_line(&mut lines, name)?)?;
    }
    Ok(all)
}

/// Reads a file, or what goes beyond the limit by a byte.
fn from_file(path: &Path) -> Result<SecretText, Failed> {
    let failed = |e: &dyn std::fmt::Display| {
        Failed::source(format!("cannot read a secret from `{}`: {e}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
    read(file).map_err(|e| failed(&e))
}

fn from_line(lines: &mut impl BufRead, name: &str) -> Result<SecretText, Failed> {
    let mut line = Vec::new();
    lines.take(limit()).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(Failed::request(format!(
            "stdin has no line for the secret `{name}`; write one line for each --secret"
        )));
    }
    text(&line).map_err(|_| Failed::source(format!("the secret `{name}` is not UTF-8 text")))
}

fn read(from: impl Read) -> io::Result<SecretText> {
    let mut bytes = Vec::new();
    from.take(limit()).read_to_end(&mut bytes)?;
    text(&bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Bytes that are read: a secret that is too long, with its newline, and no more.
fn limit() -> u64 {
    u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX) + 3
}

/// The newline at the end is how files and lines end, and no part of what is in them.
fn text(bytes: &[u8]) -> Result<SecretText, std::str::Utf8Error> {
    let text = std::str::from_utf8(bytes)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(SecretText::new(text.strip_suffix('\r').unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_without_their_newline() {
        let mut lines = &b"one\ntwo \r\n\nlast"[..];
        let mut next = || from_line(&mut lines, "s").map(|secret| secret.reveal().to_owned());
        let read: Vec<String> = (0..4).map(|_| next().expect("a line")).collect();
        assert_eq!(read, ["one", "two ", "", "last"]);
        assert!(next().expect_err("no more").message().contains("`s`"));
        let key = super::read(&b"-----BEGIN\nKEY-----\n"[..]).expect("text");
        assert_eq!(key.reveal(), "-----BEGIN\nKEY-----");
        let long = super::read(&vec![b'x'; 1 << 20][..]).expect("text");
        assert!(
            long.reveal().len() > SECRET_BYTES_MAX && long.reveal().len() < 2 * SECRET_BYTES_MAX
        );
        assert!(super::read(&[0xff][..]).is_err());
    }
}
