//! A text, put together before its claim: what it says, what it takes, where it comes from.

use super::Shop;
use super::parcel::{self, Fresh, envelope, gone};
use crate::engine::Engine;
use crate::engine::outcome::Planned;
use crate::number;
use crate::providers::{Envelope, TextSend};
use crate::store::FollowupRow;
use crate::workspace::Workspace;
use backstop_domain::followup::Outcome;
use backstop_domain::text::{self, Form, MAX_SEGMENTS, Senders, TextPlan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The text of a follow-up as it would leave now, with what its claim is judged by; or the outcome that stands in for
/// it.
pub(super) async fn plan(
    engine: &Engine,
    shop: &Shop,
    ws: &Arc<Workspace>,
    row: &FollowupRow,
) -> Result<(Planned, TextSend), Outcome> {
    let fresh = parcel::fresh(shop, ws, row).await?;
    let to = fresh.contact.phone.clone().ok_or_else(|| gone("no_phone"))?;
    let fitted = text::fit(&head(ws, &fresh)?, &ending(&fresh), MAX_SEGMENTS);
    let (country, kind) = number::look_up(&to);
    let sender = senders(engine, shop).of(country, &BTreeMap::new());
    let attempt = fresh.row.state.text.attempt.saturating_add(1);
    let envelope = Envelope {
        effect_key: format!("{}:sms", row.id),
        attempt,
        at_ms: engine.clocks().now_ms(ws.id),
        ..envelope(ws, row)
    };
    let expires_at_ms = fresh.row.state.deadline_at.saturating_add(ws.policy.fallback_horizon_ms);
    let from = sender.number().map(str::to_owned);
    let send = TextSend { envelope, to, from, text: fitted.text, expires_at_ms };
    let plan = TextPlan {
        country,
        number: kind,
        form: Form::Sms,
        encoding: fitted.size.encoding,
        segments: fitted.size.segments,
        sender,
        shows: fresh.row.state.unseen().map(|reply| reply.seq).collect(),
    };
    Ok((
        Planned { plan, attempt, contact: fresh.customer.contact, number_hash: shop.vault.number_hash(&send.to) },
        send,
    ))
}

/// Who answered what.
fn head(ws: &Workspace, fresh: &Fresh) -> Result<String, Outcome> {
    if fresh.content.bodies.is_empty() {
        return Err(gone("content_gone"));
    }
    let mut head = format!("[{}]", parcel::company(ws));
    for (_, body) in &fresh.content.bodies {
        head.push('\n');
        if let Some(author) = &body.author {
            head.push_str(author);
            head.push_str(": ");
        }
        head.push_str(&body.text);
    }
    Ok(head)
}

/// Where to go on.
fn ending(fresh: &Fresh) -> String {
    fresh.content.link().map(|link| format!("\n{link}")).unwrap_or_default()
}

/// A sandbox has one number, and it is everybody's own.
fn senders(engine: &Engine, shop: &Shop) -> Senders {
    let senders = shop.providers.text.as_ref().map(|provider| provider.senders()).unwrap_or_default();
    Senders { is_everybodys: engine.registry().deployment().sandbox, ..senders }
}
