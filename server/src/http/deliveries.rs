//! `GET /v1/deliveries`: everything that was sent, of the workspace or of one customer, as JSON or CSV (S6).

mod csv;
mod recipients;

use super::Api;
use super::followups::{bad_cursor, limit};
use super::request::{Answer, Backend, Params, Reply};
use super::view::{self, DeliveryRow, List};
use crate::problem::Problem;
use crate::store::{FollowupFilter, FollowupRow};
use crate::workspace::Workspace;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use backstop_domain::Ms;
use backstop_domain::followup::Reason;
use backstop_domain::ids::{FollowupId, next_id};
use backstop_wire::time::from_rfc3339;
use recipients::Recipients;
use serde::Deserialize;
use std::sync::Arc;

const CHANNELS: [&str; 6] = ["push", "alimtalk", "line", "sms", "lms", "email"];
const STATUSES: [&str; 8] = ["queued", "claimed", "accepted", "delivered", "failed", "unknown", "stopped", "skipped"];
/// Follow-ups read at a time.
const PAGE: usize = 200;
/// Pages read for one answer: a filter that fits little answers less than `limit`, and a cursor to go on from.
const MAX_PAGES: usize = 20;
const DAY_MS: Ms = 86_400_000;
/// How much later than its first reply a follow-up may get its id: what is left of one that was split while it waited
/// gets one of its own, and with the server down it waits for as long as that takes. Read beyond the end of a span, and
/// then left out if it began after it.
const ID_LATER_MS: Ms = 7 * DAY_MS;
/// An id may be made a moment before its reply is accepted.
const ID_EARLIER_MS: Ms = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryParams {
    customer_id: Option<String>,
    conversation_id: Option<String>,
    message_id: Option<String>,
    followup_id: Option<String>,
    channel: Option<String>,
    status: Option<String>,
    from: Option<String>,
    to: Option<String>,
    bom: Option<bool>,
    limit: Option<String>,
    after: Option<String>,
}

/// Where a page ended: in this follow-up, after so many of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    followup: FollowupId,
    done: usize,
}

/// Lists deliveries, those of the newest follow-up first: the post log, and by `customer_id` what one customer was sent
///
/// `to` is masked, and `null` where the contact data changed since: where something went is stored nowhere else.
/// `Accept: text/csv` answers CSV (RFC 4180, UTF-8; `bom=true` for Excel), in which an apostrophe stands before what a
/// spreadsheet would take for a formula, numbers with `+` among them; the cursor is then in the header
/// `Backstop-Next-Cursor`. A page may hold less than `limit` although there is a next one.
#[utoipa::path(get, path = "/v1/deliveries", tag = "backend",
    params(
        ("customer_id" = Option<String>, Query, description = "Only this customer's"),
        ("conversation_id" = Option<String>, Query, description = "Only this conversation's"),
        ("message_id" = Option<String>, Query, description = "Only those of the follow-up of this message"),
        ("followup_id" = Option<String>, Query, description = "Only this follow-up's"),
        ("channel" = Option<super::openapi::DeliveryChannel>, Query, description = "Only this channel"),
        ("status" = Option<super::openapi::DeliveryStatus>, Query, description = "Only in this status"),
        ("from" = Option<String>, Query,
            description = "Only of follow-ups accepted from this RFC 3339 time or UTC date on"),
        ("to" = Option<String>, Query,
            description = "Only of follow-ups accepted before this RFC 3339 time, or until the end of this UTC date"),
        ("bom" = Option<bool>, Query,
            description = "Begin CSV with a byte order mark, without which Excel takes UTF-8 for something else"),
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
    let span =
        Span { from: instant("from", params.from.as_deref(), 0)?, to: instant("to", params.to.as_deref(), DAY_MS)? };
    api.settle(&workspace).await;
    let wanted = Wanted { params: &params, span };
    let mut page = Page { limit, after, lines: Vec::new(), next: None };
    match &params.followup_id {
        Some(id) => {
            let row = match FollowupId::parse(id) {
                Some(id) => super::followups::load(&api, &workspace, id).await?,
                None => None,
            };
            let row = row.filter(|row| row.state.public_state().is_some() && belongs(row, &params));
            if let Some(row) = row {
                page.take(&row, &wanted);
            }
        }
        None => collect(&api, &workspace, &wanted, &mut page).await?,
    }
    let recipients = Recipients::load(&api, &workspace, &page.lines).await?;
    let data = page.lines.into_iter().map(|line| recipients.filled_in(line)).collect();
    let next_cursor = page.next.map(Cursor::print);
    if wants_csv(&headers) {
        Ok(csv::reply(data, next_cursor, params.bom.unwrap_or(false)))
    } else {
        Ok(Reply::ok(&List { data, next_cursor }))
    }
}

/// What is asked for.
struct Wanted<'a> {
    params: &'a DeliveryParams,
    span: Span,
}

/// From this instant on, and before that one.
#[derive(Clone, Copy, Default)]
struct Span {
    from: Option<Ms>,
    to: Option<Ms>,
}

impl Span {
    fn holds(self, row: &FollowupRow) -> bool {
        let at = accepted_at(row);
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

/// A page in the making.
struct Page {
    limit: usize,
    after: Option<Cursor>,
    lines: Vec<Line>,
    next: Option<Cursor>,
}

/// A delivery, without where it went.
struct Line {
    row: DeliveryRow,
    /// When it was decided that it goes.
    decided_at: Option<Ms>,
}

impl Page {
    /// Takes what fits of one follow-up; `false` = the page is full.
    fn take(&mut self, row: &FollowupRow, wanted: &Wanted<'_>) -> bool {
        if !wanted.span.holds(row) {
            return true;
        }
        let params = wanted.params;
        let done = self.after.filter(|after| after.followup == row.id).map_or(0, |after| after.done);
        for (i, delivery) in view::deliveries(row).into_iter().enumerate().skip(done) {
            let channel = params.channel.as_deref().is_none_or(|c| c == delivery.channel);
            let status = params.status.as_deref().is_none_or(|s| s == delivery.status);
            if !channel || !status {
                continue;
            }
            if self.lines.len() == self.limit {
                self.next = Some(Cursor { followup: row.id, done: i });
                return false;
            }
            let shown = DeliveryRow {
                followup_id: row.id.to_string(),
                customer_id: row.customer_id.clone(),
                conversation_id: row.conversation_id.clone(),
                to: None,
                why: why(row, delivery.channel),
                delivery,
            };
            self.lines.push(Line { row: shown, decided_at: row.state.decided_at() });
        }
        true
    }
}

/// Why something of this channel was sent: a push because a device can show it, the rest for the fallback's reason.
fn why(row: &FollowupRow, channel: &str) -> Option<&'static str> {
    if channel == "push" { Some(Reason::LiveDevice.as_str()) } else { row.state.reason().map(Reason::as_str) }
}

async fn collect(api: &Api, workspace: &Workspace, wanted: &Wanted<'_>, page: &mut Page) -> Result<(), Problem> {
    let params = wanted.params;
    // Ids hold real time; where the workspace's own clock was turned they say nothing of its time.
    let span = if api.clocks.frozen_at(workspace.id).is_some() { Span::default() } else { wanted.span };
    let from = span.from.map(|from| id_at(from.saturating_sub(ID_EARLIER_MS)));
    let to = span.to.map(|to| id_at(to.saturating_add(ID_LATER_MS)));
    // The follow-up that the cursor is in comes again.
    let cursor = page.after.map(|cursor| FollowupId(cursor.followup.0.saturating_add(1)));
    let mut older_than = cursor.into_iter().chain(to).min();
    for _ in 0..MAX_PAGES {
        let filter = FollowupFilter {
            customer_id: params.customer_id.clone(),
            conversation_id: params.conversation_id.clone(),
            message_id: params.message_id.clone(),
            after: older_than,
            from,
            limit: PAGE,
            ..FollowupFilter::default()
        };
        let rows = api.store.followups(workspace.id, filter).await?;
        for row in &rows {
            if !page.take(row, wanted) {
                return Ok(());
            }
        }
        let Some(last) = rows.last().filter(|_| rows.len() == PAGE) else { return Ok(()) };
        older_than = Some(last.id);
    }
    page.next = older_than.map(|followup| Cursor { followup, done: usize::MAX });
    Ok(())
}

/// The first id of this instant.
fn id_at(at: Ms) -> FollowupId {
    FollowupId(next_id(0, at.clamp(0, Ms::MAX >> 20), 0))
}

fn accepted_at(row: &FollowupRow) -> Ms {
    row.state.replies.first().map_or(row.state.started_at, |reply| reply.accepted_at)
}

/// An RFC 3339 time, or a date: its beginning, moved on by `of_day_ms`.
fn instant(field: &str, given: Option<&str>, of_day_ms: Ms) -> Result<Option<Ms>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let day = || from_rfc3339(&format!("{given}T00:00:00Z")).filter(|_| given.len() == 10);
    let at = from_rfc3339(given).or_else(|| day().map(|day| day + of_day_ms));
    let message = "give a date such as 2026-11-23, or an RFC 3339 time such as 2026-11-23T09:00:00Z";
    at.map(Some).ok_or_else(|| Problem::invalid_field(field, "invalid", message))
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

    /// S6: a date is all of its day.
    #[test]
    fn dates_and_times_are_read() {
        let read = |text: &str, of_day_ms| instant("from", Some(text), of_day_ms).ok().flatten();
        assert_eq!(read("1970-01-02", 0), Some(DAY_MS));
        assert_eq!(read("1970-01-02", DAY_MS), Some(2 * DAY_MS));
        assert_eq!(read("1970-01-02T01:00:00+01:00", DAY_MS), Some(DAY_MS));
        for wrong in ["", "1970-02-30", "1970-1-2", "yesterday", "1970-01-02T00:00:00"] {
            assert_eq!(read(wrong, 0), None, "{wrong}");
        }
        assert_eq!(id_at(-5), FollowupId(1));
        assert!(id_at(Ms::MAX).0 > id_at(1).0);
    }
}
