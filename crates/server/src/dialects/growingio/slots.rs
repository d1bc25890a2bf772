//! Slots: hours and days of Beijing, and where each stands.
//!
//! Contract: a slot is half open, `[start, end)`. Nothing here reads a clock.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use model::RunId;
use model::ticket::{Ticket, TicketState};

use super::types::{DataType, TYPES};
use super::{BEIJING, Settings};

/// Seconds of an hour.
const SECONDS: i64 = 3600;

/// Hours of a day.
const DAY: i64 = 24;

/// The hour that ends last of those that are built later (GI-13).
const NIGHT_UNTIL: u32 = 3;

/// Minutes for which a link is open at most: 7 days (GI-09).
pub(super) const LINK_MINUTES_MAX: i64 = 10_080;

/// Files are held as much longer than slots can be fetched (GI-16).
pub(super) const LINKS: TimeDelta = TimeDelta::minutes(LINK_MINUTES_MAX);

/// What the key of an hour begins with in which no row came; no data type is called so.
pub(super) const EMPTY: &str = "empty/";

/// What the lane of imported history begins with: it waits for itself alone.
const REBUILD: &str = "rebuild/";

/// An hour, by its number since 1970. Beijing's begin when those of UTC do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(i64);

impl Hour {
    /// Returns the hour that an instant is in.
    pub fn of(at: DateTime<Utc>) -> Self {
        Self(at.timestamp().div_euclid(SECONDS))
    }

    /// Reads ten digits of Beijing time, `yyyyMMddHH`.
    pub fn parse(digits: &str) -> Option<Self> {
        let at = NaiveDateTime::parse_from_str(&format!("{digits}00"), "%Y%m%d%H%M").ok()?;
        let is_plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| Self::of(at.and_utc() - beijing()))
    }

    /// Returns its first instant.
    pub fn start(self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0 * SECONDS, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Returns the first instant after it.
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// Returns the hour after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns it as requests name it, in Beijing time.
    ///
    /// ```
    /// use server::dialects::growingio::Hour;
    /// let hour = Hour::parse("2017082108").expect("an hour");
    /// assert_eq!((hour.name(), hour.stamp()), ("2017082108".into(), "201708210000".into()));
    /// ```
    pub fn name(self) -> String {
        self.start().with_timezone(&BEIJING).format("%Y%m%d%H").to_string()
    }

    /// Returns it as folders name it, in UTC.
    pub fn stamp(self) -> String {
        self.start().format("%Y%m%d%H%M").to_string()
    }

    /// Returns the keys of its tickets, for each data type.
    pub fn keys(self) -> Vec<String> {
        TYPES.iter().map(|of| self.key(of)).collect()
    }

    /// Returns the key under which it is noted that no row came in it.
    pub(super) fn empty_key(self) -> String {
        format!("{EMPTY}{}", self.stamp())
    }

    /// Returns the end of its day.
    pub(super) fn day_end(self) -> DateTime<Utc> {
        Day::of(self).end()
    }

    /// Returns from when on it is built (GI-13).
    pub(super) fn due(self, settings: &Settings) -> DateTime<Utc> {
        let is_night = self.end().with_timezone(&BEIJING).hour() <= NIGHT_UNTIL;
        let minutes = if is_night { settings.night_delay_minutes } else { settings.delay_minutes };
        self.end() + TimeDelta::minutes(minutes.into())
    }

    /// Returns the key of its ticket for a data type.
    pub(super) fn key(self, of: &DataType) -> String {
        format!("{}/{}", of.name, self.stamp())
    }
}

fn beijing() -> TimeDelta {
    TimeDelta::seconds(BEIJING.local_minus_utc().into())
}

/// A day of Beijing, by its number since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day(i64);

impl Day {
    fn of(hour: Hour) -> Self {
        Self((hour.start() + beijing()).timestamp().div_euclid(DAY * SECONDS))
    }

    fn parse(digits: &str) -> Option<Self> {
        let date = NaiveDate::parse_from_str(digits, "%Y%m%d").ok()?;
        let is_plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc();
        is_plain.then(|| Self(midnight.timestamp().div_euclid(DAY * SECONDS)))
    }

    fn first(self) -> Hour {
        Hour::of(DateTime::UNIX_EPOCH + TimeDelta::hours(self.0 * DAY) - beijing())
    }

    fn end(self) -> DateTime<Utc> {
        Self(self.0 + 1).first().start()
    }
}

/// An hour or a day, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Hour(Hour),
    Day(Day),
}

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hour,
    Day,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "hour" => Some(Self::Hour),
            "day" => Some(Self::Day),
            _ => None,
        }
    }

    /// Returns how many digits of a date count (GI-08).
    pub(super) fn digits(self) -> usize {
        match self {
            Self::Hour => 10,
            Self::Day => 8,
        }
    }
}

/// Digits of a date at most.
const DIGITS_MAX: usize = 12;

impl Slot {
    /// Reads a date (GI-08), or says what is wrong with it.
    pub(super) fn parse(kind: Kind, date: &str) -> Result<Self, String> {
        let least = kind.digits();
        let is_plain = date.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain || !(least..=DIGITS_MAX).contains(&date.len()) {
            return Err(format!(
                "the date must have {least} to {DIGITS_MAX} digits, and nothing else"
            ));
        }
        let slot = match kind {
            Kind::Hour => Hour::parse(&date[..least]).map(Self::Hour),
            Kind::Day => Day::parse(&date[..least]).map(Self::Day),
        };
        slot.ok_or_else(|| "there is no such date".to_owned())
    }

    /// Returns its hours, in order (GI-14).
    pub(super) fn hours(self) -> Vec<Hour> {
        match self {
            Self::Hour(hour) => vec![hour],
            Self::Day(day) => (0..DAY).map(|at| Hour(day.first().0 + at)).collect(),
        }
    }

    fn end(self) -> DateTime<Utc> {
        match self {
            Self::Hour(hour) => hour.end(),
            Self::Day(day) => day.end(),
        }
    }
}

/// Returns the lane of imported history.
pub(super) fn rebuild_lane(of: &DataType) -> String {
    format!("{REBUILD}{}", of.name)
}

/// Returns until when files of a live hour are held: a little longer than links on them may be open (GI-16).
pub(super) fn held_until(hour: Hour, settings: &Settings) -> DateTime<Utc> {
    hour.day_end() + TimeDelta::days(settings.keep_days.into()) + LINKS
}

/// The same of imported history that is built now.
pub(super) fn rebuilt_until(settings: &Settings, now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::days(settings.keep_days.into()) + LINKS
}

/// Returns until when a ticket's hour can be fetched at most: as long as a link may be open its files are held then.
pub(super) fn shown_until(ticket: &Ticket) -> DateTime<Utc> {
    ticket.drawn_at + ticket.held - LINKS
}

/// Where a slot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is nothing to be had, for that reason.
    Missing(&'static str),
    /// It is built or will be.
    Running,
    /// It could not be built.
    Failed(String),
    /// It is there.
    Finished(Vec<Built>),
}

/// A data type of an hour, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Built {
    pub(super) of: &'static str,
    pub(super) hour: Hour,
    pub(super) run: RunId,
    pub(super) files: u64,
}

const OPEN: &str = "it has not ended yet";
const BEFORE: &str = "the export was enabled later";
const OLD: &str = "it is older than what is kept";
const PART: &str =
    "some of its hours have not been built; ask for those that were, or have the others built, too";

/// What standings follow from.
pub(super) struct Looked<'a> {
    pub(super) settings: &'a Settings,
    /// Since when the project is served.
    pub(super) since: DateTime<Utc>,
    /// Up to where its hours were asked for; those without a row are there then.
    pub(super) covered: DateTime<Utc>,
    pub(super) now: DateTime<Utc>,
    /// What is or will be built, by key.
    pub(super) tickets: BTreeMap<String, Ticket>,
}

impl Looked<'_> {
    /// Returns where a slot stands for some data types (GI-11 to GI-16).
    pub(super) fn standing(&self, slot: Slot, types: &[&'static DataType]) -> Standing {
        let is_open = self.now < slot.end();
        let mut all = Vec::new();
        for hour in slot.hours() {
            for of in types {
                all.push(self.one(slot, hour, of));
            }
        }
        if is_open {
            return Standing::Missing(OPEN);
        }
        if let Some(Standing::Failed(why)) = all.iter().find(|one| is_failed(one)) {
            return Standing::Failed(why.clone());
        }
        if all.contains(&Standing::Running) {
            return Standing::Running;
        }
        // GI-14: of a day in which the export was enabled there are the hours since; no other is there in part.
        let is_there = all.iter().any(|one| matches!(one, Standing::Finished(_)));
        if all.contains(&Standing::Missing(OLD)) {
            return Standing::Missing(OLD);
        }
        if !is_there {
            return Standing::Missing(BEFORE);
        }
        if all.contains(&Standing::Missing(BEFORE)) && slot.end() <= self.since {
            return Standing::Missing(PART);
        }
        Standing::Finished(all.into_iter().flat_map(Standing::built).collect())
    }

    fn one(&self, slot: Slot, hour: Hour, of: &'static DataType) -> Standing {
        let Self { settings, since, covered, now, tickets } = self;
        let kept = TimeDelta::days(settings.keep_days.into());
        let Some(ticket) = tickets.get(&hour.key(of)) else {
            return match () {
                () if hour.end() > *now => Standing::Missing(OPEN),
                () if hour < Hour::of(*since) => Standing::Missing(BEFORE),
                () if slot.end() + kept <= *now => Standing::Missing(OLD),
                () if hour.end() > *covered => Standing::Running,
                () if tickets.contains_key(&hour.empty_key()) => Standing::Finished(Vec::new()),
                // It was kept for a shorter time.
                () => Standing::Missing(OLD),
            };
        };
        let until = shown_until(ticket);
        let until =
            if ticket.lane.starts_with(REBUILD) { until } else { until.min(slot.end() + kept) };
        if until <= *now {
            return Standing::Missing(OLD);
        }
        match &ticket.state {
            TicketState::Waiting | TicketState::Running { .. } => Standing::Running,
            TicketState::Failed => {
                let why = ticket.reason.as_deref().unwrap_or("the server failed");
                Standing::Failed(format!("it could not be built and is tried again: {why}"))
            }
            TicketState::Nothing => Standing::Finished(Vec::new()),
            TicketState::Ready { run, files, .. } => {
                let (run, files) = (run.clone(), *files);
                Standing::Finished(vec![Built { of: of.name, hour, run, files }])
            }
        }
    }
}

fn is_failed(one: &Standing) -> bool {
    matches!(one, Standing::Failed(_))
}

impl Standing {
    fn built(self) -> Vec<Built> {
        match self {
            Self::Finished(built) => built,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{TicketId, WorkspaceId};

    use super::super::tests::settings;
    use super::*;

    fn hour(name: &str) -> Hour {
        Hour::parse(name).expect("an hour")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn ticket(lane: &str, state: TicketState) -> Ticket {
        Ticket {
            id: TicketId::mint(),
            workspace: WorkspaceId::default_workspace(),
            door: "growingio".into(),
            key: String::new(),
            lane: lane.into(),
            range: None,
            held: TimeDelta::days(if lane.starts_with(REBUILD) { 15 } else { 20 }) + LINKS,
            drawn_at: at("2026-03-01T00:00:00Z"),
            state,
            failures: 0,
            reason: Some("no such column".into()),
            failed_at: None,
        }
    }

    fn ready() -> TicketState {
        TicketState::Ready { run: RunId::new("r"), since: DateTime::UNIX_EPOCH, files: 2 }
    }

    /// A project since 10:30 of the second of March in Beijing, with tickets of pages by hour.
    fn look(slot: &str, now: &str, tickets: &[(&str, Ticket)]) -> Standing {
        let page = DataType::named("page").expect("it is one");
        let key = |name: &str, ticket: &Ticket| match &*ticket.lane {
            EMPTY => hour(name).empty_key(),
            _ => hour(name).key(page),
        };
        let tickets = tickets.iter().map(|(name, ticket)| (key(name, ticket), ticket.clone()));
        let settings = settings();
        let looked = Looked {
            settings: &settings,
            since: at("2026-03-02T02:30:00Z"),
            covered: at("2026-03-02T04:00:00Z"),
            now: at(now),
            tickets: tickets.collect(),
        };
        let kind = if slot.len() == 8 { Kind::Day } else { Kind::Hour };
        looked.standing(Slot::parse(kind, slot).expect("a slot"), &[page])
    }

    #[test]
    fn hours_are_named_in_beijing_and_stamped_in_utc() {
        let one = hour("2026030100");
        assert_eq!(
            (one.start(), one.end()),
            (at("2026-02-28T16:00:00Z"), at("2026-02-28T17:00:00Z"))
        );
        assert_eq!((one.name(), one.stamp()), ("2026030100".into(), "202602281600".into()));
        assert_eq!(Hour::of(at("2026-02-28T16:59:59.999999Z")), one);
        assert_eq!(Hour::of(at("2026-02-28T17:00:00Z")), one.next());
        assert_eq!(Hour::of(at("1969-12-31T23:59:59Z")).next(), Hour(0));
        for wrong in ["", "2026030124", "2026022900", "20260301", "2026-03-01", "２026030100"] {
            assert_eq!(Hour::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_day_has_the_24_hours_of_beijing() {
        let Ok(day) = Slot::parse(Kind::Day, "20260301") else { panic!("a day") };
        let hours = day.hours();
        assert_eq!(
            (hours.len(), hours[0], hours[23]),
            (24, hour("2026030100"), hour("2026030123"))
        );
        assert_eq!(day.end(), hours[23].end());
        assert!(hours.iter().all(|one| one.day_end() == day.end()));
        assert_eq!(hours[23].next().day_end(), day.end() + TimeDelta::days(1));
    }

    #[test]
    fn the_digits_behind_a_date_are_ignored() {
        let expected = Slot::parse(Kind::Hour, "2026030105");
        for more in ["20260301051", "202603010599"] {
            assert_eq!(Slot::parse(Kind::Hour, more), expected);
        }
        let expected = Slot::parse(Kind::Day, "20260301");
        for more in ["202603019", "2026030105", "202603010599"] {
            assert_eq!(Slot::parse(Kind::Day, more), expected);
        }
        for (kind, date, words) in [
            (Kind::Hour, "20260301", "10 to 12 digits"),
            (Kind::Day, "2026030", "8 to 12 digits"),
            (Kind::Day, "2026030105000", "8 to 12 digits"),
            (Kind::Day, "2026-03-01", "nothing else"),
            (Kind::Day, "20260230", "no such date"),
            (Kind::Hour, "2026030124", "no such date"),
        ] {
            let said = Slot::parse(kind, date).expect_err(date);
            assert!(said.contains(words), "{date}: {said}");
        }
    }

    #[test]
    fn hours_that_end_in_the_night_are_built_later() {
        let settings = settings();
        for (name, minutes) in [
            ("2026030122", 30),
            ("2026030123", 90),
            ("2026030200", 90),
            ("2026030202", 90),
            ("2026030203", 30),
        ] {
            let one = hour(name);
            assert_eq!((one.due(&settings) - one.end()).num_minutes(), minutes, "{name}");
        }
    }

    #[test]
    fn a_slot_that_is_not_there_says_why() {
        let now = "2026-03-02T10:00:00Z";
        assert_eq!(look("2026030218", now, &[]), Standing::Missing(OPEN));
        assert_eq!(look("2026030219", now, &[]), Standing::Missing(OPEN));
        assert_eq!(look("2026030209", now, &[]), Standing::Missing(BEFORE));
        assert_eq!(look("2026030212", now, &[]), Standing::Running);
        assert_eq!(look("2026030217", now, &[]), Standing::Running);
        // Asked for, and nothing was there.
        let (nothing, settled) =
            (Standing::Finished(Vec::new()), ticket(EMPTY, TicketState::Nothing));
        let settled = [("2026030210", settled.clone()), ("2026030211", settled)];
        assert_eq!(look("2026030210", now, &settled), nothing);
        assert_eq!(look("2026030211", now, &settled), nothing);
        // Asked for long ago, and not kept for as long as is asked now.
        assert_eq!(look("2026030211", now, &[]), Standing::Missing(OLD));
        // To the instant.
        assert_eq!(look("2026030210", "2026-03-17T02:59:59Z", &settled), nothing);
        assert_eq!(look("2026030210", "2026-03-17T03:00:00Z", &[]), Standing::Missing(OLD));
        let there = [("2026030210", ticket("page", ready()))];
        assert_eq!(look("2026030210", "2026-03-17T03:00:00Z", &there), Standing::Missing(OLD));
        assert!(matches!(
            look("2026030210", "2026-03-17T02:59:59Z", &there),
            Standing::Finished(_)
        ));
    }

    #[test]
    fn imported_history_is_there_from_when_it_was_built() {
        let there = [("2010120108", ticket("rebuild/page", ready()))];
        let built = look("2010120108", "2026-03-15T23:59:59Z", &there);
        assert!(matches!(built, Standing::Finished(_)), "{built:?}");
        assert_eq!(look("2010120108", "2026-03-16T00:00:00Z", &there), Standing::Missing(OLD));
        // Its day is when all hours are.
        let names: Vec<String> = (0..24).map(|at| format!("20101201{at:02}")).collect();
        let all: Vec<_> = names.iter().map(|name| (&**name, there[0].1.clone())).collect();
        let now = "2026-03-02T00:00:00Z";
        assert_eq!(look("20101201", now, &there), Standing::Missing(PART));
        assert_eq!(look("20101201", now, &all[1..]), Standing::Missing(PART));
        assert!(matches!(look("20101201", now, &all), Standing::Finished(all) if all.len() == 24));
    }

    #[test]
    fn a_day_is_there_when_its_hours_are() {
        let (now, ready) = ("2026-03-02T18:00:00Z", ticket("page", ready()));
        let names: Vec<String> = (10..24).map(|at| format!("20260302{at}")).collect();
        let mut tickets: Vec<(&str, Ticket)> =
            names.iter().map(|name| (&**name, ready.clone())).collect();
        // The export was enabled at half past ten.
        let Standing::Finished(all) = look("20260302", now, &tickets) else { panic!("{names:?}") };
        assert_eq!((all.len(), all[0].hour, all[13].hour), (14, hour(&names[0]), hour(&names[13])));
        assert_eq!(look("20260302", "2026-03-02T15:59:59Z", &tickets), Standing::Missing(OPEN));
        tickets[5].1.state = TicketState::Waiting;
        assert_eq!(look("20260302", now, &tickets), Standing::Running);
        // Built anew alone, an hour is there when its day is not any more.
        let late = [("2026030215", ticket("rebuild/page", ready.state.clone()))];
        let late =
            [(late[0].0, Ticket { drawn_at: at("2026-03-10T00:00:00Z"), ..late[0].1.clone() })];
        let after = "2026-03-18T00:00:00Z";
        assert_eq!(look("20260302", after, &late), Standing::Missing(OLD));
        assert!(matches!(look("2026030215", after, &late), Standing::Finished(_)));
        tickets[7].1.state = TicketState::Failed;
        let failed = look("20260302", now, &tickets);
        assert!(
            matches!(&failed, Standing::Failed(why) if why.contains("no such column")),
            "{failed:?}"
        );
        tickets.remove(13);
        tickets[7].1.state = TicketState::Waiting;
        assert_eq!(look("20260302", now, &tickets), Standing::Running);
        assert_eq!(look("20260301", now, &tickets), Standing::Missing(BEFORE));
        assert_eq!(look("20260303", now, &tickets), Standing::Missing(OPEN));
        // All of a day can be fetched as long as its last hour.
        let last = "2026-03-17T15:59:59Z";
        tickets.push((&names[13], ready.clone()));
        for (_, ticket) in &mut tickets {
            ticket.state = ready.state.clone();
        }
        assert!(
            matches!(look("20260302", last, &tickets), Standing::Finished(all) if all.len() == 14)
        );
        assert_eq!(look("20260302", "2026-03-17T16:00:00Z", &tickets), Standing::Missing(OLD));
    }

    #[test]
    fn files_are_held_longer_than_a_link_is_open() {
        let (settings, one) = (settings(), hour("2026030105"));
        let now = at("2026-03-01T00:00:00Z");
        assert_eq!(held_until(one, &settings), one.day_end() + TimeDelta::days(15) + LINKS);
        assert_eq!(rebuilt_until(&settings, now), now + TimeDelta::days(15) + LINKS);
    }
}
