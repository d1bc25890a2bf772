//! When an export runs by itself, and what each of its runs covers.
//!
//! Contract: a *slot* is an instant at which a run is due. Slots follow from the trigger alone, so that every process computes the
//! same ones; nothing here reads a clock. What happens to slots that nobody was there for is said by [`Missed`], and what an hour that a
//! zone skips or repeats does to them by [`Trigger::Cron`].

use std::str::FromStr;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure, Fault};
use crate::limits::{EVERY_MINUTES_MAX, LAG_MINUTES_MAX, SLOT_GRACE_SECONDS, SLOTS_AT_ONCE};

/// What starts the runs of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// Somebody who asks for a run.
    #[default]
    OnDemand,
    /// A time of day: five fields, minute, hour, day of the month, month, day of the week.
    ///
    /// Where the zone skips an hour, a time in it comes at the first instant after; where it repeats one, a time in it comes
    /// once, the first time. An expression that says *every* hour or minute comes in each hour that there is.
    Cron {
        /// The expression.
        cron: String,
        /// The zone in which it is read, by its name in the IANA database.
        #[serde(default = "utc")]
        zone: String,
    },
    /// Every so many minutes, counted from the beginning of 1970 in UTC: 15 are at :00, :15, :30 and :45.
    Every {
        /// How many.
        minutes: u32,
    },
    /// New rows of the export's dataset, so many minutes after the last run began at the earliest.
    OnData {
        /// How many; 0 is as soon as there are any.
        #[serde(default)]
        minutes: u32,
    },
}

fn utc() -> String {
    "UTC".into()
}

/// What a run of an export covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Mode {
    /// Every row that there is.
    Full,
    /// The commits since the run before.
    #[default]
    Incremental,
    /// Rows whose time is between the slot before and this one, as they are known when the run begins.
    Window {
        /// Minutes to wait after the slot for rows that come late.
        #[serde(default)]
        lag_minutes: u32,
    },
}

impl Mode {
    /// Returns how long after its slot a run is due.
    pub fn lag(self) -> TimeDelta {
        match self {
            Self::Window { lag_minutes } => TimeDelta::minutes(lag_minutes.into()),
            Self::Full | Self::Incremental => TimeDelta::zero(),
        }
    }
}

/// What becomes of slots for which nobody was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Each has its run, in order.
    Each,
    /// The last one has a run.
    Latest,
    /// None has: the next run is that of the next slot.
    Skip,
}

/// When an export runs, and what its runs cover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What starts a run.
    #[serde(default)]
    pub trigger: Trigger,
    /// What it covers.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of missed slots; without it each window has its run, and of other runs the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// There are no slots up to here. One in the past makes windows of the past due; other runs cover what there is in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<DateTime<Utc>>,
}

/// An instant at which a run is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The instant.
    pub at: DateTime<Utc>,
    /// The slot before, where the run covers the time between both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// What is due, and when there is more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Slots that have a run, in order.
    pub slots: Vec<Slot>,
    /// How many slots have none.
    pub skipped: u64,
    /// When to ask again: the next slot, its lag included; never without.
    pub next: Option<DateTime<Utc>>,
}

/// A schedule that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not an expression.
    #[error(
        "`{cron}` is no cron expression: {reason}; write five fields, as in `30 2 * * MON-FRI`"
    )]
    Cron {
        /// What was given.
        cron: String,
        /// What is wrong about it.
        reason: String,
    },
    /// An expression that no time matches.
    #[error("`{cron}` never comes; choose a day that there is")]
    Never {
        /// What was given.
        cron: String,
    },
    /// Not a zone.
    #[error(
        "there is no time zone `{zone}`; use a name of the IANA database, such as `Europe/Berlin`"
    )]
    Zone {
        /// What was given.
        zone: String,
    },
    /// Too few or too many minutes.
    #[error("`{field}` is {given}; choose {least} to {most} minutes")]
    Minutes {
        /// Of what.
        field: &'static str,
        /// What was given.
        given: u32,
        /// At least.
        least: u32,
        /// At most.
        most: u32,
    },
    /// A start that no calendar of use has.
    #[error("`start_at` is {given}; choose a time from 1970 to 2200")]
    Start {
        /// What was given.
        given: DateTime<Utc>,
    },
    /// Windows without slots.
    #[error("a time window ends at a slot; use a trigger of kind `cron` or `every`")]
    WindowWithoutSlots,
    /// `each` for runs that cover what there is.
    #[error(
        "`missed` `each` is for time windows; one run covers what several slots of this export would"
    )]
    EachWithoutWindows,
}

impl Failure for ScheduleError {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

/// A trigger that was read.
enum Slots {
    Cron(Box<Cron>, Tz),
    Every(TimeDelta),
}

impl Slots {
    fn after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(cron, zone) => {
                let next = cron.find_next_occurrence(&at.with_timezone(zone), false);
                next.ok().map(|next| next.with_timezone(&Utc))
            }
            Self::Every(step) => floor(at, *step).checked_add_signed(*step),
        }
    }

    fn before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(cron, zone) => {
                let before = cron.find_previous_occurrence(&at.with_timezone(zone), false);
                before.ok().map(|before| before.with_timezone(&Utc))
            }
            Self::Every(step) => {
                let below = at.checked_sub_signed(TimeDelta::microseconds(1))?;
                Some(floor(below, *step))
            }
        }
    }
}

/// Returns the last multiple of a step up to an instant.
fn floor(at: DateTime<Utc>, step: TimeDelta) -> DateTime<Utc> {
    let into = at.timestamp_micros().rem_euclid(step.num_microseconds().unwrap_or(i64::MAX));
    at - TimeDelta::microseconds(into)
}

impl Trigger {
    fn slots(&self) -> Result<Option<Slots>, ScheduleError> {
        Ok(match self {
            Self::OnDemand | Self::OnData { .. } => None,
            Self::Every { minutes } => Some(Slots::Every(TimeDelta::minutes((*minutes).into()))),
            Self::Cron { cron, zone } => {
                let zone =
                    Tz::from_str(zone).map_err(|_| ScheduleError::Zone { zone: zone.clone() })?;
                Some(Slots::Cron(Box::new(read(cron)?), zone))
            }
        })
    }
}

fn read(cron: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser
        .parse(cron)
        .map_err(|error| ScheduleError::Cron { cron: cron.into(), reason: error.to_string() })
}

impl Schedule {
    /// Refuses what cannot be kept.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`], naming what is wrong.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), ScheduleError> {
        let within = |field, given, least, most| {
            if (least..=most).contains(&given) {
                Ok(())
            } else {
                Err(ScheduleError::Minutes { field, given, least, most })
            }
        };
        match &self.trigger {
            Trigger::Every { minutes } => within("minutes", *minutes, 1, EVERY_MINUTES_MAX)?,
            Trigger::OnData { minutes } => within("minutes", *minutes, 0, EVERY_MINUTES_MAX)?,
            Trigger::Cron { cron, .. } => {
                let slots = self.trigger.slots()?;
                if slots.and_then(|slots| slots.after(now)).is_none() {
                    return Err(ScheduleError::Never { cron: cron.clone() });
                }
            }
            Trigger::OnDemand => {}
        }
        if let Some(given) = self.start_at.filter(|start| !(1970..=2200).contains(&start.year())) {
            return Err(ScheduleError::Start { given });
        }
        let has_slots = matches!(self.trigger, Trigger::Cron { .. } | Trigger::Every { .. });
        match self.mode {
            Mode::Window { .. } if !has_slots => Err(ScheduleError::WindowWithoutSlots),
            Mode::Window { lag_minutes } => within("lag_minutes", lag_minutes, 0, LAG_MINUTES_MAX),
            _ if self.missed == Some(Missed::Each) => Err(ScheduleError::EachWithoutWindows),
            _ => Ok(()),
        }
    }

    /// Returns when the first run is due of a schedule that is made, edited or taken up again now; `None` where no clock
    /// decides.
    ///
    /// Shape: the lag is included, as in [`Due::next`]. Windows go on at `covered`, where the last one ended.
    ///
    /// # Errors
    ///
    /// As [`Schedule::check`].
    pub fn first(
        &self,
        now: DateTime<Utc>,
        covered: Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, ScheduleError> {
        let Some(slots) = self.trigger.slots()? else { return Ok(None) };
        let after = match (self.mode, covered.max(self.start_at)) {
            (Mode::Window { .. }, Some(start)) => start,
            // The window that is waiting for late rows is still to come.
            (Mode::Window { .. }, None) => now - self.mode.lag(),
            (_, start) => start.map_or(now, |start| start.max(now)),
        };
        Ok(slots.after(after).and_then(|slot| slot.checked_add_signed(self.mode.lag())))
    }

    /// Returns the slots from the one that was due at `due` up to now.
    ///
    /// Shape: up to [`SLOTS_AT_ONCE`] of them; if there are more, `next` is not in the future. A window begins where the one before
    /// ended, the first at `covered`, and none before that, so that an edit neither doubles rows nor, where each window has its run, leaves a gap.
    ///
    /// # Errors
    ///
    /// As [`Schedule::check`].
    pub fn due(
        &self,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
        covered: Option<DateTime<Utc>>,
    ) -> Result<Due, ScheduleError> {
        let lag = self.mode.lag();
        let mut out = Due { slots: Vec::new(), skipped: 0, next: Some(due) };
        let Some(slots) = self.trigger.slots()? else { return Ok(Due { next: None, ..out }) };
        let missed = self.missed.unwrap_or_else(|| self.usually());
        let mut before = slots.before(due - lag);
        if missed == Missed::Each {
            before = covered.or(before);
        }
        let is_window = matches!(self.mode, Mode::Window { .. });
        let mut passed = Vec::new();
        while let Some(next) = out.next.filter(|at| *at <= now && passed.len() < SLOTS_AT_ONCE) {
            let at = next - lag;
            if !is_window || covered.is_none_or(|covered| at > covered) {
                passed.push(Slot { at, since: before.max(covered).filter(|_| is_window) });
            }
            before = Some(at);
            out.next = slots.after(at).and_then(|slot| slot.checked_add_signed(lag));
        }
        let more = out.next.is_some_and(|next| next <= now);
        let had = passed.len() as u64;
        let grace = TimeDelta::seconds(SLOT_GRACE_SECONDS);
        match missed {
            Missed::Each => {}
            Missed::Latest if more => passed.clear(),
            Missed::Latest => drop(passed.drain(..passed.len().saturating_sub(1))),
            Missed::Skip => passed.retain(|slot| now - (slot.at + lag) <= grace),
        }
        out.skipped = had - passed.len() as u64;
        out.slots = passed;
        Ok(out)
    }

    fn usually(&self) -> Missed {
        match self.mode {
            Mode::Window { .. } => Missed::Each,
            Mode::Full | Mode::Incremental => Missed::Latest,
        }
    }
}

#[cfg(test)]
mod tests;
