//! A text, put together before its claim: what it says, what it takes, where it comes from.

use super::Shop;
use super::parcel::{self, Fresh, envelope, gone};
use crate::compose::{self, Additions};
use crate::engine::Engine;
use crate::engine::outcome::Planned;
use crate::engine::spending::Destination;
use crate::number;
use crate::providers::{Envelope, TextBody, TextSend};
use crate::store::{FollowupRow, LinkRow};
use crate::vault;
use crate::workspace::Workspace;
use backstop_domain::followup::Outcome;
use backstop_domain::text::{Country, Fitted, Form, Link, Recipient, TextPlan, hops};
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
    let (country, kind) = number::look_up(&to);
    let at_ms = engine.clocks().now_ms(ws.id);
    let link = short_link(engine, ws, row, at_ms);
    let fitted = compose(engine, ws, &fresh, country, link.as_ref().map(|(url, _)| url.as_str()))?;
    let services = &ws.policy.services;
    let recipient = Recipient { country, has_number: true, has_line_user: false };
    let mut hops = hops(&recipient, &[], &services.text, &services.routes).into_iter();
    let hop = hops.next().ok_or_else(|| gone("no_provider"))?;
    let senders = shop.providers.text_of(&hop.via).map(|provider| provider.senders()).unwrap_or_default();
    let sender = senders.of(country, &ws.settings.senders);
    let counted = Destination::of(&shop.vault, ws.id, &to);
    let attempt = fresh.row.state.text.attempt.saturating_add(1);
    let envelope = Envelope { effect_key: format!("{}:sms", row.id), attempt, at_ms, ..envelope(ws, row) };
    // P13, D10: the quiet hours between are nobody's delay.
    let (deadline_at, quiet) = (fresh.row.state.deadline_at, ws.policy.quiet.as_ref());
    let quiet_ms = quiet.map_or(0, |quiet| quiet.within(deadline_at, at_ms, fresh.customer.time_zone.as_deref()));
    let delay_ms = quiet_ms.max(fresh.row.state.text.held_ms);
    let expires_at_ms = deadline_at.saturating_add(delay_ms).saturating_add(ws.policy.fallback_horizon_ms);
    let from = sender.number().map(str::to_owned);
    let body = TextBody::Xms { form: Form::Sms, subject: None, text: fitted.text };
    let send = TextSend { envelope, to, from, body, expires_at_ms };
    let plan = TextPlan {
        hop,
        then: hops.collect(),
        passed: None,
        country,
        number: kind,
        form: Form::Sms,
        encoding: fitted.size.encoding,
        segments: fitted.size.segments,
        sender,
        shows: fresh.row.state.unseen().map(|reply| reply.seq).collect(),
    };
    let number_hash = shop.vault.number_hash(&send.to);
    let link = link.map(|(_, row)| row);
    Ok((Planned { plan, to: counted, attempt, contact: fresh.customer.contact, number_hash, link }, send))
}

/// A link of this try's own: each text is told from every other by its end. Without a `public_url` nobody could follow
/// it.
fn short_link(engine: &Engine, ws: &Workspace, row: &FollowupRow, now: i64) -> Option<(String, LinkRow)> {
    let url = engine.registry().deployment().public_url.as_ref()?;
    let (code, key) = vault::new_link_code(engine.clocks().real_ms() / 1_000);
    let row = LinkRow { workspace: ws.id, key, version: 0, followup: row.id, link: Link::new(now) };
    Some((compose::short_link(url, &code), row))
}

/// Who answered what, and where to go on: by the short link, or by the message's own where there is none.
fn compose(
    engine: &Engine,
    ws: &Workspace,
    fresh: &Fresh,
    country: Option<Country>,
    link: Option<&str>,
) -> Result<Fitted, Outcome> {
    let bodies = &fresh.content.bodies;
    let replies: Vec<_> = bodies.iter().map(|(_, body)| (body.author.as_deref(), body.text.as_str())).collect();
    if replies.is_empty() {
        return Err(gone("content_gone"));
    }
    let lines = compose::lines(ws.settings.text_content, &replies, fresh.customer.locale.as_deref());
    let own = fresh.content.link();
    let opt_out = compose::opt_out(&engine.registry().deployment().opt_out, country);
    let additions = Additions {
        company: ws.display_name(),
        opt_out: opt_out.filter(|_| fresh.is_first_text),
        link: link.or(own.as_deref()),
    };
    Ok(compose::text(lines.into_iter(), additions))
}
