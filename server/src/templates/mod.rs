//! The email of a follow-up (E1): a built-in template in the customer's language, or the company's own.

mod mjml;
mod own;
mod view;

pub use own::{Flaw, MAX_MJML_BYTES, MAX_SUBJECT_CHARS, MAX_TEXT_BYTES, OwnTemplate, Source, Unusable};

use crate::settings::Branding;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Deserialize;
use std::sync::LazyLock;
use view::View;

/// The languages of the built-in template. English first: it is what any other falls back to.
pub const LANGUAGES: [&str; 3] = ["en", "ko", "ja"];

/// One reply as the email shows it.
pub struct Reply<'a> {
    /// Who answered.
    pub author: &'a str,
    /// What they said.
    pub text: &'a str,
    /// When.
    pub at_ms: i64,
}

/// What an email is made of.
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
    /// How the company looks.
    pub branding: &'a Branding,
    /// The line above which an answer is read; `None` = answers are not read.
    pub marker: Option<&'a str>,
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
    /// In the order of [`LANGUAGES`].
    languages: [Words; 3],
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    let made = mjml::html(include_str!("email.mjml"));
    let html =
        made.map(|made| made.html).unwrap_or_else(|error| panic!("the embedded MJML is valid: {}", error.message));
    for (name, source) in [("email.html", html), ("email.txt", include_str!("email.txt").to_owned())] {
        environment.add_template_owned(name, source).expect("the embedded template is valid");
    }
    let words = |source| serde_json::from_str(source).expect("the embedded words are whole");
    let languages = [words(include_str!("en.json")), words(include_str!("ko.json")), words(include_str!("ja.json"))];
    Layout { environment, languages }
});

/// That there is an answer, in the customer's language, and nothing else (S10).
pub fn notice(locale: Option<&str>) -> &'static str {
    &words_for(locale).notice
}

/// What the button says that leads to the conversation, in the customer's language.
pub fn button(locale: Option<&str>) -> &'static str {
    &words_for(locale).button
}

/// Whether the built-in template speaks the language of this locale.
pub fn speaks(locale: &str) -> bool {
    words_for(Some(locale)).lang == primary(locale)
}

/// The built-in email in the customer's language.
pub fn render(email: &FollowupEmail<'_>) -> Rendered {
    let words = words_for(email.locale);
    let mut view = View::new(email, words);
    view.subject = phrase(&words.subject, email.company, email.customer_name.unwrap_or_default(), view.earlier);
    let part = |name: &str| {
        let template = LAYOUT.environment.get_template(name).expect("the template is embedded");
        template.render(Serde(&view)).expect("the template renders: see the tests of each language") + "\n"
    };
    Rendered { text: part("email.txt"), html: part("email.html"), subject: view.subject.clone() }
}

/// The email by the company's own template; by the built-in one what that has not, or all if it cannot be used.
pub fn render_own(email: &FollowupEmail<'_>, own: &OwnTemplate) -> (Rendered, Option<Unusable>) {
    let built_in = render(email);
    match own.render(email) {
        Ok((subject, html, text)) => (Rendered { subject, html, text: text.unwrap_or(built_in.text) }, None),
        Err(unusable) => (built_in, Some(unusable)),
    }
}

/// A sentence with the company's and the customer's name in it.
fn phrase(text: &str, company: &str, name: &str, count: usize) -> String {
    let rendered = LAYOUT.environment.render_str(text, context! { company, name, count });
    view::printable(&rendered.expect("every phrase renders: see the tests of each language"))
}

fn words_for(locale: Option<&str>) -> &'static Words {
    let primary = primary(locale.unwrap_or_default());
    LAYOUT.languages.iter().find(|words| words.lang == primary).unwrap_or(&LAYOUT.languages[0])
}

/// The primary subtag, in lower case: `ko-KR` reads Korean.
fn primary(locale: &str) -> String {
    locale.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::view::MAX_REPLIES;
    use super::*;

    const PLAIN: Branding = Branding { logo_url: None, color: None, footer: None };

    fn email<'a>(locale: Option<&'a str>) -> FollowupEmail<'a> {
        let replies = vec![Reply { author: "Mina", text: "one\ntwo", at_ms: 0 }];
        let link = Some("https://acme.example/c/1");
        FollowupEmail { company: "Acme", customer_name: None, locale, replies, link, branding: &PLAIN, marker: None }
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
