//! `get`: files of links, or those of a run from wherever it delivered.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use model::into::IntoDataset;
use model::ports::{Ledger, Objects, Runs};
use model::run::RunState;
use model::{ObjectKey, RunId, digest};
use objects::address::{Address, Stopped, Whole};
use run::Destinations;
use url::Url;

use crate::app::App;
use crate::cli::Get;
use crate::download::{Fetched, How, Source, fetch};
use crate::failed::Failed;
use crate::output::{Output, bytes};
use crate::places::Who;

/// Files asked for at once.
const PAGE: u32 = 1000;

/// Whether what is asked for is at an address, so that no data folder is needed.
pub(crate) fn is_address(what: &str) -> bool {
    what.starts_with("http://") || what.starts_with("https://")
}

/// Fetches links.
pub(crate) async fn links(args: &Get, output: Output) -> Result<(), Failed> {
    // What is wrong with one is told before another is fetched.
    let named = args.what.iter().map(|link| named(link)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::with_capacity(named.len());
    for (url, name) in named {
        let address = Address::new(url).map_err(|e: Stopped| Failed::internal(e.to_string()))?;
        all.push(fetch(Source::Address(address), &args.to.join(name), how(args)).await?);
    }
    print(&all, output)
}

/// Reads an address, and what its file is called.
fn named(link: &str) -> Result<(Url, String), Failed> {
    if !is_address(link) {
        let message = format!("`{link}` is no address; fetch links and runs by themselves");
        return Err(Failed::request(message));
    }
    let url = Url::parse(link)
        .map_err(|e| Failed::request(format!("an address is no URL: {e}; copy it whole")))?;
    let name = file_name(&url)?;
    Ok((url, name))
}

/// Fetches runs.
pub(crate) async fn runs(app: &App, args: &Get) -> Result<(), Failed> {
    if args.what.iter().any(|id| is_address(id)) {
        let message = "an address stands behind a run; fetch links and runs by themselves";
        return Err(Failed::request(message));
    }
    let mut all = Vec::new();
    for id in &args.what {
        all.extend(run(app, args, &RunId::new(id)).await?);
    }
    print(&all, app.output)
}

async fn run(app: &App, args: &Get, id: &RunId) -> Result<Vec<Fetched>, Failed> {
    let run = app.store.run(&app.workspace, id).await?;
    let (RunState::Sealed, Some(manifest)) = (run.state, &run.manifest) else {
        let state = run.state.as_str();
        let message = format!("the run {id} is {state}; there are files once it is sealed");
        return Err(Failed::request(message));
    };
    if let Some(into) = IntoDataset::of(&run.definition.destination) {
        let dataset = into.dataset;
        let message = format!(
            "the rows of the run {id} are in the dataset `{dataset}`; export that dataset to have files"
        );
        return Err(Failed::request(message));
    }
    let places = app.places(Who::Operator);
    let objects = places.open(&app.workspace, &run.definition.destination).await?;
    let mut all = Vec::new();
    loop {
        let first = all.len() as u64 + 1;
        let page = app.store.files(&app.workspace, id, first, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for receipt in page {
            let whole = Whole { bytes: receipt.bytes, sha256: Some(receipt.sha256), tag: None };
            all.push(object(&objects, (receipt.key, whole), args).await?);
        }
    }
    if let Some(list) = &manifest.sidecar {
        let whole = Whole {
            bytes: list.text.len() as u64,
            sha256: Some(digest::sha256_hex(list.text.as_bytes())),
            tag: None,
        };
        let key = ObjectKey::new(format!("{}/{}", run.folder(), list.name));
        all.push(object(&objects, (key, whole), args).await?);
    }
    // Last, as it was delivered: where it is, all is.
    let whole = Whole {
        bytes: manifest.text.len() as u64,
        sha256: Some(manifest.sha256.clone()),
        tag: None,
    };
    all.push(object(&objects, (run.manifest_key(), whole), args).await?);
    Ok(all)
}

async fn object(
    objects: &Arc<dyn Objects>,
    (key, whole): (ObjectKey, Whole),
    args: &Get,
) -> Result<Fetched, Failed> {
    let path = below(&args.to, &key)?;
    fetch(Source::Object(Arc::clone(objects), key, whole), &path, how(args)).await
}

fn how(args: &Get) -> How {
    How { goes_on: args.goes_on, parallel: args.parallel }
}

/// Returns where an object goes.
fn below(to: &Path, key: &ObjectKey) -> Result<PathBuf, Failed> {
    let path = Path::new(key.as_str());
    if path.components().all(|one| matches!(one, Component::Normal(_))) {
        return Ok(to.join(path));
    }
    Err(Failed::internal(format!("`{key}` cannot be the name of a file")))
}

/// Returns the last piece of an address, without what would lead somewhere else.
fn file_name(url: &Url) -> Result<String, Failed> {
    let piece = url.path_segments().and_then(|mut pieces| pieces.next_back()).unwrap_or_default();
    // As a query string has it, but for the plus sign.
    let coded = format!("name={}", piece.replace('+', "%2B"));
    let name = url::form_urlencoded::parse(coded.as_bytes()).next().map(|(_, name)| name);
    let name = name.unwrap_or_default().into_owned();
    let is_plain = !name.contains(['/', '\\']) && !name.contains(char::is_control);
    if name.is_empty() || name == "." || name == ".." || !is_plain {
        let message = "an address has no name of a file at the end of its path; copy it whole";
        return Err(Failed::request(message));
    }
    Ok(name)
}

fn print(all: &[Fetched], output: Output) -> Result<(), Failed> {
    output.value(&all, |out| {
        all.iter().try_for_each(|one| {
            let proof = if one.verified { "sum compared" } else { "no sum to compare" };
            writeln!(out, "{}  {}, {proof}", one.path.display(), bytes(one.bytes))
        })
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_address() {
        let name = |url: &str| file_name(&Url::parse(url).expect("a URL")).ok();
        assert_eq!(name("http://h/links/l/part-0.csv?x=/a").as_deref(), Some("part-0.csv"));
        assert_eq!(name("http://h/%C3%A4%20b+c.gz").as_deref(), Some("ä b+c.gz"));
        for bad in
            ["http://h", "http://h/a/", "http://h/a%2Fb", "http://h/%2e%2e%2fb", "http://h/a%00"]
        {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_object_goes_below_the_folder() {
        let below = |key: &str| below(Path::new("to"), &ObjectKey::new(key)).ok();
        assert_eq!(below("e/r/a.csv"), Some("to/e/r/a.csv".into()));
        for bad in ["../a", "/a", "e/../../a"] {
            assert_eq!(below(bad), None, "{bad}");
        }
    }
}
