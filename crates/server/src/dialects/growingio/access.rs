//! Who asks: codes and tokens as clients send them, and where codes are made.
//!
//! A code is a token of the project's workspace that ends after 30 days, written without what the texts of tokens begin with: 64 letters and digits
//! (GI-01). `docs/dialects/growingio.md`, GI-01 to GI-05.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use model::access::{Actor, NewToken, Token, TokenText};
use model::enrolment::Enrolment;
use model::{Code, TokenId, digest};
use ring::hmac;
use serde::Serialize;
use url::form_urlencoded;

use super::{AI, CLIENT, KIND, NAME, PROJECT, SIGN_IN, Settings};
use crate::Core;
use crate::dialects;
use crate::http::caller::{Caller, RequestId};
use crate::http::problem::Problem;
use crate::http::{Client, Doors, body, watch};

/// The header that names a project's public key.
const CLIENT_ID: &str = "x-client-id";

/// Bytes of a request for a code.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Who acts with codes: tokens of whom nothing else has.
const CODES: &str = "growingio-codes";

/// Days for which a code is valid (GI-01).
const CODE_DAYS: i64 = 30;

/// Minutes by which a client's clock may differ (GI-02).
const SKEW_MINUTES: i64 = 10;

/// Writes a token as the guard reads it: it comes bare, or behind `Token` or `Bearer`, and codes have nothing in front (GI-03).
pub(super) fn normalize(headers: &mut HeaderMap) {
    let Some(text) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    else {
        return;
    };
    let text = text.trim();
    let bare = match text.split_once(' ') {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer") =>
        {
            rest.trim()
        }
        _ => text,
    };
    let token = TokenText::from_bare(bare).or_else(|| TokenText::parse(bare));
    let text = token.as_ref().map_or(bare, TokenText::reveal);
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {text}")) {
        headers.insert(header::AUTHORIZATION, value);
    }
}

/// Returns the project whose workspace a caller acts in, if it is one; refuses another project's public key (GI-03).
pub(super) async fn project(
    doors: &Doors,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<Enrolment>, Problem> {
    let enrolment = doors.core.enrolments.enrolment(&caller.workspace, NAME).await?;
    let own = enrolment.as_ref().map_or("", |enrolment| enrolment.name(CLIENT));
    match headers.get(CLIENT_ID) {
        Some(client) if client.as_bytes() != own.as_bytes() => Err(unauthorized()),
        _ => Ok(enrolment),
    }
}

/// Whatever is wrong with whoever asks.
pub(super) fn unauthorized() -> Problem {
    let detail = "the code or the client id opens nothing; sign in again";
    Problem::new(Code::Unauthenticated, detail)
}

/// A code that was made.
#[derive(Serialize)]
struct Made<'a> {
    status: &'static str,
    code: &'a str,
}

/// What a code is asked for with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    project: String,
    ai: String,
    tm: String,
    auth: String,
}

impl Asked {
    /// Reads parameters from wherever they are: the query string or the body, whatever its type is said to be (GI-02).
    fn read(query: &str, body: &[u8]) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let pairs = form_urlencoded::parse(query.as_bytes())
            .chain(form_urlencoded::parse(body.trim_ascii()));
        for (name, value) in pairs {
            let field = match &*name {
                "project" => &mut asked.project,
                "ai" => &mut asked.ai,
                "tm" => &mut asked.tm,
                "auth" => &mut asked.auth,
                _ => continue,
            };
            if field.is_empty() {
                *field = value.into_owned();
            }
        }
        let Self { project, ai, tm, auth } = &asked;
        let all = [("project", project), ("ai", ai), ("tm", tm), ("auth", auth)];
        match all.iter().find(|(_, value)| value.is_empty()) {
            Some((name, _)) => {
                let detail = format!("`{name}` is missing; send project, ai, tm and auth");
                Err(Problem::new(Code::Invalid, detail))
            }
            None => Ok(asked),
        }
    }

    /// What is signed, in this order and without any encoding.
    fn message(&self) -> String {
        let Self { project, ai, tm, .. } = self;
        format!("POST\n{SIGN_IN}\nproject={project}&ai={ai}&tm={tm}")
    }

    /// Whether the time of a request is near enough.
    fn is_timely(&self, now: DateTime<Utc>) -> bool {
        let at = self.tm.parse().ok().and_then(DateTime::from_timestamp_millis);
        at.is_some_and(|at: DateTime<Utc>| (now - at).abs() <= TimeDelta::minutes(SKEW_MINUTES))
    }
}

/// Returns whether a text is the signature of a message, as hex.
pub(super) fn is_signed(secret: &str, message: &str, signature: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = digest::from_hex(signature);
    tag.is_some_and(|tag| hmac::verify(&key, message.as_bytes(), &tag).is_ok())
}

/// Makes a code (GI-01, GI-02).
pub(super) async fn sign_in(
    State(doors): State<Doors>,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    client.begins(&doors, ("growingio.sign_in", SIGN_IN))?;
    client.signs_in(&doors)?;
    let (parts, body) = request.into_parts();
    let id = parts.extensions.get::<RequestId>().ok_or_else(Problem::broken)?;
    let bytes = body::whole(body, BODY_BYTES_MAX).await?;
    let asked = Asked::read(parts.uri.query().unwrap_or_default(), &bytes)?;
    let (core, now) = (&doors.core, doors.core.clock.now());
    let enrolment = named(core, &parts.headers).await?.ok_or_else(unauthorized)?;
    let is_it = enrolment.name(PROJECT) == asked.project && enrolment.name(AI) == asked.ai;
    let secret = core.enrolments.enrolment_secret(&enrolment.workspace, NAME).await?;
    if !is_it || !is_signed(secret.reveal(), &asked.message(), &asked.auth) || !asked.is_timely(now)
    {
        return Err(unauthorized());
    }
    let text = TokenText::from_random((core.secret)()?);
    let settings: Settings = core.dialects.of(&KIND);
    let token = code((core, &settings), &enrolment, &text).await?;
    let entry = watch::Entry {
        actor: Actor::Token { principal: token.principal.clone(), token: token.id.clone() },
        organization: enrolment.organization.clone(),
        workspace: enrolment.workspace.clone(),
        action: "growingio.sign_in",
        target: token.id.to_string(),
    };
    watch::note(core, (entry, id)).await;
    if settings.one_code {
        doors.grants.forget();
    }
    Ok(Json(Made { status: "success", code: text.bare() }).into_response())
}

/// Returns the project whose public key a request names.
pub(super) async fn named(core: &Core, headers: &HeaderMap) -> Result<Option<Enrolment>, Problem> {
    let client = headers.get(CLIENT_ID).and_then(|value| value.to_str().ok());
    by_client(core, client.unwrap_or_default()).await
}

/// Returns the project of a public key.
pub(super) async fn by_client(core: &Core, client: &str) -> Result<Option<Enrolment>, Problem> {
    // What names have not, not every database takes.
    if client.is_empty() || client.contains(char::is_control) {
        return Ok(None);
    }
    Ok(core.enrolments.enrolled(NAME, (CLIENT, client)).await?)
}

/// Makes a code; where there is to be one alone, the others of the project end in the same step (GI-01). Tokens that were made for good stay.
async fn code(
    (core, settings): (&Core, &Settings),
    enrolment: &Enrolment,
    text: &TokenText,
) -> Result<Token, Problem> {
    let (organization, now) = (&enrolment.organization, core.clock.now());
    let new = NewToken {
        id: TokenId::mint(),
        principal: dialects::principal(&*core.access, (organization, CODES), now).await?,
        workspace: Some(enrolment.workspace.to_string()),
        scopes: KIND.scopes.to_vec(),
        expires_at: Some(now + TimeDelta::days(CODE_DAYS)),
        sha256: text.sha256(),
    };
    let made = if settings.one_code {
        core.access.renew_token(organization, &new, now).await
    } else {
        core.access.create_token(organization, &new, now).await
    };
    Ok(made?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "project=nxog09md&ai=0123456789abcdef&tm=1465020309123&auth=1f3f5c8f67f7a5daafb7eb3fc0048de54fe8ac2bee9dd6171b4e16701aa58c5f";

    #[test]
    fn the_documented_signature_is_right() {
        let asked = Asked::read("", BODY.as_bytes()).expect("all of it");
        assert!(is_signed("s3cret", &asked.message(), &asked.auth));
        assert!(is_signed("s3cret", &asked.message(), &asked.auth.to_uppercase()));
        assert!(!is_signed("s3cret", &asked.message(), &asked.auth[..62]));
        assert!(!is_signed("secret", &asked.message(), &asked.auth));
        assert!(!is_signed("s3cret", &asked.message(), "zz"));
    }

    #[test]
    fn parameters_are_found_wherever_they_are() {
        let expected = Asked::read("", BODY.as_bytes()).expect("all of it");
        assert_eq!(Asked::read(BODY, b"").expect("all of it"), expected);
        let (query, body) = BODY.split_at(BODY.find("&tm").expect("there is one"));
        assert_eq!(Asked::read(query, body.as_bytes()).expect("all of it"), expected);
        assert_eq!(Asked::read("", format!("{BODY}\n").as_bytes()).expect("all of it"), expected);
        let refused = Asked::read("", b"project=a&ai=b&auth=c").expect_err("no time");
        assert!(refused.detail().contains("`tm`"), "{refused:?}");
    }

    #[test]
    fn a_clock_may_be_ten_minutes_off() {
        let asked = Asked { tm: "1465020309123".into(), ..Asked::default() };
        let at = DateTime::from_timestamp_millis(1_465_020_309_123).expect("a time");
        for (minutes, timely) in [(0, true), (10, true), (-10, true), (11, false), (-11, false)] {
            assert_eq!(asked.is_timely(at + TimeDelta::minutes(minutes)), timely, "{minutes}");
        }
        for tm in ["", "now", "1465020309", "99999999999999999999"] {
            assert!(!Asked { tm: tm.into(), ..Asked::default() }.is_timely(at), "{tm}");
        }
    }

    #[test]
    fn a_token_comes_in_three_ways() {
        let token = TokenText::from_random([7; 32]);
        for text in [token.bare(), token.reveal()] {
            for sent in [
                text.to_owned(),
                format!(" {text} "),
                format!("Token {text}"),
                format!("token  {text}"),
                format!("Bearer {text}"),
            ] {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, sent.parse().expect("a value"));
                normalize(&mut headers);
                let expected = format!("Bearer {}", token.reveal());
                assert_eq!(headers[header::AUTHORIZATION], *expected, "{sent}");
            }
        }
    }
}
