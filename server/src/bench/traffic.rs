//! What the generator says: customers with a phone each, replies, acks.

use super::host::Host;
use super::load::{Caller, Run, drive, request};
use super::pause;
use crate::identity::customer_hash;
use crate::registry::Created;
use backstop_wire::time::to_rfc3339;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Acks of one request, the most that one may carry.
pub(super) const BATCH: usize = 100;
/// P3's floor: the shortest wait a workspace may have.
pub(super) const SHORT_WAIT_MS: i64 = 1_000;
const TEXT: &str = "Hello! I have looked at your order: the parcel left our warehouse this morning and should reach \
                    you tomorrow before noon. Is there anything else that I can do for you?";

/// A customer's phone as the generator plays it.
pub(super) struct Phone {
    authorization: String,
}

/// Requests to one server.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
}

impl Line {
    pub(super) async fn drive(self, requests: Vec<Vec<u8>>) -> Result<Run, String> {
        drive(self.address, self.connections, Arc::new(requests), false).await
    }

    /// Customers with a phone number, an address and one device each.
    pub(super) async fn register(self, workspace: &Created, customers: usize) -> Result<Vec<Phone>, String> {
        let secret = hex::decode(&workspace.identity_secret).map_err(|error| error.to_string())?;
        let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
        let put = |n: usize| {
            let body = json!({ "name": "Ada", "phone": "+821012345678", "email": "ada@example.com" }).to_string();
            request("PUT", &format!("/v1/customers/u-{n}"), &bearer, &body)
        };
        self.drive((0..customers).map(put).collect()).await?;
        let app = format!("backstop-app: {}\r\n", workspace.app_key);
        let register = |n: usize| {
            let id = format!("u-{n}");
            let body = json!({
                "install_id": format!("install-{n}"), "platform": "android", "provider": "fcm",
                "token": format!("token-{n}"), "alerts": "allowed", "wire": [1],
                "customer_id": id, "customer_hash": customer_hash(&secret, &id),
            });
            request("POST", "/v1/devices", &app, &body.to_string())
        };
        let requests = Arc::new((0..customers).map(register).collect());
        let run = drive(self.address, self.connections, requests, true).await?;
        let phone = |answer: &Vec<u8>| {
            let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
            let word = |key: &str| answer[key].as_str().map(str::to_owned).ok_or(format!("no {key} in {answer}"));
            Ok(Phone { authorization: format!("Backstop-Device {}.{}", word("device_id")?, word("device_key")?) })
        };
        run.answers.iter().map(phone).collect()
    }

    /// Replies of this workspace wait no longer than they must.
    pub(super) async fn wait_shortly(self, workspace: &Created) -> Result<(), String> {
        let settings = json!({ "ack_wait_ms": SHORT_WAIT_MS, "phone_number": true, "email": true }).to_string();
        let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
        let mut caller = Caller::connect(self.address).await?;
        caller.ask(&request("PUT", "/v1/settings", &bearer, &settings)).await.map(|_| ())
    }
}

/// Waits until every reply's push has left.
pub(super) async fn all_pushed(host: &Host, count: usize) -> Result<(), String> {
    for _ in 0..6_000 {
        if host.pushed.len() >= count {
            return Ok(());
        }
        pause(Duration::from_millis(5)).await;
    }
    Err(format!("only {} of {count} pushes left within 30 s", host.pushed.len()))
}

/// Waits until nothing is on its way to the store or to a provider.
pub(super) async fn settled(host: &Host) -> Result<(), String> {
    let mut idle = 0;
    for _ in 0..30_000 {
        let stats = host.engine.stats();
        idle = if stats.queued == 0 && stats.sending == 0 { idle + 1 } else { 0 };
        if idle == 20 {
            return Ok(());
        }
        pause(Duration::from_millis(10)).await;
    }
    Err(format!("not settled within 5 minutes: {:?}", host.engine.stats()))
}

/// One reply, in a conversation of its own so that nothing folds.
pub(super) fn reply(workspace: &Created, number: usize, customer: usize) -> Vec<u8> {
    let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
    let body = json!({
        "message_id": uuid::Uuid::now_v7().to_string(), "conversation_id": format!("c-{number}"),
        "customer_id": format!("u-{customer}"), "kind": "reply", "author": { "name": "Grace" }, "text": TEXT,
    });
    request("POST", "/v1/messages", &bearer, &body.to_string())
}

/// One request for every `each` receipts of a customer; the receipts are in the order of their replies.
pub(super) fn acks(
    workspace: &Created,
    receipts: &[String],
    phones: &[Phone],
    customer_of: &dyn Fn(usize) -> usize,
    each: usize,
) -> Vec<Vec<u8>> {
    let at = to_rfc3339(0);
    let ack = |n: &usize| json!({ "receipt": receipts[*n], "grade": "displayed", "at": at });
    let build = |customer: usize, numbers: &[usize]| {
        let acks: Vec<Value> = numbers.iter().map(ack).collect();
        let authorization = &phones[customer].authorization;
        let extra = format!("backstop-app: {}\r\nauthorization: {authorization}\r\n", workspace.app_key);
        request("POST", "/v1/acks", &extra, &json!({ "acks": acks }).to_string())
    };
    if each == 1 {
        return (0..receipts.len()).map(|n| build(customer_of(n), &[n])).collect();
    }
    let mut of_customer = vec![Vec::new(); phones.len()];
    (0..receipts.len()).for_each(|n| of_customer[customer_of(n)].push(n));
    let batches =
        of_customer.iter().enumerate().flat_map(|(customer, all)| all.chunks(each).map(move |c| (customer, c)));
    batches.map(|(customer, numbers)| build(customer, numbers)).collect()
}
