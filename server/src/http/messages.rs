//! `/v1/messages`: an agent's reply, on its way outside the chat (D1–D9). The hot path.

use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, Segment, parse};
use super::validate::{Check, CustomerData};
use super::{Api, followups, openapi as words};
use crate::engine::api::{CustomerInput, EngineError, MessageBody, PostMessage, Posted};
use crate::problem::{Code, Problem};
use crate::store::{Direction, Key, Row};
use crate::vault::Vault;
use crate::workspace::Workspace;
use axum::extract::State;
use axum::http::StatusCode;
use backstop_domain::followup::{AuthorKind, Channel, Kind, PublicState, refusal};
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// An agent's reply.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageInput {
    /// Your id of it; posting it again is safe.
    #[schema(example = "m-1001", min_length = 1, max_length = 128)]
    message_id: String,
    /// Your id of the conversation.
    #[schema(example = "c-77", min_length = 1, max_length = 128)]
    conversation_id: String,
    /// Your id of the customer.
    #[schema(example = "lucas", min_length = 1, max_length = 128)]
    customer_id: String,
    /// Absent = `reply` if the customer wrote in this conversation, else `outreach`.
    #[serde(default)]
    kind: Option<KindWord>,
    /// Who wrote it.
    author: Author,
    /// What they said.
    #[schema(example = "Your parcel leaves today.", min_length = 1, max_length = 10_000)]
    text: String,
    /// Where the conversation goes on.
    #[serde(default)]
    #[schema(example = "https://shop.example/chat/77", max_length = 2_048)]
    link: Option<String>,
    /// Only these ways out: `push`, `text`, `email`. Absent = all.
    #[serde(default)]
    channels: Option<Vec<String>>,
    /// Only devices of these apps are pushed to. Absent = all.
    #[serde(default)]
    #[schema(example = json!(["shop"]), min_items = 1, max_items = 20)]
    apps: Option<Vec<String>>,
    /// Customer data to put in the same step.
    #[serde(default)]
    customer: Option<CustomerData>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Reply,
    Outreach,
    /// Refused on this path (D7).
    Marketing,
}

/// Who wrote a reply.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Author {
    /// As the customer sees it.
    #[schema(example = "Mia", min_length = 1, max_length = 200)]
    name: String,
    /// `agent` (default) or `bot`.
    #[serde(default)]
    #[schema(value_type = Option<words::AuthorKind>)]
    kind: Option<AuthorKind>,
}

/// The reply is (in) a follow-up.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// `fu_…`.
    #[schema(example = "fu_1hb5bjpj80000")]
    followup_id: String,
    /// `sending`, or `falling_back` with no live device.
    #[schema(value_type = words::FollowupState)]
    state: &'static str,
    /// When the reply was accepted.
    #[schema(format = DateTime)]
    accepted_at: String,
    /// When it is decided at the latest.
    #[schema(format = DateTime)]
    deadline_at: String,
    /// What you should know although it was accepted.
    warnings: Vec<WarningView>,
}

/// Something to know.
#[derive(Serialize, ToSchema)]
struct WarningView {
    /// Stable.
    code: &'static str,
    /// What to do about it.
    message: &'static str,
}

/// The customer is online: the reply is watched until they leave or read it.
#[derive(Serialize, ToSchema)]
pub(super) struct Watching {
    /// `null`: there is no follow-up.
    #[schema(value_type = Option<String>)]
    followup_id: Option<()>,
    /// `watching`.
    state: &'static str,
    /// `customer_online`; later `customer_read` or the like, if it ended so.
    reason: &'static str,
}

/// Accepts an agent's reply
///
/// Same id and same body: same answer. Same id and another body: `message_conflict`.
#[utoipa::path(post, path = "/v1/messages", tag = "backend", request_body = MessageInput, responses(
    (status = 202, description = "A follow-up starts, or the reply joins one", body = Accepted),
    (status = 200, description = "The customer is online", body = Watching),
))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let message = checked(&workspace, &api.vault, parse(&body)?)?;
    let act = async {
        Ok(match api.engine.post_message(&workspace, message).await? {
            Posted::Watching => Reply::ok(&watching("customer_online")),
            Posted::Followup { followup_id, state, accepted_at, deadline_at, warnings } => {
                let warnings = warnings.iter().map(|w| WarningView { code: w.code(), message: w.message() });
                let accepted = Accepted {
                    followup_id: followup_id.to_string(),
                    state: first_word(state),
                    accepted_at: to_rfc3339(accepted_at),
                    deadline_at: to_rfc3339(deadline_at),
                    warnings: warnings.collect(),
                };
                Reply::json(StatusCode::ACCEPTED, &accepted)
            }
        })
    };
    idempotency.once(&api, &workspace, &body, act).await
}

/// Shows where a reply is
///
/// Its follow-up, or `watching` while the customer is online.
#[utoipa::path(get, path = "/v1/messages/{message_id}", tag = "backend",
    params(("message_id" = String, Path, description = "Your id of it")),
    responses((status = 200, description = "Its follow-up, or `watching`", body = MessageView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(message_id): Segment,
) -> Answer {
    api.settle(&workspace).await;
    let rows = api.store.load(vec![Key::Message(workspace.id, message_id)]).await?;
    let Some(Row::Message(message)) = rows.into_iter().next().flatten() else {
        return Err(EngineError::UnknownMessage.into());
    };
    if message.direction == Direction::FromCustomer {
        return Err(Problem::not_found("this message is the customer's own; only replies have follow-ups"));
    }
    let row = match message.followup {
        Some(id) => followups::load(&api, &workspace, id).await?,
        None => None,
    };
    let Some(row) = row else { return Ok(Reply::ok(&watching("customer_online"))) };
    match followups::view(&api, &row).await? {
        Some(view) => Ok(Reply::ok(&view)),
        None => Ok(Reply::ok(&watching(row.state.reason().map_or("customer_online", |r| r.as_str())))),
    }
}

/// Takes a reply back
///
/// Stops what has not left of it, and drops its text.
#[utoipa::path(delete, path = "/v1/messages/{message_id}", tag = "backend",
    params(("message_id" = String, Path, description = "Your id of it")),
    responses((status = 204, description = "Taken back")))]
pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(message_id): Segment,
) -> Answer {
    api.engine.withdraw_message(&workspace, message_id).await?;
    Ok(Reply::no_content())
}

/// Either shape of [`show`], for the document.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the two answers of one endpoint")]
pub(super) enum MessageView {
    Followup(Box<super::FollowupView>),
    Watching(Watching),
}

fn watching(reason: &'static str) -> Watching {
    Watching { followup_id: None, state: "watching", reason }
}

/// What POST answers: a reply that joins a follow-up whose push is out is on its way itself.
fn first_word(state: PublicState) -> &'static str {
    if state == PublicState::AwaitingAck { PublicState::Sending.as_str() } else { state.as_str() }
}

/// The reply as the engine takes it, or all that is wrong with it.
pub(super) fn checked(workspace: &Workspace, vault: &Vault, input: MessageInput) -> Result<PostMessage, Problem> {
    let settings = &workspace.settings;
    let mut check = Check::default();
    check.id("message_id", &input.message_id);
    check.id("conversation_id", &input.conversation_id);
    check.id("customer_id", &input.customer_id);
    check.name("author.name", &input.author.name);
    let text = check.text("text", input.text);
    if let Some(link) = &input.link {
        check.link("link", link, settings);
    }
    let channels = input.channels.map(|words| check.channels("channels", &words));
    if input.kind == Some(KindWord::Outreach) && channels.as_ref().is_some_and(|c| c.contains(&Channel::Push)) {
        check.error("channels", "not_allowed", "outreach goes by text and email only");
    }
    let apps = input.apps.map(|ids| check.apps("apps", ids, &workspace.apps));
    let customer = input.customer.map(|data| check.customer("customer.", data, settings));
    check.finish()?;
    if let Some(field) = refusal(input.kind == Some(KindWord::Marketing), &text) {
        let detail =
            format!("{field}: marketing is not sent on this path; it needs consents that follow-ups do not have");
        return Err(Problem::new(Code::MarketingRefused, detail));
    }
    let mut message = PostMessage {
        message_id: input.message_id,
        conversation_id: input.conversation_id,
        customer_id: input.customer_id,
        kind: input.kind.map(|kind| if kind == KindWord::Outreach { Kind::Outreach } else { Kind::Reply }),
        author_kind: input.author.kind.unwrap_or_default(),
        body: MessageBody { author: Some(input.author.name), text, link: input.link },
        channels,
        apps,
        customer,
        body_hash: [0; 32],
    };
    message.body_hash = vault.body_hash(workspace.id, &understood(&message));
    Ok(message)
}

/// The request as understood (D9): spelled-out defaults and other spellings of the same make no difference.
fn understood(m: &PostMessage) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + m.body.text.len());
    let kind = match m.kind {
        None => "",
        Some(Kind::Reply) => "reply",
        Some(Kind::Outreach) => "outreach",
    };
    let author = if m.author_kind == AuthorKind::Bot { "bot" } else { "agent" };
    part(&mut out, Some(&m.conversation_id));
    part(&mut out, Some(&m.customer_id));
    part(&mut out, Some(kind));
    part(&mut out, Some(author));
    part(&mut out, m.body.author.as_deref());
    part(&mut out, Some(&m.body.text));
    part(&mut out, m.body.link.as_deref());
    match &m.channels {
        None => part(&mut out, None),
        Some(channels) => {
            let bits = channels.iter().fold(0u8, |bits, c| bits | 1 << *c as u8);
            out.extend_from_slice(&[1, bits]);
        }
    }
    match &m.customer {
        None => part(&mut out, None),
        Some(CustomerInput { name, email, phone, contact_source, locale, time_zone, line_user_id: _ }) => {
            out.extend_from_slice(&[1, *contact_source as u8]);
            for field in [name, email, phone, locale, time_zone] {
                part(&mut out, field.as_deref());
            }
        }
    }
    // Nothing when absent: a request of before there were apps hashes as it did then.
    if let Some(apps) = &m.apps {
        out.push(2);
        apps.iter().for_each(|app| part(&mut out, Some(app)));
    }
    if let Some(user) = m.customer.as_ref().and_then(|customer| customer.line_user_id.as_deref()) {
        out.push(3);
        part(&mut out, Some(user));
    }
    out
}

/// Each part after its length: no two lists of parts give the same bytes.
pub(super) fn part(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
