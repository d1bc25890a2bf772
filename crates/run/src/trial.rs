//! Whether a place can be delivered to, tried out step by step.
//!
//! Contract: everything that a delivery does is done to two objects under a name of the trial's own, and both are deleted at the end, whatever
//! happened before; what could not be deleted is named. A step that needs one which failed is left out.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::limits::{CHECK_SECONDS, S3_PIECE_BYTES};
use model::ports::{Check, ObjectError, Objects, Put};
use model::{Failure, ObjectKey};
use tokio::time::{Instant, timeout_at};

/// What is written at once.
const TEXT: &[u8] = b"Sluice tries out whether it can deliver here. This file can be deleted.\n";

/// The steps that every place has, behind those of the way to it.
const STEPS: [&str; 6] = ["write", "list", "read back", "create only", "multipart", "delete"];

/// What a trial came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Whether every step was fine.
    pub ok: bool,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A step of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was tried.
    pub step: &'static str,
    /// What came of it.
    pub state: StepState,
    /// What was seen, or what is wrong.
    pub detail: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It is fine.
    Passed,
    /// It is not.
    Failed,
    /// It was left out, because another one failed.
    Skipped,
}

impl StepState {
    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Tries a place out, for two minutes at most. `name` is a name that nothing there has.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts").block_on(async {
/// let place = objects::Memory::default();
/// let trial = run::trial(&place, "trial-1", chrono::DateTime::UNIX_EPOCH).await;
/// assert!(trial.ok && trial.steps.len() == 6);
/// # });
/// ```
pub async fn trial(objects: &dyn Objects, name: &str, now: DateTime<Utc>) -> Trial {
    let until = Instant::now() + Duration::from_secs(CHECK_SECONDS);
    let trying = Trying {
        objects,
        until,
        small: ObjectKey::new(format!("{name}/whole.txt")),
        large: ObjectKey::new(format!("{name}/in-pieces.bin")),
        folder: name.to_owned(),
    };
    let mut steps = Vec::new();
    match timeout_at(until, objects.reach(now)).await {
        Ok(checks) => steps.extend(checks.into_iter().map(Step::of)),
        Err(_) => steps.push(Step::late("reach")),
    }
    if steps.iter().all(|step| step.state == StepState::Passed || step.step == "clock") {
        trying.all(&mut steps).await;
    } else {
        steps.extend(STEPS.map(Step::skipped));
    }
    Trial { ok: steps.iter().all(|step| step.state == StepState::Passed), steps }
}

/// A trial under way.
struct Trying<'a> {
    objects: &'a dyn Objects,
    until: Instant,
    folder: String,
    small: ObjectKey,
    large: ObjectKey,
}

/// Why a step is not fine.
#[derive(Debug)]
enum Wrong {
    /// The place says so.
    Error(ObjectError),
    /// It does not what it should.
    Said(&'static str),
    Late,
    /// Something of the trial may be there still.
    Left {
        folder: String,
        wrong: Box<Wrong>,
    },
}

impl From<ObjectError> for Wrong {
    fn from(error: ObjectError) -> Self {
        Self::Error(error)
    }
}

impl Trying<'_> {
    async fn all(&self, steps: &mut Vec<Step>) {
        let [write, list, read, create_only, multipart, delete] = STEPS;
        let written = self.within(self.write()).await;
        let is_written = written.is_ok();
        steps.push(Step::from(write, written));
        if is_written {
            steps.push(Step::from(list, self.within(self.list()).await));
            steps.push(Step::from(read, self.within(self.read()).await));
            steps.push(Step::from(create_only, self.within(self.create_only()).await));
        } else {
            steps.extend([list, read, create_only].map(Step::skipped));
        }
        let pieces = if is_written { Some(self.within(self.multipart()).await) } else { None };
        steps.push(
            pieces.map_or_else(|| Step::skipped(multipart), |done| Step::from(multipart, done)),
        );
        // Also where nothing seems to be: the answer to a write may have been lost.
        let deleted = self.delete().await;
        let is_left_out = !is_written && deleted.is_ok();
        steps.push(if is_left_out { Step::skipped(delete) } else { Step::from(delete, deleted) });
    }

    async fn within(
        &self,
        step: impl Future<Output = Result<String, Wrong>>,
    ) -> Result<String, Wrong> {
        timeout_at(self.until, step).await.unwrap_or(Err(Wrong::Late))
    }

    async fn write(&self) -> Result<String, Wrong> {
        match self.objects.create(&self.small, Bytes::from_static(TEXT)).await? {
            Put::Created => Ok(format!("wrote {} bytes to `{}`", TEXT.len(), self.small)),
            // Its first answer was lost.
            Put::Exists => Ok(format!("`{}` was written", self.small)),
        }
    }

    async fn list(&self) -> Result<String, Wrong> {
        let found = self.objects.list(&self.folder).await?;
        if found.iter().any(|one| one.key == self.small && one.bytes == TEXT.len() as u64) {
            return Ok("what was written is listed".into());
        }
        Err(Wrong::Said("what was written is not listed at once; use a store that is consistent"))
    }

    async fn read(&self) -> Result<String, Wrong> {
        let bytes = self.objects.read(&self.small, 0..TEXT.len() as u64).await?;
        if bytes == TEXT {
            return Ok("read the same bytes back".into());
        }
        Err(Wrong::Said("other bytes came back; use another store, this one loses data"))
    }

    async fn create_only(&self) -> Result<String, Wrong> {
        let other = Bytes::from_static(b"something else\n");
        match self.objects.create(&self.small, other).await? {
            Put::Exists if self.objects.read(&self.small, 0..TEXT.len() as u64).await? == TEXT => {
                Ok("what is there is not written over".into())
            }
            _ => Err(Wrong::Said(
                "it writes over what is there, so two deliveries could mix; use a store that knows `If-None-Match`",
            )),
        }
    }

    async fn multipart(&self) -> Result<String, Wrong> {
        let pieces = [Bytes::from(vec![b'a'; S3_PIECE_BYTES]), Bytes::from_static(b"the end")];
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>() as u64;
        let mut upload = self.objects.upload(&self.large, "trial").await?;
        for piece in pieces {
            if let Err(error) = upload.write(piece).await {
                // What is left of it is looked for below, too.
                drop(upload.abort().await);
                return Err(error.into());
            }
        }
        upload.finish().await?;
        let tail = self.objects.read(&self.large, bytes - 8..bytes).await?;
        if tail == b"athe end"[..] {
            return Ok(format!("wrote {bytes} bytes in two pieces"));
        }
        Err(Wrong::Said("the pieces came back in disorder; use another store, this one loses data"))
    }

    /// Deletes all there may be; has its own time.
    async fn delete(&self) -> Result<String, Wrong> {
        let until = Instant::now() + Duration::from_secs(CHECK_SECONDS / 4);
        // Each, whatever becomes of the others; what is left is all in one folder.
        let all = async {
            let aborted = self.objects.abort(&self.large, "trial").await;
            let large = self.gone(&self.large).await;
            let small = self.gone(&self.small).await;
            aborted.map_err(Wrong::from).and(large).and(small)
        };
        let done = timeout_at(until, all).await.unwrap_or(Err(Wrong::Late));
        done.map(|()| "both files are gone".to_owned())
            .map_err(|wrong| Wrong::Left { folder: self.folder.clone(), wrong: Box::new(wrong) })
    }
}

impl Trying<'_> {
    async fn gone(&self, key: &ObjectKey) -> Result<(), Wrong> {
        self.objects.delete(key).await?;
        match self.objects.info(key).await? {
            None => Ok(()),
            Some(_) => Err(Wrong::Said("what was deleted is still there")),
        }
    }
}

impl Wrong {
    /// Says what is wrong, and after a semicolon what to do about it.
    fn words(self) -> String {
        const LATE: &str =
            "it took too long; see that the service runs and can be reached from here";
        match self {
            Self::Late => LATE.to_owned(),
            Self::Said(what) => what.to_owned(),
            Self::Error(error) if error.code().can_retry() => {
                format!("{error}; see that the service runs and can be reached from here")
            }
            Self::Error(error) => error.to_string(),
            Self::Left { folder, wrong } => {
                let words = wrong.words();
                let (what, _) = words.split_once("; ").unwrap_or((&words, ""));
                format!("{what}; allow to delete, and delete what is left in `{folder}` by hand")
            }
        }
    }
}

impl Step {
    fn of(check: Check) -> Self {
        Self::from(check.step, check.outcome.map_err(Wrong::from))
    }

    fn from(step: &'static str, outcome: Result<String, Wrong>) -> Self {
        let wrong = match outcome {
            Ok(seen) => {
                return Self { step, state: StepState::Passed, detail: Some(seen), remedy: None };
            }
            Err(wrong) => wrong.words(),
        };
        // As in every message: what to do about it stands behind the first of these.
        let (detail, remedy) = match wrong.split_once("; ") {
            Some((detail, remedy)) => (detail.to_owned(), Some(remedy.to_owned())),
            None => (wrong, None),
        };
        Self { step, state: StepState::Failed, detail: Some(detail), remedy }
    }

    fn skipped(step: &'static str) -> Self {
        Self { step, state: StepState::Skipped, detail: None, remedy: None }
    }

    fn late(step: &'static str) -> Self {
        Self::from(step, Err(Wrong::Late))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use model::ports::{ObjectInfo, Upload};
    use objects::faulty::{Action, Faulty, Op};
    use objects::{Local, Memory};

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// The steps that failed, and those that were left out.
    async fn tried(objects: &dyn Objects) -> (Vec<&'static str>, Vec<&'static str>) {
        let trial = trial(objects, "trial", NOW).await;
        let of = |state| {
            let steps = trial.steps.iter().filter(move |step| step.state == state);
            steps.map(|step| step.step).collect::<Vec<_>>()
        };
        let red = trial.steps.iter().filter(|step| step.state == StepState::Failed);
        assert!(red.clone().all(|step| step.remedy.is_some()), "{trial:?}");
        assert_eq!(trial.ok, trial.steps.iter().all(|step| step.state == StepState::Passed));
        (of(StepState::Failed), of(StepState::Skipped))
    }

    fn faulty(memory: &Memory, op: fn(&Op) -> bool, action: Action) -> Faulty {
        let script = move |asked: &Op| if op(asked) { action } else { Action::Proceed };
        Faulty::new(Arc::new(memory.clone()), Arc::new(script))
    }

    #[tokio::test]
    async fn a_place_that_keeps_its_word_passes_and_is_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = Local::new(folder.path().join("out"));
        for place in [&Memory::default() as &dyn Objects, &local] {
            assert_eq!(tried(place).await, (vec![], vec![]));
            assert_eq!(place.list("").await.expect("listed"), []);
        }
    }

    #[tokio::test]
    async fn what_needs_a_step_that_failed_is_left_out() {
        let memory = Memory::default();
        let create = |op: &Op| matches!(op, Op::Create(_));
        let full = faulty(&memory, create, Action::Full);
        let rest = vec!["list", "read back", "create only", "multipart", "delete"];
        assert_eq!(tried(&full).await, (vec!["write"], rest.clone()));
        // It is there although it seems not to be.
        let lost = faulty(&memory, create, Action::LoseReply);
        assert_eq!(tried(&lost).await, (vec!["write"], rest));
        let finish = |op: &Op| matches!(op, Op::Finish(_));
        for action in [Action::Refuse, Action::LoseReply] {
            let unfinished = faulty(&memory, finish, action);
            assert_eq!(tried(&unfinished).await, (vec!["multipart"], vec![]));
        }
        let away = faulty(&memory, |op| matches!(op, Op::List(_)), Action::Refuse);
        assert_eq!(tried(&away).await, (vec!["list"], vec![]));
        assert_eq!(memory.list("").await.expect("listed"), [], "nothing is left");
        let kept = faulty(&memory, |op| matches!(op, Op::Delete(_)), Action::Refuse);
        assert_eq!(tried(&kept).await, (vec!["delete"], vec![]));
    }

    /// Writes over what is there.
    #[derive(Debug)]
    struct Careless(Memory);

    #[async_trait]
    impl Objects for Careless {
        async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
            self.0.delete(key).await?;
            self.0.create(key, bytes).await
        }

        async fn upload(&self, key: &ObjectKey, on: &str) -> Result<Box<dyn Upload>, ObjectError> {
            self.0.upload(key, on).await
        }

        async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
            self.0.abort(key, token).await
        }

        async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
            self.0.info(key).await
        }

        async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
            self.0.read(key, range).await
        }

        async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
            self.0.delete(key).await
        }

        async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
            self.0.list(folder).await
        }
    }

    #[tokio::test]
    async fn a_place_that_writes_over_what_is_there_is_found_out() {
        let careless = Careless(Memory::default());
        assert_eq!(tried(&careless).await, (vec!["create only"], vec![]));
        assert_eq!(careless.list("").await.expect("listed"), []);
    }
}
