//! A company's own template of an email: MJML with variables, checked before it is kept and bounded when it is used.
//!
//! It sees what [`View`] has and nothing else: no file, no other template, no clock. What it puts into HTML is escaped.

use super::view::{MAX_REPLIES, VARIABLES, View};
use super::{FollowupEmail, Reply, mjml, words_for};
use crate::settings::Branding;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use std::sync::LazyLock;
use unicode_segmentation::UnicodeSegmentation as _;

/// Of a template's MJML.
pub const MAX_MJML_BYTES: usize = 64 * 1024;
/// Of a template's plain text.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Of a template's subject.
pub const MAX_SUBJECT_CHARS: usize = 200;
/// Of a subject as it leaves: longer ones fold badly, and nobody sees their end.
const MAX_SUBJECT_SHOWN_CHARS: usize = 120;
/// Of a mail with two short replies: mail clients clip longer ones, with the link at their end.
const MAX_SAMPLE_BYTES: usize = 90_000;
/// Of a mail as it leaves.
const MAX_HTML_BYTES: usize = 1024 * 1024;
/// Steps of the template engine, and 64 bytes each: 32 MB, far more than a mail takes.
const FUEL: u64 = 500_000;
/// Of calls in calls: a template's stack has an end.
const MAX_RECURSION: usize = 64;
/// Replies of a sample that the length is judged by.
const SHORT_SAMPLE: usize = 2;
/// What has to be found in what the samples come to.
const SAMPLE_REPLY: &str = "Your parcel is on its way.";
/// What must not: it was not escaped.
const SAMPLE_TAG: &str = "<backstop-check>";
const HTML: &str = "mail.html";
const TEXT: &str = "mail.txt";
const SUBJECT: &str = "subject.txt";

/// A template as a company writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// One line, with variables.
    pub subject: String,
    /// The mail, with variables.
    pub mjml: String,
    /// Its plain text; `None` = the built-in one.
    pub text: Option<String>,
}

/// A template that can be used.
pub struct OwnTemplate {
    environment: Environment<'static>,
    has_text: bool,
    /// What MJML leaves out of it.
    pub warnings: Vec<String>,
}

/// What is wrong with a template, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// `subject`, `mjml` or `text`.
    pub field: &'static str,
    /// Stable code.
    pub code: &'static str,
    /// With its line, where one is known.
    pub message: String,
}

/// Why a template that was kept cannot be used for a mail; says nothing of what the mail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable(pub &'static str);

impl OwnTemplate {
    /// Makes it from its source, by form alone: what was kept once is not refused by a later version's checks.
    pub fn new(source: &Source) -> Result<OwnTemplate, Flaw> {
        let made = mjml::html(&source.mjml).map_err(|error| {
            let place = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            flaw("mjml", "invalid", format!("{place}{}", error.message))
        })?;
        let mut environment = environment();
        let mut add = |name: &'static str, field, text: String| {
            environment.add_template_owned(name, text).map_err(|error| described(field, &error))
        };
        add(SUBJECT, "subject", source.subject.clone())?;
        add(HTML, "mjml", made.html)?;
        if let Some(text) = &source.text {
            add(TEXT, "text", text.clone())?;
        }
        Ok(OwnTemplate { environment, has_text: source.text.is_some(), warnings: made.warnings })
    }

    /// Makes it from its source if it can be used: rendered for a company and a customer of whom all is known, for one
    /// who missed many replies, and for those of whom nothing is known.
    pub fn checked(source: &Source, locale: &str) -> Result<OwnTemplate, Vec<Flaw>> {
        let mut flaws = too_long(source);
        if flaws.is_empty() {
            // The MJML as it was written, so that a line in a message is one that its author knows.
            flaws.extend(sources(source).into_iter().filter_map(|(field, name, text)| {
                samples(locale).iter().find_map(|email| try_source(field, name, text, email).err())
            }));
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let template = OwnTemplate::new(source).map_err(|flaw| vec![flaw])?;
        flaws.extend(samples(locale).iter().flat_map(|email| template.sample_flaws(email)));
        flaws.dedup();
        if flaws.is_empty() { Ok(template) } else { Err(flaws) }
    }

    /// The mail by this template; its plain text is `None` where the template has none.
    pub fn render(&self, email: &FollowupEmail<'_>) -> Result<(String, String, Option<String>), Unusable> {
        let unusable = |error: &Error| Unusable(reason(error));
        let mut view = View::new(email, words_for(email.locale));
        let part = |name: &str, view: &View| {
            let rendered = self.environment.get_template(name).and_then(|template| template.render(Serde(view)));
            rendered.map_err(|error| unusable(&error))
        };
        let subject = cut(one_line(&part(SUBJECT, &view)?));
        if subject.is_empty() {
            return Err(Unusable("subject_empty"));
        }
        view.subject.clone_from(&subject);
        let html = part(HTML, &view)?;
        let text = self.has_text.then(|| part(TEXT, &view)).transpose()?;
        if html.len().max(text.as_ref().map_or(0, String::len)) > MAX_HTML_BYTES {
            return Err(Unusable("too_long"));
        }
        Ok((subject, html, text))
    }

    /// What only shows in what the template comes to.
    fn sample_flaws(&self, email: &FollowupEmail<'_>) -> Vec<Flaw> {
        let (_, html, text) = match self.render(email) {
            Ok(parts) => parts,
            Err(Unusable("subject_empty")) => {
                return vec![flaw("subject", "empty", "give it words: it comes out empty")];
            }
            Err(Unusable(_)) => {
                let mend = "it cannot be rendered once MJML is HTML: write {% … %} that stands between elements into \
                            <mj-raw>, and keep it out of the names and values of attributes";
                return vec![flaw("mjml", "invalid", mend)];
            }
        };
        let mut flaws = Vec::new();
        if html.contains(SAMPLE_TAG) {
            let mend = "something in it is not escaped: take out {% autoescape %}";
            flaws.push(flaw("mjml", "not_escaped", mend));
        }
        if email.replies.len() <= SHORT_SAMPLE && html.len() > MAX_SAMPLE_BYTES {
            let message = format!(
                "it comes to {} bytes, and mail clients clip long mails: at most {MAX_SAMPLE_BYTES}",
                html.len()
            );
            flaws.push(flaw("mjml", "too_long", message));
        }
        for (field, part) in [("mjml", Some(&html)), ("text", text.as_ref())] {
            if part.is_some_and(|part| !part.contains(SAMPLE_REPLY)) {
                let mend = "the replies are not in it: put in {% for reply in replies %}{{ reply.text }}{% endfor %}";
                flaws.push(flaw(field, "replies_missing", mend));
            }
        }
        flaws
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_debug(true);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    environment.remove_filter("safe");
    environment.remove_global("debug");
    environment
}

fn too_long(source: &Source) -> Vec<Flaw> {
    let text = source.text.as_deref().unwrap_or_default();
    let lengths = [
        ("subject", source.subject.chars().count(), MAX_SUBJECT_CHARS, "characters"),
        ("mjml", source.mjml.len(), MAX_MJML_BYTES, "bytes"),
        ("text", text.len(), MAX_TEXT_BYTES, "bytes"),
    ];
    let mut flaws: Vec<Flaw> = lengths
        .into_iter()
        .filter(|(_, length, most, _)| length > most)
        .map(|(field, length, most, unit)| {
            flaw(field, "too_long", format!("it has {length} {unit}: {most} is the most"))
        })
        .collect();
    if source.subject.contains(char::is_control) {
        flaws.push(flaw("subject", "invalid", "write it on one line, without control characters"));
    }
    flaws
}

fn sources(source: &Source) -> Vec<(&'static str, &'static str, &str)> {
    let mut all = vec![("subject", SUBJECT, source.subject.as_str()), ("mjml", HTML, source.mjml.as_str())];
    all.extend(source.text.as_deref().map(|text| ("text", TEXT, text)));
    all
}

fn try_source(field: &'static str, name: &str, text: &str, email: &FollowupEmail<'_>) -> Result<(), Flaw> {
    let view = View::new(email, words_for(email.locale));
    environment().render_named_str(name, text, Serde(&view)).map(|_| ()).map_err(|error| described(field, &error))
}

/// A customer of whom everything is known, as of the company, one who missed more than a mail shows, and one of whom
/// nothing is known.
fn samples(locale: &str) -> [FollowupEmail<'_>; 3] {
    static PLAIN: Branding = Branding { logo_url: None, color: None, footer: None };
    static BRANDED: LazyLock<Branding> = LazyLock::new(|| Branding {
        logo_url: Some("https://shop.example/logo.png".into()),
        color: Some("#7b2ff7".into()),
        footer: Some(format!("Shop {SAMPLE_TAG}\nSeoul")),
    });
    let reply = |author| Reply { author, text: SAMPLE_REPLY_TEXT, at_ms: 1_795_370_400_000 };
    let rich = |replies| FollowupEmail {
        company: SAMPLE_TAG,
        customer_name: Some(SAMPLE_TAG),
        locale: Some(locale),
        replies,
        link: Some("https://shop.example/chat/1"),
        branding: &BRANDED,
        marker: Some(backstop_domain::mail::marker(Some(locale))),
    };
    let long = rich((0..MAX_REPLIES + 2).map(|_| reply("Mina")).collect());
    let rich = rich(vec![reply("Mina"), reply(SAMPLE_TAG)]);
    let poor = FollowupEmail {
        company: "Shop",
        customer_name: None,
        locale: Some(locale),
        replies: vec![reply("Mina")],
        link: None,
        branding: &PLAIN,
        marker: None,
    };
    [rich, long, poor]
}

const SAMPLE_REPLY_TEXT: &str = "Hello <backstop-check>!\nYour parcel is on its way.";

/// What went wrong, in words that lead to the place.
fn described(field: &'static str, error: &Error) -> Flaw {
    let place = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let there = || {
        let (source, range) = (error.template_source()?, error.range()?);
        // Before a filter that does not take it stands what there is not.
        let before = source.get(..range.start)?.trim_end().strip_suffix('|').map(str::trim_end);
        let text = match before {
            Some(before) => before.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').next()?,
            None => source.get(range)?.trim(),
        };
        Some(text.chars().take(60).collect::<String>())
    };
    let (code, message) = match error.kind() {
        ErrorKind::UndefinedError => {
            let name = there().unwrap_or_else(|| "something".into());
            ("unknown_variable", format!("there is no `{name}`{}", nearest(&name)))
        }
        ErrorKind::OutOfFuel => ("endless", "it does not end in reasonable time: look at its loops".into()),
        ErrorKind::TemplateNotFound => ("invalid", "nothing can be included or extended: write it out".into()),
        ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest | ErrorKind::UnknownMethod => {
            ("invalid", format!("{}: take it out", error.detail().unwrap_or("this is not known")))
        }
        _ => ("invalid", error.detail().unwrap_or("this cannot be read").to_owned()),
    };
    flaw(field, code, format!("{place}{message}"))
}

fn nearest(name: &str) -> String {
    let first = name.split(['.', '[', '|', ' ']).next().unwrap_or_default();
    if VARIABLES.contains(&first) {
        return ": see what it has in the documentation of this call".into();
    }
    let near = VARIABLES.iter().max_by(|a, b| strsim::jaro(a, first).total_cmp(&strsim::jaro(b, first)));
    match near.filter(|near| strsim::jaro(near, first) > 0.7) {
        Some(near) => format!(": did you mean `{near}`?"),
        None => format!(": there are {}", VARIABLES.join(", ")),
    }
}

fn reason(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::OutOfFuel => "endless",
        ErrorKind::UndefinedError => "unknown_variable",
        _ => "invalid",
    }
}

/// A header is one line: what breaks it becomes a blank.
fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Between characters as people take them; within one that is as long as a line itself.
fn cut(subject: String) -> String {
    let chars = |text: &str| text.chars().count();
    if chars(&subject) <= MAX_SUBJECT_SHOWN_CHARS {
        return subject;
    }
    let ends = subject.grapheme_indices(true).map(|(at, grapheme)| at + grapheme.len());
    let end = ends.take_while(|end| chars(&subject[..*end]) <= MAX_SUBJECT_SHOWN_CHARS).last();
    match end {
        Some(end) => subject[..end].trim_end().to_owned(),
        None => subject.chars().take(MAX_SUBJECT_SHOWN_CHARS).collect(),
    }
}

fn flaw(field: &'static str, code: &'static str, message: impl Into<String>) -> Flaw {
    Flaw { field, code, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<mjml>\n<mj-body>\n<mj-section><mj-column>\n<mj-text>{{ company }}</mj-text>\n\
        <mj-text>{% for reply in replies %}<p>{{ reply.author }}: {{ reply.text }}</p>{% endfor %}</mj-text>\n\
        <mj-raw>{% if link %}</mj-raw>\
        <mj-button href=\"{{ link }}\" background-color=\"{{ brand.color }}\">{{ words.button }}</mj-button>\
        <mj-raw>{% endif %}</mj-raw>\n\
        </mj-column></mj-section>\n</mj-body>\n</mjml>\n";

    fn source(mjml: &str) -> Source {
        Source { subject: "{{ company }}: {{ replies[0].text }}".into(), mjml: mjml.into(), text: None }
    }

    fn flaws(source: &Source) -> Vec<String> {
        let flaws = OwnTemplate::checked(source, "en").map(|_| ()).err().unwrap_or_default();
        flaws.into_iter().map(|flaw| format!("{} {}: {}", flaw.field, flaw.code, flaw.message)).collect()
    }

    /// E1: variables, loops and conditions, escaped, and the subject on one line.
    #[test]
    fn e1_a_template_of_the_company_renders() {
        let template = OwnTemplate::checked(&source(GOOD), "ko").map_err(|flaws| format!("{flaws:?}")).unwrap();
        let [rich, long, poor] = samples("ko");
        let (subject, html, text) = template.render(&rich).unwrap();
        assert_eq!(subject, "<backstop-check>: Hello <backstop-check>! Your parcel is on its way.");
        assert!(html.contains("href=\"https:&#x2f;&#x2f;shop.example&#x2f;chat&#x2f;1\""), "{html}");
        assert!(
            html.contains("대화 이어가기") && html.contains("&lt;backstop-check&gt;") && html.contains("#7b2ff7"),
            "{html}"
        );
        assert!(template.render(&long).is_ok());
        assert_eq!(text, None);
        let (_, html, _) = template.render(&poor).unwrap();
        assert!(!html.contains("대화 이어가기"), "no link, no button: {html}");
    }

    /// E1: what cannot work is refused when it is put, with its field, its line and its mend.
    #[test]
    fn e1_what_cannot_work_is_refused_with_its_line() {
        let with = |line: &str| GOOD.replace("<mj-text>{{ company }}</mj-text>", line);
        for (mjml, says) in [
            (
                with("<mj-text>{{ compny }}</mj-text>"),
                "mjml unknown_variable: line 4: there is no `compny`: did you mean `company`?",
            ),
            (
                with("<mj-text>{{ zzz }}</mj-text>"),
                "mjml unknown_variable: line 4: there is no `zzz`: there are lang, ",
            ),
            (
                with("<mj-text>{{ brand.logo }}</mj-text>"),
                "mjml unknown_variable: line 4: there is no `brand.logo`: see",
            ),
            (with("<mj-text>{% if link %}</mj-text>"), "mjml invalid: line "),
            (with("<mj-text>{{ company </mj-text>"), "mjml invalid: line 4: "),
            (
                with(
                    "<mj-text>{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}</mj-text>",
                ),
                "mjml endless: line 4: ",
            ),
            (with("<mj-text>{{ 'x' * 999999999 }}</mj-text>"), "mjml endless: "),
            (with("<mj-text>{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}</mj-text>"), "mjml "),
            (with("<mj-text>{% include 'x' %}</mj-text>"), "mjml invalid: line 4: nothing can be included"),
            (with("<mj-text>{% extends 'email.html' %}</mj-text>"), "mjml invalid: "),
            (with("<mj-text>{{ company|safe }}</mj-text>"), "mjml invalid: line 4: "),
            (with("<mj-text>{% autoescape false %}{{ company }}{% endautoescape %}</mj-text>"), "mjml not_escaped: "),
            (with("<mj-text>{{ 'x' * 95000 }}</mj-text>"), "mjml too_long: it comes to 9"),
            (GOOD.replace("{{ reply.text }}", ""), "mjml replies_missing: "),
            (with(&"x".repeat(MAX_MJML_BYTES)), "mjml too_long: it has 6"),
            (with("<mj-text>hi"), "mjml invalid: it is not one whole"),
            (String::new(), "mjml invalid: it is not one whole"),
        ] {
            let found = flaws(&source(&mjml));
            assert!(found.iter().any(|flaw| flaw.starts_with(says)), "{says}: {found:?}");
        }
        for (subject, says) in [
            ("{{ comp }}", "subject unknown_variable: line 1: "),
            ("", "subject empty: "),
            ("a\r\nBcc: x@y.example", "subject invalid: "),
            (&"x".repeat(201), "subject too_long: "),
            ("{{ subject }}", ""),
        ] {
            let found = flaws(&Source { subject: subject.into(), ..source(GOOD) });
            assert!(found.iter().any(|flaw| flaw.starts_with(says)), "{subject}: {found:?}");
        }
        for (text, says) in [("hello", "text replies_missing: "), ("{{ x }}", "text unknown_variable: line 1: ")] {
            let found = flaws(&Source { text: Some(text.into()), ..source(GOOD) });
            assert!(found.iter().any(|flaw| flaw.starts_with(says)), "{text}: {found:?}");
        }
        assert_eq!(flaws(&Source { subject: "x".repeat(200), ..source(GOOD) }), [""; 0]);
    }

    /// E1: a template that fails for one mail only costs that mail nothing: the built-in one stands in.
    #[test]
    fn e1_the_built_in_template_stands_in_for_one_that_fails() {
        let mjml = GOOD.replace("{{ company }}", "{% if company == 'Odd' %}{{ nothing }}{% endif %}");
        let template = OwnTemplate::checked(&source(&mjml), "en").map_err(|flaws| format!("{flaws:?}")).unwrap();
        let [_, _, email] = samples("en");
        assert_eq!(super::super::render_own(&email, &template).1, None);
        let odd = FollowupEmail { company: "Odd", ..email };
        let (rendered, unusable) = super::super::render_own(&odd, &template);
        assert_eq!(unusable, Some(Unusable("unknown_variable")));
        assert_eq!(rendered.subject, "New reply from Odd");
        assert!(rendered.html.contains(SAMPLE_REPLY));
        let many = "line\n".repeat(30_000);
        let long = FollowupEmail {
            replies: (0..20).map(|_| Reply { author: "Mina", text: &many, at_ms: 0 }).collect(),
            ..odd
        };
        let (rendered, unusable) = super::super::render_own(&FollowupEmail { company: "Shop", ..long }, &template);
        assert!(unusable.is_some_and(|Unusable(why)| ["too_long", "endless"].contains(&why)));
        assert!(rendered.html.contains("Mina"));
    }
}
