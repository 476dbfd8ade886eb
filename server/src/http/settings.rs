//! `/v1/settings`: what a workspace may adjust; PUT replaces it whole and makes a new version of it.

use super::Api;
use super::audit::{self, Page};
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Params, Payload, Reply, parse};
use super::view::List;
use crate::audit::{Kind, Stored, Who};
use crate::problem::{Code, Problem};
use crate::registry::Replaced;
use crate::settings::{Advice, FieldChange, Settings, SettingsInput};
use crate::store::StoreError;
use crate::workspace::Workspace;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use utoipa::ToSchema;

/// Settings in force, and since when.
#[derive(Serialize, ToSchema)]
pub(super) struct SettingsView {
    #[serde(flatten)]
    settings: Settings,
    /// Grows by one with each change; 1 = as the workspace was made. Also the `ETag`.
    version: i64,
    #[schema(format = DateTime)]
    updated_at: String,
    /// `null` = nobody changed them yet.
    updated_by: Option<Who>,
    /// What should be known of these settings; none keeps them from being taken.
    warnings: Vec<WarningView>,
}

/// Something to know.
#[derive(Serialize, ToSchema)]
#[schema(as = SettingsWarning)]
struct WarningView {
    /// Stable.
    code: &'static str,
    /// What to do about it.
    message: &'static str,
}

/// One change of the settings.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct Version {
    /// The version it made.
    version: i64,
    #[schema(format = DateTime)]
    #[serde(default)]
    at: String,
    #[serde(default = "Who::server")]
    by: Who,
    /// What was given before and now; `null` = nothing, so that the default holds.
    changes: Vec<FieldChange>,
}

/// Shows the settings in force
#[utoipa::path(get, path = "/v1/settings", tag = "backend",
    responses((status = 200, description = "Settings in force", body = SettingsView)))]
pub(super) async fn show(State(api): State<Arc<Api>>, Backend(workspace): Backend) -> Answer {
    Ok(shown(&api, &workspace))
}

/// Replaces the settings, whole
///
/// What is not given has its default again. With `If-Match`, only if nobody changed them since. What GET shows beside
/// them (`version`, `updated_at`, `updated_by`, `warnings`) may stay in the body and changes nothing.
#[utoipa::path(put, path = "/v1/settings", tag = "backend", request_body = SettingsInput,
    params(
        ("If-Match" = Option<String>, Header, description = "The `ETag` of what was read: 412 if it changed since"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 200, description = "Settings in force", body = SettingsView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    IfMatch(expected): IfMatch,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: SettingsInput = parse(&writable(&body))?;
    let deployment = api.registry.deployment();
    let mut problems = input.problems();
    problems.extend(input.above(&deployment.policy.limits));
    problems.extend(input.unknown_routes(&deployment.policy.services));
    if problems.is_empty() {
        problems = input.clone().in_force(&deployment.policy, deployment.sandbox).contradictions();
    }
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    match api.registry.replace_settings(workspace.id, &input, expected, &who).await? {
        Replaced::Done(workspace) => Ok(shown(&api, &workspace)),
        Replaced::Gone => Err(Problem::unauthorized()),
        Replaced::Stale(version) => {
            let detail = format!(
                "the settings have version {version} by now: GET them, make your change again and send it with \
                 If-Match: \"{version}\""
            );
            Err(Problem::new(Code::PreconditionFailed, detail))
        }
    }
}

/// Lists changes of the settings, newest first
#[utoipa::path(get, path = "/v1/settings/versions", tag = "backend",
    params(
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<Version>)))]
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(page): Params<Page>,
) -> Answer {
    let (rows, next_cursor) = audit::page(&api, &workspace, &page, Some(Kind::SettingsChanged)).await?;
    let data = rows.into_iter().map(version).collect::<Result<_, _>>()?;
    Ok(Reply::ok(&List::<Version> { data, next_cursor }))
}

/// The body without what GET shows and nobody sets, so that what was read can be sent back whole.
fn writable(body: &[u8]) -> Cow<'_, [u8]> {
    const SHOWN: [&str; 4] = ["version", "updated_at", "updated_by", "warnings"];
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return body.into() };
    let given = fields.len();
    fields.retain(|name, _| !SHOWN.contains(&name.as_str()));
    // As it came, where nothing is to be left out: what is wrong with it is said of what was sent.
    if fields.len() == given { body.into() } else { Value::Object(fields).to_string().into_bytes().into() }
}

fn version(row: Stored) -> Result<Version, StoreError> {
    let unreadable = |_| StoreError::Corrupt("the audit log's detail of a change of settings".into());
    let version: Version = serde_json::from_value(row.entry.detail).map_err(unreadable)?;
    Ok(Version { at: to_rfc3339(row.entry.at), by: row.entry.who, ..version })
}

fn shown(api: &Api, workspace: &Workspace) -> Reply {
    let set = workspace.settings_set.as_ref();
    let version = set.map_or(1, |set| set.version);
    let mut advice = workspace.advice(&workspace.services());
    if workspace.settings.auto_charge.is_some() && !api.registry.deployment().plans.can_ask {
        advice.push(Advice::NobodyToAsk);
    }
    let mut reply = Reply::ok(&SettingsView {
        settings: Settings { company_name: Some(workspace.display_name().to_owned()), ..workspace.settings.clone() },
        version,
        updated_at: to_rfc3339(set.map_or(workspace.created_at, |set| set.at)),
        updated_by: set.map(|set| set.who.clone()),
        warnings: advice.iter().map(|a| WarningView { code: a.code(), message: a.message() }).collect(),
    });
    let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits between quotes");
    reply.headers.push(("etag", tag));
    reply
}

/// The version that a change builds on; `None` = whatever there is.
pub(super) struct IfMatch(Option<i64>);

impl FromRequestParts<Arc<Api>> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<IfMatch, Problem> {
        let Some(given) = parts.headers.get(header::IF_MATCH) else { return Ok(IfMatch(None)) };
        // A proxy that compresses calls the tag weak; the version is the same.
        let given = given.to_str().unwrap_or("").trim().trim_start_matches("W/");
        if given == "*" {
            return Ok(IfMatch(None));
        }
        let version = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|v| v.parse().ok());
        let message = "give the ETag of GET /v1/settings as it is, such as \"3\" with its quotes";
        version.map(|v| IfMatch(Some(v))).ok_or_else(|| Problem::invalid_field("If-Match", "invalid", message))
    }
}
