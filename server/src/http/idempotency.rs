//! `Idempotency-Key` (W3): optional, since ids make requests repeatable; kept 24 h; another body under it is refused.

use super::Api;
use super::request::{Answer, Reply};
use crate::failpoint::{Point, hit};
use crate::problem::{Code, Problem};
use crate::store::{Key, Row, StoreError, StoredAnswer};
use crate::vault::{CustomerKey, Vault};
use crate::workspace::Workspace;
use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use backstop_domain::Ms;
use std::sync::Arc;

const HEADER: &str = "idempotency-key";
const MAX_CHARS: usize = 255;
const KEPT_MS: Ms = 24 * 3_600_000;

/// The key of a request, if it has one, with what the request is named by.
pub(super) struct Idempotency {
    key: Option<String>,
    method_and_path: String,
    /// The customer whose data the answer holds.
    about: Option<String>,
}

impl FromRequestParts<Arc<Api>> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Idempotency, Problem> {
        let Some(value) = parts.headers.get(HEADER) else {
            return Ok(Idempotency { key: None, method_and_path: String::new(), about: None });
        };
        let key = value.to_str().ok().filter(|key| (1..=MAX_CHARS).contains(&key.len()));
        let message = "give 1 to 255 printable ASCII characters";
        let key = key.ok_or_else(|| Problem::invalid_field("Idempotency-Key", "invalid", message))?;
        let method_and_path = format!("{} {}", parts.method, parts.uri.path());
        Ok(Idempotency { key: Some(key.to_owned()), method_and_path, about: None })
    }
}

impl Idempotency {
    /// The answer holds this customer's data: it is sealed under their own key, and an erasure takes it along (S8).
    pub(super) fn about(self, customer_id: &str) -> Idempotency {
        Idempotency { about: Some(customer_id.to_owned()), ..self }
    }

    /// The first answer again, if this request was answered before; else `act`'s, kept unless it may turn out
    /// otherwise next time.
    pub(super) async fn once(
        self,
        api: &Api,
        workspace: &Workspace,
        body: &[u8],
        act: impl Future<Output = Answer>,
    ) -> Answer {
        let Some(key) = self.key else { return act.await };
        let now = api.clocks.real_ms();
        let mut named = self.method_and_path.into_bytes();
        named.push(0);
        named.extend_from_slice(body);
        let request_hash = api.vault.body_hash(workspace.id, &named);
        // Two at one time with one key: the first goes on, the other finds its answer later, or is another request.
        let _turn = match workspace.activity.answering(&key, request_hash) {
            Ok(turn) => turn,
            Err(other) if other == request_hash => return Err(Problem::in_progress()),
            Err(_) => return Err(reused()),
        };
        if let Some(known) = api.store.stored_answer(workspace.id, &key, now - KEPT_MS).await? {
            if known.request_hash != request_hash {
                return Err(reused());
            }
            let seal = Seal::of(api, workspace, self.about).await?;
            return again(&seal, workspace, &key, &known);
        }
        let reply = act.await?;
        let seal = Seal::of(api, workspace, self.about).await?;
        let Some(body) = seal.seal(workspace, &key, &reply.body) else { return Ok(reply) };
        let answer = StoredAnswer { request_hash, status: reply.status.as_u16(), body, at: now };
        hit(Point::AnswerKept);
        api.store.keep_answer(workspace.id, &key, answer).await?;
        Ok(reply)
    }
}

fn reused() -> Problem {
    let detail = "this Idempotency-Key was used for another request; use a new key for a new request";
    Problem::new(Code::IdempotencyKeyReused, detail)
}

/// What an answer is sealed under.
enum Seal<'a> {
    Workspace(&'a Vault),
    Customer(CustomerKey),
    /// The customer's key, and they were erased.
    Shredded,
}

impl Seal<'_> {
    async fn of<'a>(api: &'a Api, workspace: &Workspace, about: Option<String>) -> Result<Seal<'a>, Problem> {
        let Some(customer_id) = about else { return Ok(Seal::Workspace(&api.vault)) };
        let rows = api.store.load(vec![Key::Customer(workspace.id, customer_id)]).await?;
        let Some(Row::Customer(row)) = rows.into_iter().next().flatten() else { return Ok(Seal::Shredded) };
        let key = api.vault.unwrap_key(row.workspace, &row.customer_id, &row.wrapped_key);
        Ok(Seal::Customer(key.map_err(|error| StoreError::Corrupt(error.to_string()))?))
    }

    fn seal(&self, workspace: &Workspace, key: &str, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Seal::Workspace(vault) => Some(vault.seal(workspace.id, "answers", key, "body", body)),
            Seal::Customer(own) => Some(own.seal(workspace.id, "answers", key, "body", body)),
            Seal::Shredded => None,
        }
    }

    fn open(&self, workspace: &Workspace, key: &str, body: &[u8]) -> Result<Vec<u8>, Problem> {
        let erased = || Problem::not_found("the first answer was erased with its customer; use a new Idempotency-Key");
        match self {
            Seal::Workspace(vault) => vault
                .open(workspace.id, "answers", key, "body", body)
                .map_err(|_| Problem::new(Code::Internal, "the first answer does not read; use a new Idempotency-Key")),
            // Of one who was erased and is known again: by another key.
            Seal::Customer(own) => own.open(workspace.id, "answers", key, "body", body).map_err(|_| erased()),
            Seal::Shredded => Err(erased()),
        }
    }
}

fn again(seal: &Seal<'_>, workspace: &Workspace, key: &str, known: &StoredAnswer) -> Answer {
    let corrupt = || Problem::new(Code::Internal, "the first answer does not read; use a new Idempotency-Key");
    let body = seal.open(workspace, key, &known.body)?;
    Ok(Reply {
        status: StatusCode::from_u16(known.status).map_err(|_| corrupt())?,
        content_type: (!body.is_empty()).then_some("application/json"),
        body: Bytes::from(body),
        headers: vec![("idempotency-replayed", HeaderValue::from_static("true"))],
    })
}
