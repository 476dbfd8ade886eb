//! A workspace's templates: what the API takes and shows of them.

use crate::store::EmailTemplateRow;
use crate::templates::{self, Flaw, FollowupEmail, OwnTemplate, Reply, Source, Unusable};
use crate::workspace::Workspace;
use backstop_wire::FieldError;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Templates of a workspace.
pub const MAX_TEMPLATES: usize = 20;
const MAX_LOCALE_CHARS: usize = 35;
/// 2026-11-22 18:00 UTC, when the sample customer was away.
const SAMPLE_AT_MS: i64 = 1_795_370_400_000;

/// A template of the email of a follow-up.
///
/// It is MJML with variables between `{{` and `}}`, and loops and conditions between `{%` and `%}` (Jinja). Between
/// MJML's elements these stand in `<mj-raw>`. There are `company`, `customer_name`, `lang`, `replies` (each with
/// `author`, `at`, `text` and `lines`), `earlier` (how many replies are not shown), `link`, `preview`, `subject`
/// (not in the subject), `brand` (`logo_url`, `color`, `letters`, `color_on_dark`, `letters_on_dark`, and the lines
/// of `footer`) and `words` in the customer's language (`greeting`, `intro`, `earlier`, `button`, `reason`, and
/// `marker`, the line above which an answer is read, to be put on top). What is unknown is empty: `{% if link %}`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailTemplateInput {
    /// One line, at most 200 characters; what it comes to is cut at 120.
    #[schema(example = "{{ company }}: new reply", max_length = 200)]
    pub subject: String,
    /// At most 64 KiB.
    pub mjml: String,
    /// The plain text for those who read no HTML, at most 32 KiB; absent = the built-in one.
    #[serde(default)]
    pub text: Option<String>,
}

/// A template as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EmailTemplateView {
    /// Of the customers it is for; a language alone serves all its countries.
    #[schema(example = "ko")]
    pub locale: String,
    /// See the body of PUT.
    pub subject: String,
    /// See the body of PUT.
    pub mjml: String,
    /// See the body of PUT.
    pub text: Option<String>,
    /// When it was first put.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// An email that is not sent.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EmailPreview {
    /// Whose template it is.
    pub source: PreviewSource,
    /// One line.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The plain text.
    pub text: String,
    /// What of the template MJML does not know and leaves out.
    pub warnings: Vec<String>,
}

/// Whose template a preview is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreviewSource {
    /// The one in the body.
    Given,
    /// The workspace's.
    Own,
    /// Backstop's.
    BuiltIn,
}

/// Which email to show; `{}` = the one that an English customer would get.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailPreviewInput {
    /// The sample customer's language.
    #[serde(default)]
    #[schema(example = "ko")]
    pub locale: Option<String>,
    /// Of a template that is not kept; together with `mjml`.
    #[serde(default)]
    pub subject: Option<String>,
    /// Of a template that is not kept; together with `subject`.
    #[serde(default)]
    pub mjml: Option<String>,
    /// Of a template that is not kept.
    #[serde(default)]
    pub text: Option<String>,
}

/// The email that this asks for, for a customer who does not exist.
pub fn preview(input: &EmailPreviewInput, workspace: &Workspace) -> Result<EmailPreview, Vec<FieldError>> {
    let wrong = |field: &str, code: &str, message: &str| {
        vec![FieldError { field: field.into(), code: code.into(), message: message.into() }]
    };
    let locale = input.locale.as_deref().unwrap_or("en");
    let locale = canonical(locale).ok_or_else(|| wrong("locale", "invalid", "give a language such as ko or pt-BR"))?;
    let (source, template) = match (&input.subject, &input.mjml) {
        (Some(subject), Some(mjml)) => {
            let source = Source { subject: subject.clone(), mjml: mjml.clone(), text: input.text.clone() };
            (PreviewSource::Given, Some(Arc::new(check(&source, &locale)?)))
        }
        (None, None) if input.text.is_none() => match workspace.mail.template(Some(&locale)) {
            Some(own) => (PreviewSource::Own, Some(own)),
            None => (PreviewSource::BuiltIn, None),
        },
        (None, _) => return Err(wrong("subject", "missing", "a template has a subject: give it beside mjml")),
        (Some(_), None) => return Err(wrong("mjml", "missing", "a template has MJML: give it beside subject")),
    };
    let branding = workspace.settings.branding.clone().unwrap_or_default();
    let email = FollowupEmail {
        company: workspace.display_name(),
        customer_name: Some("Hana Kim"),
        locale: Some(&locale),
        replies: vec![
            Reply { author: "Mina", text: "Hello! Let me look that up.", at_ms: SAMPLE_AT_MS },
            Reply {
                author: "Mina",
                text: "Your parcel left today.\nIt arrives tomorrow.",
                at_ms: SAMPLE_AT_MS + 60_000,
            },
        ],
        link: Some("https://example.com/chat"),
        branding: &branding,
        marker: None,
    };
    let warnings = template.as_ref().map(|template| template.warnings.clone()).unwrap_or_default();
    let rendered = match template {
        Some(template) => match templates::render_own(&email, &template) {
            (rendered, None) => rendered,
            (_, Some(Unusable(reason))) => {
                let field = if reason == "subject_empty" { "subject" } else { "mjml" };
                let message = "it cannot be rendered for this customer, who would get the built-in mail: look at what \
                               stands in conditions and loops";
                return Err(wrong(field, reason, message));
            }
        },
        None => templates::render(&email),
    };
    let templates::Rendered { subject, html, text } = rendered;
    Ok(EmailPreview { source, subject, html, text, warnings })
}

impl EmailTemplateInput {
    /// What the template engine takes.
    pub fn source(self) -> Source {
        Source { subject: self.subject, mjml: self.mjml, text: self.text }
    }
}

impl EmailTemplateView {
    /// Of this row.
    pub fn new(row: &EmailTemplateRow) -> EmailTemplateView {
        EmailTemplateView {
            locale: row.locale.clone(),
            subject: row.subject.clone(),
            mjml: row.mjml.clone(),
            text: row.text.clone(),
            created_at: to_rfc3339(row.created_at),
            updated_at: to_rfc3339(row.updated_at),
        }
    }
}

/// Checks a template whole. Takes a while: not for a thread that answers others.
pub fn check(source: &Source, locale: &str) -> Result<OwnTemplate, Vec<FieldError>> {
    let error = |flaw: Flaw| FieldError { field: flaw.field.into(), code: flaw.code.into(), message: flaw.message };
    OwnTemplate::checked(source, locale).map_err(|flaws| flaws.into_iter().map(error).collect())
}

/// A locale in its one spelling, such as `ko`, `pt-BR` or `zh-Hant-TW`; `None` = it is none.
pub fn canonical(locale: &str) -> Option<String> {
    let parts: Vec<&str> = locale.split(['-', '_']).collect();
    let is_word = |part: &&str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_language = (2..=3).contains(&parts[0].len()) && parts[0].bytes().all(|b| b.is_ascii_alphabetic());
    if locale.len() > MAX_LOCALE_CHARS || !is_language || !parts[1..].iter().all(is_word) {
        return None;
    }
    let spelled = parts.iter().enumerate().map(|(at, part)| match (at, part.len()) {
        (1.., 2) => part.to_ascii_uppercase(),
        (1.., 4) if part.bytes().all(|b| b.is_ascii_alphabetic()) => {
            part[..1].to_ascii_uppercase() + &part[1..].to_ascii_lowercase()
        }
        _ => part.to_ascii_lowercase(),
    });
    Some(spelled.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_has_one_spelling() {
        for (given, spelled) in [
            ("ko", Some("ko")),
            ("KO_kr", Some("ko-KR")),
            ("ZH-hant-tw", Some("zh-Hant-TW")),
            ("de-1996", Some("de-1996")),
            ("fil", Some("fil")),
            ("", None),
            ("k", None),
            ("korean", None),
            ("ko-", None),
            ("ko-K R", None),
            ("../en", None),
        ] {
            assert_eq!(canonical(given).as_deref(), spelled, "{given}");
        }
        assert_eq!(canonical(&format!("ko{}", "-abcdefgh".repeat(4))), None);
    }
}
