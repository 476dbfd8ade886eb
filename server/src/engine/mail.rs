//! What mail servers say of our mails: the delivery ends, and the address may be marked (E5).

use super::api::{EngineError, MailReport, MailWord};
use super::customer;
use super::desk::{Again, Desk};
use super::find::Find;
use super::judge::judge;
use super::optout::{self, Shown, note_strike, suppress};
use super::work::{Ask, want_followup};
use crate::mail::address::comparable;
use crate::store::{CustomerRow, OptOutSource, StoreError, SuppressionChannel};
use crate::workspace::Workspace;
use backstop_domain::followup::{Channel, Event};
use backstop_domain::ids::FollowupId;
use backstop_domain::mail::Verdict;
use std::sync::Arc;

/// A later word about a follow-up's email. Answers whether there is such a follow-up.
pub(super) struct MailReported {
    pub(super) ws: Arc<Workspace>,
    pub(super) report: MailReport,
}

impl Ask for MailReported {
    type Answer = bool;

    fn wants(&self, desk: &mut Desk<'_>) {
        want_followup(desk, self.ws.id, self.report.followup);
        want_mark(desk, &self.ws, self.report.followup);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<bool, EngineError>, Again> {
        let (ws, report) = (self.ws.id, &self.report);
        let Some(row) = desk.followup(ws, report.followup)? else { return Ok(Ok(false)) };
        // A report that does not say which try is of the newest: each repeat is one mail under one Message-ID.
        let attempt = report.attempt.unwrap_or(row.state.email.attempt);
        let (delivered, error) = match &report.word {
            MailWord::Delivered | MailWord::Complained => (true, None),
            MailWord::Failed { code, .. } => (false, Some(code.clone())),
        };
        let provider_id = report.provider_id.clone();
        let event = Event::Reported { channel: Channel::Email, attempt, delivered, provider_id, error };
        let is_news = judge(desk, &self.ws, report.followup, &event)?.is_some_and(|judged| judged.changed);
        let verdict = match report.word {
            MailWord::Failed { verdict, .. } if is_news => verdict,
            MailWord::Complained => {
                complain(desk, &self.ws, report)?;
                return Ok(Ok(true));
            }
            _ => return Ok(Ok(true)),
        };
        mark(desk, &self.ws, report.followup, report.recipient.as_deref(), verdict)?;
        Ok(Ok(true))
    }
}

fn complain(desk: &mut Desk<'_>, ws: &Workspace, report: &MailReport) -> Result<(), Again> {
    let Some(address) = address(desk, ws, report.followup)? else { return Ok(()) };
    if is_it(report.recipient.as_deref(), &address) {
        let to = (SuppressionChannel::Email, address.as_str());
        suppress(desk, ws.id, to, OptOutSource::Complaint, Shown::Masked)?;
    }
    Ok(())
}

/// Marks the address of a follow-up's customer as the failure says, or counts the strike. A report about another
/// address, as after a change of it or behind a forwarder, says nothing of this one.
pub(super) fn mark(
    desk: &mut Desk<'_>,
    ws: &Workspace,
    id: FollowupId,
    recipient: Option<&str>,
    verdict: Verdict,
) -> Result<(), Again> {
    let Some(address) = address(desk, ws, id)?.filter(|address| is_it(recipient, address)) else { return Ok(()) };
    match verdict {
        Verdict::Dead => {
            let to = (SuppressionChannel::Email, address.as_str());
            suppress(desk, ws.id, to, OptOutSource::Bounce, Shown::Masked)?;
        }
        Verdict::Strike => note_strike(desk, ws.id, &address)?,
        Verdict::NotTheAddress => {}
    }
    Ok(())
}

/// Asks for what [`mark`] and [`is_marked`] need, once the follow-up is there.
pub(super) fn want_mark(desk: &mut Desk<'_>, ws: &Workspace, id: FollowupId) {
    if let Ok(Some(address)) = address(desk, ws, id) {
        optout::want(desk, ws.id, SuppressionChannel::Email, &address);
    }
}

/// Whether the address of a follow-up's customer is not to be written to.
pub(super) fn is_marked(desk: &Desk<'_>, ws: &Workspace, id: FollowupId) -> Result<bool, Again> {
    let Some(address) = address(desk, ws, id)? else { return Ok(false) };
    let hash = desk.vault.suppression_hash(SuppressionChannel::Email, &address);
    optout::is_suppressed(desk, ws.id, &hash)
}

/// The address of a follow-up's customer.
fn address(desk: &Desk<'_>, ws: &Workspace, id: FollowupId) -> Result<Option<String>, Again> {
    let Some(row) = desk.followup(ws.id, id)? else { return Ok(None) };
    let customer = desk.get(Find::Customer(ws.id, &row.customer_id))?.and_then(|row| row.as_customer());
    Ok(customer.filter(|customer| customer.has_email).and_then(|customer| opened(desk, customer).ok().flatten()))
}

/// A customer whose data does not open has none here; whoever sends says so.
fn opened(desk: &Desk<'_>, customer: &CustomerRow) -> Result<Option<String>, EngineError> {
    let key = customer::key(desk, customer)?;
    let contact = customer::open_contact(&key, customer).map_err(|error: StoreError| EngineError::Store(error))?;
    Ok(contact.email)
}

fn is_it(recipient: Option<&str>, address: &str) -> bool {
    recipient.is_none_or(|recipient| comparable(recipient) == comparable(address))
}
