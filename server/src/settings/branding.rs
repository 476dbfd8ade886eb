//! How a company's emails look (E1).

use super::check::error;
use backstop_domain::color::{Color, MIN_CONTRAST, WHITE};
use backstop_wire::FieldError;
use lettre::Address;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MAX_URL_CHARS: usize = 2_048;
const MAX_FOOTER_CHARS: usize = 500;
const MAX_FOOTER_LINES: usize = 10;

/// What an email shows of the company beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Branding {
    /// An image instead of the company's name on top, 140 pixels wide; `https`, since mail clients show no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://shop.example/logo.png")]
    pub logo_url: Option<String>,
    /// Of the button and the line beside a reply, as `#rrggbb`. It has to stand out from white; what is written on it
    /// is black or white, whichever is read better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "#2f6fed")]
    pub color: Option<String>,
    /// What the law or the company wants below each email: at most 10 lines, 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
}

impl Branding {
    pub(super) fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.logo_url.as_deref().is_some_and(|url| !is_image_url(url)) {
            let message = "give a whole https URL without a user, such as https://shop.example/logo.png";
            errors.push(error("branding.logo_url", "invalid", message));
        }
        if let Some(color) = &self.color {
            errors.extend(color_problem(color));
        }
        if let Some(footer) = &self.footer {
            let is_strange = |c: char| c.is_control() && c != '\n';
            let (chars, lines) = (footer.chars().count(), footer.lines().count());
            if chars == 0 || chars > MAX_FOOTER_CHARS || lines > MAX_FOOTER_LINES || footer.contains(is_strange) {
                let message = format!(
                    "give 1 to {MAX_FOOTER_CHARS} characters in at most {MAX_FOOTER_LINES} lines, which \\n parts"
                );
                errors.push(error("branding.footer", "invalid", message));
            }
        }
        errors
    }
}

/// Whether a mail server takes it as an address without quotes and other alphabets.
pub(super) fn is_address(text: &str) -> bool {
    text.is_ascii() && !text.contains(|c: char| c.is_control() || c == '"') && text.parse::<Address>().is_ok()
}

fn color_problem(text: &str) -> Option<FieldError> {
    let Some(color) = Color::parse(text) else {
        return Some(error("branding.color", "invalid", "give # and six hexadecimal digits, such as #2f6fed"));
    };
    let contrast = color.contrast(WHITE);
    (contrast < MIN_CONTRAST).then(|| {
        let message = format!(
            "its contrast to white is {contrast:.2}, and a button needs {MIN_CONTRAST:.0} to be seen: give a darker one"
        );
        error("branding.color", "too_bright", message)
    })
}

fn is_image_url(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let is_bare = url.username().is_empty() && url.password().is_none() && url.host().is_some();
    let is_clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'<>".contains(c));
    url.scheme() == "https" && is_bare && is_clean && text.chars().count() <= MAX_URL_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(branding: &Branding) -> Vec<String> {
        branding.problems().into_iter().map(|error| format!("{} {}", error.field, error.code)).collect()
    }

    /// E1: both sides of each limit.
    #[test]
    fn e1_branding_is_checked_field_by_field() {
        let url = |path: usize| format!("https://shop.example/{}", "x".repeat(path - 21));
        for (logo, fits) in [
            (url(MAX_URL_CHARS), true),
            (url(MAX_URL_CHARS + 1), false),
            ("http://shop.example/l.png".into(), false),
            ("https://user:secret@shop.example/l.png".into(), false),
            ("https://shop.example/\"onerror=x".into(), false),
            ("data:image/png;base64,AAAA".into(), false),
            ("logo.png".into(), false),
            (String::new(), false),
        ] {
            let branding = Branding { logo_url: Some(logo.clone()), ..Branding::default() };
            assert_eq!(wrong(&branding).is_empty(), fits, "{logo}");
        }
        for (color, code) in [
            ("#2f6fed", None),
            ("#949494", None),
            ("#959595", Some("branding.color too_bright")),
            ("#ffffff", Some("branding.color too_bright")),
            ("blue", Some("branding.color invalid")),
            ("#2f6fed;x", Some("branding.color invalid")),
        ] {
            let branding = Branding { color: Some(color.into()), ..Branding::default() };
            assert_eq!(wrong(&branding).first().map(String::as_str), code, "{color}");
        }
        for (footer, fits) in [
            ("x".repeat(500), true),
            ("x".repeat(501), false),
            ("x\n".repeat(10), true),
            ("x\n".repeat(11), false),
            (String::new(), false),
            ("a\rb".into(), false),
            ("a\u{0}b".into(), false),
        ] {
            let branding = Branding { footer: Some(footer.clone()), ..Branding::default() };
            assert_eq!(wrong(&branding).is_empty(), fits, "{footer:?}");
        }
    }

    #[test]
    fn an_address_is_plain() {
        assert!(is_address("support@shop.example") && is_address("a.b+c@xn--hq1bm8jm9l.kr"));
        for wrong in
            ["", "support", "\"a b\"@shop.example", "a@b@c.example", "안녕@shop.example", "a@shop.example\r\nBcc: x"]
        {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
