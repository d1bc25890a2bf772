//! Folders of buckets in S3, or in a service that speaks its protocol, as `s3://bucket/folder`.
//!
//! Contract: what stands behind the bucket's name is taken as it is written, without any encoding. The keys are
//! given; the machine is never asked for its own, because whoever names a destination may be a stranger.

use std::sync::Arc;

use model::ports::Objects;
use objects::{Egress, S3, S3Settings, s3};

use super::{Destination, Error, Field, Kind, Place};

/// Buckets, described as data.
pub(super) static KIND: Kind = Kind {
    name: "s3",
    summary: "a folder of a bucket in Amazon S3, or in a service that speaks its protocol",
    schemes: &["s3"],
    fields: &[REGION, ENDPOINT, PATH_STYLE, ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN],
    destination: &Bucket,
};

const REGION: Field = Field {
    name: "region",
    summary: "the bucket's region; services without regions take any",
    default: Some("us-east-1"),
    needed: false,
    secret: false,
    environment: &["AWS_REGION", "AWS_DEFAULT_REGION"],
};

const ENDPOINT: Field = Field {
    name: "endpoint",
    summary: "the service's URL; Amazon's own of the region without it",
    default: None,
    needed: false,
    secret: false,
    environment: &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
};

const PATH_STYLE: Field = Field {
    name: "path_style",
    summary: "whether the bucket stands in the path of the URL (`true`) or in the host's name (`false`); `true` by itself where there is an `endpoint`",
    default: None,
    needed: false,
    secret: false,
    environment: &[],
};

const ACCESS_KEY_ID: Field = Field {
    name: "access_key_id",
    summary: "the name of the key",
    default: None,
    needed: true,
    secret: true,
    environment: &["AWS_ACCESS_KEY_ID"],
};

const SECRET_ACCESS_KEY: Field = Field {
    name: "secret_access_key",
    summary: "the key",
    default: None,
    needed: true,
    secret: true,
    environment: &["AWS_SECRET_ACCESS_KEY"],
};

const SESSION_TOKEN: Field = Field {
    name: "session_token",
    summary: "what comes with a key that lasts for a while only",
    default: None,
    needed: false,
    secret: true,
    environment: &["AWS_SESSION_TOKEN"],
};

#[derive(Debug)]
struct Bucket;

impl Destination for Bucket {
    fn canonical(&self, url: &str) -> Result<String, Error> {
        Ok(s3::Place::parse(url)?.to_string())
    }

    fn open(&self, place: &Place, egress: &Egress) -> Result<Arc<dyn Objects>, Error> {
        Ok(Arc::new(open(place, egress)?))
    }
}

/// Makes the store of a place whose fields were checked.
pub(super) fn open(place: &Place, egress: &Egress) -> Result<S3, Error> {
    let endpoint = place.setting(&ENDPOINT);
    let path_style = match place.setting(&PATH_STYLE) {
        None => endpoint.is_some(),
        Some(text) => text.parse().map_err(|_| Error::BadField {
            field: PATH_STYLE.name,
            expected: "`true` or `false`",
        })?,
    };
    let key = |field| place.secret(field).expect("it is needed, and was checked");
    let settings = S3Settings {
        place: s3::Place::parse(&place.url)?,
        region: place.setting(&REGION).expect("it has a default").to_owned(),
        endpoint: endpoint.map(str::to_owned),
        path_style,
        access_key_id: key(&ACCESS_KEY_ID),
        secret_access_key: key(&SECRET_ACCESS_KEY),
        session_token: place.secret(&SESSION_TOKEN),
    };
    Ok(S3::new(settings, egress.clone())?)
}
