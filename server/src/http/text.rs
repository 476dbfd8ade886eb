//! `/v1/text/preview`: what a text would take before it is sent (T4).

use super::Api;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, parse};
use super::validate::Check;
use super::view::Price;
use crate::compose::{self, Additions};
use crate::number;
use crate::vault::LINK_CODE_CHARS;
use axum::extract::State;
use backstop_domain::text::{Recipient, count, hops};
use backstop_domain::wallet::Kind;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A text that might be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewInput {
    /// E.164, or a national number of the settings' `country`.
    #[schema(example = "+14155550123")]
    to: String,
    /// What it would say, 1–10,000 characters; counted as it is, unless `with_additions`.
    #[schema(example = "Your parcel leaves today.")]
    text: String,
    /// Count what is sent: with the company's name, the line on opting out and the link, as of the first text to a
    /// customer; with characters replaced where that saves a part; and cut where it is too long.
    #[serde(default)]
    with_additions: bool,
}

/// What a text would take.
#[derive(Serialize, ToSchema)]
pub(super) struct Preview {
    /// The provider that would carry it; `null` = none is configured.
    route: Option<String>,
    /// What it travels as.
    #[schema(value_type = super::openapi::TextForm)]
    form: &'static str,
    /// How its characters travel.
    #[schema(value_type = super::openapi::TextEncoding)]
    encoding: &'static str,
    /// Parts; each is paid for. With `cp949` more than one is what no relay takes: it is cut when it is sent.
    segments: u16,
    /// On the air: seven bits a character with `gsm7`, sixteen a unit with `ucs2`, as they are with `cp949`.
    bytes: u32,
    /// `null` = unknown.
    price: Option<Price>,
}

/// Counts a text without sending it
#[utoipa::path(post, path = "/v1/text/preview", tag = "backend", request_body = PreviewInput,
    responses((status = 200, description = "What it would take", body = Preview)))]
pub(super) async fn preview(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: PreviewInput = parse(&body)?;
    let mut check = Check::default();
    let to = check.phone("to", &input.to, &workspace.settings);
    let text = check.text("text", input.text);
    check.finish()?;
    let (country, _) = number::look_up(&to.unwrap_or_default());
    let services = &workspace.policy.services;
    let recipient = Recipient { country, has_number: true, has_line_user: false };
    let hop = hops(&recipient, &[], &services.text, &services.routes).into_iter().next();
    let carrier = compose::carrier(&workspace, hop.as_ref(), country);
    let size = if input.with_additions {
        let deployment = api.registry.deployment();
        let code = "x".repeat(LINK_CODE_CHARS);
        let link = deployment.public_url.as_ref().map(|url| compose::short_link(url, &code));
        let replies = [(None, text.as_str())];
        let lines = compose::lines(workspace.settings.text_content, &replies, None);
        let additions = Additions {
            company: workspace.display_name(),
            opt_out: compose::opt_out(&deployment.opt_out, country),
            link: link.as_deref(),
        };
        compose::text(lines.into_iter(), additions, carrier, None).size
    } else {
        count(&text, carrier)
    };
    let prices = &workspace.policy.limits.prices;
    let price = prices.charge(Kind::of(size.form), country, size.segments, 0, api.clocks.now_ms(workspace.id));
    Ok(Reply::ok(&Preview {
        route: hop.map(|hop| hop.via),
        form: size.form.as_str(),
        encoding: size.encoding.as_str(),
        segments: size.segments,
        bytes: size.bytes(),
        price: price.map(|charge| Price { amount_micros: charge.micros, currency: prices.currency.clone() }),
    }))
}
