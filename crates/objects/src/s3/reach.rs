//! The way to a bucket, looked at step by step.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use model::limits::{CLOCK_SKEW_SECONDS_MAX, CONNECT_SECONDS};
use model::ports::{Check, ObjectError};
use object_store::ObjectStore;
use reqwest::header::DATE;

use super::{Shared, error};
use crate::egress;

/// What stands where an answer has no time.
const NO_TIME: &str = "the service does not say what time it is";

/// What was wrong on the way, as words.
type Wrong = String;

impl Shared {
    /// Looks until something is wrong.
    pub(super) async fn reach(&self, now: DateTime<Utc>) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut add = |step, outcome: Result<String, ObjectError>| {
            let is_fine = outcome.is_ok();
            checks.push(Check { step, outcome });
            is_fine
        };
        let unavailable = |action, why: Wrong| ObjectError::Unavailable {
            action,
            path: self.place.to_string(),
            source: why.into(),
        };
        let resolved = self.resolve().await.map_err(|why| unavailable("find", why));
        if !add("resolve", resolved) {
            return checks;
        }
        let answer = match self.connect().await {
            Ok(answer) => answer,
            Err(why) => {
                add("connect", Err(unavailable("connect to", why)));
                return checks;
            }
        };
        add("connect", Ok(format!("{} answers", self.url.origin().ascii_serialization())));
        add("clock", self.clock(answer, now));
        let first = self.store.list(Some(&self.root())).try_next().await;
        let failed = first.err().map(|source| self.failed("list", "", &source));
        // What is wrong with the folder is told when that is listed.
        let refused = failed.filter(error::is_of_keys);
        add("authenticate", refused.map_or_else(|| Ok("the keys are known".into()), Err));
        checks
    }

    async fn resolve(&self) -> Result<String, Wrong> {
        let url = &self.url;
        self.egress.check_url(url).map_err(|refused| refused.to_string())?;
        let Some(host) = url.domain() else {
            return Ok(format!("{} is an address", url.host_str().unwrap_or_default()));
        };
        let found = egress::resolve(&self.egress, host).await.map_err(|error| error.to_string())?;
        let addresses: Vec<String> = found.iter().map(|one| one.ip().to_string()).collect();
        Ok(format!("{host} is {}", addresses.join(", ")))
    }

    /// Returns when the service says that it is.
    async fn connect(&self) -> Result<Option<DateTime<Utc>>, Wrong> {
        let client = egress::client(self.egress.clone()).map_err(|error| words(&error))?;
        let asked = client.get(self.url.clone()).timeout(Duration::from_secs(3 * CONNECT_SECONDS));
        let answer = asked.send().await.map_err(|error| words(&error.without_url()))?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(date.map(|date| date.with_timezone(&Utc)))
    }

    fn clock(
        &self,
        theirs: Option<DateTime<Utc>>,
        ours: DateTime<Utc>,
    ) -> Result<String, ObjectError> {
        let Some(theirs) = theirs else { return Ok(NO_TIME.into()) };
        let seconds = (ours - theirs).num_seconds();
        if seconds.abs() <= CLOCK_SKEW_SECONDS_MAX {
            return Ok(format!("the clocks differ by {} s", seconds.abs()));
        }
        let side = if seconds > 0 { "ahead of" } else { "behind" };
        let why = format!(
            "the clock of this machine is {} s {side} the service's; set it",
            seconds.abs()
        );
        Err(ObjectError::Misplaced {
            action: "trust",
            path: self.place.to_string(),
            source: why.into(),
        })
    }
}

/// An error with its innermost cause, which is the one that tells.
fn words(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use model::clock::SystemClock;
    use model::{Clock, SecretText};

    use crate::testing;
    use crate::{Egress, S3, S3Settings};

    use super::*;

    fn now() -> DateTime<Utc> {
        SystemClock.now()
    }

    async fn steps(
        change: impl FnOnce(&mut S3Settings),
        ahead: i64,
    ) -> Vec<(&'static str, String)> {
        let mut settings = testing::s3();
        change(&mut settings);
        let store = S3::new(settings, Egress::everywhere()).expect("made");
        let checks = store.shared.reach(now() + TimeDelta::seconds(ahead)).await;
        let said = |outcome: Result<String, ObjectError>| match outcome {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        checks.into_iter().map(|check| (check.step, said(check.outcome))).collect()
    }

    #[track_caller]
    fn wrong(steps: &[(&'static str, String)], at: &[&str], words: &str) {
        let names: Vec<&str> = steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(names, at, "{steps:?}");
        let red: Vec<&String> =
            steps.iter().map(|(_, said)| said).filter(|said| !said.is_empty()).collect();
        assert!(matches!(&*red, [one] if one.contains(words)), "{steps:?}");
    }

    const ALL: [&str; 4] = ["resolve", "connect", "clock", "authenticate"];

    #[tokio::test]
    async fn what_is_wrong_on_the_way_is_told_at_its_step() {
        let fine = steps(|_| {}, 0).await;
        assert!(fine.iter().all(|(_, said)| said.is_empty()), "{fine:?}");
        let secret = steps(|one| one.secret_access_key = SecretText::new("other"), 0).await;
        wrong(&secret, &ALL, "`secret_access_key`");
        let key = steps(|one| one.access_key_id = SecretText::new("other"), 0).await;
        wrong(&key, &ALL, "`access_key_id`");
        for ahead in [-3600, 3600] {
            let late = steps(|_| {}, ahead).await;
            wrong(&late, &ALL, "set it");
        }
        let closed = |one: &mut S3Settings| one.endpoint = Some("http://127.0.0.1:1".into());
        wrong(&steps(closed, 0).await, &ALL[..2], "refused");
        let nowhere = |one: &mut S3Settings| one.endpoint = Some("http://nowhere.invalid".into());
        wrong(&steps(nowhere, 0).await, &ALL[..1], "`nowhere.invalid` was not found");
    }

    #[tokio::test]
    async fn what_may_not_be_called_is_not() {
        let mut settings = testing::s3();
        settings.endpoint = Some("http://localhost:1".into());
        let store = S3::new(settings, Egress::default()).expect("made");
        let checks = store.shared.reach(now()).await;
        let [Check { step: "resolve", outcome: Err(error) }] = &*checks else {
            panic!("{checks:?}");
        };
        assert!(error.to_string().contains("egress.allow"), "{error}");
    }
}
