//! Plug-ins: one file each, and one line in the list of their family.

use crate::none;
use crate::tree::{self, Text};

/// The folders of plug-ins; the list is the file beside the folder.
const FAMILIES: &[&str] =
    &["crates/export/src/destinations", "crates/export/src/formats", "crates/server/src/dialects"];

/// Files in those folders that the plug-ins share and that are no plug-in.
const SHARED: &[&str] =
    &["crates/export/src/destinations/error.rs", "crates/export/src/destinations/fields.rs"];

fn unlisted(family: &str, list: &str, files: &[Text]) -> Vec<String> {
    let code = list.lines().filter(|line| !line.trim_start().starts_with("//"));
    let listed: Vec<_> = code.flat_map(tree::words).collect();
    let mut complaints = Vec::new();
    for file in files {
        let below = file.path.strip_prefix(family).expect("in the folder").trim_start_matches('/');
        // What lies deeper belongs to the plug-in that its folder is named after.
        let name = below.split('/').next().expect("a first piece").trim_end_matches(".rs");
        if !listed.contains(&name) && !SHARED.contains(&file.path.as_str()) {
            complaints.push(format!("{}: `{name}` is not in `{family}.rs`", file.path));
        }
    }
    complaints
}

#[test]
fn every_plug_in_is_in_its_list() {
    let mut complaints = Vec::new();
    for family in FAMILIES {
        let mut files = tree::texts(family);
        files.retain(|file| file.is("rs"));
        let list = std::fs::read_to_string(tree::root().join(format!("{family}.rs")));
        complaints.extend(unlisted(family, &list.unwrap_or_default(), &files));
    }
    none(&complaints);
}

#[test]
fn a_plug_in_outside_the_list_is_complained_about() {
    let file = |path: &str| Text { path: path.into(), text: String::new() };
    let files = [file("f/csv.rs"), file("f/csv/escape.rs"), file("f/avro.rs")];
    let list = "// avro comes later\nregistry! {\n    csv,\n}\n";
    let complaints = unlisted("f", list, &files);
    assert_eq!(complaints, ["f/avro.rs: `avro` is not in `f.rs`"]);
}
