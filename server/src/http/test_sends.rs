//! `POST /v1/test-sends`: a real message by the real path, to somebody who expects it. Few, audited, marked as a test.

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, parse};
use super::validate::Check;
use crate::audit::{Entry, Who};
use crate::engine::api::{CustomerInput, EngineError, MessageBody, PostMessage, Posted};
use crate::problem::Problem;
use crate::store::{Key, Op, Row, WorkspaceId};
use crate::vault::sha256;
use crate::workspace::Workspace;
use axum::extract::State;
use axum::http::StatusCode;
use backstop_domain::Ms;
use backstop_domain::followup::{AuthorKind, Channel, Kind};
use backstop_domain::ids::DeviceId;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use utoipa::ToSchema;

/// The conversation of every test push: its newest follow-up says how the last one went.
pub(crate) const PUSH_CONVERSATION: &str = "backstop-test";
/// Whom a test to a number of the configuration goes to: a customer who is shown, exported and erased like any other.
const NUMBER_OWNER: &str = "backstop-test";
const TEXT: &str = "This is a test of our messages. You need not do anything.";
const PER_HOUR: usize = 10;
const HOUR_MS: Ms = 3_600_000;

/// When each workspace sent its tests of the last hour. A restart forgets: it bounds a slip, not an attack.
#[derive(Default)]
pub struct TestSends {
    sent: Mutex<HashMap<WorkspaceId, VecDeque<Ms>>>,
    /// `[golive] test_numbers`
    numbers: Vec<String>,
    /// A sandbox's: nothing leaves.
    unlimited: bool,
}

/// A test to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestInput {
    /// How it leaves.
    channel: Way,
    /// A customer of yours, who expects it.
    #[serde(default)]
    #[schema(example = "lucas", min_length = 1, max_length = 128)]
    customer_id: Option<String>,
    /// Or one of a customer's devices: the push goes to that customer, and the delivery of that device tells.
    #[serde(default)]
    device_id: Option<String>,
    /// Or a number of the server's `[golive] test_numbers`, for a text.
    #[serde(default)]
    #[schema(example = "+821012345678")]
    to: Option<String>,
}

/// A way out.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// To the customer's devices; it asks for an acknowledgement, whose time the follow-up shows.
    Push,
    /// A text.
    Sms,
    /// An email.
    Email,
}

/// The test is on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct TestSent {
    /// `GET /v1/followups/{id}` shows what becomes of it, an acknowledgement and its time included; `null` while the
    /// customer is online, since nothing is sent then.
    #[schema(example = "fu_1hb5bjpj80000")]
    followup_id: Option<String>,
    /// Its message's id.
    message_id: String,
    /// When it is decided at the latest.
    #[schema(format = DateTime)]
    deadline_at: Option<String>,
}

/// Sends a test
///
/// A real message by the real path, and marked as a test: to a customer of yours, one device, or a number that the
/// server's configuration lists. Ten an hour.
#[utoipa::path(post, path = "/v1/test-sends", tag = "backend", request_body = TestInput,
    responses((status = 202, description = "It is on its way", body = TestSent)))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: TestInput = parse(&body)?;
    let act = async { send(&api, &workspace, input, who).await };
    idempotency.once(&api, &workspace, &body, act).await
}

async fn send(api: &Api, workspace: &Arc<Workspace>, input: TestInput, who: Who) -> Answer {
    let (customer_id, customer) = recipient(api, workspace, &input).await?;
    let at = api.clocks.real_ms();
    api.test_sends.take(workspace.id, at)?;
    let message_id = format!("test-{}", uuid::Uuid::now_v7().simple());
    // Before it leaves: what was tried is told, too.
    let detail = json!({ "channel": input.channel, "message_id": message_id });
    let entry = Entry { at, kind: crate::audit::Kind::TestSend, who, detail };
    api.store.commit(vec![vec![Op::Audit(workspace.id, entry)]]).await?;
    let message = message(workspace, input.channel, message_id.clone(), customer_id, customer);
    let posted = api.engine.post_message(workspace, message).await?;
    let (followup_id, deadline_at) = match posted {
        Posted::Followup { followup_id, deadline_at, .. } => (Some(followup_id.to_string()), Some(deadline_at)),
        Posted::Watching => (None, None),
    };
    let sent = TestSent { followup_id, message_id, deadline_at: deadline_at.map(to_rfc3339) };
    Ok(Reply::json(StatusCode::ACCEPTED, &sent))
}

/// Whom it goes to, and what has to be known of them first.
async fn recipient(
    api: &Api,
    workspace: &Workspace,
    input: &TestInput,
) -> Result<(String, Option<CustomerInput>), Problem> {
    match (&input.customer_id, &input.device_id, &input.to) {
        (Some(customer_id), None, None) => {
            let mut check = Check::default();
            check.id("customer_id", customer_id);
            check.finish()?;
            let known = api.store.load(vec![Key::Customer(workspace.id, customer_id.clone())]).await?;
            match known.into_iter().next().flatten() {
                Some(_) => Ok((customer_id.clone(), None)),
                None => Err(EngineError::UnknownCustomer.into()),
            }
        }
        (None, Some(device_id), None) if input.channel == Way::Push => {
            let owner = match DeviceId::parse(device_id) {
                Some(id) => api.store.load(vec![Key::Device(workspace.id, id)]).await?,
                None => Vec::new(),
            };
            let owner = owner.into_iter().next().flatten();
            let owner = owner.as_ref().and_then(Row::as_device).ok_or(EngineError::UnknownDevice)?;
            owner.customer_id.clone().map(|id| (id, None)).ok_or_else(|| {
                Problem::invalid_field("device_id", "logged_out", "nobody is logged in there: log in, then try again")
            })
        }
        (None, None, Some(to)) if input.channel == Way::Sms => {
            let listed = api.test_sends.numbers.iter().any(|number| number == to);
            let message = "only numbers of the server's [golive] test_numbers; for others give customer_id";
            let owner = || {
                (
                    number_owner(api, workspace, to),
                    Some(CustomerInput { phone: Some(to.clone()), ..Default::default() }),
                )
            };
            listed.then(owner).ok_or_else(|| Problem::invalid_field("to", "not_allowed", message))
        }
        (None, Some(_), None) => {
            Err(Problem::invalid_field("device_id", "not_allowed", "only a push goes to a device"))
        }
        (None, None, Some(_)) => {
            Err(Problem::invalid_field("to", "not_allowed", "only a text goes to a number; give customer_id"))
        }
        _ => Err(Problem::invalid_field("customer_id", "missing", "give one of customer_id, device_id and to")),
    }
}

/// Stands for the number without holding it: ids are kept and shown as they are. Keyed, since numbers are few enough
/// to try them all.
fn number_owner(api: &Api, workspace: &Workspace, to: &str) -> String {
    format!("{NUMBER_OWNER}-{}", hex::encode(&api.vault.body_hash(workspace.id, to.as_bytes())[..8]))
}

fn message(
    workspace: &Workspace,
    way: Way,
    message_id: String,
    customer_id: String,
    customer: Option<CustomerInput>,
) -> PostMessage {
    let channel = match way {
        Way::Push => Channel::Push,
        Way::Sms => Channel::Text,
        Way::Email => Channel::Email,
    };
    let conversation_id = match way {
        Way::Push => PUSH_CONVERSATION.to_owned(),
        // Of its own: the one before must not hold it back.
        Way::Sms | Way::Email => format!("{PUSH_CONVERSATION}-{message_id}"),
    };
    PostMessage {
        body_hash: sha256(message_id.as_bytes()),
        message_id,
        conversation_id,
        customer_id,
        kind: Some(Kind::Reply),
        author_kind: AuthorKind::Agent,
        body: MessageBody {
            author: Some(format!("{} (test)", workspace.display_name())),
            text: TEXT.into(),
            link: None,
        },
        apps: None,
        channels: Some(vec![channel]),
        customer,
    }
}

impl TestSends {
    /// With the numbers that anybody's tests may go to.
    pub fn new(numbers: Vec<String>) -> TestSends {
        TestSends { numbers, ..TestSends::default() }
    }

    /// None is one too many.
    pub fn unlimited_if(self, unlimited: bool) -> TestSends {
        TestSends { unlimited, ..self }
    }

    /// One of the hour's; refused with the time at which there is one again.
    fn take(&self, ws: WorkspaceId, now: Ms) -> Result<(), Problem> {
        if self.unlimited {
            return Ok(());
        }
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = all.entry(ws).or_default();
        while sent.front().is_some_and(|at| now - at >= HOUR_MS) {
            sent.pop_front();
        }
        match sent.front() {
            Some(first) if sent.len() >= PER_HOUR => Err(Problem::rate_limited(first + HOUR_MS - now)),
            _ => {
                sent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 7: ten an hour, each workspace for itself, on both sides of the hour.
    #[test]
    fn ten_an_hour() {
        let sends = TestSends::default();
        let (one, other) = (WorkspaceId(1), WorkspaceId(2));
        assert!((0..10).all(|n| sends.take(one, n).is_ok()));
        assert!(sends.take(one, 9).is_err() && sends.take(other, 9).is_ok());
        assert!(sends.take(one, HOUR_MS - 1).is_err(), "the first one is not an hour old");
        assert!(sends.take(one, HOUR_MS).is_ok() && sends.take(one, HOUR_MS).is_err());
        let sandbox = TestSends::default().unlimited_if(true);
        assert!((0..100).all(|_| sandbox.take(one, 0).is_ok()));
    }
}
