//! `config`: checks the settings, shows those in force, prints the shipped ones. Opens no data folder.

use serde_json::json;

use crate::cli::{self, Cli};
use crate::config::{Config, defaults, file, settings};
use crate::failed::Failed;
use crate::output::{Output, counted};

/// Does a `config` command.
pub(crate) fn config(cli: &Cli, command: &cli::Config, output: Output) -> Result<(), Failed> {
    let named = match command {
        cli::Config::Check { file: Some(path) } => Some(&**path),
        _ => cli.config.as_deref(),
    };
    match command {
        cli::Config::Check { .. } => {
            let path = file(named, &cli.dir)?;
            let settings = settings(named, &cli.dir)?;
            Config::of(&settings)?.check_dialects()?;
            let path = path.map(|path| path.display().to_string());
            let told = json!({ "file": path, "chosen": settings.chosen() });
            let what = path.as_deref().unwrap_or("no file");
            let chosen = counted(settings.chosen() as u64, "setting");
            Ok(output.value(&told, |out| writeln!(out, "{what}: fine, {chosen} chosen"))?)
        }
        cli::Config::Show => {
            let settings = settings(named, &cli.dir)?;
            Config::of(&settings)?;
            Ok(output.value(&settings.json(), |out| out.write_all(settings.toml().as_bytes()))?)
        }
        cli::Config::Default => {
            let told = json!({ "toml": defaults() });
            Ok(output.value(&told, |out| out.write_all(defaults().as_bytes()))?)
        }
    }
}
