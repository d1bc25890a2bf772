//! Trying again, a limited number of times, with growing pauses.

use std::future::Future;
use std::time::Duration;

use model::limits::{DELIVERY_TRIES, RETRY_PAUSE_MS};
use model::{Code, Failure};

use crate::ports::Pauses;

/// The tries of one step.
pub(crate) struct Tries<'a> {
    pauses: &'a dyn Pauses,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(pauses: &'a dyn Pauses) -> Self {
        Self { pauses, failed: 0 }
    }

    /// Waits and returns `true` if a step that failed with `code` should be tried once more.
    pub(crate) async fn again(&mut self, code: Code) -> bool {
        self.failed += 1;
        if !code.can_retry() || self.failed >= DELIVERY_TRIES {
            return false;
        }
        let pause_ms = RETRY_PAUSE_MS << (self.failed - 1);
        self.pauses.pause(Duration::from_millis(pause_ms)).await;
        true
    }
}

/// Calls the ledger, or whatever else answers the same when asked twice, until it answers.
pub(crate) async fn patiently<T, E, F, R>(pauses: &dyn Pauses, mut call: F) -> Result<T, E>
where
    E: Failure,
    F: FnMut() -> R + Send,
    R: Future<Output = Result<T, E>> + Send,
{
    let mut tries = Tries::new(pauses);
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries.again(error.code()).await => {
                tracing::warn!(%error, "a call failed; trying again");
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Noted(Mutex<Vec<u64>>);

    #[async_trait::async_trait]
    impl Pauses for Noted {
        async fn pause(&self, time: Duration) {
            let ms = u64::try_from(time.as_millis()).expect("short");
            self.0.lock().expect("not poisoned").push(ms);
        }
    }

    async fn tries(code: Code) -> (u32, Vec<u64>) {
        let pauses = Noted::default();
        let mut tries = Tries::new(&pauses);
        let mut count = 1;
        while tries.again(code).await {
            count += 1;
        }
        (count, pauses.0.into_inner().expect("not poisoned"))
    }

    #[tokio::test]
    async fn pauses_double_and_tries_end() {
        let (count, pauses) = tries(Code::Unavailable).await;
        assert_eq!(count, DELIVERY_TRIES);
        assert_eq!(pauses, [100, 200, 400, 800]);
    }

    #[tokio::test]
    async fn what_stays_wrong_is_tried_once() {
        for code in [Code::Invalid, Code::Forbidden, Code::TooLarge, Code::Internal] {
            assert_eq!(tries(code).await, (1, Vec::new()));
        }
    }
}
