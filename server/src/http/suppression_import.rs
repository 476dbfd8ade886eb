//! `POST /v1/suppressions/import`: a company's own list of who is not to be written to (T7, E5).

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, Backend, Caller, Reply, parse, read_body};
use super::validate::Check;
use crate::problem::{Code, Problem};
use crate::settings::Settings;
use crate::store::{OptOutSource, SuppressionChannel};
use axum::extract::{Request, State};
use axum::http::header;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 1024 * 1024;
/// A list with more mistakes than this is the wrong file.
const MAX_ERRORS: usize = 100;
/// Words that stand on top of the first column.
const HEADINGS: &[&str] = &["to", "number", "phone", "address", "email"];

/// Numbers and addresses that are not to be written to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportInput {
    /// 1–10,000 of them.
    entries: Vec<EntryInput>,
}

/// A number or an address, alone or with how you know.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EntryInput {
    /// E.164, a national number of the settings' `country`, or an address.
    To(String),
    /// The same, and how you know.
    Known(KnownInput),
}

/// A number or an address, and how you know.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownInput {
    /// E.164, a national number of the settings' `country`, or an address.
    to: String,
    /// `import` where it is absent.
    #[serde(default)]
    source: Option<OptOutSource>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Imported {
    /// Not written to from now on.
    added: usize,
    /// Not written to before, too.
    already: usize,
}

/// Where an entry stands, what it says.
type Entry = (String, String, Option<String>);

/// Imports numbers and addresses that are not to be written to
///
/// Numbers get no text, addresses no email. JSON as shown, or `Content-Type: text/csv`: a number or address a line, and
/// if you like the source behind a comma (`stop`, `provider`, `bounce`, `complaint`, `import`). Either all of it is
/// taken, or every wrong line is named and nothing is. What is suppressed stays as it is, so importing again changes
/// nothing.
#[utoipa::path(post, path = "/v1/suppressions/import", tag = "backend", request_body = ImportInput,
    responses((status = 200, description = "All of it is in force", body = Imported)))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    idempotency: Idempotency,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_plain = !parts.headers.contains_key(header::CONTENT_ENCODING);
    let body = read_body(&parts.headers, body, MAX_BYTES, api.limits.body_timeout).await?;
    let entries = match media_type.as_str() {
        "text/csv" if is_plain => lines(&body)?,
        "application/json" if is_plain => objects(parse(&body)?),
        _ => {
            let detail = "send JSON or a list of lines, not compressed: Content-Type: application/json or text/csv";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
    };
    let entries = checked(entries, &workspace.settings)?;
    let act = async {
        let count = entries.len();
        let added = api.engine.import_suppressions(&workspace, entries, who).await?;
        Ok(Reply::ok(&Imported { added, already: count - added }))
    };
    idempotency.once(&api, &workspace, &body, act).await
}

fn objects(input: ImportInput) -> Vec<Entry> {
    let entry = |(at, entry)| match entry {
        EntryInput::To(to) => (format!("entries[{at}]"), to, None),
        EntryInput::Known(KnownInput { to, source }) => {
            (format!("entries[{at}]"), to, source.map(|source| source.as_str().to_owned()))
        }
    };
    input.entries.into_iter().enumerate().map(entry).collect()
}

fn lines(body: &[u8]) -> Result<Vec<Entry>, Problem> {
    let text = std::str::from_utf8(body);
    let text =
        text.map_err(|_| Problem::new(Code::InvalidRequest, "the list is not UTF-8: save it as CSV in UTF-8"))?;
    let cell = |cell: &str| cell.trim().trim_matches('"').trim().to_owned();
    let mut entries = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let mut cells = line.splitn(3, [',', ';', '\t']).map(cell);
        let to = cells.next().unwrap_or_default();
        let source = cells.next().filter(|source| !source.is_empty());
        let is_heading = at == 0 && HEADINGS.contains(&to.to_ascii_lowercase().as_str());
        if is_heading || to.is_empty() && source.is_none() {
            continue;
        }
        entries.push((format!("line {}", at + 1), to, source));
        if entries.len() > MAX_ENTRIES {
            break;
        }
    }
    Ok(entries)
}

fn checked(
    entries: Vec<Entry>,
    settings: &Settings,
) -> Result<Vec<(SuppressionChannel, String, OptOutSource)>, Problem> {
    if !(1..=MAX_ENTRIES).contains(&entries.len()) {
        let message = format!("give 1 to {MAX_ENTRIES} numbers or addresses at a time");
        return Err(Problem::invalid_field("entries", "out_of_range", message));
    }
    let mut check = Check::default();
    let mut good = Vec::with_capacity(entries.len());
    for (place, to, source) in entries {
        let known = source.as_deref().map_or(Some(OptOutSource::Import), OptOutSource::parse);
        if known.is_none() {
            let words = OptOutSource::ALL.map(OptOutSource::as_str).join(", ");
            check.error(&place, "invalid", format!("the source is not one of {words}"));
        }
        let reached = match to.contains('@') {
            true => check.email(&place, &to).map(|to| (SuppressionChannel::Email, to)),
            false => check.phone(&place, &to, settings).map(|to| (SuppressionChannel::Text, to)),
        };
        if let (Some((channel, to)), Some(source)) = (reached, known) {
            good.push((channel, to, source));
        }
        if check.count() >= MAX_ERRORS {
            break;
        }
    }
    check.finish().map(|()| good)
}
