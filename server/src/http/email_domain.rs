//! `/v1/email-domain`: the company's own mail domain, its keys, and what has to stand in DNS.

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, parse};
use crate::mail::domain::{MailDomainInput, MailDomainView};
use crate::problem::Problem;
use crate::registry::MailChanged;
use crate::store::StoreError;
use crate::workspace::Workspace;
use axum::extract::State;
use std::sync::Arc;

/// Sends mail from a domain of yours
///
/// Makes a key that signs for it (DKIM). Publish the records of the answer, then `POST /v1/email-domain/check`: until
/// the key's record is seen, and whenever it no longer is, mail leaves from the deployment's domain under your
/// company's name. The same domain again changes `from` and keeps its keys; another one takes its place at once.
#[utoipa::path(post, path = "/v1/email-domain", tag = "backend", request_body = MailDomainInput,
    params(("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log")),
    responses((status = 200, description = "As it is now", body = MailDomainView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: MailDomainInput = parse(&body)?;
    let (domain, from) = input.checked().map_err(Problem::invalid)?;
    let act = async { answered(&api, api.registry.put_mail_domain(workspace.id, &domain, &from, &who).await) };
    idempotency.once(&api, &workspace, &body, act).await
}

/// Shows the mail domain and what has to stand in DNS
#[utoipa::path(get, path = "/v1/email-domain", tag = "backend",
    responses((status = 200, description = "As DNS was last seen", body = MailDomainView)))]
pub(super) async fn show(State(api): State<Arc<Api>>, Backend(workspace): Backend) -> Answer {
    shown(&api, &workspace)
}

/// Forgets the mail domain with its keys
///
/// Mail leaves from the deployment's domain from then on. Leave the keys' records in DNS for a week.
#[utoipa::path(delete, path = "/v1/email-domain", tag = "backend",
    params(("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(State(api): State<Arc<Api>>, Backend(workspace): Backend, Caller(who): Caller) -> Answer {
    api.registry.delete_mail_domain(workspace.id, &who).await?;
    Ok(Reply::no_content())
}

/// Asks DNS now
///
/// It is asked by itself daily, and hourly while the newest key is not seen. A record that was just published can take
/// an hour to be seen, since DNS servers remember for a while that there was none.
#[utoipa::path(post, path = "/v1/email-domain/check", tag = "backend",
    responses((status = 200, description = "As it is now", body = MailDomainView)))]
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    idempotency: Idempotency,
) -> Answer {
    let act = async { answered(&api, api.registry.check_mail_domain(workspace.id).await) };
    idempotency.once(&api, &workspace, &[], act).await
}

/// Makes a new key
///
/// The one in use goes on signing until the new one's record was seen. Then leave the old record in DNS until
/// `leave_until`: mail that it signed is on its way. A key that was never seen is replaced at once.
#[utoipa::path(post, path = "/v1/email-domain/rotate", tag = "backend",
    params(("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log")),
    responses((status = 200, description = "As it is now", body = MailDomainView)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    idempotency: Idempotency,
) -> Answer {
    let act = async { answered(&api, api.registry.rotate_mail_key(workspace.id, &who).await) };
    idempotency.once(&api, &workspace, &[], act).await
}

fn answered(api: &Api, changed: Result<MailChanged, StoreError>) -> Answer {
    match changed? {
        MailChanged::Done(workspace) => shown(api, &workspace),
        MailChanged::Gone | MailChanged::TooMany => Err(none()),
    }
}

fn shown(api: &Api, workspace: &Workspace) -> Answer {
    let row = workspace.mail.rows().domain.as_ref().ok_or_else(none)?;
    let mechanisms = api.registry.deployment().mail.spf.as_deref();
    Ok(Reply::ok(&MailDomainView::new(row, mechanisms, api.clocks.real_ms())))
}

fn none() -> Problem {
    Problem::not_found("this workspace has no mail domain of its own; POST /v1/email-domain makes one")
}
