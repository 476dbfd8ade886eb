//! A text as an Alimtalk: the workspace's template, filled in, where it fits (T3).

use super::parcel::Fresh;
use crate::compose;
use crate::providers::{Alimtalk, AlimtalkButton};
use crate::workspace::Workspace;
use backstop_domain::text::alimtalk::{Button, Values, render};

/// No template may be used.
const NO_TEMPLATE: &str = "no_template";
/// The template does not fit this text: Kakao would refuse it.
const MISMATCH: &str = "template_mismatch";

/// What goes to Kakao; or why the text goes otherwise, for the why-log (S7).
pub(super) fn compose(ws: &Workspace, fresh: &Fresh, link: Option<&str>) -> Result<Alimtalk, &'static str> {
    let current = ws.alimtalk.in_use().ok_or(NO_TEMPLATE)?;
    let bodies = &fresh.content.bodies;
    let replies: Vec<_> = bodies.iter().map(|(_, body)| (body.author.as_deref(), body.text.as_str())).collect();
    let lines = compose::lines(ws.settings.text_content, &replies, fresh.customer.locale.as_deref());
    let excerpt: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    let excerpt = excerpt.join(" ");
    let author = replies.last().and_then(|(author, _)| *author);
    let values = Values {
        company: ws.display_name(),
        customer_name: fresh.contact.name.as_deref(),
        author: Some(author.unwrap_or_else(|| ws.display_name())),
        excerpt: Some(&excerpt),
        link,
    };
    let filled = render(&current.template, &values).map_err(|_| MISMATCH)?;
    let button = |button: Button| AlimtalkButton { name: button.name, url: button.url };
    Ok(Alimtalk {
        sender_profile: current.sender_profile.clone(),
        template_id: current.template_id.clone(),
        variables: filled.variables,
        text: filled.text,
        buttons: filled.buttons.into_iter().map(button).collect(),
    })
}
