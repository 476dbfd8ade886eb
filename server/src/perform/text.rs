//! A text, put together before its claim: what it says, what it takes, where it comes from.

use super::Shop;
use super::alimtalk;
use super::parcel::{self, Fresh, envelope, gone};
use crate::compose::{self, Additions, Xms};
use crate::engine::Engine;
use crate::engine::outcome::{Planned, channel_of};
use crate::engine::spending::Destination;
use crate::links;
use crate::number;
use crate::providers::{Envelope, LineMessage, TextBody, TextSend};
use crate::store::{FollowupRow, Key, LinkRow, Row};
use crate::templates;
use crate::vault;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::breaker::State;
use backstop_domain::followup::{Kind, Outcome};
use backstop_domain::text::{
    BLOCK_LASTS_MS, Country, Encoding, Form, Hop, Link, NumberKind, Recipient, TextPlan, Way, hops,
};
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
    let (to, line_user) = (fresh.contact.phone.clone(), fresh.contact.line_user_id.clone());
    let (country, kind) = to.as_deref().map_or((None, NumberKind::Ordinary), number::look_up);
    let at_ms = engine.clocks().now_ms(ws.id);
    let link = short_link(engine, ws, row, at_ms);
    let recipient = Recipient { country, has_number: to.is_some(), has_line_user: line_user.is_some() };
    let leg = &fresh.row.state.text;
    let mut ways = hops(&recipient, sns(ws, &fresh), &ws.policy.services.text, &ws.policy.services.routes);
    ways.sort_by_key(|hop| hop.way == Way::Xms && is_paused(shop, hop, engine.clocks().real_ms()));
    let blocked = blocked(shop, ws, &ways, to.as_deref(), line_user.as_deref(), at_ms).await?;
    let mut open = leg.open(&ways);
    let mut passed = Vec::new();
    let (hop, composed) = loop {
        let hop = open.next().ok_or_else(|| gone(if ways.is_empty() { "no_route" } else { "no_way_left" }))?;
        if blocked.contains(&hop.way) {
            passed.push(format!("{}=blocked", hop.way.as_str()));
            continue;
        }
        match compose(engine, ws, &fresh, hop, country, link.as_ref().map(|(url, _)| url.as_str()))? {
            Ok(composed) => break (hop.clone(), composed),
            Err(why) => passed.push(format!("{}={why}", hop.way.as_str())),
        }
    };
    let then = open.cloned().collect();
    let senders = shop.providers.text_of(&hop.via).map(|provider| provider.senders()).unwrap_or_default();
    let sender = senders.of(country, &ws.settings.senders);
    // A LINE user without a number is counted by that name.
    let goes_to = to.as_deref().or(line_user.as_deref()).ok_or_else(|| gone("no_phone"))?;
    let counted = Destination::of(&shop.vault, ws.id, goes_to);
    let number_hash = shop.vault.number_hash(goes_to);
    // Who answers, or blocks us, on LINE is known by that name alone.
    let known_as = line_user.as_deref().filter(|_| hop.way == Way::Line).unwrap_or(goes_to);
    let texted_hash = shop.vault.number_hash(known_as);
    let attempt = leg.attempt.saturating_add(1);
    let way = if hop.way == Way::Xms { "sms" } else { hop.way.as_str() };
    let envelope = Envelope { effect_key: format!("{}:{way}", row.id), attempt, at_ms, ..envelope(ws, row) };
    let expires_at_ms = useless_from(ws, &fresh, at_ms);
    let from = sender.number().map(str::to_owned);
    let Composed { form, encoding, segments, body } = composed;
    let plan = TextPlan {
        hop,
        then,
        passed: (!passed.is_empty()).then(|| passed.join(",")),
        country,
        number: kind,
        form,
        encoding,
        segments,
        sender,
        shows: fresh.row.state.unseen().map(|reply| reply.seq).collect(),
    };
    let send = TextSend { envelope, to: to.unwrap_or_default(), from, body, expires_at_ms };
    let link = link.map(|(_, row)| row);
    Ok((Planned { plan, to: counted, attempt, contact: fresh.customer.contact, number_hash, texted_hash, link }, send))
}

/// T7: the SNS that this person blocked; nothing is looked up where there is none.
async fn blocked(
    shop: &Shop,
    ws: &Workspace,
    ways: &[Hop],
    number: Option<&str>,
    line_user: Option<&str>,
    now: Ms,
) -> Result<Vec<Way>, Outcome> {
    let mut marks = Vec::new();
    for way in ways.iter().map(|hop| hop.way).filter(|way| *way != Way::Xms) {
        // A LINE user is known by that name, or by the number that LINE was given.
        let names = [number, line_user.filter(|_| way == Way::Line)].into_iter().flatten();
        let hash = |who| Key::Suppression(ws.id, shop.vault.suppression_hash(channel_of(way), who));
        marks.extend(names.map(|who| (way, hash(who))));
    }
    let rows = parcel::load(shop, marks.iter().map(|(_, key)| key.clone()).collect()).await;
    let rows = rows.map_err(|error| parcel::later(&error))?;
    let holds = |way: Way, key: &Key| {
        let row = rows.get(key).and_then(Row::as_suppression);
        // LINE says when a block is lifted.
        let lasts = |at: Ms| way == Way::Line || now < at.saturating_add(BLOCK_LASTS_MS);
        row.is_some_and(|row| row.is_in_force() && lasts(row.at))
    };
    Ok(marks.iter().filter(|(way, key)| holds(*way, key)).map(|(way, _)| *way).collect())
}

/// D6: what the agent begins goes by XMS alone.
fn sns<'a>(ws: &'a Workspace, fresh: &Fresh) -> &'a [Way] {
    match fresh.row.state.kind {
        Kind::Reply => &ws.settings.sns,
        Kind::Outreach => &[],
    }
}

/// Whether its account is left alone now: another one goes first, if there is one.
fn is_paused(shop: &Shop, hop: &Hop, real_ms: Ms) -> bool {
    let state = shop.providers.text_of(&hop.via).map(|provider| provider.standing().state);
    matches!(state, Some(State::Open { until, .. }) if real_ms < until)
}

/// P13, D10: the quiet hours between are nobody's delay.
fn useless_from(ws: &Workspace, fresh: &Fresh, at_ms: Ms) -> Ms {
    let (deadline_at, quiet) = (fresh.row.state.deadline_at, ws.policy.quiet.as_ref());
    let quiet_ms = quiet.map_or(0, |quiet| quiet.within(deadline_at, at_ms, fresh.customer.time_zone.as_deref()));
    let delay_ms = quiet_ms.max(fresh.row.state.text.held_ms);
    deadline_at.saturating_add(delay_ms).saturating_add(ws.policy.fallback_horizon_ms)
}

/// A link of this try's own: each text is told from every other by its end. Without a `public_url` nobody could follow
/// it.
fn short_link(engine: &Engine, ws: &Workspace, row: &FollowupRow, now: i64) -> Option<(String, LinkRow)> {
    let url = engine.registry().deployment().public_url.as_ref()?;
    let (code, key) = vault::new_link_code(engine.clocks().real_ms() / 1_000);
    let row = LinkRow { workspace: ws.id, key, version: 0, followup: row.id, link: Link::new(now) };
    Some((compose::short_link(url, &code), row))
}

/// A text as one way carries it.
struct Composed {
    form: Form,
    encoding: Encoding,
    segments: u16,
    body: TextBody,
}

/// Who answered what, and where to go on: by the short link, or by the message's own where there is none. The inner
/// error is why this way cannot carry it.
fn compose(
    engine: &Engine,
    ws: &Workspace,
    fresh: &Fresh,
    hop: &Hop,
    country: Option<Country>,
    link: Option<&str>,
) -> Result<Result<Composed, &'static str>, Outcome> {
    let bodies = &fresh.content.bodies;
    let replies: Vec<_> = bodies.iter().map(|(_, body)| (body.author.as_deref(), body.text.as_str())).collect();
    if replies.is_empty() {
        return Err(gone("content_gone"));
    }
    let locale = fresh.customer.locale.as_deref();
    let lines = compose::lines(ws.settings.text_content, &replies, locale);
    let own = fresh.content.link();
    let own_in_ascii = own.as_deref().map(links::in_ascii);
    let link_in_ascii = link.or(own_in_ascii.as_deref());
    let link = link.or(own.as_deref());
    let whole = |form, body| Composed { form, encoding: Encoding::Ucs2, segments: 1, body };
    Ok(match hop.way {
        Way::Alimtalk => {
            alimtalk::compose(ws, fresh, link).map(|filled| whole(Form::Alimtalk, TextBody::Alimtalk(filled)))
        }
        Way::Line => {
            let message = LineMessage {
                user_id: fresh.contact.line_user_id.clone(),
                text: compose::head(lines.into_iter(), Some(ws.display_name())),
                link: link.map(str::to_owned),
                label: templates::button(fresh.customer.locale.as_deref()).to_owned(),
            };
            Ok(whole(Form::Line, TextBody::Line(message)))
        }
        Way::Xms => {
            let opt_out = compose::opt_out(&engine.registry().deployment().opt_out, country);
            let opt_out = opt_out.filter(|_| fresh.is_first_text);
            let additions = Additions { company: ws.display_name(), opt_out, link: link_in_ascii };
            let carrier = compose::carrier(ws, Some(hop), country);
            let Xms { text, subject, size } = compose::text(lines.into_iter(), additions, carrier, locale);
            let body = TextBody::Xms { form: size.form, subject, text };
            Ok(Composed { form: size.form, encoding: size.encoding, segments: size.segments, body })
        }
    })
}
