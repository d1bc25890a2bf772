//! `doctor`: checks what Sluice stands on and says how to mend it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use model::dataset::Unsealed;
use model::ports::{Catalog, Damage, Ledger, Pin, PinOwner, Scrub, Upkeep};
use objects::S3;
use serde::Serialize;

use crate::app::App;
use crate::cli::Cli;
use crate::config::Config;
use crate::failed::Failed;
use crate::output::{Output, bytes, count, counted, table};
use crate::progress::Bar;

/// Bytes of free disk below which a warning is given.
const FREE_BYTES_WANTED: u64 = 2 << 30;

/// `statfs` magic numbers of file systems that several hosts share: locks and fsync cannot be trusted.
const SHARED_FILE_SYSTEMS: &[(i64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
];

/// Runs looked at for interrupted ones.
const RUNS_LOOKED_AT: u32 = 1000;

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, ok: true, found: found.into(), mend: None }
    }

    fn bad(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, ok: false, found: found.into(), mend: Some(mend.into()) }
    }
}

/// Does the `doctor` command; exit code 1 if something needs mending.
pub(crate) async fn doctor(
    cli: &Cli,
    config: Result<Config, Failed>,
    (output, how): (Output, Scrub),
) -> Result<(), Failed> {
    let dir = &*cli.dir;
    let mut checks = vec![Check::good("version", env!("CARGO_PKG_VERSION"))];
    // First what does not need the database: a full disk is why it may not open.
    if dir.exists() {
        checks.push(file_system(dir)?);
        checks.push(disk(dir)?);
    }
    let opened = match config {
        Ok(config) => App::open(cli, config, output).await,
        Err(failed) => Err(failed),
    };
    match opened {
        Ok(app) => look(&app, how, &mut checks).await?,
        Err(failed) => checks.push(Check::bad(
            "opening",
            failed.message().to_owned(),
            "name another folder with --dir, or mend what the line says",
        )),
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let mark = if check.ok { "ok" } else { "MEND" };
            vec![mark.into(), check.name.into(), check.found.clone()]
        })
        .collect();
    output.value(&checks, |out| {
        table(out, &["", "what", "found"], &rows)?;
        for check in checks.iter().filter(|check| !check.ok) {
            writeln!(out, "\n{}: {}", check.name, check.mend.as_deref().unwrap_or_default())?;
        }
        Ok(())
    })?;
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        1 => Err(Failed::internal("1 thing needs mending")),
        n => Err(Failed::internal(format!("{n} things need mending"))),
    }
}

async fn look(app: &App, how: Scrub, checks: &mut Vec<Check>) -> Result<(), Failed> {
    checks.push(writable(app));
    database(app, checks).await?;
    checks.push(clock(app).await?);
    checks.push(runs(app).await?);
    if let Some(bucket) = &app.bucket {
        checks.push(answers(bucket).await);
        if checks.last().is_some_and(|check| !check.ok) {
            // Whatever is read from there would fail in the same way.
            return Ok(());
        }
    }
    lake(app, how, checks).await
}

/// Looks whether the bucket of the data files can be read.
async fn answers(bucket: &S3) -> Check {
    match bucket.probe().await {
        Ok(()) => Check::good("lake store", bucket.place().to_string()),
        Err(error) => Check::bad(
            "lake store",
            error.to_string(),
            "mend what the line says; the settings are `lake.store` and those of `[lake.s3]`",
        ),
    }
}

/// Looks at the data files and how they are kept.
async fn lake(app: &App, how: Scrub, checks: &mut Vec<Check>) -> Result<(), Failed> {
    let bar = Arc::new(Bar::start("reading data files", None));
    let (mut damages, mut tail, mut sizes) = (Vec::new(), Unsealed::default(), BTreeMap::new());
    let (mut mergeable, mut merged, mut pins) = (0, 0, Vec::new());
    for dataset in app.store.datasets(&app.workspace).await? {
        let name = &dataset.name;
        let found = app.lake.scrub(&app.workspace, name, how, bar.clone()).await?;
        damages.extend(found.into_iter().map(|damage| (name.clone(), damage)));
        let health = app.lake.health(&app.workspace, name).await?;
        tail.files += health.tail.files;
        tail.rows += health.tail.rows;
        tail.bytes += health.tail.bytes;
        for size in health.sizes {
            let files = sizes.entry(size.up_to.unwrap_or(u64::MAX)).or_insert(0);
            *files += size.files;
        }
        mergeable += health.mergeable;
        merged += health.merged;
        pins.extend(health.pins.into_iter().map(|pin| pinned(name, &pin)));
    }
    bar.finish();
    checks.push(files(how, &sizes, &damages));
    let (rows, commits) = (counted(tail.rows, "row"), counted(tail.files, "small commit"));
    let text = format!("{rows} of {commits}, {} in the database", bytes(tail.bytes));
    checks.push(Check::good("tail", text));
    let gain = match mergeable {
        0 => "nothing to merge".to_owned(),
        _ => format!("would make {} of {}", counted(merged, "file"), count(mergeable)),
    };
    checks.push(Check::good("compaction", gain));
    let pins = if pins.is_empty() { "none".to_owned() } else { pins.join("; ") };
    checks.push(Check::good("pins", pins));
    Ok(())
}

fn files(how: Scrub, sizes: &BTreeMap<u64, u64>, damages: &[(String, Damage)]) -> Check {
    if let Some((dataset, Damage { key, rows, what })) = damages.first() {
        let more = match damages.len() {
            1 => String::new(),
            n => format!("; {} more", counted(n as u64 - 1, "damaged file")),
        };
        return Check::bad(
            "data files",
            format!("`{key}` of `{dataset}` ({}): {what}{more}", counted(*rows, "row")),
            "restore the file from a copy; or import the batches that are in it anew, in their place (`import --replace`)",
        );
    }
    let of = |(up_to, files): (&u64, &u64)| match *up_to {
        u64::MAX => format!("{} larger", count(*files)),
        most => format!("{} up to {}", count(*files), bytes(most)),
    };
    let sizes: Vec<String> = sizes.iter().map(of).collect();
    let sound = if how == Scrub::Sums { "every byte is right" } else { "all there" };
    let none = sizes.is_empty();
    let found = if none { "none yet".into() } else { format!("{sound}: {}", sizes.join(", ")) };
    Check::good("data files", found)
}

fn pinned(dataset: &str, pin: &Pin) -> String {
    match &pin.owner {
        PinOwner::Export(name) => {
            format!("export `{name}` needs rows of `{dataset}` after commit {}", pin.at)
        }
        PinOwner::Run(id) => format!("run {id} reads `{dataset}` at commit {}", pin.at),
        PinOwner::Ticket(name) => {
            format!("`{name}` is to be made of `{dataset}` at commit {}", pin.at)
        }
    }
}

fn writable(app: &App) -> Check {
    let root = app.folder.root();
    let probe = root.join(format!(".probe-{}", uuid::Uuid::new_v4().simple()));
    let tried = std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => Check::good("folder", root.display().to_string()),
        Err(e) => Check::bad(
            "folder",
            format!("cannot write to `{}`: {e}", root.display()),
            "give this user the right to write there",
        ),
    }
}

fn file_system(dir: &Path) -> Result<Check, Failed> {
    let found = rustix::fs::statfs(dir).map_err(std::io::Error::from)?;
    // The width of the number differs between machines.
    #[expect(clippy::useless_conversion, reason = "it is i64 here and narrower elsewhere")]
    let kind = i64::from(found.f_type);
    Ok(match SHARED_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind) {
        None => Check::good("file system", format!("local (type {kind:#x})")),
        Some((_, name)) => Check::bad(
            "file system",
            format!("{name}, which is shared over a network"),
            "keep the data folder on a local disk, or the metadata in PostgreSQL",
        ),
    })
}

fn disk(dir: &Path) -> Result<Check, Failed> {
    let found = rustix::fs::statvfs(dir).map_err(std::io::Error::from)?;
    let free = found.f_bavail * found.f_frsize;
    let text = format!("{} free", bytes(free));
    Ok(if free >= FREE_BYTES_WANTED {
        Check::good("disk", text)
    } else {
        Check::bad("disk", text, format!("free at least {}", bytes(FREE_BYTES_WANTED)))
    })
}

async fn database(app: &App, checks: &mut Vec<Check>) -> Result<(), Failed> {
    let found = app.store.describe().await?;
    let text = format!(
        "{} {}, schema {}, {}",
        found.kind,
        found.server_version,
        found.schema_version,
        bytes(found.size_bytes)
    );
    checks.push(Check::good("database", text));
    let problems = app.store.check().await?;
    checks.push(if problems.is_empty() {
        Check::good("database content", "sound")
    } else {
        Check::bad(
            "database content",
            problems.join("; "),
            "restore the metadata database from a copy; data files are not affected",
        )
    });
    Ok(())
}

async fn clock(app: &App) -> Result<Check, Failed> {
    let now = app.clock.now();
    let Some((number, time)) = app.store.head(&app.workspace).await? else {
        return Ok(Check::good("clock", now.to_rfc3339()));
    };
    Ok(if now + TimeDelta::seconds(1) < time {
        Check::bad(
            "clock",
            format!("{} is before commit {number} of {}", now.to_rfc3339(), time.to_rfc3339()),
            "set the machine's clock; until then new commits carry the time of the newest one",
        )
    } else {
        Check::good("clock", now.to_rfc3339())
    })
}

async fn runs(app: &App) -> Result<Check, Failed> {
    let runs = app.store.runs(&app.workspace, None, RUNS_LOOKED_AT).await?;
    let interrupted: Vec<String> = runs
        .iter()
        .filter(|run| super::run::is_resumable(app, run))
        .map(|run| run.id.to_string())
        .collect();
    Ok(if interrupted.is_empty() {
        Check::good("runs", "none interrupted")
    } else {
        let mend = format!("`sluice run resume {}` finishes it", interrupted[0]);
        Check::bad("runs", format!("interrupted: {}", interrupted.join(", ")), mend)
    })
}
