//! What a text says: the replies, the company's name, how to opt out, the link (T4, T8, S10).

use crate::settings::TextContent;
use crate::templates;
use backstop_domain::text::{Country, Fitted, MAX_SEGMENTS, fit};
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

/// The whole text of these lines; what is too long is cut, and the additions stay.
pub(crate) fn text<'a>(lines: impl Iterator<Item = (Option<&'a str>, &'a str)>, with: Additions<'_>) -> Fitted {
    let head = head(lines, with.company);
    let mut ending = String::new();
    for line in [with.opt_out, with.link].into_iter().flatten() {
        ending.push('\n');
        ending.push_str(line);
    }
    fit(&head, &ending, MAX_SEGMENTS)
}

/// Whose text it is, and its lines.
pub(crate) fn head<'a>(lines: impl Iterator<Item = (Option<&'a str>, &'a str)>, company: &str) -> String {
    let mut head = format!("[{company}]");
    for (author, text) in lines {
        head.push('\n');
        if let Some(author) = author {
            head.push_str(author);
            head.push_str(": ");
        }
        head.push_str(text);
    }
    head
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

/// How to opt out, in countries whose law asks for it.
pub(crate) fn opt_out(lines: &BTreeMap<Country, String>, country: Option<Country>) -> Option<&str> {
    lines.get(&country?).map(String::as_str)
}

/// The link's whole address.
pub(crate) fn short_link(public_url: &str, code: &str) -> String {
    format!("{public_url}/l/{code}")
}
