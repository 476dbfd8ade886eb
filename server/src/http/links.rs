//! Short links: `GET /l/{code}` leads a person on, `POST /v1/link-codes/redeem` tells the backend who they are (T8).

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, parse};
use crate::engine::api::Redeemed;
use crate::links;
use crate::perform::open_body;
use crate::problem::{Code, Problem};
use crate::store::{FollowupRow, Key, Row};
use crate::vault;
use crate::workspace::Workspace;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use backstop_domain::followup::Reply as AgentReply;
use backstop_domain::text::{NoLogin, Visit, Welcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use url::Url;
use utoipa::ToSchema;

/// Who follows a link. Public by nature, so the address is rate-limited.
pub(super) struct Visitor {
    method: Method,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<Api>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Visitor, Problem> {
        api.limits.check_address(parts)?;
        Ok(Visitor { method: parts.method.clone(), headers: parts.headers.clone() })
    }
}

impl Visitor {
    fn welcome(&self) -> Welcome {
        let word = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let visit = Visit {
            head_only: self.method == Method::HEAD,
            user_agent: word("user-agent"),
            is_ahead: ["sec-purpose", "purpose", "x-moz", "x-purpose"].iter().any(|name| !word(name).is_empty()),
            opens_a_page: word("sec-fetch-mode") == "navigate" && word("sec-fetch-dest") == "document",
        };
        visit.welcome()
    }
}

/// Leads to the conversation
///
/// The link of a text. A browser that opens it is sent on with a log-in, `backstop_code` in the query, which your
/// backend redeems; other programs are sent on without one, and those that only look what is behind a link are not
/// sent anywhere.
#[utoipa::path(get, path = "/l/{code}", tag = "links",
    params(("code" = String, Path, description = "As in the text")),
    responses(
        (status = 200, description = "There is an answer; it is in the company's app", body = String,
            content_type = "text/html"),
        (status = 302, description = "To the conversation"),
        (status = 404, description = "There is no such link", body = String, content_type = "text/html"),
        (status = 410, description = "The link has expired", body = String, content_type = "text/html"),
    ))]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    code: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Answer {
    let key = code.ok().and_then(|Path(code)| vault::link_key(&code, api.clocks.real_ms() / 1_000));
    let Some(key) = key else { return Ok(dead(StatusCode::NOT_FOUND)) };
    let Some(Row::Link(row)) = load(&api, Key::Link(key)).await? else { return Ok(dead(StatusCode::NOT_FOUND)) };
    let Some(workspace) = api.registry.by_id(row.workspace).await? else { return Ok(dead(StatusCode::NOT_FOUND)) };
    let now = api.clocks.now_ms(workspace.id);
    if !row.link.is_live(now) {
        return Ok(dead(StatusCode::GONE));
    }
    let Some(Row::Followup(followup)) = load(&api, Key::Followup(workspace.id, row.followup)).await? else {
        return Ok(dead(StatusCode::GONE));
    };
    // Of an erased customer only the number of the follow-up is left.
    if followup.customer_id.is_empty() {
        return Ok(dead(StatusCode::GONE));
    }
    let welcome = visitor.welcome();
    let target = match welcome {
        Welcome::Preview => None,
        Welcome::LogIn | Welcome::LeadOn => target(&api, &workspace, &followup).await?,
    };
    let Some(target) = target else { return Ok(page(StatusCode::OK, &answered(workspace.display_name()))) };
    let login = row.link.login_until(now).filter(|_| welcome == Welcome::LogIn);
    let target = match login {
        Some(until) => links::with_login(target, &api.vault.login_code(workspace.id, row.key, until)),
        None => target,
    };
    Ok(lead_to(&target))
}

/// The newest reply's link, or the workspace's page of the conversation.
async fn target(api: &Api, workspace: &Workspace, row: &FollowupRow) -> Result<Option<Url>, Problem> {
    let replies = row.state.replies.iter().rev().filter(|reply| !reply.withdrawn);
    let message = |reply: &AgentReply| Key::Message(workspace.id, reply.message_id.clone());
    let customer = Key::Customer(workspace.id, row.customer_id.clone());
    let rows = api.store.load([customer].into_iter().chain(replies.map(message)).collect()).await?;
    let mut rows = rows.into_iter();
    let Some(Some(Row::Customer(customer))) = rows.next() else { return Ok(None) };
    let key = api.vault.unwrap_key(workspace.id, &customer.customer_id, &customer.wrapped_key).ok();
    let link = key.and_then(|key| {
        rows.flatten().find_map(|row| row.as_message().and_then(|message| open_body(&key, message))?.link)
    });
    Ok(links::target(&workspace.settings, link.as_deref(), &row.conversation_id))
}

async fn load(api: &Api, key: Key) -> Result<Option<Row>, Problem> {
    Ok(api.store.load(vec![key]).await?.pop().flatten())
}

/// The follow-up that a log-in is of: the answer to it names its customer, and goes with them (S8).
async fn whose(api: &Api, workspace: &Workspace, code: &str) -> Result<Option<Arc<FollowupRow>>, Problem> {
    let Some((link, _)) = api.vault.open_login_code(workspace.id, code) else { return Ok(None) };
    let Some(Row::Link(link)) = load(api, Key::Link(link)).await? else { return Ok(None) };
    let row = load(api, Key::Followup(workspace.id, link.followup)).await?;
    Ok(if let Some(Row::Followup(row)) = row { Some(row) } else { None })
}

fn lead_to(target: &Url) -> Reply {
    let Ok(location) = HeaderValue::from_str(target.as_str()) else { return dead(StatusCode::GONE) };
    let mut reply = page(StatusCode::FOUND, "<p>The conversation is one step further.</p>");
    reply.headers.push(("location", location));
    reply
}

fn dead(status: StatusCode) -> Reply {
    page(status, "<h1>This link has expired</h1><p>Please open the conversation where you began it.</p>")
}

fn answered(company: &str) -> String {
    let company = company.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<h1>{company}</h1><p>You have a new reply. Please open the app or the page where you asked.</p>")
}

/// Nothing on it loads, runs or is found by a search; where it leads does not learn from where.
fn page(status: StatusCode, body: &str) -> Reply {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Your conversation</title><body>{body}</body></html>\n"
    );
    let header = |value: &'static str| HeaderValue::from_static(value);
    let mut reply = Reply::done();
    reply.status = status;
    reply.content_type = Some("text/html; charset=utf-8");
    reply.body = html.into();
    reply.headers = vec![
        ("referrer-policy", header("no-referrer")),
        ("content-security-policy", header("default-src 'none'; frame-ancestors 'none'")),
        ("x-content-type-options", header("nosniff")),
        ("x-robots-tag", header("noindex, nofollow")),
    ];
    reply
}

/// A log-in as it came in `backstop_code`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemInput {
    /// As it was in the query.
    #[schema(min_length = 1, max_length = 128)]
    code: String,
}

/// Who clicked.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// Your id of the customer.
    customer_id: String,
    /// Your id of the conversation.
    conversation_id: String,
    /// `fu_…`, whose text it was.
    followup_id: String,
}

/// Redeems the log-in of a short link
///
/// Once: a link's log-ins are all used up by the first. It is good for five minutes from the click; redeem it when your
/// page has loaded, so that a program that only fetches the page uses nothing up.
#[utoipa::path(post, path = "/v1/link-codes/redeem", tag = "backend", request_body = RedeemInput,
    responses((status = 200, description = "Who clicked", body = LoggedIn)))]
pub(super) async fn redeem(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: RedeemInput = parse(&body)?;
    let unknown = || Problem::not_found("there is no such log-in: give backstop_code as it came in the query");
    let idempotency = match whose(&api, &workspace, &input.code).await? {
        Some(row) => idempotency.about(&row.customer_id),
        None => idempotency,
    };
    let act = async {
        let opened = api.vault.open_login_code(workspace.id, &input.code);
        let (link, until) = opened.ok_or_else(unknown)?;
        match api.engine.redeem(&workspace, link, until).await? {
            Redeemed::Yes { customer_id, conversation_id, followup_id } => {
                Ok(Reply::ok(&LoggedIn { customer_id, conversation_id, followup_id: followup_id.to_string() }))
            }
            Redeemed::Unknown => Err(unknown()),
            Redeemed::No(NoLogin::Used) => {
                Err(Problem::new(Code::Gone, "this log-in was used before; let the customer log in as usual"))
            }
            Redeemed::No(NoLogin::Expired) => {
                Err(Problem::new(Code::Gone, "this log-in has expired; let the customer open the link again"))
            }
        }
    };
    idempotency.once(&api, &workspace, &body, act).await
}
