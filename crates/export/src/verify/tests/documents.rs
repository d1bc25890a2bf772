//! The documents about manifests, held to what the program writes and reads.

use std::collections::BTreeSet;

use model::manifest::{FilesList, Previous};
use model::schema::Unit;
use serde_json::Value;

use super::*;

const SCHEMA: &str = include_str!("../../../../../docs/manifest.schema.json");
const PROSE: &str = include_str!("../../../../../docs/manifest.md");

fn document() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Makes a manifest with everything that may be left out.
fn full() -> Manifest {
    let at = DateTime::UNIX_EPOCH;
    let (run, path, sha256) = (RunId::new("r0"), "x/manifest.json".to_owned(), sha256_hex(b""));
    let file = File {
        path: "a".into(),
        rows: 1,
        bytes: 1,
        uncompressed_bytes: 1,
        sha256: sha256.clone(),
        md5: Some(String::new()),
        first_commit: None,
        last_commit: None,
    };
    let mut manifest = of("r1", vec![file]);
    manifest.selection = Selection {
        columns: Some("id".into()),
        filter: Some("true".into()),
        since: Some(at),
        until: Some(at),
    };
    manifest.files_list = Some(FilesList { path: path.clone(), bytes: 1, sha256: sha256.clone() });
    manifest.again = true;
    manifest.begins_after = Some(CommitNumber(1));
    manifest.previous = Some(Previous { run, path, sha256 });
    manifest.schema.fields = types().map(|kind| Field::new("f", kind)).collect();
    manifest.schema.fields[0].nullable = false;
    manifest
}

/// Returns one type of every kind.
fn types() -> impl Iterator<Item = Type> {
    let (unit, field) = (Unit::Us, || Box::new(Field::new("item", Type::Null)));
    let plain = [
        Type::Null,
        Type::Boolean,
        Type::Int8,
        Type::Int16,
        Type::Int32,
        Type::Int64,
        Type::UInt8,
        Type::UInt16,
        Type::UInt32,
        Type::UInt64,
        Type::Float16,
        Type::Float32,
        Type::Float64,
        Type::String,
        Type::Binary,
        Type::Date,
        Type::Interval,
    ];
    let nested = [
        Type::Decimal { precision: 5, scale: 2 },
        Type::FixedBinary { bytes: 16 },
        Type::Time { unit },
        Type::Timestamp { unit, zone: Some("UTC".into()) },
        Type::Duration { unit },
        Type::List { item: field() },
        Type::Struct { fields: vec![*field()] },
        Type::Map { key: field(), value: field() },
    ];
    plain.into_iter().chain(nested)
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

fn words(value: &Value) -> BTreeSet<String> {
    let words = value.as_array().expect("an array").iter();
    words.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Holds what the schema says of an object against one with everything and one with the least.
#[track_caller]
fn same_keys(schema: &Value, full: &[&Value], least: &Value) {
    let all: BTreeSet<_> = full.iter().flat_map(|value| keys(value)).collect();
    assert_eq!(keys(&schema["properties"]), all);
    let required = schema.get("required").map(words).unwrap_or_default();
    assert_eq!(required, keys(least));
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_schema_has_exactly_the_properties_that_are_written() {
    let (document, full) = (document(), serde_json::to_value(full()).unwrap());
    let mut least = of("r1", vec![]);
    least.files = vec![File { md5: None, ..self::full().files[0].clone() }];
    let least = serde_json::to_value(least).unwrap();
    same_keys(&document, &[&full], &least);
    for name in ["selection", "schema", "totals"] {
        same_keys(&document["$defs"][name], &[&full[name]], &least[name]);
    }
    for name in ["previous", "files_list"] {
        same_keys(&document["$defs"][name], &[&full[name]], &full[name]);
    }
    same_keys(&document["$defs"]["file"], &[&full["files"][0]], &least["files"][0]);
    let fields: Vec<_> = full["schema"]["fields"].as_array().unwrap().iter().collect();
    same_keys(&document["$defs"]["field"], &fields, &least["schema"]["fields"][0]);
}

#[test]
fn the_schema_has_exactly_the_words_that_are_written() {
    let document = document();
    let sources =
        [Source::Dataset(String::new()), Source::View(String::new()), Source::Sql(String::new())];
    let sources: BTreeSet<_> =
        sources.iter().flat_map(|source| keys(&serde_json::to_value(source).unwrap())).collect();
    assert_eq!(keys(&document["$defs"]["relation"]["properties"]), sources);
    let field = &document["$defs"]["field"]["properties"];
    let name = |kind| serde_json::to_value::<Type>(kind).unwrap()["type"].clone();
    let names = Value::Array(types().map(name).collect());
    assert_eq!(words(&field["type"]["enum"]), words(&names));
    let units =
        [Unit::S, Unit::Ms, Unit::Us, Unit::Ns].map(|unit| serde_json::to_value(unit).unwrap());
    assert_eq!(words(&field["unit"]["enum"]), words(&Value::Array(units.into())));
    assert_eq!(document["properties"]["version"]["const"], VERSION);
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    fn visit(value: &Value, document: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    let to = to.strip_prefix('#').expect("in this document");
                    assert!(document.pointer(to).is_some(), "{to}");
                }
                map.values().for_each(|value| visit(value, document));
            }
            Value::Array(all) => all.iter().for_each(|value| visit(value, document)),
            _ => {}
        }
    }
    let document = document();
    visit(&document, &document);
}

/// Returns the text between the n-th fence of that language and its end.
fn block(language: &str, n: usize) -> &'static str {
    let fence = format!("```{language}\n");
    let start = PROSE.match_indices(&fence).nth(n).expect("as many blocks").0 + fence.len();
    let length = PROSE[start..].find("```").expect("every block ends");
    &PROSE[start..start + length]
}

#[test]
fn the_example_in_the_prose_is_good() {
    let out = Out::new();
    let run = "0199d5c81a2c7f3e9b1d5a6c7e8f9012";
    fs::write(out.at(run, "part-00000.jsonl"), block("jsonl", 0)).unwrap();
    fs::write(out.at(run, "manifest.json"), block("json", 0)).unwrap();
    assert_eq!(out.differences_by(run, Chain::One), []);
    let manifest: Manifest = serde_json::from_str(block("json", 0)).unwrap();
    assert_eq!(manifest.to_text(), block("json", 0), "the example is as the program writes it");
    assert_eq!(manifest.run.as_str(), run);
}

#[test]
fn the_prose_tells_every_property() {
    let document = document();
    let mut names = keys(&document["properties"]);
    for part in ["selection", "previous", "totals", "file", "files_list"] {
        names.extend(keys(&document["$defs"][part]["properties"]));
    }
    for name in names {
        assert!(PROSE.contains(&format!("`{name}`")), "`{name}` is not in docs/manifest.md");
    }
    for name in keys(&document["$defs"]["relation"]["properties"]) {
        assert!(PROSE.contains(&format!("`{{\"{name}\": ")), "{name}");
    }
}
