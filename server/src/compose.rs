//! What a text says: the replies, the company's name, how to opt out, the link (T4, T8, S10).

use crate::settings::TextContent;
use crate::templates;
use crate::workspace::Workspace;
use backstop_domain::text::{self, Carrier, Country, Form, Hop, MAX_SEGMENTS, Size};
use std::collections::BTreeMap;

/// What stands in a text beside the replies; all of it is counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Additions<'a> {
    /// The company's name.
    pub(crate) company: &'a str,
    /// How to opt out, where the law asks for it and nobody said so yet.
    pub(crate) opt_out: Option<&'a str>,
    /// Where to go on.
    pub(crate) link: Option<&'a str>,
}

/// An SMS or LMS as it leaves.
pub(crate) struct Xms {
    /// All of it.
    pub(crate) text: String,
    /// Of an LMS.
    pub(crate) subject: Option<String>,
    /// What it takes.
    pub(crate) size: Size,
}

/// The whole text of these lines as this route carries it; what is too long is cut, and the additions stay. Lines that
/// would tell a reader nothing there are left out; if none is left, only that there are some is said (T5).
pub(crate) fn text<'a>(
    lines: impl Iterator<Item = (Option<&'a str>, &'a str)>,
    with: Additions<'_>,
    carrier: Carrier,
    locale: Option<&str>,
) -> Xms {
    let carried = |text| text::carried(text, carrier);
    let mut told: Vec<_> =
        lines.filter_map(|(author, text)| Some((author.and_then(carried), carried(text)?))).collect();
    if told.is_empty() {
        told.push((None, templates::notice(locale).into()));
    }
    let company = text::carried(with.company, carrier);
    let head = head(told.iter().map(|(author, text)| (author.as_deref(), text.as_ref())), company.as_deref());
    let ending = with.opt_out.map_or_else(String::new, |line| format!("\n{line}"));
    let fitted = text::fit_linked(&head, &ending, with.link, carrier, MAX_SEGMENTS);
    let subject = company.filter(|_| fitted.size.form == Form::Lms).map(|company| text::subject(&company));
    Xms { text: fitted.text, subject, size: fitted.size }
}

/// Whose text it is, and its lines.
pub(crate) fn head<'a>(lines: impl Iterator<Item = (Option<&'a str>, &'a str)>, company: Option<&str>) -> String {
    let told = lines.map(|(author, text)| match author {
        Some(author) => format!("{author}: {text}"),
        None => text.to_owned(),
    });
    company.map(|company| format!("[{company}]")).into_iter().chain(told).collect::<Vec<_>>().join("\n")
}

/// S10: the replies, or only that there are some.
pub(crate) fn lines<'a>(
    content: TextContent,
    replies: &'a [(Option<&'a str>, &'a str)],
    locale: Option<&str>,
) -> Vec<(Option<&'a str>, &'a str)> {
    match content {
        TextContent::Full => replies.to_vec(),
        TextContent::LinkOnly => vec![(None, templates::notice(locale))],
    }
}

/// How the provider of this hop counts a text to this country.
pub(crate) fn carrier(ws: &Workspace, hop: Option<&Hop>, country: Option<Country>) -> Carrier {
    let mut services = ws.policy.services.text.iter();
    let service = hop.and_then(|hop| services.find(|service| service.name == hop.via));
    let sms_bytes = ws.settings.sms_profile.sms_bytes();
    service.map_or(Carrier::International, |service| service.carrier(country, sms_bytes))
}

/// How to opt out, in countries whose law asks for it.
pub(crate) fn opt_out(lines: &BTreeMap<Country, String>, country: Option<Country>) -> Option<&str> {
    lines.get(&country?).map(String::as_str)
}

/// The link's whole address.
pub(crate) fn short_link(public_url: &str, code: &str) -> String {
    format!("{public_url}/l/{code}")
}
