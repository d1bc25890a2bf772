//! Runs the program and reads what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A data folder, a place for files, and the program.
pub(crate) struct Sluice {
    root: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What the program said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sluice {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        Self { root, variables: Vec::new() }
    }

    /// Sets a variable of the environment for every command from here on.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.retain(|(set, _)| *set != name);
        self.variables.push((name, value.into()));
    }

    /// The variables that were set.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// A path outside the data folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes an input file and returns its path as text.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        text(&path)
    }

    /// Writes the settings of the data folder.
    pub(crate) fn configure(&self, settings: &str) {
        std::fs::create_dir_all(self.path("sluice-data")).expect("made");
        std::fs::write(self.path("sluice-data/sluice.toml"), settings).expect("written");
    }

    /// The program with its data folder, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.current_dir(self.root.path()).env_remove("SLUICE_DIR").args(args);
        // What a developer's own shell has must not stand in for what a test leaves out.
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(self.variables());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().expect("the program starts"))
    }

    /// Runs a command that must succeed and returns stdout without the last newline.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.stdout, said.stderr);
        said.stdout.trim_end().to_owned()
    }

    /// Runs a command with `--json` that must succeed and returns the value it prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        serde_json::from_str(&self.ok(&all)).expect("one JSON value")
    }

    /// Runs a command that must fail with `code` and one line that contains every word.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, code, "{args:?}: {}{}", said.stdout, said.stderr);
        assert_eq!(said.stdout, "", "{args:?}: nothing on stdout");
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{args:?}: one line, not {lines:?}");
        for word in words {
            assert!(lines[0].contains(word), "{args:?}: `{word}` is not in: {}", lines[0]);
        }
        lines[0].to_owned()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}

/// A manifest that was just printed, with the folder it lies in.
#[track_caller]
pub(crate) fn manifest(path: &str) -> (Value, PathBuf) {
    let content = std::fs::read_to_string(path).expect("the manifest is there");
    let folder = Path::new(path).parent().expect("a manifest lies in a folder");
    (serde_json::from_str(&content).expect("a manifest is JSON"), folder.to_owned())
}

/// The rows of every JSON Lines file of a manifest, in order.
#[track_caller]
pub(crate) fn rows(path: &str) -> Vec<Value> {
    let (manifest, folder) = manifest(path);
    let mut rows = Vec::new();
    for file in manifest["files"].as_array().expect("a list of files") {
        let name = file["path"].as_str().expect("a path");
        let content = std::fs::read_to_string(folder.join(name)).expect("a text file");
        rows.extend(content.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
    }
    rows
}

/// Lines of JSON with numbers `from..to` in `n` and a text in `t`.
pub(crate) fn numbers(from: u64, to: u64) -> String {
    let lines: Vec<_> = (from..to).map(|n| format!("{{\"n\":{n},\"t\":\"row {n}\"}}")).collect();
    lines.join("\n") + "\n"
}
