//! `/v1/alimtalk-templates`: the texts that Kakao approved, checked before any of them is sent (T3).

use super::Api;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, Segment, parse};
use super::view::List;
use crate::alimtalk::{LintView, PreviewInput, PreviewView, TemplateInput, TemplateView, preview as filled};
use crate::compose;
use crate::problem::Problem;
use crate::registry::AlimtalkChanged;
use crate::templates::notice;
use axum::extract::State;
use backstop_domain::text::alimtalk::Values;
use std::sync::Arc;

/// A host and a code such as a short link has where the deployment has no public URL.
const SAMPLE_HOST: &str = "https://chat.example";
const SAMPLE_CODE: &str = "AbCdEf0123456789";

/// Puts an Alimtalk template, whole
///
/// As Kakao approved it: anything else is refused by Kakao for every customer. What cannot work is refused here; the
/// answer's `findings` hold what to look at. Texts are made by one template, the one that is `in_use`; a text that it
/// does not fit goes by XMS.
#[utoipa::path(put, path = "/v1/alimtalk-templates/{template_id}", tag = "backend", request_body = TemplateInput,
    params(
        ("template_id" = String, Path, description = "The relay's id of it (Solapi: `templateId`)"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 200, description = "As it is now", body = TemplateView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(template_id): Segment,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: TemplateInput = parse(&body)?;
    match api.registry.put_template(workspace.id, &template_id, &input, &who).await? {
        AlimtalkChanged::Done(workspace) => shown(workspace.alimtalk.view(&template_id)),
        AlimtalkChanged::Invalid(errors) => Err(Problem::invalid(errors)),
        AlimtalkChanged::Gone => Err(Problem::unauthorized()),
    }
}

/// Lists the Alimtalk templates of the workspace
#[utoipa::path(get, path = "/v1/alimtalk-templates", tag = "backend",
    responses((status = 200, description = "All of them", body = List<TemplateView>)))]
pub(super) async fn list(Backend(workspace): Backend) -> Answer {
    Ok(Reply::ok(&List { data: workspace.alimtalk.views(), next_cursor: None }))
}

/// Shows an Alimtalk template
#[utoipa::path(get, path = "/v1/alimtalk-templates/{template_id}", tag = "backend",
    params(("template_id" = String, Path, description = "The relay's id of it")),
    responses((status = 200, description = "As it was put", body = TemplateView)))]
pub(super) async fn show(Backend(workspace): Backend, Segment(template_id): Segment) -> Answer {
    shown(workspace.alimtalk.view(&template_id))
}

/// Deletes an Alimtalk template
///
/// Here alone: Kakao and the relay keep it.
#[utoipa::path(delete, path = "/v1/alimtalk-templates/{template_id}", tag = "backend",
    params(
        ("template_id" = String, Path, description = "The relay's id of it"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(template_id): Segment,
) -> Answer {
    api.registry.delete_template(workspace.id, &template_id, &who).await?;
    Ok(Reply::no_content())
}

/// Lints an Alimtalk template
///
/// Says what PUT would refuse, and what Kakao may; nothing is stored.
#[utoipa::path(post, path = "/v1/alimtalk-templates/lint", tag = "backend", request_body = TemplateInput,
    responses((status = 200, description = "What there is to say", body = LintView)))]
pub(super) async fn lint(Backend(_workspace): Backend, Payload(body): Payload<BACKEND_BYTES>) -> Answer {
    let input: TemplateInput = parse(&body)?;
    Ok(Reply::ok(&LintView::of(&input)))
}

/// Fills an Alimtalk template in
///
/// With values that you make up: what the customer would read, or why it would not be sent. Nothing is.
#[utoipa::path(post, path = "/v1/alimtalk-templates/{template_id}/preview", tag = "backend",
    request_body = PreviewInput,
    params(("template_id" = String, Path, description = "The relay's id of it")),
    responses((status = 200, description = "What it becomes", body = PreviewView)))]
pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(template_id): Segment,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: PreviewInput = parse(&body)?;
    let template = workspace.alimtalk.template(&template_id).ok_or_else(none)?;
    let host = api.registry.deployment().public_url.as_deref().unwrap_or(SAMPLE_HOST);
    let sample = compose::short_link(host, SAMPLE_CODE);
    let company = workspace.display_name();
    let values = Values {
        company,
        customer_name: input.customer_name.as_deref(),
        author: Some(input.author.as_deref().unwrap_or(company)),
        excerpt: Some(input.text.as_deref().unwrap_or_else(|| notice(Some("ko")))),
        link: Some(input.link.as_deref().unwrap_or(&sample)),
    };
    Ok(Reply::ok(&filled(&template, &values)))
}

fn shown(template: Option<TemplateView>) -> Answer {
    Ok(Reply::ok(&template.ok_or_else(none)?))
}

fn none() -> Problem {
    Problem::not_found("there is no such Alimtalk template in this workspace; PUT makes it")
}
