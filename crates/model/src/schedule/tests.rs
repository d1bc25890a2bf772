//! Cases of schedules: the clocks of zones, missed slots, windows.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

fn cron(cron: &str, zone: &str) -> Schedule {
    let trigger = Trigger::Cron { cron: cron.into(), zone: zone.into() };
    Schedule { trigger, ..Schedule::default() }
}

fn every(minutes: u32) -> Schedule {
    Schedule { trigger: Trigger::Every { minutes }, ..Schedule::default() }
}

fn windows(schedule: Schedule, lag_minutes: u32) -> Schedule {
    Schedule { mode: Mode::Window { lag_minutes }, ..schedule }
}

/// Returns the first slots after an instant.
fn slots(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let mut next = at(from);
    let mut found = Vec::new();
    while found.len() < count {
        next = schedule.first(next, None).unwrap().unwrap();
        found.push(next.format("%dT%H:%M").to_string());
    }
    found
}

#[test]
fn an_hour_that_is_skipped_comes_right_after() {
    // On 29 March 2026 Berlin goes from 02:00 (UTC+1) to 03:00 (UTC+2).
    let nightly = cron("30 2 * * *", "Europe/Berlin");
    let found = slots(&nightly, "2026-03-27T12:00:00Z", 3);
    assert_eq!(found, ["28T01:30", "29T01:00", "30T00:30"]);
    let hourly = cron("30 * * * *", "Europe/Berlin");
    assert_eq!(slots(&hourly, "2026-03-28T23:45:00Z", 3), ["29T00:30", "29T01:30", "29T02:30"]);
    assert_eq!(slots(&every(60), "2026-03-29T00:00:00Z", 2), ["29T01:00", "29T02:00"]);
}

#[test]
fn an_hour_that_is_repeated_counts_once() {
    // On 25 October 2026 Berlin goes from 03:00 (UTC+2) back to 02:00 (UTC+1).
    let nightly = cron("30 2 * * *", "Europe/Berlin");
    let found = slots(&nightly, "2026-10-23T12:00:00Z", 3);
    assert_eq!(found, ["24T00:30", "25T00:30", "26T01:30"]);
    let hourly = cron("30 * * * *", "Europe/Berlin");
    assert_eq!(slots(&hourly, "2026-10-24T23:45:00Z", 3), ["25T00:30", "25T01:30", "25T02:30"]);
}

#[test]
fn windows_join_where_the_clock_changes() {
    for from in ["2026-03-27T12:00:00Z", "2026-10-23T12:00:00Z"] {
        for expression in ["30 2 * * *", "30 * * * *", "0 0 * * *", "*/20 2 * * *"] {
            let schedule = windows(cron(expression, "Europe/Berlin"), 0);
            let first = schedule.first(at(from), None).unwrap().unwrap();
            let due = schedule.due(first, at(from) + TimeDelta::days(4), None).unwrap();
            assert!(due.slots.len() > 3);
            for two in due.slots.windows(2) {
                assert_eq!(two[1].since, Some(two[0].at), "{expression}");
            }
        }
    }
}

#[test]
fn minutes_are_counted_from_1970() {
    assert_eq!(slots(&every(15), "2026-01-01T10:07:30Z", 2), ["01T10:15", "01T10:30"]);
    assert_eq!(slots(&every(15), "2026-01-01T10:15:00Z", 1), ["01T10:30"]);
    assert_eq!(slots(&every(7), "1970-01-01T00:00:00Z", 2), ["01T00:07", "01T00:14"]);
}

#[test]
fn of_missed_slots_the_latest_has_a_run() {
    let schedule = every(60);
    let due = schedule.due(at("2026-01-01T01:00:00Z"), at("2026-01-01T05:30:00Z"), None).unwrap();
    assert_eq!(due.slots, [Slot { at: at("2026-01-01T05:00:00Z"), since: None }]);
    assert_eq!((due.skipped, due.next), (4, Some(at("2026-01-01T06:00:00Z"))));
    let skip = Schedule { missed: Some(Missed::Skip), ..schedule };
    let due = skip.due(at("2026-01-01T01:00:00Z"), at("2026-01-01T05:30:00Z"), None).unwrap();
    assert_eq!((due.slots.len(), due.skipped), (0, 5));
    let due = skip.due(at("2026-01-01T01:00:00Z"), at("2026-01-01T05:00:20Z"), None).unwrap();
    assert_eq!((due.slots.len(), due.skipped), (1, 4));
}

#[test]
fn each_window_has_its_run_however_many_there_are() {
    let schedule = windows(every(1), 0);
    let (mut next, now) = (at("2026-01-01T00:01:00Z"), at("2026-01-03T00:00:30Z"));
    let mut found = Vec::new();
    loop {
        let due = schedule.due(next, now, None).unwrap();
        assert!(due.slots.len() <= SLOTS_AT_ONCE && due.skipped == 0);
        found.extend(due.slots);
        next = due.next.unwrap();
        if next > now {
            break;
        }
    }
    assert_eq!(found.len(), 2 * 24 * 60);
    assert_eq!(found[0].since, Some(at("2026-01-01T00:00:00Z")));
    assert!(found.windows(2).all(|two| two[1].since == Some(two[0].at)));
    // The last of very many is found, too, when only that is wanted.
    let latest = Schedule { missed: Some(Missed::Latest), ..schedule };
    let (mut next, mut found) = (at("2026-01-01T00:01:00Z"), Vec::new());
    while next <= now {
        let due = latest.due(next, now, None).unwrap();
        found.extend(due.slots);
        next = due.next.unwrap();
    }
    let last = at("2026-01-03T00:00:00Z");
    assert_eq!(found, [Slot { at: last, since: Some(last - TimeDelta::minutes(1)) }]);
}

#[test]
fn a_window_waits_for_late_rows() {
    let schedule = windows(every(60), 10);
    let now = at("2026-01-01T12:05:00Z");
    let first = schedule.first(now, None).unwrap();
    assert_eq!(first, Some(at("2026-01-01T12:10:00Z")), "that of 12:00 is still to come");
    let due = schedule.due(first.unwrap(), at("2026-01-01T12:10:00Z"), None).unwrap();
    let (noon, before) = (at("2026-01-01T12:00:00Z"), at("2026-01-01T11:00:00Z"));
    assert_eq!(due.slots, [Slot { at: noon, since: Some(before) }]);
    assert_eq!(due.next, Some(at("2026-01-01T13:10:00Z")));
}

#[test]
fn a_start_in_the_past_makes_windows_due_and_nothing_else() {
    let (start, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-05T00:30:00Z"));
    let daily = Schedule { start_at: Some(start), ..cron("0 0 * * *", "UTC") };
    assert_eq!(daily.first(now, None).unwrap(), Some(at("2026-01-06T00:00:00Z")));
    let daily = windows(daily, 0);
    let first = daily.first(now, None).unwrap().unwrap();
    let due = daily.due(first, now, None).unwrap();
    assert_eq!(due.slots.len(), 4);
    assert_eq!(due.slots[0].since, Some(start));
    let later = Schedule { start_at: Some(at("2027-01-01T00:00:00Z")), ..every(1) };
    assert_eq!(later.first(now, None).unwrap(), Some(at("2027-01-01T00:01:00Z")));
}

#[test]
fn what_cannot_be_kept_is_named() {
    let now = at("2026-01-01T00:00:00Z");
    let said = |schedule: Schedule| schedule.check(now).unwrap_err().to_string();
    assert!(said(cron("30 2 * *", "UTC")).contains("`30 2 * *`"));
    assert!(said(cron("0 30 2 * * *", "UTC")).contains("five fields"));
    assert!(said(cron("61 2 * * *", "UTC")).contains("61"));
    assert!(said(cron("0 0 30 2 *", "UTC")).contains("never"));
    assert!(said(cron("0 0 * * *", "Mars/Olympus")).contains("`Mars/Olympus`"));
    assert!(said(every(0)).contains("`minutes` is 0"));
    assert!(said(windows(Schedule::default(), 0)).contains("`cron` or `every`"));
    let each = Schedule { missed: Some(Missed::Each), ..every(5) };
    assert!(said(each.clone()).contains("`each`"));
    windows(each, 5).check(now).unwrap();
    cron("0 0 29 2 *", "Asia/Shanghai").check(now).unwrap();
}

#[test]
fn a_schedule_is_written_as_it_is_read() {
    let text = r#"{"trigger":{"kind":"cron","cron":"0 3 * * *","zone":"UTC"},"mode":{"kind":"incremental"}}"#;
    let schedule: Schedule = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&schedule).unwrap(), text);
    let short: Schedule =
        serde_json::from_str(r#"{"trigger":{"kind":"cron","cron":"0 3 * * *"}}"#).unwrap();
    assert_eq!(short, schedule);
    assert!(serde_json::from_str::<Schedule>(r#"{"triger":{}}"#).is_err());
}

#[test]
fn windows_go_on_where_the_last_one_ended() {
    let schedule = windows(every(60), 0);
    let (due, covered) = (at("2026-01-05T10:00:00Z"), at("2026-01-05T00:00:00Z"));
    let found = schedule.due(due, due, Some(covered)).unwrap();
    assert_eq!(found.slots, [Slot { at: due, since: Some(covered) }]);
    let latest = Schedule { missed: Some(Missed::Latest), ..schedule };
    let found = latest.due(due, due, Some(covered)).unwrap();
    assert_eq!(found.slots, [Slot { at: due, since: Some(at("2026-01-05T09:00:00Z")) }]);
}

#[test]
fn an_edit_covers_nothing_twice() {
    // Of the past, with a start long ago; with a longer lag; and only the latest of each.
    let covered = Some(at("2026-05-01T12:00:00Z"));
    let now = at("2026-05-01T12:05:00Z");
    let start_at = Some(at("2026-01-01T00:00:00Z"));
    let past = Schedule { start_at, ..windows(every(60), 0) };
    assert_eq!(past.first(now, covered).unwrap(), Some(at("2026-05-01T13:00:00Z")));
    let late = windows(every(15), 60);
    assert_eq!(late.first(now, covered).unwrap(), Some(at("2026-05-01T13:15:00Z")));
    let latest = Schedule { missed: Some(Missed::Latest), ..windows(cron("0 0 * * *", "UTC"), 0) };
    let first = latest.first(now, covered).unwrap().unwrap();
    let found = latest.due(first, first, covered).unwrap();
    assert_eq!(found.slots, [Slot { at: at("2026-05-02T00:00:00Z"), since: covered }]);
    let again = windows(every(15), 0);
    let found = again.due(at("2026-05-01T11:45:00Z"), at("2026-05-01T12:15:00Z"), covered).unwrap();
    assert_eq!(found.slots, [Slot { at: at("2026-05-01T12:15:00Z"), since: covered }]);
    let far = Schedule { start_at: Some(at("9999-01-01T00:00:00Z")), ..every(1) };
    assert!(far.check(now).unwrap_err().to_string().contains("2200"));
}
