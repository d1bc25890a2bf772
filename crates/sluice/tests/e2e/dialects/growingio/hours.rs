//! Hours that are built while everything happens at once: servers that die or stand still, clocks that differ, a month, history, upkeep.

use super::*;

/// Looks while a server stands still.
const STILL_LOOKS: u32 = 500;

/// The numbers in the packages of a slot, and the instants at which they were received.
fn received(server: &Server, links: &[String]) -> Vec<(u64, DateTime<Utc>)> {
    let mut all = Vec::new();
    for link in links {
        let (_, text) = server.package(link);
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let number = cells[0].trim_start_matches('u').parse().expect("a number");
            let sent = cells[3].parse().expect("milliseconds");
            all.push((number, DateTime::from_timestamp_millis(sent).expect("a time")));
        }
    }
    all
}

/// Has a server stand still while an hour becomes due, until another one has built it; or for a while, since it may hold what the other
/// waits for.
fn stand_still(still: &Server, other: &Server, project: &Project, time: &mut Time) {
    still.tell("-STOP");
    time.set(time.now + TimeDelta::minutes(12));
    let name = (time.now - TimeDelta::hours(1) + TimeDelta::hours(8)).format("%Y%m%d%H");
    let path = format!("/v2/insights/hour/custom_event/{}/{name}.json", project.get("ai"));
    for _ in 0..STILL_LOOKS {
        let answer = other.try_send("GET", &path, (project.get("token"), &[]), b"");
        if answer.is_some_and(|answer| answer.text.contains("FINISHED")) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    still.tell("-CONT");
}

/// Two servers build side by side while rows come in around the ends of hours; one dies and comes again, one stands still and goes on.
#[test]
fn each_row_is_in_one_slot_whoever_dies_or_stands_still() {
    let sluice = Sluice::new();
    sluice.configure(&free("delay_minutes = 1\nnight_delay_minutes = 1"));
    let mut time = Time::new(&sluice, "2026-01-01T02:59:59.990Z");
    let (mut one, other) = (time.serve(&sluice), time.serve(&sluice));
    let project = Project::enable(&sluice, &time);
    let (first, hours, each) = (time.now, 8_i64, 12_u64);
    let mut number = 0;
    for hour in 0..hours {
        // Around the end of an hour, to the millisecond, and while the one before is built.
        let end = first + TimeDelta::hours(hour);
        for step in 0..each {
            let offset = match step {
                0..4 => TimeDelta::milliseconds(i64::try_from(step).expect("small") * 5 - 5),
                4..8 => TimeDelta::minutes(i64::try_from(step).expect("small")),
                _ => {
                    TimeDelta::minutes(50) + TimeDelta::seconds(i64::try_from(step).expect("small"))
                }
            };
            let now = (end + TimeDelta::milliseconds(10) + offset).max(time.now);
            time.set(now);
            if matches!((hour, step), (1 | 3 | 5, 5)) {
                one.kill();
                one = time.serve(&sluice);
            }
            event(&one, number);
            number += 1;
        }
        if hour == 2 {
            stand_still(&other, &one, &project, &mut time);
        }
    }
    time.set(first + TimeDelta::hours(hours + 1));
    let (mut seen, mut found): (BTreeMap<u64, String>, u64) = (BTreeMap::new(), 0);
    for hour in 0..=hours {
        let start = first + TimeDelta::hours(hour)
            - TimeDelta::milliseconds(59_990)
            - TimeDelta::minutes(59);
        let name = (start + TimeDelta::hours(8)).format("%Y%m%d%H").to_string();
        let links = one.slot(&project, &format!("hour/custom_event/{{ai}}/{name}.json"));
        for (number, sent) in received(&one, &links) {
            assert!(
                start <= sent && sent < start + TimeDelta::hours(1),
                "{number}: {sent} in {name}"
            );
            assert_eq!(seen.insert(number, name.clone()), None, "{number} is there twice");
            found += 1;
        }
        // The other server says the same.
        let same = other.slot(&project, &format!("hour/custom_event/{{ai}}/{name}.json"));
        assert_eq!(same.len(), links.len());
    }
    assert_eq!((found, seen.len() as u64), (number, number), "none is lost");
}

/// Two servers of one folder, the clock of one minutes behind that of the other, and rows at both around the ends of hours: what comes to the slow one when the
/// fast one has closed an hour is in the next.
#[test]
fn clocks_that_differ_lose_and_double_nothing() {
    let sluice = Sluice::new();
    sluice.configure(&free("delay_minutes = 0\nnight_delay_minutes = 0"));
    let mut fast = Time::new(&sluice, "2026-01-01T05:57:00Z");
    let mut slow = Time::called("slow", &sluice, "2026-01-01T05:53:00Z");
    let project = Project::enable(&sluice, &fast);
    let (one, other) = (fast.serve(&sluice), slow.serve(&sluice));
    let (mut number, mut seen) = (0, BTreeMap::new());
    for hour in 6..9 {
        for minute in [-3, -1, 0, 1, 3, 5] {
            let now = at("2026-01-01T00:00:00Z") + TimeDelta::minutes(hour * 60 + minute);
            fast.set(now);
            slow.set(now - TimeDelta::minutes(4));
            for server in [&one, &other, &one] {
                event(server, number);
                number += 1;
            }
            if minute == 0 {
                // The fast one builds the hour that the slow one is still in.
                let name = (now + TimeDelta::hours(7)).format("%Y%m%d%H").to_string();
                one.slot(&project, &format!("hour/custom_event/{{ai}}/{name}.json"));
            }
        }
    }
    for time in [&mut fast, &mut slow] {
        time.set(at("2026-01-01T10:00:00Z"));
    }
    for hour in 13..18 {
        let of = format!("hour/custom_event/{{ai}}/20260101{hour}.json");
        let links = other.slot(&project, &of);
        assert_eq!(links.len(), one.slot(&project, &of).len());
        for (row, sent) in received(&other, &links) {
            let start = at(&format!("2026-01-01T{:02}:00:00Z", hour - 8));
            assert!(start <= sent && sent < start + TimeDelta::hours(1), "{row}: {sent} in {hour}");
            assert_eq!(seen.insert(row, hour), None, "{row} is there twice");
        }
    }
    assert_eq!(seen.len() as u64, number, "none is lost");
    let hours: Vec<_> = (0..number).map(|row| seen[&row]).collect();
    assert!(hours.is_sorted(), "{hours:?}");
}

/// A month, of which servers were away for most.
#[test]
fn a_month_has_each_row_once() {
    let sluice = Sluice::new();
    sluice.configure(&free("package_bytes = 4096"));
    let mut time = Time::new(&sluice, "2026-01-31T12:34:56Z");
    let mut server = time.serve(&sluice);
    let project = Project::enable(&sluice, &time);
    let (mut number, mut expected) = (0, BTreeMap::new());
    let mut seen = BTreeMap::new();
    for week in 0..4 {
        for (days, clock) in [(0, "15:59:59.999"), (1, "16:00:00"), (5, "03:00:00.001")] {
            let day = at("2026-02-01T00:00:00Z") + TimeDelta::days(week * 7 + days);
            time.set(at(&format!("{}T{clock}Z", day.format("%Y-%m-%d"))));
            event(&server, number);
            let local = time.now + TimeDelta::hours(8);
            *expected.entry(local.format("%Y%m%d").to_string()).or_insert(0) += 1;
            number += 1;
            // Nobody is there until the next rows come.
            server.kill();
            server = time.serve(&sluice);
        }
        time.set(at("2026-02-07T20:00:00Z") + TimeDelta::days(week * 7));
        for day in 0..7 {
            let day = at("2026-02-01T00:00:00Z") + TimeDelta::days(week * 7 + day);
            let name = day.format("%Y%m%d").to_string();
            let links = server.slot(&project, &format!("day/custom_event/{{ai}}/{name}.json"));
            let rows = received(&server, &links);
            assert_eq!(rows.len(), expected.get(&name).copied().unwrap_or(0), "{name}");
            for (number, _) in rows {
                assert_eq!(seen.insert(number, name.clone()), None, "{number} is there twice");
            }
        }
    }
    assert_eq!(seen.len() as u64, number);
}

/// A link that was given out at the last moment can be fetched to its end, whatever upkeep takes away; another secret ends all at once (GI-16, GI-24).
#[test]
fn files_stay_until_the_last_link_ends() {
    let sluice = Sluice::new();
    sluice.configure(&free("keep_days = 1"));
    let mut time = Time::new(&sluice, "2026-01-01T12:10:00Z");
    let server = time.serve(&sluice);
    let project = Project::enable(&sluice, &time);
    event(&server, 7);
    // A minute before the hour is too old.
    time.set(at("2026-01-02T12:59:00Z"));
    let hour = "hour/custom_event/{ai}/2026010120.json";
    let link = server.slot(&project, &format!("{hour}?expire=10080")).remove(0);
    let path = format!("/v2/insights/{}", hour.replace("{ai}", project.get("ai")));
    let status = |link: &str| match ureq::get(link).call() {
        Ok(got) => got.status().as_u16(),
        Err(ureq::Error::StatusCode(status)) => status,
        Err(error) => panic!("{error}"),
    };
    for (now, wanted) in [("2026-01-09T12:58:59Z", 200), ("2026-01-09T12:59:01Z", 403)] {
        time.set(at(now));
        sluice.ok(&["upkeep", "--test-clock", &time.path()]);
        let answer = server.send("GET", &path, (project.get("token"), &[]), b"").ok(200);
        assert_eq!(answer["errorMsg"], "it is older than what is kept");
        assert_eq!(status(&link), wanted, "{now}");
    }
    event(&server, 8);
    time.set(at("2026-01-09T13:30:00Z"));
    let link = server.slot(&project, "hour/custom_event/{ai}/2026010920.json").remove(0);
    assert_eq!(status(&link), 200);
    sluice.ok(&["growingio", "secret"]);
    assert_eq!(status(&link), 403);
    let link = server.slot(&project, "hour/custom_event/{ai}/2026010920.json").remove(0);
    assert_eq!(status(&link), 200);
}

/// A file of another system says when rows were received there; the hours that they name are built when somebody asks (GI-17).
#[test]
fn imported_history_is_in_the_hours_that_it_names() {
    let sluice = Sluice::new();
    sluice.configure(&free(""));
    sluice.ok(&["dataset", "canonical"]);
    let project = Project { shown: sluice.json(&["growingio", "enable"]) };
    let line = |user: &str, sent: i64| {
        let time = "2010-12-01T00:00:00Z";
        format!(
            "{{\"type\":\"custom\",\"time\":\"{time}\",\"user_id\":\"{user}\",\"sendTime\":{sent}}}\n"
        )
    };
    // The first and the last millisecond of an hour, and the next.
    let history = [
        line("u1", 1_291_161_600_000),
        line("u2", 1_291_165_199_999),
        line("u3", 1_291_165_200_000),
    ];
    let file = sluice.file("history.jsonl", history.concat());
    sluice.fails(
        &["import", "event", &file, "--receive-time", "sent"],
        2,
        &["has no column `sent`"],
    );
    sluice.fails(&["import", "event", &file, "--receive-time", "time"], 2, &["time column"]);
    sluice.ok(&["import", "event", &file, "--receive-time", "sendTime"]);
    let said = sluice.ok(&["growingio", "rebuild", "2010120108", "2010120109"]);
    assert!(said.contains("20 data types of 2 hours"), "{said}");
    sluice.fails(&["growingio", "rebuild", "2010120108"], 2, &["is being built"]);
    let server = Server::start(&sluice);
    let mut found = Vec::new();
    for name in ["2010120108", "2010120109"] {
        let links = server.slot(&project, &format!("hour/custom_event/{{ai}}/{name}.json"));
        found.push(
            received(&server, &links)
                .into_iter()
                .map(|(n, at)| (n, at.timestamp_millis()))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(
        found,
        [vec![(1, 1_291_161_600_000), (2, 1_291_165_199_999)], vec![(3, 1_291_165_200_000)]]
    );
    let log = sluice.ok(&["audit"]);
    assert!(log.contains("growingio.rebuild") && log.contains("2010120108-2010120109"), "{log}");
}

/// What waits is `RUNNING`, and is not asked for a second time: this server's clock has not come to where it was asked for (GI-17).
#[test]
fn what_is_being_built_is_told() {
    let sluice = Sluice::new();
    sluice.configure(&free(""));
    let time = Time::new(&sluice, "2026-01-01T12:10:00Z");
    let project = Project::enable(&sluice, &time);
    sluice.ok(&["growingio", "rebuild", "2010120108", "2010120109"]);
    let server = time.serve(&sluice);
    for of in ["hour/page/{ai}/2010120108.json", "hour/{ai}/2010120109.json"] {
        let path = format!("/v2/insights/{}", of.replace("{ai}", project.get("ai")));
        let answer = server.send("GET", &path, (project.get("token"), &[]), b"").ok(200);
        assert_eq!(answer["status"], "RUNNING", "{answer}");
    }
    let again = json!({ "from": "2010120107", "to": "2010120108" });
    let refused = server.post("/v1/growingio/rebuilds", &again);
    refused.problem(409, "conflict", &["the hour 2010120108 is being built"]);
    let path = format!("/v2/insights/hour/{}/2010120107.json", project.get("ai"));
    let answer = server.send("GET", &path, (project.get("token"), &[]), b"").ok(200);
    assert_eq!(answer["status"], "NOT_EXISTS", "nothing of what was refused is asked for");
}

/// An hour that somebody had built before it was due has what was imported after its end, also if that failed at first (GI-17).
#[test]
fn what_was_asked_for_early_is_of_all_commits() {
    let sluice = Sluice::new();
    sluice.configure(&free(""));
    let mut time = Time::new(&sluice, "2026-01-01T12:10:00Z");
    let project = Project::enable(&sluice, &time);
    let server = time.serve(&sluice);
    event(&server, 1);
    time.set(at("2026-01-01T13:05:00Z"));
    let line = json!({ "type": "custom", "time": "2026-01-01T00:00:00Z", "user_id": "u2", "at": "2026-01-01T12:30:00Z" });
    let (file, clock) = (sluice.file("late.jsonl", format!("{line}\n")), time.path());
    sluice.ok(&["import", "event", &file, "--receive-time", "at", "--test-clock", &clock]);
    let broken = json!({ "name": "growingio.custom_event", "time_column": "sentAt",
        "sql": "SELECT user_id AS \"visitUserId\", _commit_time AS \"sentAt\" FROM event" });
    server.post("/v1/views", &broken).ok(201);
    server.post("/v1/growingio/rebuilds", &json!({ "from": "2026010120" })).ok(202);
    let of = "hour/custom_event/{ai}/2026010120.json";
    let path = format!("/v2/insights/{}", of.replace("{ai}", project.get("ai")));
    // Until it rests: before that it is tried at once.
    let mut failed = 0;
    for _ in 0..LOOKS_MAX {
        let answer = server.send("GET", &path, (project.get("token"), &[]), b"").ok(200);
        failed = if answer["status"] == "ERROR" { failed + 1 } else { 0 };
        if failed == STILL_LOOKS / 5 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(failed, STILL_LOOKS / 5, "it fails for good");
    server.kill();
    sluice.ok(&["view", "drop", "growingio.custom_event"]);
    time.set(at("2026-01-01T13:31:00Z"));
    let server = time.serve(&sluice);
    let links = server.slot(&project, of);
    let rows: Vec<_> = received(&server, &links).into_iter().map(|(number, _)| number).collect();
    assert_eq!(rows, [1, 2]);
}
