//! What leaves, put together right before it leaves: rows loaded, seals opened, words chosen.

use super::{Shop, Task, What};
use crate::engine::Engine;
use crate::engine::api::{Contact, MessageBody};
use crate::engine::customer::open_contact;
use crate::engine::find::{ByKey, Find};
use crate::mail::reply::{self, Purpose};
use crate::providers::{Answers, Dress, EmailReply, EmailSend, Envelope, PushProvider, PushSend};
use crate::settings::PushContent;
use crate::store::{CustomerRow, DeviceRow, FollowupRow, Key, MessageRow, Row, StoreError, WorkspaceId};
use crate::vault::{CustomerKey, Vault};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::apps::Origin;
use backstop_domain::followup::{Outcome, Push as PushState, Reply};
use backstop_domain::ids::DeviceId;
use backstop_wire::{Environment, PushProvider as Via, WIRE_VERSION, time::to_rfc3339};
use std::sync::Arc;

/// How long a receipt can be acked.
pub(super) const RECEIPT_LIFE_MS: Ms = 7 * 86_400_000;

/// Rows at hand: those that came with the effect, and those that were loaded.
struct Rows<'a> {
    around: &'a [Arc<Row>],
    loaded: &'a ByKey<Row>,
}

impl Rows<'_> {
    fn get(&self, key: Find<'_>) -> Option<&Row> {
        // A handful: a table of them would cost more than it finds.
        let near = self.around.iter().map(|row| &**row).find(|row| Find::of_row(row) == Some(key));
        near.or_else(|| self.loaded.get(&key))
    }
}

/// A push to be sent, the hash of the token it goes to, and the way.
pub(super) struct Push {
    pub(super) send: PushSend,
    pub(super) token_hash: [u8; 32],
    /// The APNs environment it goes to instead of the registered one.
    pub(super) elsewhere: Option<Environment>,
    /// By its app's own credentials; `None` = by the deployment's.
    pub(super) route: Option<Arc<dyn PushProvider>>,
}

/// One parcel a task, or the outcome that stands in for it.
pub(super) async fn pushes(shop: &Shop, tasks: &[Task]) -> Vec<Result<Push, Outcome>> {
    let nothing = ByKey::default();
    let mut keys = Vec::new();
    for task in tasks {
        let near = Rows { around: &task.around, loaded: &nothing };
        let What::Push { device, .. } = task.what else { continue };
        let wanted = content_keys(&task.row).chain([Find::Device(task.ws.id, device)]);
        keys.extend(wanted.filter(|key| near.get(*key).is_none()).map(Find::key));
    }
    match load(shop, keys).await {
        Ok(loaded) => {
            let parcel = |task: &Task| push(&shop.vault, task, &Rows { around: &task.around, loaded: &loaded });
            tasks.iter().map(parcel).collect()
        }
        Err(error) => tasks.iter().map(|_| Err(later(&error))).collect(),
    }
}

fn push(vault: &Vault, task: &Task, rows: &Rows<'_>) -> Result<Push, Outcome> {
    let What::Push { device, attempt, covers, expires_at } = task.what else { return Err(gone("not_a_push")) };
    let (ws, row) = (&task.ws, &task.row);
    let target = rows.get(Find::Device(ws.id, device)).and_then(Row::as_device).ok_or_else(|| gone("device_gone"))?;
    if target.customer_id.as_deref() != Some(&row.customer_id) {
        return Err(gone("logged_out"));
    }
    let device_name = device.to_string();
    let token = token(vault, target)?;
    let content = Content::open(vault, ws.id, row, rows)?;
    let (_, last) = content.bodies.last().ok_or_else(|| gone("content_gone"))?;
    let at = row.state.started_at;
    let receipt = vault.receipt(ws.id, row.id, device, covers, at.max(expires_at) + RECEIPT_LIFE_MS);
    let (title, body) = said(ws, &content, last);
    let elsewhere = pushed(row, device).and_then(|push| push.elsewhere);
    let send = PushSend {
        envelope: Envelope {
            effect_key: format!("{}:push:{device_name}:{covers}", row.id),
            attempt,
            at_ms: pushed(row, device).map_or(row.state.started_at, |push| push.at),
            ..envelope(ws, row)
        },
        device_id: device_name,
        token,
        topic: target.topic.clone().filter(|_| target.provider == Via::Apns),
        environment: elsewhere.or(target.environment),
        push: backstop_wire::Push {
            v: WIRE_VERSION,
            followup_id: row.id.to_string(),
            receipt,
            conversation_id: row.conversation_id.clone(),
            title,
            body,
            link: last.link.clone(),
            collapse_key: format!("bs-{}", vault.log_id(ws.id, &row.conversation_id)),
            expires_at: to_rfc3339(expires_at),
        },
        expires_at_ms: expires_at,
    };
    let origin = Origin { environment: send.environment, ..target.origin() };
    let route = ws.apps.route(&origin);
    Ok(Push { send, token_hash: target.token_hash, elsewhere, route })
}

/// The push token, opened.
pub(super) fn token(vault: &Vault, device: &DeviceRow) -> Result<String, Outcome> {
    let token = vault.open(device.workspace, "devices", &device.id.to_string(), "token", &device.token);
    token.ok().and_then(|token| String::from_utf8(token).ok()).ok_or_else(|| gone("token_unreadable"))
}

/// Title and body of a push: what is not to be shown does not leave the house (S10).
fn said(ws: &Workspace, content: &Content, last: &MessageBody) -> (String, String) {
    let all = || content.bodies.iter().map(|(_, body)| body.text.as_str()).collect::<Vec<_>>().join("\n");
    let notice = || crate::templates::notice(content.locale.as_deref()).to_owned();
    let author = || last.author.clone().unwrap_or_else(|| company(ws));
    match ws.settings.push_content {
        PushContent::Full => (author(), all()),
        PushContent::SenderOnly => (author(), notice()),
        PushContent::None => (company(ws), notice()),
    }
}

fn pushed(row: &FollowupRow, device: DeviceId) -> Option<&PushState> {
    row.state.pushes.iter().find(|push| push.device == device)
}

/// The customer's number as it is now.
pub(super) async fn number(shop: &Shop, row: &FollowupRow) -> Option<String> {
    let key = Key::Customer(row.workspace, row.customer_id.clone());
    let rows = load(shop, vec![key.clone()]).await.ok()?;
    let customer = rows.get(&key).and_then(Row::as_customer)?;
    open_contact(&unwrap(&shop.vault, customer).ok()?, customer).ok()?.phone
}

/// The email of a follow-up: every reply the customer has not seen.
pub(super) async fn email(
    engine: &Engine,
    shop: &Shop,
    ws: &Arc<Workspace>,
    row: &FollowupRow,
    (attempt, at): (u32, Ms),
) -> Result<EmailSend, Outcome> {
    let Fresh { customer, contact, content, .. } = fresh(shop, ws, row).await?;
    let to = contact.email.ok_or_else(|| gone("no_email"))?;
    let link = content.link();
    let replies: Vec<EmailReply> = content
        .bodies
        .into_iter()
        .map(|(reply, body)| EmailReply {
            author: body.author.unwrap_or_else(|| company(ws)),
            text: body.text,
            at_ms: reply.accepted_at,
        })
        .collect();
    if replies.is_empty() {
        return Err(gone("content_gone"));
    }
    let envelope = Envelope { effect_key: format!("{}:email", row.id), attempt, at_ms: at, ..envelope(ws, row) };
    Ok(EmailSend {
        envelope,
        to,
        to_name: contact.name,
        company: company(ws),
        dress: dress(engine, &shop.vault, ws, row, customer.locale.as_deref()),
        locale: customer.locale,
        replies,
        link,
        thread: shop.vault.thread_id(ws.id, &row.conversation_id),
    })
}

/// What the company has chosen for its mail. Whether its domain signs is judged by the real clock: DNS has no other.
fn dress(engine: &Engine, vault: &Vault, ws: &Workspace, row: &FollowupRow, locale: Option<&str>) -> Dress {
    let address = |purpose, domain: &str| reply::address(vault, purpose, (ws.id, row.id), row.state.started_at, domain);
    let answers = match (&engine.registry().deployment().mail.reply_domain, &ws.settings.support_email) {
        (Some(domain), _) => {
            Answers::Here { reply_to: address(Purpose::Reply, domain), bounce_to: address(Purpose::Bounce, domain) }
        }
        (None, Some(support)) => Answers::Company(support.clone()),
        (None, None) => Answers::Sender,
    };
    Dress {
        sender: ws.mail.sender(engine.clocks().real_ms()),
        template: ws.mail.template(locale),
        branding: ws.settings.branding.clone().unwrap_or_default(),
        answers,
    }
}

/// What a text or email is made of, as it is now: replies may have been read or taken back since it was offered.
pub(super) struct Fresh {
    pub(super) row: FollowupRow,
    pub(super) customer: CustomerRow,
    pub(super) contact: Contact,
    pub(super) content: Content,
    /// No text left for this conversation yet.
    pub(super) is_first_text: bool,
}

pub(super) async fn fresh(shop: &Shop, ws: &Arc<Workspace>, row: &FollowupRow) -> Result<Fresh, Outcome> {
    let key = Key::Followup(ws.id, row.id);
    let fresh = load(shop, vec![key.clone()]).await.map_err(|error| later(&error))?;
    let row = fresh.get(&key).and_then(Row::as_followup).ok_or_else(|| gone("followup_gone"))?;
    let conversation = Find::Conversation(ws.id, &row.conversation_id, &row.customer_id);
    let keys = content_keys(row).chain([conversation]).map(Find::key).collect();
    let loaded = load(shop, keys).await.map_err(|error| later(&error))?;
    let rows = Rows { around: &[], loaded: &loaded };
    let customer = rows.get(Find::Customer(ws.id, &row.customer_id)).and_then(Row::as_customer);
    let customer = customer.ok_or_else(|| gone("customer_gone"))?.clone();
    let texted_at = rows.get(conversation).and_then(Row::as_conversation).and_then(|row| row.texted_at);
    let key = unwrap(&shop.vault, &customer)?;
    let contact = open_contact(&key, &customer).map_err(|_| gone("contact_unreadable"))?;
    let content = Content::open(&shop.vault, ws.id, row, &rows)?;
    Ok(Fresh { row: row.clone(), customer, contact, content, is_first_text: texted_at.is_none() })
}

/// The replies the customer has not seen, opened.
pub(super) struct Content {
    pub(super) bodies: Vec<(Reply, MessageBody)>,
    /// The customer's language.
    pub(super) locale: Option<String>,
}

impl Content {
    fn open(vault: &Vault, ws: WorkspaceId, row: &FollowupRow, rows: &Rows<'_>) -> Result<Content, Outcome> {
        let customer = rows.get(Find::Customer(ws, &row.customer_id)).and_then(Row::as_customer);
        let customer = customer.ok_or_else(|| gone("customer_gone"))?;
        let key = unwrap(vault, customer)?;
        let bodies = row.state.unseen().filter_map(|reply| {
            let message = rows.get(Find::Message(ws, &reply.message_id)).and_then(Row::as_message)?;
            Some((reply.clone(), open_body(&key, message)?))
        });
        Ok(Content { bodies: bodies.collect(), locale: customer.locale.clone() })
    }

    /// Where the conversation goes on: the newest link wins.
    pub(super) fn link(&self) -> Option<String> {
        self.bodies.iter().rev().find_map(|(_, body)| body.link.clone())
    }
}

/// A message's content; `None` = withdrawn, erased or past its retention.
pub(crate) fn open_body(key: &CustomerKey, message: &MessageRow) -> Option<MessageBody> {
    let sealed = message.body.as_ref()?;
    let plain = key.open(message.workspace, "messages", &message.message_id, "body", sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}

fn unwrap(vault: &Vault, customer: &CustomerRow) -> Result<CustomerKey, Outcome> {
    vault
        .unwrap_key(customer.workspace, &customer.customer_id, &customer.wrapped_key)
        .map_err(|_| gone("customer_unreadable"))
}

fn content_keys(row: &FollowupRow) -> impl Iterator<Item = Find<'_>> {
    let ws = row.workspace;
    let messages = row.state.unseen().map(move |reply| Find::Message(ws, &reply.message_id));
    messages.chain([Find::Customer(ws, &row.customer_id)])
}

pub(super) async fn load(shop: &Shop, mut keys: Vec<Key>) -> Result<ByKey<Row>, StoreError> {
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(ByKey::default());
    }
    let rows = shop.store.load(keys.clone()).await?;
    Ok(keys.into_iter().zip(rows).filter_map(|(key, row)| Some((key, row?))).collect())
}

pub(super) fn envelope(ws: &Workspace, row: &FollowupRow) -> Envelope {
    Envelope {
        workspace: ws.name.clone(),
        followup_id: row.id.to_string(),
        effect_key: String::new(),
        attempt: 0,
        at_ms: 0,
    }
}

pub(super) fn company(ws: &Workspace) -> String {
    ws.settings.company_name.clone().unwrap_or_else(|| ws.name.clone())
}

/// What cannot be put together is refused for good; nothing left the house.
pub(super) fn gone(what: &str) -> Outcome {
    Outcome::Rejected { error: what.to_owned() }
}

pub(super) fn later(_: &StoreError) -> Outcome {
    Outcome::Postponed { after_ms: None, error: "store_unavailable".into() }
}
