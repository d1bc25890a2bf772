//! What is no manifest is an error, not a difference.

use super::*;

fn refused(out: &Out, text: &[u8]) -> Error {
    fs::write(out.at("r1", "manifest.json"), text).unwrap();
    let error = verify(&out.at("r1", "manifest.json"), Chain::One).expect_err("refused");
    assert_eq!(error.fault(), Fault::Source);
    error
}

fn told(out: &Out, error: &Error) -> String {
    error.to_string().replace(&format!("{}/", out.folder.path().display()), "")
}

#[test]
fn a_manifest_that_is_not_there_is_an_error() {
    let out = Out::new();
    let error = verify(&out.at("r1", "manifest.json"), Chain::One).expect_err("missing");
    let line = "no manifest at `r1/manifest.json`; give the path of a `manifest.json`";
    assert_eq!((told(&out, &error).as_str(), error.code()), (line, Code::NotFound));
    let error = verify(&out.at("r1", ""), Chain::One).expect_err("a folder");
    let line = "`r1/` is no file; give the path of the `manifest.json` in it";
    assert_eq!((told(&out, &error).as_str(), error.code()), (line, Code::Invalid));
}

#[test]
fn what_is_no_manifest_is_named_for_what_it_is() {
    let out = Out::new();
    let check = |text: &[u8], line: &str| assert_eq!(told(&out, &refused(&out, text)), line);
    let damaged =
        |at| format!("`r1/manifest.json` is not JSON at {at}; if it was a manifest, it is damaged");
    check(b"", &damaged("line 1, column 0"));
    check(b"{\n\"version\":1,", &damaged("line 2, column 12"));
    let none = "`r1/manifest.json` is not a manifest: it has no `version` with a number";
    for text in [&b"{}"[..], b"[]", b"7", b"{\"version\":\"1\"}", b"{\"version\":-1}"] {
        check(text, none);
    }
    let newer = "manifest `r1/manifest.json` has version 2, and this program knows version 1; \
                 use a newer one";
    check(b"{\"version\":2,\"whatever\":true}", newer);
    let short = "`r1/manifest.json` is not a manifest of version 1: \
                 missing field `run` at line 1 column 13";
    check(b"{\"version\":1}", short);
}

#[test]
fn unknown_and_doubled_properties_are_refused() {
    let out = Out::new();
    let text = of("r1", Vec::new()).to_text();
    let more = text.replacen('{', "{\"colour\":1,", 1);
    assert!(told(&out, &refused(&out, more.as_bytes())).contains("unknown field `colour`"));
    let twice = text.replacen('{', "{\"run\":\"r0\",", 1);
    assert!(told(&out, &refused(&out, twice.as_bytes())).contains("duplicate field `run`"));
}

#[test]
fn a_manifest_has_a_limit() {
    let out = Out::new();
    let path = out.at("r1", "manifest.json");
    fs::File::create(&path).unwrap().set_len(MANIFEST_BYTES_MAX + 1).unwrap();
    let error = verify(&path, Chain::One).expect_err("too large");
    let line = "`r1/manifest.json` has more than 67108864 bytes; no manifest is that large";
    assert_eq!((told(&out, &error).as_str(), error.code()), (line, Code::TooLarge));
}
