//! The S3 server that `scripts/test` starts, for tests of this crate and of others.

use model::SecretText;
use url::Url;
use uuid::Uuid;

use crate::s3::Place;
use crate::{Egress, S3Settings};

/// Returns how to reach a folder of the server that no other test uses.
///
/// # Panics
///
/// If there is no server.
pub fn s3() -> S3Settings {
    let server = std::env::var("SLUICE_TEST_S3")
        .expect("SLUICE_TEST_S3 names no S3 server: run `scripts/test`, which starts one");
    let mut url = Url::parse(&server).expect("SLUICE_TEST_S3 is a URL");
    let secret = SecretText::new(url.password().expect("it has a secret"));
    let key = SecretText::new(url.username());
    let folder = Uuid::new_v4().simple();
    let place = format!("s3:/{}/{folder}", url.path());
    url.set_path("");
    url.set_username("").and_then(|()| url.set_password(None)).expect("it has a host");
    S3Settings {
        place: Place::parse(&place).expect("it has a bucket"),
        region: "us-east-1".into(),
        endpoint: Some(url.to_string()),
        path_style: true,
        access_key_id: key,
        secret_access_key: secret,
        session_token: None,
    }
}

/// Returns what has to be allowed to call it.
///
/// # Panics
///
/// Never.
pub fn egress() -> Egress {
    Egress::new(["127.0.0.0/8"]).expect("a network")
}
