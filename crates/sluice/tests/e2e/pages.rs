//! What pages and the program show to be pasted, pasted.

use std::path::Path;
use std::process::Command;

use crate::helper::{Said, Sluice, text};
use crate::server::Server;

/// Commands of a page, and the lines that it shows below them.
#[derive(Debug, Default)]
struct Step {
    commands: String,
    shown: Vec<String>,
}

/// What a page begins a line of output with; `…` in it stands for anything.
const SHOWN: &str = "#> ";

/// Stands between the outputs of two steps.
const BETWEEN: &str = "\n@@@ next\n";

/// Returns the steps of a page: what its blocks of shell have between blank lines, or up to the lines they print.
fn steps(page: &str) -> Vec<Step> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next());
    let mut steps = Vec::new();
    for block in blocks {
        let mut step = Step::default();
        for line in block.expect("a first piece").lines() {
            let shown = line.strip_prefix(SHOWN);
            if line.is_empty() || (shown.is_none() && !step.shown.is_empty()) {
                steps.push(std::mem::take(&mut step));
            }
            match shown {
                Some(shown) => step.shown.push(shown.to_owned()),
                None => step.commands.extend([line, "\n"]),
            }
        }
        steps.push(step);
    }
    steps.retain(|step| !step.commands.trim().is_empty());
    steps
}

/// Whether a line is as shown.
fn is_like(line: &str, shown: &str) -> bool {
    let (first, rest) = shown.split_once('…').unwrap_or((shown, ""));
    if first.len() == shown.len() {
        return line == shown;
    }
    let tail = line.strip_prefix(first);
    tail.is_some_and(|tail| {
        let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
        ends.into_iter().any(|at| is_like(&tail[at..], rest))
    })
}

/// Runs a script as a user would have it: in the folder, with the program at hand.
fn bash(sluice: &Sluice, script: &str) -> Said {
    let program = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().expect("it lies in a folder");
    let path = std::env::var("PATH").expect("there is a PATH");
    let mut command = Command::new("bash");
    command.current_dir(sluice.path("")).env_remove("SLUICE_DIR").args(["-c", script]);
    let path = format!("{}:{path}", text(program));
    Said::from(command.env("PATH", path).output().expect("bash starts"))
}

#[test]
fn the_tour_of_the_api_works_and_prints_what_the_page_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let steps = steps(&page);
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let mut script: String =
        "set -euo pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n".into();
    let mut starts = 0;
    for step in &steps {
        for line in step.commands.lines() {
            if line.starts_with("sluice serve &") {
                starts += 1;
                continue;
            }
            script += &line.replace("localhost:8080", server.address());
            script += "\n";
        }
        script.extend(["printf '%s' '", BETWEEN, "'\n"]);
    }
    assert_eq!(starts, 1, "the page starts the server once");
    let said = bash(&sluice, &script);
    let outputs: Vec<_> = said.stdout.split(BETWEEN).collect();
    let all = said.code == 0 && outputs.len() == steps.len() + 1;
    let reached = outputs.len() - 1;
    assert!(all, "{} of {:?}: {}", said.code, steps.get(reached), said.stdout + &said.stderr);
    assert!(
        steps.iter().filter(|step| !step.shown.is_empty()).count() > 3,
        "the page shows little"
    );
    for (step, output) in steps.iter().zip(outputs).filter(|(step, _)| !step.shown.is_empty()) {
        let lines: Vec<_> = output.lines().collect();
        let like = lines.len() == step.shown.len()
            && lines.iter().zip(&step.shown).all(|(line, shown)| is_like(line, shown));
        assert!(like, "{step:?} printed {output}");
    }
}

#[test]
fn the_demo_stays_and_answers_what_it_prints() {
    let sluice = Sluice::new();
    // Somebody else has the port: one of the next is taken.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = (busy.local_addr().expect("an address").to_string(), busy);
    let mut command = sluice.command(&["demo", "--serve", "--listen", &busy.0]);
    command.env("SLUICE_LOG", "error");
    let server = Server::spawn(&sluice, command);
    let lines = server.said.iter().skip_while(|line| !line.starts_with("What to ask"));
    let lines: Vec<_> = lines.filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(lines.len() > 3, "{:?}", server.said);
    assert_ne!(server.address(), busy.0);
    let script = lines.join("\n").replace("curl -s", "curl --fail-with-body -s");
    let said = bash(&sluice, &format!("set -eu\n{script}\n"));
    assert_eq!(said.code, 0, "{script}: {}{}", said.stdout, said.stderr);
    for word in ["online_retail", "{\"country\":\"United Kingdom\",\"rows\":495478}", "\"rows\":1"]
    {
        assert!(said.stdout.contains(word), "{word}: {}", said.stdout);
    }
    // Those of the dialects are complete in themselves.
    for line in lines.iter().filter(|line| line.contains("/api/reports/")) {
        let (mut said, mut looks) = (String::new(), 0);
        while !said.contains("\"eventDate\"") && looks < 3000 {
            let asked = bash(&sluice, line);
            assert_eq!(asked.code, 0, "{line}: {}", asked.stderr);
            (said, looks) = (asked.stdout, looks + 1);
        }
        assert!(said.lines().count() > 100, "{line}: {said}");
    }
    let slot = lines.iter().find(|line| line.contains("/v2/insights/")).expect("a slot");
    let said = bash(&sluice, slot).stdout;
    let answer: serde_json::Value = serde_json::from_str(&said).expect(&said);
    assert_eq!(answer["status"], "FINISHED", "{said}");
    let of = &answer["downloadLinks"];
    let link = [of, &of["custom_event"]].iter().find_map(|all| all[0].as_str()).expect(&said);
    let fetched = bash(&sluice, &format!("curl -s '{link}' | gunzip | tail -n +2 | wc -l"));
    assert!(fetched.stdout.trim().parse().is_ok_and(|rows: u64| rows > 10), "{}", fetched.stdout);
    assert!(server.stop(), "it ends well when it is asked to");
}

#[test]
fn shown_lines_may_leave_something_out() {
    for (line, shown, like) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "a…", true),
        ("abc", "…c", true),
        ("abc", "a…c", true),
        ("abcbd", "a…b…d", true),
        ("abc", "a…d", false),
        ("abc", "…b", false),
    ] {
        assert_eq!(is_like(line, shown), like, "{line} {shown}");
    }
}
