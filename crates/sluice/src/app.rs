//! The parts of Sluice, wired together over one data folder.

use std::sync::Arc;

use export::Formats;
use export::destinations::{self, Place};
use lake::Lake;
use model::clock::SystemClock;
use model::ports::{Access, Objects};
use model::{Clock, Code, Fault, OrganizationId, PortError, RunId, WorkspaceId};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use objects::{Egress, Local, S3};
use run::{Coordinator, Guard, Liveness, Ports, Settings, TokioPauses};
use server::dialects;
use store::Store;

use crate::cli::Cli;
use crate::clock::FileClock;
use crate::config::{self, Config};
use crate::failed::Failed;
use crate::folder::{Folder, Scratch};
use crate::keys::KeyPlace;
use crate::liveness::FileLocks;
use crate::output::Output;
use crate::places::{Files, Places, Who};
use crate::rules::TenantRules;

/// How far a server's threads of heavy work step back behind those that answer: a tenth of their share.
const NICE: i32 = 10;

/// Everything a command needs.
pub(crate) struct App {
    /// Where everything lies.
    pub(crate) folder: Folder,
    /// Where rows are spilled, for as long as this lives.
    _scratch: Scratch,
    /// Datasets, commits, exports and runs.
    pub(crate) store: Arc<Store>,
    /// Rows.
    pub(crate) lake: Arc<Lake>,
    /// Where data files lie if not in the folder.
    pub(crate) bucket: Option<S3>,
    /// Formats.
    pub(crate) formats: Arc<Formats>,
    /// Which runs this host works on.
    pub(crate) locks: FileLocks,
    /// The keys of secrets.
    pub(crate) keys: KeyPlace,
    /// Which destinations tenants may have.
    pub(crate) rules: TenantRules,
    /// Where files lie that the server keeps.
    pub(crate) files: Files,
    /// How the API is served.
    pub(crate) server: config::Server,
    /// How dialects are.
    pub(crate) dialects: dialects::Settings,
    /// Days for which a sealed run can be run again.
    rerun_days: u32,
    /// Threads that work at once.
    pub(crate) threads: usize,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether a test sets the clock.
    pub(crate) hasty: bool,
    /// The tenant.
    pub(crate) organization: OrganizationId,
    /// Whose data.
    pub(crate) workspace: WorkspaceId,
    /// How results are printed.
    pub(crate) output: Output,
}

impl App {
    /// Opens the data folder and what lies in it.
    pub(crate) async fn open(cli: &Cli, config: Config, output: Output) -> Result<Self, Failed> {
        let folder = Folder::open(&cli.dir)?;
        let own = config.database.url.is_empty().then(|| folder.keys());
        let keys = KeyPlace::find(&config.secrets, own)?;
        let egress = Egress::new(config.egress.allow.iter().map(String::as_str))?;
        let rules = TenantRules::new(config.export.roots, folder.root().to_owned(), egress)?;
        let url = match config.database.url {
            url if url.is_empty() => folder.database_url(),
            url => url,
        };
        let store = Arc::new(Store::open(&url).await?.with_keys(keys.keys()));
        let organization = store.organization(&cli.organization).await?.id;
        let workspace = store.workspace(&organization, &cli.workspace).await?.id;
        let test_clock = cli.test_clock.as_ref();
        let clock: Arc<dyn Clock> = match test_clock {
            Some(path) => Arc::new(FileClock::open(path)?),
            None => Arc::new(SystemClock),
        };
        let place = place(&config.lake)?;
        let bucket = place.as_ref().map(|place| destinations::bucket(place, &Egress::everywhere()));
        let bucket = bucket.transpose()?;
        let files = place.map_or_else(
            || Files::Folders { managed: folder.managed(), lake: folder.lake() },
            Files::Bucket,
        );
        let (objects, reader): (Arc<dyn Objects>, Arc<dyn ObjectStore>) = match &bucket {
            Some(bucket) => (Arc::new(bucket.clone()), bucket.reader()),
            None => (Arc::new(Local::new(folder.lake())), Arc::new(local(&folder)?)),
        };
        let scratch = folder.scratch()?;
        let lake =
            Lake::new(store.clone(), objects, reader, scratch.path().to_owned(), clock.clone())
                .with_tail_bytes(config.lake.tail_bytes)
                .with_batch_days(config.lake.batch_days)
                .with_rerun_days(config.export.rerun_days)
                .with_views(dialects::views());
        let threads = match config.work.threads {
            0 => processors(),
            threads => threads,
        };
        let begin: fn() = if cli.command.serves() { step_back } else { || {} };
        lake::threads::on_start(begin);
        Ok(Self {
            locks: FileLocks::new(folder.locks()),
            folder,
            _scratch: scratch,
            store,
            lake: Arc::new(lake),
            bucket,
            formats: Arc::new(Formats::with_threads(threads, begin)),
            keys,
            rules,
            files,
            server: config.server,
            dialects: dialects::Settings::new(config.dialects),
            rerun_days: config.export.rerun_days,
            threads,
            clock,
            hasty: test_clock.is_some(),
            organization,
            workspace,
            output,
        })
    }
}

/// Lets threads that answer somebody come before this one, where there is not enough of the processor for all.
fn step_back() {
    // Of this thread alone, on Linux. Without it answers are only slower.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "heavy work cannot step back");
    }
}

/// Returns the data files of the folder as the query engine reads them.
fn local(folder: &Folder) -> Result<LocalFileSystem, Failed> {
    LocalFileSystem::new_with_prefix(folder.lake())
        .map_err(|e| Failed::internal(format!("cannot open the lake: {e}")))
}

/// Returns the place in a bucket in which the settings say that data files lie. What they do not say is taken from the
/// environment, as for a destination.
fn place(lake: &config::Lake) -> Result<Option<Place>, Failed> {
    let store = &*lake.store;
    if store.is_empty() {
        return Ok(None);
    }
    if destinations::kind_of(store).map_or(true, |kind| kind.name != "s3") {
        return Err(Failed::request(
            "`lake.store` must be `s3://bucket/folder`; without it data files lie in the data folder",
        ));
    }
    let mut place = Place::from_environment(store, |name| std::env::var(name).ok())?;
    place.settings.extend(lake.s3.settings());
    place.secrets.extend(lake.s3.secrets());
    Ok(Some(place))
}

impl App {
    /// Returns the places where runs deliver.
    pub(crate) fn places(&self, who: Who) -> Places {
        let (named, rules) = (self.store.clone(), self.rules.clone());
        Places { named, rules, files: self.files.clone(), who }
    }

    /// Returns what runs exports.
    pub(crate) fn coordinator(&self, who: Who) -> Coordinator {
        self.coordinator_by(who, self.formats.clone())
    }

    /// Returns what opens runs for others to work on: it has a thread of its own for what it tries out.
    pub(crate) fn opener(&self, who: Who) -> Coordinator {
        self.coordinator_by(who, Arc::new(Formats::new(1)))
    }

    fn coordinator_by(&self, who: Who, encoder: Arc<Formats>) -> Coordinator {
        let ports = Ports {
            ledger: self.store.clone(),
            head: self.store.clone(),
            relations: self.lake.clone(),
            encoder,
            destinations: Arc::new(self.places(who)),
            intake: self.lake.clone(),
            clock: self.clock.clone(),
            pauses: Arc::new(TokioPauses),
            liveness: Arc::new(self.locks.clone()),
        };
        let rerun_days = self.rerun_days.into();
        let settings = Settings { rerun_days, ..Settings::new(owner(), self.threads) };
        Coordinator::new(ports, settings)
    }
}

impl Liveness for FileLocks {
    fn hold(&self, run: &RunId, epoch: u64) -> Result<Option<Guard>, PortError> {
        let held = self.hold(run, epoch).map_err(|e| {
            let message = format!("cannot lock the run {run}: {e}");
            PortError::caused(Code::Internal, Fault::Own, message, e)
        })?;
        Ok(held.map(|held| Box::new(held) as Guard))
    }

    fn is_dead(&self, run: &RunId, epoch: u64) -> bool {
        self.is_dead(run, epoch)
    }
}

/// Names this process for people.
pub(crate) fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map_or("this host", str::trim);
    format!("{host}, process {}", std::process::id())
}

/// Returns how many threads the machine runs at once.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
