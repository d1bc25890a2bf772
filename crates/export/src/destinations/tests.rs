//! Tests of paths and URLs.

use model::{Code, Failure, Fault, SecretText};
use objects::{conformance, testing};
use proptest::prelude::*;

use super::*;

/// A place of which nothing but the URL is known.
fn at(url: &str) -> Place {
    Place { url: url.to_owned(), ..Place::default() }
}

fn here(text: &str) -> Result<String, Error> {
    canonical(text, Path::new("/data/here"))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let url = here(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
    assert_eq!(url, expected, "`{text}`");
    assert_eq!(here(&url).expect("canonical"), url, "canonical text is its own canonical text");
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let error = here(text).expect_err(text);
    assert!(error.to_string().contains(words), "`{text}`: {error}");
    assert_eq!((error.code(), error.fault()), (Code::Invalid, Fault::Request));
}

#[test]
fn a_path_becomes_an_absolute_url() {
    check("out", "file:///data/here/out");
    check("out/", "file:///data/here/out");
    check("./out//a/.", "file:///data/here/out/a");
    check("../out", "file:///data/out");
    check("../../../../out", "file:///out");
    check("/out", "file:///out");
    check("/", "file:///");
    check(".", "file:///data/here");
}

#[test]
fn letters_that_mean_something_in_a_url_are_written_as_such() {
    check("a b", "file:///data/here/a%20b");
    check("100%", "file:///data/here/100%25");
    check("a%20b", "file:///data/here/a%2520b");
    check("a?b#c", "file:///data/here/a%3Fb%23c");
    check("größe", "file:///data/here/gr%C3%B6%C3%9Fe");
    check("a:b", "file:///data/here/a:b");
    check("dir/x://y", "file:///data/here/dir/x:/y");
}

#[test]
fn a_file_url_is_the_same_place_as_its_path() {
    check("file:///out/a%20b", "file:///out/a%20b");
    check("file:///out/a b/", "file:///out/a%20b");
    check("FILE:///out", "file:///out");
    check("file://localhost/out", "file:///out");
    check("file:/out", "file:///out");
    check("file:///out/%2e%2e/x", "file:///x");
    check("file:///out/..%2Fx", "file:///x");
}

#[test]
fn a_link_is_left_by_the_side_it_points_to() {
    let dir = tempfile::tempdir().expect("made");
    let root = dir.path().canonicalize().expect("is there");
    std::fs::create_dir_all(root.join("far/away")).expect("made");
    std::os::unix::fs::symlink("far/away", root.join("link")).expect("made");
    let of = |text: &str| local_path(&canonical(text, &root).expect("local")).expect("local");
    assert_eq!(of("link/../x"), root.join("far/x"));
    assert_eq!(of("link/x"), root.join("link/x"), "a link that stays is kept by its name");
    assert_eq!(of("none/../x"), root.join("x"));
}

#[test]
fn what_is_no_local_folder_is_refused_with_a_hint() {
    refused("", "is empty");
    refused("file://server/share", "three slashes");
    refused("file:///a?b", "%3F");
    refused("file:///a#b", "%23");
    refused("file:///a%00b", "zero byte");
    refused("a\0b", "zero byte");
}

#[test]
fn schemes_that_are_not_built_say_so_and_unknown_ones_name_the_known() {
    for scheme in NOT_BUILT {
        refused(&format!("{scheme}://bucket/folder"), "not built yet");
    }
    refused("GS://bucket", "`gs` are not built yet");
    refused(
        "s4://bucket",
        "no destination has the scheme `s4`; use a path or one of these: `file`, `s3`",
    );
    refused("s4://bucket", "`gs`, `az`, `abfss`, `sftp`");
    let opened = |url: &str| open(&at(url), &Egress::default());
    assert!(matches!(opened("gs://bucket"), Err(Error::NotBuilt { .. })));
    assert!(matches!(local_path("sftp://host/x"), Err(Error::NotBuilt { .. })));
    assert!(matches!(local_path("s3://bucket/x"), Err(Error::NotLocal { kind: "s3" })));
    assert!(matches!(opened("/just/a/path"), Err(Error::NoScheme { .. })));
}

#[test]
fn no_message_repeats_a_password() {
    for url in ["sftp://me:secret@host/x", "s4://me:secret@host/x", "s3://me:secret@host/x"] {
        let error = here(url).expect_err("not built");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn every_kind_and_field_is_in_the_documentation() {
    let page = include_str!("../../../../docs/destinations.md");
    for kind in KINDS {
        assert!(page.contains(&format!("| `{}` |", kind.name)), "{}", kind.name);
        assert!(page.contains(kind.summary), "{}", kind.summary);
        for field in kind.fields {
            let variables: Vec<_> =
                field.environment.iter().map(|name| format!("`{name}`")).collect();
            let variables = variables.join(", ");
            let space = if variables.is_empty() { "" } else { " " };
            let row = format!("| `{}` |{space}{variables} | ", field.name);
            let found = page.lines().any(|line| {
                line.starts_with(&row) && line.ends_with(&format!("| {} |", field.summary))
            });
            assert!(found, "no line `{row}…{}`", field.summary);
        }
    }
}

#[test]
fn every_scheme_belongs_to_one_kind() {
    let mut schemes: Vec<_> = KINDS.iter().flat_map(|kind| kind.schemes).collect();
    schemes.extend(NOT_BUILT);
    let count = schemes.len();
    schemes.sort();
    schemes.dedup();
    assert_eq!(schemes.len(), count);
}

#[tokio::test]
async fn a_local_destination_conforms() {
    let dir = tempfile::tempdir().expect("made");
    let url = canonical("new folder/ü", dir.path()).expect("local");
    conformance::all(&*open(&at(&url), &Egress::default()).expect("local")).await;
    assert!(dir.path().join("new folder/ü").is_dir());
}

/// A folder of the S3 server of the tests.
fn bucket() -> Place {
    let server = testing::s3();
    let mut place = at(&server.place.to_string());
    place.settings.insert("endpoint".into(), server.endpoint.expect("it has one"));
    place.secrets.insert("access_key_id".into(), server.access_key_id);
    place.secrets.insert("secret_access_key".into(), server.secret_access_key);
    place
}

#[tokio::test]
async fn a_bucket_conforms() {
    conformance::all(&*open(&bucket(), &testing::egress()).expect("a bucket")).await;
}

#[test]
fn a_bucket_inside_is_refused_to_strangers() {
    let error = open(&bucket(), &Egress::default()).expect_err("loopback");
    assert_eq!((error.code(), error.fault()), (Code::Forbidden, Fault::Request));
    assert!(error.to_string().contains("`egress.allow`"), "{error}");
}

#[test]
fn a_bucket_has_one_text() {
    check("s3://bucket", "s3://bucket");
    check("S3://bucket/a b/ü%20/", "s3://bucket/a b/ü%20");
    refused("s3://bucket/a/../b", "`a/../b` cannot be a folder");
    refused("s3://Bucket", "`s3://bucket/folder`");
}

#[test]
fn fields_that_are_wrong_are_named_and_not_shown() {
    let fails = |change: &dyn Fn(&mut Place), words: &str| {
        let mut place = bucket();
        change(&mut place);
        let error = open(&place, &testing::egress()).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error} {error:?} {place:?}").contains("canary"), "{error}");
        assert_eq!((error.code(), error.fault()), (Code::Invalid, Fault::Request));
    };
    let set = |place: &mut Place, name: &str, value: &str| {
        place.settings.insert(name.to_owned(), value.to_owned());
    };
    let hide = |place: &mut Place, name: &str| {
        place.secrets.insert(name.to_owned(), SecretText::new("canary"));
    };
    fails(&|place| set(place, "regoin", "x"), "no field `regoin`; did you mean `region`?");
    fails(&|place| hide(place, "secret_key"), "did you mean `secret_access_key`?");
    fails(&|place| set(place, "qqq", "x"), "no field `qqq`; they have `region`");
    fails(&|place| hide(place, "region"), "`region` of kind `s3` belongs to the settings");
    fails(&|place| set(place, "session_token", "-"), "belongs to the secrets");
    fails(&|place| set(place, "path_style", "maybe"), "`path_style` of the destination must be");
    fails(&|place| set(place, "endpoint", "localhost"), "`endpoint` is no URL");
    fails(&|place| drop(place.secrets.remove("access_key_id")), "`AWS_ACCESS_KEY_ID`");
    let part = |field: &str, secret: bool| {
        let mut place = bucket();
        if secret {
            hide(&mut place, field);
        } else {
            set(&mut place, field, "-");
        }
        open(&place, &testing::egress()).expect_err("no such field").part()
    };
    assert_eq!((part("x", true), part("x", false)), ("secrets", "settings"));
    let mut swapped = bucket();
    hide(&mut swapped, "canary");
    let error = open(&swapped, &testing::egress()).expect_err("name and value swapped").to_string();
    assert!(error.contains("no such field among their secrets") && !error.contains("canary"));
    assert_eq!((part("region", true), part("session_token", false)), ("secrets", "settings"));
    let mut local = at("file:///data");
    set(&mut local, "region", "x");
    let error = open(&local, &Egress::default()).expect_err("a folder");
    assert!(error.to_string().contains("they have none"), "{error}");
}

proptest! {
    #[test]
    fn path_to_url_and_back_is_the_identity(parts in prop::collection::vec("[^/\0]{1,8}", 0..4)) {
        prop_assume!(!parts.iter().any(|part| part == "." || part == ".."));
        let path = PathBuf::from(format!("/nowhere-{}", parts.join("/")));
        let url = canonical(path.to_str().expect("text"), Path::new("/")).expect("local");
        prop_assert_eq!(local_path(&url).expect("local"), path);
        prop_assert_eq!(canonical(&url, Path::new("/elsewhere")).expect("local"), url);
    }
}
