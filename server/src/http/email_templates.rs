//! `/v1/email-templates`: the company's own templates of the email of a follow-up, checked before they are kept.

use super::Api;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, Segment, parse};
use super::view::List;
use crate::mail::template::{
    EmailPreview, EmailPreviewInput, EmailTemplateInput, EmailTemplateView, MAX_TEMPLATES, canonical, check, preview,
};
use crate::problem::{Code, Problem};
use crate::registry::MailChanged;
use crate::workspace::Workspace;
use axum::extract::State;
use std::sync::Arc;

const LOCALE: &str = "give a language as BCP 47 spells it, such as ko, en or pt-BR";

/// Puts the template for customers of a language
///
/// It is rendered with samples first — all of the branding, many replies, and nothing at all: what cannot work is
/// refused, with its line. Customers of a language without a template of yours get the built-in one if that speaks it
/// (English, Korean, Japanese), else your English one. A template that fails for one mail all the same is replaced by
/// the built-in one, and an alarm rings.
#[utoipa::path(put, path = "/v1/email-templates/{locale}", tag = "backend", request_body = EmailTemplateInput,
    params(
        ("locale" = String, Path, description = "BCP 47, such as `ko` or `pt-BR`"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 200, description = "As it is now", body = EmailTemplateView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(locale): Segment,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let locale = canonical(&locale).ok_or_else(|| Problem::invalid_field("locale", "invalid", LOCALE))?;
    let source = parse::<EmailTemplateInput>(&body)?.source();
    let (checked, at) = (source.clone(), locale.clone());
    blocking(move || check(&checked, &at).map(drop)).await?.map_err(Problem::invalid)?;
    match api.registry.put_email_template(workspace.id, &locale, &source, &who).await? {
        MailChanged::Done(workspace) => shown(&workspace, &locale),
        MailChanged::Gone => Err(Problem::unauthorized()),
        MailChanged::TooMany => {
            let message = format!("a workspace has at most {MAX_TEMPLATES} templates: delete one first");
            Err(Problem::invalid_field("locale", "too_many", message))
        }
    }
}

/// Lists the templates of the workspace
#[utoipa::path(get, path = "/v1/email-templates", tag = "backend",
    responses((status = 200, description = "All of them", body = List<EmailTemplateView>)))]
pub(super) async fn list(Backend(workspace): Backend) -> Answer {
    let data = workspace.mail.rows().templates.iter().map(EmailTemplateView::new).collect();
    Ok(Reply::ok(&List::<EmailTemplateView> { data, next_cursor: None }))
}

/// Shows a template
#[utoipa::path(get, path = "/v1/email-templates/{locale}", tag = "backend",
    params(("locale" = String, Path, description = "As it was put")),
    responses((status = 200, description = "As it was put", body = EmailTemplateView)))]
pub(super) async fn show(Backend(workspace): Backend, Segment(locale): Segment) -> Answer {
    shown(&workspace, &canonical(&locale).unwrap_or_default())
}

/// Deletes a template
#[utoipa::path(delete, path = "/v1/email-templates/{locale}", tag = "backend",
    params(
        ("locale" = String, Path, description = "As it was put"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(locale): Segment,
) -> Answer {
    let locale = canonical(&locale).unwrap_or_default();
    api.registry.delete_email_template(workspace.id, &locale, &who).await?;
    Ok(Reply::no_content())
}

/// Shows an email that is not sent
///
/// With a sample customer and two sample replies, in the workspace's branding. With `mjml` and `subject` by that
/// template, which is checked as PUT checks it; without, by the one that customers of the locale would get. A template
/// that fails for this customer is refused with the reason: the mail itself would leave by the built-in one.
#[utoipa::path(post, path = "/v1/email-templates/preview", tag = "backend", request_body = EmailPreviewInput,
    responses((status = 200, description = "The mail", body = EmailPreview)))]
pub(super) async fn show_preview(Backend(workspace): Backend, Payload(body): Payload<BACKEND_BYTES>) -> Answer {
    let input: EmailPreviewInput = parse(&body)?;
    let preview = blocking(move || preview(&input, &workspace)).await?.map_err(Problem::invalid)?;
    Ok(Reply::ok(&preview))
}

fn shown(workspace: &Workspace, locale: &str) -> Answer {
    let row = workspace.mail.rows().templates.iter().find(|row| row.locale == locale);
    let row = row.ok_or_else(|| Problem::not_found("there is no template of this locale; PUT makes it"))?;
    Ok(Reply::ok(&EmailTemplateView::new(row)))
}

/// Not on a thread that answers others: a template may take its time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(Code::Internal, "the template could not be looked at; send it to the operator"))
}
