//! `GET /v1/customers/{customer_id}/export`: everything that is known of a customer, in pages (S8).

use super::super::consents::{self, ConsentView};
use super::super::request::{Answer, Backend, Params, Reply, Segment};
use super::super::{Api, FollowupView, followups, openapi as words};
use super::{Customer, DeviceView, device_rows, device_view, load, opened};
use crate::engine::api::{Contact, MessageBody};
use crate::engine::customer::open_contact;
use crate::engine::optout::marks;
use crate::problem::Problem;
use crate::store::{
    ConversationRow, CustomerRow, DeviceRow, Direction, FollowupFilter, Key, MessageRow, OptOutSource, StoreError,
    SuppressionChannel, SuppressionRow, SuppressionStanding,
};
use crate::vault::CustomerKey;
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::device::Standing;
use backstop_domain::ids::FollowupId;
use backstop_wire::time::to_rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Messages of one answer; more are on further pages. So of the others.
const MESSAGES: usize = 2_000;
const FOLLOWUPS: usize = 500;
const CONVERSATIONS: usize = 1_000;

/// The customer as exported.
#[derive(Serialize, ToSchema)]
struct ExportedCustomer {
    #[serde(flatten)]
    customer: Customer,
    /// When the contact data last changed; `null` = before that was noted.
    #[schema(format = DateTime)]
    contact_at: Option<String>,
    /// The last sign of life.
    #[schema(format = DateTime)]
    engaged_at: Option<String>,
    /// Pages and devices that told lately that the customer is there.
    pages: Vec<ExportedPage>,
}

/// A page or device that told that the customer is there.
#[derive(Serialize, ToSchema)]
struct ExportedPage {
    /// As it called itself.
    source_id: String,
    /// Its last report.
    #[schema(format = DateTime)]
    reported_at: String,
    /// The last activity on it.
    #[schema(format = DateTime)]
    active_at: String,
    /// Since when another page is in front; `null` = this one is.
    #[schema(format = DateTime)]
    hidden_at: Option<String>,
}

/// A device as exported.
#[derive(Serialize, ToSchema)]
struct ExportedDevice {
    #[serde(flatten)]
    device: DeviceView,
    /// The SDK's id of the installation.
    install_id: String,
    /// When its token was found dead or was taken over.
    #[schema(format = DateTime)]
    token_gone_at: Option<String>,
    /// When its last acknowledgements counted, three at most.
    #[schema(value_type = Vec<String>)]
    counted_acks: Vec<String>,
}

/// A conversation as exported.
#[derive(Serialize, ToSchema)]
struct ExportedConversation {
    conversation_id: String,
    /// When the customer last wrote.
    #[schema(format = DateTime)]
    wrote_at: Option<String>,
    /// When a text or email of it last left.
    #[schema(format = DateTime)]
    left_at: Option<String>,
    /// When its first text left.
    #[schema(format = DateTime)]
    texted_at: Option<String>,
}

/// A message as exported.
#[derive(Serialize, ToSchema)]
struct ExportedMessage {
    message_id: String,
    conversation_id: String,
    /// `to_customer` or `from_customer`.
    #[schema(value_type = words::Direction)]
    direction: Direction,
    author: Option<String>,
    /// `null` = taken back, or past its retention.
    text: Option<String>,
    link: Option<String>,
    #[schema(format = DateTime)]
    accepted_at: String,
}

/// What is not sent to the customer's number or address, was not for a while, or soon will not be.
#[derive(Serialize, ToSchema)]
struct ExportedSuppression {
    channel: SuppressionChannel,
    /// How it is known.
    source: OptOutSource,
    #[schema(format = DateTime)]
    at: String,
    /// `null` = it is in force, unless `strikes` says that it is not yet.
    #[schema(format = DateTime)]
    lifted_at: Option<String>,
    /// Mails that failed in a way that may pass: some more, and the address is not written to. `0` = not about that.
    strikes: u32,
}

/// Everything about a customer.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Export {
    customer: ExportedCustomer,
    consents: Vec<ConsentView>,
    devices: Vec<ExportedDevice>,
    /// Opt-outs and marks, also what was lifted.
    suppressions: Vec<ExportedSuppression>,
    /// In the order of their ids.
    conversations: Vec<ExportedConversation>,
    /// Oldest first.
    messages: Vec<ExportedMessage>,
    /// Newest first, with deliveries and history. None that still waits until the customer is away.
    followups: Vec<FollowupView>,
    /// Give it as `after` for more conversations, messages and follow-ups; `null` = these were the last.
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ExportParams {
    after: Option<String>,
}

/// Where each list of a page ended; `None` = it came to its end.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "m")]
    message: Option<(Ms, String)>,
    #[serde(rename = "f")]
    followup: Option<i64>,
    #[serde(rename = "c")]
    conversation: Option<String>,
}

/// Exports everything about a customer
///
/// In pages: what is one row, or few, is on each of them.
#[utoipa::path(get, path = "/v1/customers/{customer_id}/export", tag = "backend",
    params(
        ("customer_id" = String, Path, description = "Your id"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "Contact data, consents, devices, conversations, messages and follow-ups",
        body = Export)))]
pub(in super::super) async fn export(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
    Params(params): Params<ExportParams>,
) -> Answer {
    api.settle(&workspace).await;
    let cursor = params.after.as_deref().filter(|cursor| !cursor.is_empty());
    let cursor = cursor.map_or_else(|| Ok(Cursor::start()), Cursor::read)?;
    let row = load(&api, &workspace, customer_id.clone()).await?;
    let (key, customer) = opened(&api, &workspace, &row)?;
    let customer = exported(customer, &row);
    let now = api.clocks.now_ms(workspace.id);
    let devices =
        device_rows(&api, &workspace, &row).await?.into_iter().map(|row| device(&workspace, row, now)).collect();
    let suppressions = suppressions(&api, &workspace, &open_contact(&key, &row)?).await?;
    let (conversations, conversation) = conversations(&api, &workspace, &customer_id, cursor.conversation).await?;
    let (messages, message) = messages(&api, &workspace, &customer_id, &key, cursor.message).await?;
    let (followups, followup) = followups(&api, &workspace, customer_id, cursor.followup).await?;
    let next = Cursor { message, followup, conversation };
    let consents = row.consents.into_iter().map(consents::view).collect();
    let next_cursor = (next != Cursor::end()).then(|| next.print());
    Ok(Reply::ok(&Export {
        customer,
        consents,
        devices,
        suppressions,
        conversations,
        messages,
        followups,
        next_cursor,
    }))
}

fn exported(customer: Customer, row: &CustomerRow) -> ExportedCustomer {
    let pages = row.presence.sources().map(|(id, source)| ExportedPage {
        source_id: id.to_owned(),
        reported_at: to_rfc3339(source.reported_at),
        active_at: to_rfc3339(source.active_at),
        hidden_at: source.hidden_at.map(to_rfc3339),
    });
    ExportedCustomer {
        customer,
        contact_at: Some(row.contact_at).filter(|at| *at > 0).map(to_rfc3339),
        engaged_at: row.engaged_at.map(to_rfc3339),
        pages: pages.collect(),
    }
}

fn device(workspace: &Workspace, row: DeviceRow, now: Ms) -> ExportedDevice {
    let token_gone_at = match row.standing {
        Standing::Registered => None,
        Standing::TokenGone(at) => Some(to_rfc3339(at)),
    };
    let counted_acks = row.counted_acks.iter().copied().map(to_rfc3339).collect();
    let install_id = row.install_id.clone();
    ExportedDevice { device: device_view(workspace, row, now), install_id, token_gone_at, counted_acks }
}

async fn suppressions(
    api: &Api,
    workspace: &Workspace,
    contact: &Contact,
) -> Result<Vec<ExportedSuppression>, Problem> {
    let hash = |(channel, to)| Key::Suppression(workspace.id, api.vault.suppression_hash(channel, to));
    let rows = api.store.load(marks(contact).into_iter().map(hash).collect()).await?;
    let rows = rows.into_iter().flatten().filter_map(|row| row.as_suppression().cloned());
    let shown = |row: SuppressionRow| {
        let (lifted_at, strikes) = match row.standing {
            SuppressionStanding::InForce => (None, 0),
            SuppressionStanding::Lifted(at) => (Some(to_rfc3339(at)), 0),
            SuppressionStanding::Struck(strikes) => (None, u32::from(strikes)),
        };
        ExportedSuppression { channel: row.channel, source: row.source, at: to_rfc3339(row.at), lifted_at, strikes }
    };
    Ok(rows.map(shown).collect())
}

async fn conversations(
    api: &Api,
    workspace: &Workspace,
    customer_id: &str,
    after: Option<String>,
) -> Result<(Vec<ExportedConversation>, Option<String>), Problem> {
    let Some(after) = after else { return Ok((Vec::new(), None)) };
    let rows = api.store.conversations_of(workspace.id, customer_id, &after, CONVERSATIONS).await?;
    let more = rows.last().filter(|_| rows.len() == CONVERSATIONS).map(|row| row.conversation_id.clone());
    let shown = |row: ConversationRow| ExportedConversation {
        conversation_id: row.conversation_id,
        wrote_at: row.wrote_at.map(to_rfc3339),
        left_at: row.left_at.map(to_rfc3339),
        texted_at: row.texted_at.map(to_rfc3339),
    };
    Ok((rows.into_iter().map(shown).collect(), more))
}

async fn messages(
    api: &Api,
    workspace: &Workspace,
    customer_id: &str,
    key: &CustomerKey,
    after: Option<(Ms, String)>,
) -> Result<(Vec<ExportedMessage>, Option<(Ms, String)>), Problem> {
    let Some(after) = after else { return Ok((Vec::new(), None)) };
    let rows = api.store.messages_of(workspace.id, customer_id, after, MESSAGES).await?;
    let more = rows.last().filter(|_| rows.len() == MESSAGES).map(|row| (row.accepted_at, row.message_id.clone()));
    let shown = rows.into_iter().map(|row| message(key, row)).collect::<Result<_, _>>()?;
    Ok((shown, more))
}

async fn followups(
    api: &Api,
    workspace: &Workspace,
    customer_id: String,
    after: Option<i64>,
) -> Result<(Vec<FollowupView>, Option<i64>), Problem> {
    let Some(after) = after else { return Ok((Vec::new(), None)) };
    let filter = FollowupFilter {
        customer_id: Some(customer_id),
        after: Some(FollowupId(after)),
        limit: FOLLOWUPS,
        ..FollowupFilter::default()
    };
    let rows = api.store.followups(workspace.id, filter).await?;
    let more = rows.last().filter(|_| rows.len() == FOLLOWUPS).map(|row| row.id.0);
    let mut shown = Vec::with_capacity(rows.len());
    for row in &rows {
        shown.extend(followups::view(api, row).await?);
    }
    Ok((shown, more))
}

fn message(key: &CustomerKey, row: MessageRow) -> Result<ExportedMessage, Problem> {
    let corrupt = || Problem::from(StoreError::Corrupt("a message's text".into()));
    let body: Option<MessageBody> = match &row.body {
        Some(sealed) => {
            let plain = key.open(row.workspace, "messages", &row.message_id, "body", sealed).map_err(|_| corrupt())?;
            Some(serde_json::from_slice(&plain).map_err(|_| corrupt())?)
        }
        None => None,
    };
    let (author, text, link) = body.map_or((None, None, None), |b| (b.author, Some(b.text), b.link));
    Ok(ExportedMessage {
        message_id: row.message_id,
        conversation_id: row.conversation_id,
        direction: row.direction,
        author,
        text,
        link,
        accepted_at: to_rfc3339(row.accepted_at),
    })
}

impl Cursor {
    fn start() -> Cursor {
        Cursor { message: Some((Ms::MIN, String::new())), followup: Some(i64::MAX), conversation: Some(String::new()) }
    }

    fn end() -> Cursor {
        Cursor { message: None, followup: None, conversation: None }
    }

    fn print(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("numbers and strings serialize"))
    }

    fn read(text: &str) -> Result<Cursor, Problem> {
        let read = || serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        read().ok_or_else(|| Problem::invalid_field("after", "invalid", "give a next_cursor of this list"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let cursor = Cursor { message: Some((-5, "m 1".into())), followup: None, conversation: Some("c".into()) };
        for cursor in [cursor, Cursor::start(), Cursor::end()] {
            assert_eq!(Cursor::read(&cursor.print()).ok(), Some(cursor));
        }
        assert!(Cursor::read("nonsense").is_err());
    }
}
