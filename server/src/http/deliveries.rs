//! `GET /v1/deliveries`: everything that was sent, as JSON or CSV (S6).

use super::Api;
use super::followups::{bad_cursor, limit};
use super::request::{Answer, Backend, Params, Reply};
use super::view::{self, DeliveryRow, List};
use crate::problem::Problem;
use crate::store::{FollowupFilter, FollowupRow};
use crate::workspace::Workspace;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use backstop_domain::ids::FollowupId;
use serde::Deserialize;
use std::sync::Arc;

const CHANNELS: [&str; 6] = ["push", "alimtalk", "line", "sms", "lms", "email"];
const STATUSES: [&str; 8] = ["queued", "claimed", "accepted", "delivered", "failed", "unknown", "stopped", "skipped"];
/// Follow-ups read at a time.
const PAGE: usize = 200;
/// Pages read for one answer: a filter that fits little answers less than `limit`, and a cursor to go on from.
const MAX_PAGES: usize = 20;
const NEXT_CURSOR_HEADER: &str = "backstop-next-cursor";
const COLUMNS: [&str; 15] = [
    "followup_id",
    "customer_id",
    "conversation_id",
    "channel",
    "provider",
    "provider_id",
    "device_id",
    "status",
    "segments",
    "price_micros",
    "currency",
    "at",
    "error",
    "ack_grade",
    "ack_received_at",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryParams {
    customer_id: Option<String>,
    conversation_id: Option<String>,
    message_id: Option<String>,
    followup_id: Option<String>,
    channel: Option<String>,
    status: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// Where a page ended: in this follow-up, after so many of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    followup: FollowupId,
    done: usize,
}

/// Lists deliveries, those of the newest follow-up first
///
/// `Accept: text/csv` answers CSV; the cursor is then in the header `Backstop-Next-Cursor`. A page may hold less than
/// `limit` although there is a next one.
#[utoipa::path(get, path = "/v1/deliveries", tag = "backend",
    params(
        ("customer_id" = Option<String>, Query, description = "Only this customer's"),
        ("conversation_id" = Option<String>, Query, description = "Only this conversation's"),
        ("message_id" = Option<String>, Query, description = "Only those of the follow-up of this message"),
        ("followup_id" = Option<String>, Query, description = "Only this follow-up's"),
        ("channel" = Option<super::openapi::DeliveryChannel>, Query, description = "Only this channel"),
        ("status" = Option<super::openapi::DeliveryStatus>, Query, description = "Only in this status"),
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", content(
        (List<DeliveryRow> = "application/json"),
        (String = "text/csv"),
    ))))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    headers: HeaderMap,
    Params(params): Params<DeliveryParams>,
) -> Answer {
    let limit = limit(params.limit.as_deref())?;
    let after = params
        .after
        .as_deref()
        .filter(|cursor| !cursor.is_empty())
        .map(|c| Cursor::parse(c).ok_or_else(bad_cursor))
        .transpose()?;
    one_of("channel", params.channel.as_deref(), &CHANNELS)?;
    one_of("status", params.status.as_deref(), &STATUSES)?;
    api.settle(&workspace).await;
    let page = match &params.followup_id {
        Some(id) => {
            let row = match FollowupId::parse(id) {
                Some(id) => super::followups::load(&api, &workspace, id).await?,
                None => None,
            };
            let mut page = Page { limit, after, data: Vec::new(), next: None };
            let wanted = row.filter(|row| row.state.public_state().is_some() && belongs(row, &params));
            if let Some(row) = wanted {
                page.take(&row, &params);
            }
            page
        }
        None => collect(&api, &workspace, &params, limit, after).await?,
    };
    let next_cursor = page.next.map(Cursor::print);
    if wants_csv(&headers) {
        csv(page.data, next_cursor)
    } else {
        Ok(Reply::ok(&List { data: page.data, next_cursor }))
    }
}

struct Page {
    limit: usize,
    after: Option<Cursor>,
    data: Vec<DeliveryRow>,
    next: Option<Cursor>,
}

impl Page {
    /// Takes what fits of one follow-up; `false` = the page is full.
    fn take(&mut self, row: &FollowupRow, params: &DeliveryParams) -> bool {
        let done = self.after.filter(|after| after.followup == row.id).map_or(0, |after| after.done);
        for (i, delivery) in view::deliveries(row).into_iter().enumerate().skip(done) {
            let channel = params.channel.as_deref().is_none_or(|c| c == delivery.channel);
            let status = params.status.as_deref().is_none_or(|s| s == delivery.status);
            if !channel || !status {
                continue;
            }
            if self.data.len() == self.limit {
                self.next = Some(Cursor { followup: row.id, done: i });
                return false;
            }
            self.data.push(DeliveryRow {
                followup_id: row.id.to_string(),
                customer_id: row.customer_id.clone(),
                conversation_id: row.conversation_id.clone(),
                delivery,
            });
        }
        true
    }
}

async fn collect(
    api: &Api,
    workspace: &Workspace,
    params: &DeliveryParams,
    limit: usize,
    after: Option<Cursor>,
) -> Result<Page, Problem> {
    let mut page = Page { limit, after, data: Vec::new(), next: None };
    // The follow-up that the cursor is in comes again.
    let mut older_than = after.map(|cursor| FollowupId(cursor.followup.0.saturating_add(1)));
    for _ in 0..MAX_PAGES {
        let filter = FollowupFilter {
            customer_id: params.customer_id.clone(),
            conversation_id: params.conversation_id.clone(),
            message_id: params.message_id.clone(),
            after: older_than,
            limit: PAGE,
            ..FollowupFilter::default()
        };
        let rows = api.store.followups(workspace.id, filter).await?;
        for row in &rows {
            if !page.take(row, params) {
                return Ok(page);
            }
        }
        let Some(last) = rows.last().filter(|_| rows.len() == PAGE) else { return Ok(page) };
        older_than = Some(last.id);
    }
    page.next = older_than.map(|followup| Cursor { followup, done: usize::MAX });
    Ok(page)
}

fn belongs(row: &FollowupRow, params: &DeliveryParams) -> bool {
    params.customer_id.as_ref().is_none_or(|id| *id == row.customer_id)
        && params.conversation_id.as_ref().is_none_or(|id| *id == row.conversation_id)
        && params.message_id.as_ref().is_none_or(|id| row.state.replies.iter().any(|r| r.message_id == *id))
}

fn one_of(field: &str, given: Option<&str>, words: &[&str]) -> Result<(), Problem> {
    match given {
        Some(given) if !words.contains(&given) => {
            Err(Problem::invalid_field(field, "invalid", format!("give one of {}", words.join(", "))))
        }
        _ => Ok(()),
    }
}

impl Cursor {
    fn print(self) -> String {
        if self.done == usize::MAX { self.followup.to_string() } else { format!("{}.{}", self.followup, self.done) }
    }

    fn parse(text: &str) -> Option<Cursor> {
        match text.split_once('.') {
            Some((id, done)) => Some(Cursor { followup: FollowupId::parse(id)?, done: done.parse().ok()? }),
            None => Some(Cursor { followup: FollowupId::parse(text)?, done: usize::MAX }),
        }
    }
}

fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut types = accepted.flat_map(|v| v.split(',')).map(|t| t.split(';').next().unwrap_or(t).trim());
    types.find(|t| matches!(*t, "text/csv" | "application/json")).is_some_and(|t| t == "text/csv")
}

fn csv(rows: Vec<DeliveryRow>, next_cursor: Option<String>) -> Answer {
    let mut out = csv::Writer::from_writer(Vec::new());
    let write = |out: &mut csv::Writer<Vec<u8>>| -> csv::Result<()> {
        out.write_record(COLUMNS)?;
        for DeliveryRow { followup_id, customer_id, conversation_id, delivery: d } in rows {
            let text = |value: Option<String>| value.unwrap_or_default();
            let (grade, received_at) = d.ack.map_or(("", String::new()), |ack| (ack.grade, ack.received_at));
            let (micros, currency) =
                d.price.map_or((String::new(), String::new()), |p| (p.amount_micros.to_string(), p.currency));
            let fields = [
                followup_id,
                customer_id,
                conversation_id,
                d.channel.to_owned(),
                text(d.provider),
                text(d.provider_id),
                text(d.device_id),
                d.status.to_owned(),
                text(d.segments.map(|n| n.to_string())),
                micros,
                currency,
                d.at,
                text(d.error),
                grade.to_owned(),
                received_at,
            ];
            out.write_record(fields.iter().map(|field| harmless(field)))?;
        }
        out.flush().map_err(Into::into)
    };
    write(&mut out).expect("memory takes every byte");
    let body = out.into_inner().expect("memory takes every byte");
    let mut reply = Reply::done();
    reply.content_type = Some("text/csv; charset=utf-8");
    reply.body = body.into();
    if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()) {
        reply.headers.push((NEXT_CURSOR_HEADER, cursor));
    }
    Ok(reply)
}

/// A field that a spreadsheet would run as a formula is marked as text.
fn harmless(field: &str) -> String {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{field}") } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        for cursor in
            [Cursor { followup: FollowupId(7), done: 2 }, Cursor { followup: FollowupId(7), done: usize::MAX }]
        {
            assert_eq!(Cursor::parse(&cursor.print()), Some(cursor));
        }
        assert_eq!(Cursor::parse("fu_7.x"), None);
    }

    #[test]
    fn csv_is_answered_when_it_is_asked_for() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_csv(&headers)
        };
        assert!(wants("text/csv") && wants("text/html, text/csv;q=0.9, */*"));
        assert!(!wants("*/*") && !wants("application/json, text/csv"));
    }

    /// S6: a customer's id that begins like a formula stays text in a spreadsheet.
    #[test]
    fn formulas_are_defused() {
        assert_eq!(harmless("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(harmless("lucas"), "lucas");
    }
}
