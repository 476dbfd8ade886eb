//! The default email (E1): one layout as HTML and as plain text, its words in the customer's language.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Deserialize;
use std::sync::LazyLock;
use unicode_segmentation::UnicodeSegmentation;

/// Replies shown; older ones are counted and left to the conversation, since mail clients clip long mails.
const MAX_REPLIES: usize = 20;
/// Mail clients show about this much.
const MAX_PREVIEW_GRAPHEMES: usize = 120;

/// One reply as the email shows it.
pub struct Reply<'a> {
    /// Who answered.
    pub author: &'a str,
    /// What they said.
    pub text: &'a str,
    /// When.
    pub at_ms: i64,
}

/// What the default email is made of.
pub struct FollowupEmail<'a> {
    /// The company's display name.
    pub company: &'a str,
    /// The customer's name, if known.
    pub customer_name: Option<&'a str>,
    /// BCP 47; falls back to English.
    pub locale: Option<&'a str>,
    /// Oldest first.
    pub replies: Vec<Reply<'a>>,
    /// Where the conversation goes on; anything but `http` and `https` is left out.
    pub link: Option<&'a str>,
}

/// A rendered email.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The plain-text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// The words of one language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    lang: String,
    /// strftime.
    time: String,
    subject: String,
    greeting: String,
    greeting_unnamed: String,
    intro: String,
    earlier: String,
    button: String,
    reason: String,
    /// What a push says that may not say more (S10).
    notice: String,
}

struct Layout {
    environment: Environment<'static>,
    /// English first: it is what any other language falls back to.
    languages: [Words; 3],
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    for (name, source) in [("html", include_str!("email.html")), ("txt", include_str!("email.txt"))] {
        environment.add_template_owned(format!("email.{name}"), source).expect("the embedded template is valid");
    }
    let words = |source| serde_json::from_str(source).expect("the embedded words are whole");
    let languages = [words(include_str!("en.json")), words(include_str!("ko.json")), words(include_str!("ja.json"))];
    Layout { environment, languages }
});

/// That there is an answer, in the customer's language, and nothing else (S10).
pub fn notice(locale: Option<&str>) -> &'static str {
    &words_for(locale).notice
}

/// The default email in the customer's language.
pub fn render(email: &FollowupEmail<'_>) -> Rendered {
    let words = words_for(email.locale);
    let shown = &email.replies[email.replies.len().saturating_sub(MAX_REPLIES)..];
    let earlier = email.replies.len() - shown.len();
    let values = context! {
        company => email.company.to_owned(),
        name => email.customer_name.map(str::to_owned),
        count => earlier,
    };
    let phrase = |phrase: &str| {
        let rendered = LAYOUT.environment.render_str(phrase, values.clone());
        rendered.expect("every phrase renders: see the tests of each language")
    };
    let subject = phrase(&words.subject);
    let view = context! {
        lang => words.lang.clone(),
        company => email.company.to_owned(),
        subject => subject.clone(),
        greeting => phrase(if email.customer_name.is_some() { &words.greeting } else { &words.greeting_unnamed }),
        preview => shown.last().map(preview),
        intro => phrase(&words.intro),
        earlier => (earlier > 0).then(|| phrase(&words.earlier)),
        replies => shown.iter().map(|reply| reply_view(reply, words)).collect::<Vec<_>>(),
        button => words.button.clone(),
        link => email.link.filter(|link| is_web_link(link)).map(str::to_owned),
        reason => phrase(&words.reason),
    };
    let part = |name: &str| {
        let template = LAYOUT.environment.get_template(name).expect("the template is embedded");
        template.render(view.clone()).expect("the template renders: see the tests of each language") + "\n"
    };
    Rendered { text: part("email.txt"), html: part("email.html"), subject }
}

fn reply_view(reply: &Reply<'_>, words: &Words) -> Value {
    let lines: Vec<String> = reply.text.lines().map(printable).collect();
    context! { author => printable(reply.author), at => time(&words.time, reply.at_ms), lines }
}

/// What a list of mails shows beside the subject.
fn preview(reply: &Reply<'_>) -> String {
    let line = reply.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let text: String = line.trim().graphemes(true).take(MAX_PREVIEW_GRAPHEMES).collect();
    printable(&format!("{}: {text}", reply.author))
}

/// Control characters have no place in a mail, and a lone CR is how one dialogue becomes two.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// By the primary subtag: `ko-KR` reads Korean.
fn words_for(locale: Option<&str>) -> &'static Words {
    let primary = locale.unwrap_or_default().split(['-', '_']).next().unwrap_or_default();
    let known = LAYOUT.languages.iter().find(|words| words.lang.eq_ignore_ascii_case(primary));
    known.unwrap_or(&LAYOUT.languages[0])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn email<'a>(locale: Option<&'a str>) -> FollowupEmail<'a> {
        let replies = vec![Reply { author: "Mina", text: "one\ntwo", at_ms: 0 }];
        FollowupEmail { company: "Acme", customer_name: None, locale, replies, link: Some("https://acme.example/c/1") }
    }

    /// E1
    #[test]
    fn e1_a_language_is_chosen_by_its_primary_subtag_and_falls_back_to_english() {
        for (locale, subject) in [
            (Some("ko-KR"), "Acme에서 답변이 도착했습니다"),
            (Some("KO"), "Acme에서 답변이 도착했습니다"),
            (Some("ja_JP"), "Acmeからお返事が届いています"),
            (Some("en-GB"), "New reply from Acme"),
            (Some("tlh"), "New reply from Acme"),
            (Some(""), "New reply from Acme"),
            (None, "New reply from Acme"),
        ] {
            assert_eq!(render(&email(locale)).subject, subject, "{locale:?}");
        }
    }

    /// E1
    #[test]
    fn e1_html_is_escaped_and_plain_text_is_not() {
        let mut hostile = email(None);
        hostile.company = "A<b>&\"co\" {{ 7 * 7 }}";
        hostile.customer_name = Some("<script>alert(1)</script>");
        hostile.replies[0].text = "</td><img src=x onerror=alert(1)> {% raw %}";
        let rendered = render(&hostile);
        for never in ["<script", "<img", "<b>", "49"] {
            assert!(!rendered.html.contains(never), "{never} in {}", rendered.html);
        }
        assert!(rendered.text.contains("</td><img src=x onerror=alert(1)> {% raw %}"), "{}", rendered.text);
        assert_eq!(rendered.subject, "New reply from A<b>&\"co\" {{ 7 * 7 }}");
    }

    /// E1, P14
    #[test]
    fn only_web_links_become_a_button() {
        for bad in
            ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "//evil.example", "https://a b", "intent:x"]
        {
            let mut mail = email(None);
            mail.link = Some(bad);
            let rendered = render(&mail);
            assert!(!rendered.html.contains("href"), "{bad}");
            assert!(!rendered.text.contains(bad), "{bad}");
        }
        assert!(render(&email(None)).html.contains("href=\"https:&#x2f;&#x2f;acme.example&#x2f;c&#x2f;1\""));
    }

    /// E1
    #[test]
    fn the_newest_replies_are_shown_and_the_rest_counted() {
        let mut long = email(None);
        let texts: Vec<String> = (0..MAX_REPLIES + 3).map(|n| format!("reply number {n}.")).collect();
        long.replies = texts.iter().map(|text| Reply { author: "Mina", text, at_ms: 0 }).collect();
        let rendered = render(&long);
        assert!(!rendered.text.contains("reply number 2."));
        assert!(rendered.text.contains("reply number 3."));
        assert!(rendered.text.contains("3 earlier replies"), "{}", rendered.text);
    }
}
