//! `POST /in/{provider}/{account}`: what vendors say later — reports of texts, and what people write back (W2, T7).
//!
//! A call is proven by the vendor's signature before anything of it is believed. What is unknown is answered like what
//! is known, so that nobody learns which ids there are.

use super::Api;
use super::answers::{Answered, Taken, number_of, take_in, whose};
use super::request::{Answer, Reply, no_route, read_body};
use crate::audit::Who;
use crate::engine::api::MailReport;
use crate::problem::{Code, Problem};
use crate::providers::{Block, Call, Callbacks, Extent, InboundText, Report, ReportWord, Thanks, Word};
use crate::store::{InboundChannel, LastText, OptOutSource, SuppressionChannel};
use crate::workspace::Workspace;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Event, Outcome};
use backstop_domain::mail::tidy;
use backstop_domain::optout::{Wish, wish, wish_on_line};
use backstop_domain::text::Way;
use backstop_wire::FieldError;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

/// A STOP is for whoever texted the number from there within this time. An older one the vendor remembers: it refuses
/// the next text, and is believed.
const MEANT_WITHIN_MS: Ms = 30 * 24 * 3_600_000;
/// Texts of the same words without an id are one text within such a time.
const NO_ID_WINDOW_MS: Ms = 10 * 60_000;
const EMPTY_TWIML: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

/// Lines about refused signatures, a minute: whoever forges them must not fill the log.
static REFUSALS: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| RateLimiter::direct(Quota::per_minute(NonZeroU32::new(6).expect("six is not zero"))));

/// Not in the API's document: it is for vendors alone. Reports of texts, and texts that people write to the account's
/// numbers; repeats and any order are fine.
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Answer {
    let Ok(Path((provider, account))) = path else { return Err(no_route().await) };
    let (parts, body) = request.into_parts();
    api.limits.check_address(&parts)?;
    let known = api.callbacks.iter().find(|known| known.name() == provider && known.account() == account);
    let Some(vendor) = known else { return Err(no_route().await) };
    let mut wrote_something = false;
    // One that fails is told to the vendor, which calls again: what was heard already changes nothing then.
    for word in hear(&api, vendor.as_ref(), &parts, body).await? {
        wrote_something |= matches!(word, Word::Text(_));
        take(&api, vendor.name(), word).await?;
    }
    Ok(match vendor.thanks() {
        Thanks::NoContent => Reply::no_content(),
        Thanks::Ok => Reply { status: StatusCode::OK, content_type: None, body: Bytes::new(), headers: Vec::new() },
        Thanks::Twiml if wrote_something => twiml(),
        Thanks::Twiml => Reply::no_content(),
    })
}

/// Takes in one word of a vendor that is proven to be it.
pub(crate) async fn take(api: &Api, vendor: &'static str, word: Word) -> Result<(), Problem> {
    let label = match &word {
        Word::Report(_) => "report",
        Word::Text(_) => "text",
        Word::Mail { .. } => "mail",
        Word::Block(_) => "block",
        Word::Unreadable { .. } => "unreadable",
    };
    metrics::counter!("backstop_callbacks_total", "provider" => vendor, "word" => label).increment(1);
    match word {
        Word::Report(report) => reported(api, report).await,
        Word::Text(text) => wrote(api, vendor, text).await,
        Word::Mail { workspace, report } => mailed(api, &workspace, report).await,
        Word::Block(block) => blocked(api, block).await,
        Word::Unreadable { field, mend } => Err(Problem::invalid(vec![unreadable(field, mend)])),
    }
}

async fn hear(api: &Api, vendor: &dyn Callbacks, parts: &Parts, body: Body) -> Result<Vec<Word>, Problem> {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !content_type.to_ascii_lowercase().starts_with(vendor.content_type()) {
        let detail = format!("send Content-Type: {}", vendor.content_type());
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = read_body(&parts.headers, body, vendor.max_bytes(), api.limits.body_timeout).await?;
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let call = Call { path_and_query, headers: &parts.headers, body: &body };
    vendor.read(&call).await.map_err(|refused| {
        metrics::counter!("backstop_callbacks_total", "provider" => vendor.name(), "word" => "refused").increment(1);
        if REFUSALS.check().is_ok() {
            let (provider, url, mend) = (vendor.name(), refused.url, vendor.mend());
            tracing::warn!(provider, url, mend, "a call is not proven to be the vendor's for this URL");
        }
        Problem::new(Code::Forbidden, "the signature does not match")
    })
}

/// W2: repeated, out of order, before the send's own answer: the rules know what is new in it.
async fn reported(api: &Api, report: Report) -> Result<(), Problem> {
    let Report { workspace, followup, attempt, to, provider_id, word } = report;
    let Some(workspace) = api.registry.by_name(&workspace).await? else {
        unknown();
        return Ok(());
    };
    // Opt-outs and caps are by the number, and not every vendor says where a text went.
    let to = match (to, &word) {
        (None, ReportWord::Failed(_)) => number_of(api, &workspace, followup).await?,
        (to, _) => to,
    };
    let channel = Channel::Text;
    let event = match word {
        ReportWord::Taken => Event::FallbackAnswered { channel, attempt, outcome: Outcome::Accepted { provider_id } },
        ReportWord::Refused(outcome) => Event::FallbackAnswered { channel, attempt, outcome },
        ReportWord::Delivered => Event::Reported { channel, attempt, delivered: true, provider_id, error: None },
        ReportWord::Failed(code) => {
            Event::Reported { channel, attempt, delivered: false, provider_id, error: Some(code) }
        }
    };
    if !api.engine.reported(&workspace, followup, event, to).await? {
        unknown();
    }
    Ok(())
}

/// E5: what became of an email.
async fn mailed(api: &Api, workspace: &str, report: MailReport) -> Result<(), Problem> {
    let known = match api.registry.by_name(workspace).await? {
        Some(workspace) => api.engine.mail_reported(&workspace, report).await?,
        None => false,
    };
    if !known {
        unknown();
    }
    Ok(())
}

fn unreadable(field: &str, mend: &str) -> FieldError {
    FieldError { field: field.into(), code: "invalid".into(), message: mend.into() }
}

fn unknown() {
    metrics::counter!("backstop_callbacks_unknown_total").increment(1);
}

/// T7, T9: an opt-out or an opt-in is one for each workspace that wrote to them from there; anything else answers the
/// newest of what was sent to them.
async fn wrote(api: &Api, vendor: &'static str, text: InboundText) -> Result<(), Problem> {
    let asked = match text.keyword.as_deref() {
        Some("STOP") => Some(Wish::Out),
        Some("START") => Some(Wish::In),
        _ if text.extent != Extent::Whole => None,
        _ if text.way == Way::Line => wish_on_line(&text.text),
        _ => wish(&text.from, &text.text),
    };
    let since = api.clocks.real_ms() - MEANT_WITHIN_MS;
    let texted = api.store.texted(api.vault.number_hash(&text.from), &text.to, since).await?;
    let Some(asked) = asked else { return answered(api, vendor, &texted, &text).await };
    if texted.is_empty() {
        unknown();
    }
    for last in texted {
        let Some(workspace) = api.registry.by_id(last.workspace).await? else { continue };
        for (channel, to) in meant(api, &workspace, &last, &text).await? {
            match asked {
                Wish::Out => {
                    let source = OptOutSource::Stop;
                    api.engine.opt_out_after(&workspace, last.followup, channel, to, source).await?;
                }
                Wish::In => {
                    let hash = api.vault.suppression_hash(channel, &to);
                    api.engine.opt_in(&workspace, hash, Who::server()).await?;
                }
            }
        }
    }
    Ok(())
}

/// T7: a block ends that way alone, for whoever wrote to them by it; what is blocked goes the next way (T2).
async fn blocked(api: &Api, block: Block) -> Result<(), Problem> {
    let Block { way, who, is_lifted } = block;
    let channel = match way {
        Way::Alimtalk => SuppressionChannel::Alimtalk,
        Way::Line => SuppressionChannel::Line,
        Way::Xms => SuppressionChannel::Text,
    };
    for last in api.store.texted(api.vault.number_hash(&who), "", 0).await? {
        let Some(workspace) = api.registry.by_id(last.workspace).await? else { continue };
        if is_lifted {
            api.engine.opt_in(&workspace, api.vault.suppression_hash(channel, &who), Who::server()).await?;
        } else {
            let source = OptOutSource::Provider;
            api.engine.opt_out_after(&workspace, last.followup, channel, who.clone(), source).await?;
        }
    }
    Ok(())
}

/// What an opt-out is of: the number that wrote; on LINE, LINE and the number of whoever was written to there.
async fn meant(
    api: &Api,
    workspace: &Workspace,
    last: &LastText,
    text: &InboundText,
) -> Result<Vec<(SuppressionChannel, String)>, Problem> {
    if text.way != Way::Line {
        return Ok(vec![(SuppressionChannel::Text, text.from.clone())]);
    }
    let number = match last.followup {
        Some(followup) => number_of(api, workspace, followup).await?,
        None => None,
    };
    let number = number.map(|number| (SuppressionChannel::Text, number));
    Ok([(SuppressionChannel::Line, text.from.clone())].into_iter().chain(number).collect())
}

/// T9: the text is the customer's message in the conversation of the last text to them. From whom nothing was sent to,
/// nothing is kept.
async fn answered(api: &Api, vendor: &str, texted: &[LastText], text: &InboundText) -> Result<(), Problem> {
    let newest = texted.iter().find_map(|last| Some((last.workspace, last.followup?)));
    let Some((workspace, followup)) = newest else {
        unknown();
        return Ok(());
    };
    let Some(workspace) = api.registry.by_id(workspace).await? else { return Ok(()) };
    let said = tidy(&text.text);
    if said.is_empty() {
        return Ok(());
    }
    let mark = match &text.id {
        Some(id) => [vendor, id].join("\0"),
        // A vendor that gives no id repeats itself soon, if it does; a person says the same again later.
        None => {
            let window = (api.clocks.real_ms() / NO_ID_WINDOW_MS).to_string();
            // Two parts of a text may be alike.
            let part = match text.extent {
                Extent::Whole => String::new(),
                Extent::From(part) => part.to_string(),
            };
            [vendor, &text.from, &text.to, &text.text, &window, &part].join("\0")
        }
    };
    let channel = if text.way == Way::Line { InboundChannel::Line } else { InboundChannel::Sms };
    let Some(whose) = whose(api, &workspace, followup).await? else {
        unknown();
        return Ok(());
    };
    let answered = Answered { channel, mark: mark.as_bytes(), from: None, text: &said };
    if let Taken::Unknown = take_in(api, &workspace, &whose, answered).await? {
        unknown();
    }
    Ok(())
}

/// Says nothing: the vendor answers STOP by itself.
fn twiml() -> Reply {
    let body = Bytes::from_static(EMPTY_TWIML);
    Reply { status: StatusCode::OK, content_type: Some("text/xml"), body, headers: Vec::new() }
}
