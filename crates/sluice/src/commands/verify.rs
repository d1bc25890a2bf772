//! `verify`: re-reads an export's files. Needs no data folder.

use std::path::Path;

use export::verify::{Chain, Report, verify as reread};

use crate::cli::Verify;
use crate::failed::Failed;
use crate::output::{Output, say};

/// Does the `verify` command; exit code 5 if anything differs.
pub(crate) fn verify(args: &Verify, output: Output) -> Result<(), Failed> {
    let chain = if args.chain { Chain::Follow } else { Chain::One };
    let report = reread(&args.manifest, chain)?;
    output.value(&report, |out| {
        if report.differences.is_empty() {
            return writeln!(out, "{report}");
        }
        report.differences.iter().try_for_each(|difference| writeln!(out, "{difference}"))
    })?;
    judge(&report)
}

/// Verifies a manifest that was just written.
pub(crate) fn check(manifest: &Path, chain: Chain) -> Result<Report, Failed> {
    let report = reread(manifest, chain)?;
    report.differences.iter().for_each(|difference| say(&difference.to_string()));
    judge(&report)?;
    Ok(report)
}

fn judge(report: &Report) -> Result<(), Failed> {
    match report.differences.len() {
        0 => Ok(()),
        1 => Err(Failed::proof("1 difference: what is there is not what the manifest says")),
        n => Err(Failed::proof(format!(
            "{n} differences: what is there is not what the manifest says"
        ))),
    }
}
