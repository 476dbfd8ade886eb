//! What a template of an email is made from: everything as text that is fit for a mail, its words in the customer's
//! language.

use super::{FollowupEmail, Reply, Words, phrase};
use backstop_domain::color::Color;
use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

/// Replies shown; older ones are counted and left to the conversation, since mail clients clip long mails.
pub(super) const MAX_REPLIES: usize = 20;
/// Mail clients show about this much.
const MAX_PREVIEW_GRAPHEMES: usize = 120;
/// Where a company has chosen none.
const COLOR: &str = "#2f6fed";
/// Of the card that a mail is read on in the dark.
const DARK_PAGE: &str = "#1f2226";

/// Every variable of a template. What is unknown is empty, so that `{% if … %}` tells.
#[derive(Serialize)]
pub(super) struct View {
    pub(super) lang: String,
    pub(super) subject: String,
    /// What a list of mails shows beside the subject.
    pub(super) preview: String,
    pub(super) company: String,
    pub(super) customer_name: String,
    pub(super) replies: Vec<ReplyView>,
    /// How many older ones are not shown.
    pub(super) earlier: usize,
    pub(super) link: String,
    pub(super) brand: Brand,
    pub(super) words: Phrases,
}

/// The variables of a template, in the order of the documentation.
pub(super) const VARIABLES: [&str; 10] =
    ["lang", "subject", "preview", "company", "customer_name", "replies", "earlier", "link", "brand", "words"];

#[derive(Serialize)]
pub(super) struct ReplyView {
    pub(super) author: String,
    pub(super) at: String,
    pub(super) text: String,
    pub(super) lines: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Brand {
    pub(super) logo_url: String,
    pub(super) color: String,
    pub(super) letters: String,
    pub(super) color_on_dark: String,
    pub(super) letters_on_dark: String,
    pub(super) footer: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Phrases {
    pub(super) marker: String,
    pub(super) greeting: String,
    pub(super) intro: String,
    pub(super) earlier: String,
    pub(super) button: String,
    pub(super) reason: String,
}

impl View {
    /// Of this email, in these words; without a subject.
    pub(super) fn new(email: &FollowupEmail<'_>, words: &Words) -> View {
        let shown = &email.replies[email.replies.len().saturating_sub(MAX_REPLIES)..];
        let earlier = email.replies.len() - shown.len();
        let (company, name) = (email.company, email.customer_name.unwrap_or_default());
        let phrase = |text: &str| phrase(text, company, name, earlier);
        let greeting = if name.is_empty() { &words.greeting_unnamed } else { &words.greeting };
        View {
            lang: words.lang.clone(),
            subject: String::new(),
            preview: shown.last().map(preview).unwrap_or_default(),
            company: printable(company),
            customer_name: printable(name),
            replies: shown.iter().map(|reply| reply_view(reply, words)).collect(),
            earlier,
            link: email.link.filter(|link| is_web_link(link)).unwrap_or_default().to_owned(),
            brand: Brand::new(email),
            words: Phrases {
                marker: email.marker.unwrap_or_default().to_owned(),
                greeting: phrase(greeting),
                intro: phrase(&words.intro),
                earlier: if earlier > 0 { phrase(&words.earlier) } else { String::new() },
                button: words.button.clone(),
                reason: phrase(&words.reason),
            },
        }
    }
}

impl Brand {
    fn new(email: &FollowupEmail<'_>) -> Brand {
        let default = Color::parse(COLOR).expect("a color of ours");
        let dark = Color::parse(DARK_PAGE).expect("a color of ours");
        let branding = email.branding;
        let color = branding.color.as_deref().and_then(Color::parse).unwrap_or(default);
        let on_dark = color.on_dark(dark);
        Brand {
            logo_url: branding.logo_url.clone().unwrap_or_default(),
            color: color.to_string(),
            letters: color.letters().to_string(),
            color_on_dark: on_dark.to_string(),
            letters_on_dark: on_dark.letters().to_string(),
            footer: branding.footer.as_deref().unwrap_or_default().lines().map(printable).collect(),
        }
    }
}

fn reply_view(reply: &Reply<'_>, words: &Words) -> ReplyView {
    let lines: Vec<String> = reply.text.lines().map(printable).collect();
    ReplyView { author: printable(reply.author), at: time(&words.time, reply.at_ms), text: lines.join("\n"), lines }
}

fn preview(reply: &Reply<'_>) -> String {
    let line = reply.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let text: String = line.trim().graphemes(true).take(MAX_PREVIEW_GRAPHEMES).collect();
    printable(&format!("{}: {text}", reply.author))
}

/// Control characters have no place in a mail, and a lone CR is how one dialogue becomes two.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// In UTC, and saying so: the customer's time zone is not known here.
fn time(format: &str, at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime(format).to_string()
}

/// `javascript:` and its like never become a button.
fn is_web_link(link: &str) -> bool {
    let lower = link.to_ascii_lowercase();
    (lower.starts_with("https://") || lower.starts_with("http://")) && !link.contains(char::is_whitespace)
}
