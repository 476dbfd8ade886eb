//! What is wrong with a template, found when it is stored rather than by Kakao's refusals.

use super::piece::{Piece, Syntax, is_name, pieces};
use super::{MAX_BUTTON_NAME_CHARS, MAX_BUTTONS, MAX_CHARS, MAX_URL_CHARS, Template, Variable, length};
use std::collections::BTreeSet;

/// Kakao's bound for one template.
const MAX_VARIABLES: usize = 40;
/// What Solapi documents for a button's address (code 1048), where Kakao takes more.
const RELAY_URL_CHARS: usize = 100;
/// Words of advertising: Alimtalk is for information alone, and Kakao stops a channel that advertises by it.
const ADVERTS: &[&str] = &[
    "광고",
    "할인",
    "쿠폰",
    "특가",
    "세일",
    "이벤트",
    "프로모션",
    "사은품",
    "당첨",
    "경품",
    "최저가",
    "적립금",
    "discount",
    "coupon",
    "promotion",
    "free gift",
];

/// Something to know about a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The field of the template that it is about.
    pub field: String,
    /// Stable code.
    pub code: &'static str,
    /// What is wrong, and the mend.
    pub message: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It cannot work.
    Error,
    /// It can.
    Warning,
}

/// All that is to be said about a template; no error among it = it can be used.
pub fn lint(template: &Template) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    content(template, &mut used, &mut found);
    buttons(template, &mut used, &mut found);
    variables(template, &used, &mut found);
    found
}

fn error(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Finding {
    Finding { level: Level::Error, field: field.into(), code, message: message.into() }
}

fn warning(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, ..error(field, code, message) }
}

fn content<'t>(template: &'t Template, used: &mut BTreeSet<&'t str>, found: &mut Vec<Finding>) {
    let content = template.content.as_str();
    if content.trim().is_empty() {
        found.push(error("content", "required", "give the text as Kakao approved it"));
        return;
    }
    let pieces = match pieces(content) {
        Ok(pieces) => pieces,
        Err(syntax) => {
            found.push(syntax.finding("content"));
            return;
        }
    };
    used.extend(pieces.iter().filter_map(Piece::variable));
    let fixed = |piece: &Piece<'_>| if let Piece::Text(text) = piece { text.to_string() } else { String::new() };
    let fixed: String = pieces.iter().map(fixed).collect();
    if !fixed.chars().any(char::is_alphanumeric) {
        let message = "nothing but variables: Kakao approves no such template; give the text as it was approved";
        found.push(error("content", "only_variables", message));
    }
    lengths(template, &pieces, length(&fixed), found);
    let lower = content.to_lowercase();
    for word in ADVERTS.iter().filter(|word| lower.contains(**word)) {
        let message =
            format!("\"{word}\" is a word of advertising, which Alimtalk must not carry: Kakao may refuse it");
        found.push(warning("content", "advert", message));
    }
    for strange in ["${", "{{", "＃{"].into_iter().filter(|strange| content.contains(strange)) {
        let message = format!("\"{strange}\" stays as it is: a variable is written #{{name}}");
        found.push(warning("content", "not_a_variable", message));
    }
}

/// The excerpt takes what room is left, the others take theirs.
fn lengths(template: &Template, pieces: &[Piece<'_>], fixed: usize, found: &mut Vec<Finding>) {
    let values = || pieces.iter().filter_map(Piece::variable).map(|name| template.variables.get(name));
    let least = fixed + values().count();
    let most = fixed + values().map(|variable| variable.map_or(1, Variable::max_chars)).sum::<usize>();
    if least > MAX_CHARS {
        let message = format!("takes at least {least} characters: Alimtalk carries {MAX_CHARS}");
        found.push(error("content", "too_long", message));
    } else if most > MAX_CHARS {
        let message = format!("takes up to {most} characters with long names: beyond {MAX_CHARS} a text goes by SMS");
        found.push(warning("content", "may_be_too_long", message));
    }
}

fn buttons<'t>(template: &'t Template, used: &mut BTreeSet<&'t str>, found: &mut Vec<Finding>) {
    if template.buttons.len() > MAX_BUTTONS {
        let message = format!("{} buttons: Alimtalk has {MAX_BUTTONS} at most", template.buttons.len());
        found.push(error("buttons", "too_many", message));
    }
    for (at, button) in template.buttons.iter().enumerate() {
        let chars = length(&button.name);
        let name_is_fine = (1..=MAX_BUTTON_NAME_CHARS).contains(&chars) && !button.name.contains(char::is_control);
        if !name_is_fine || button.name.trim().is_empty() {
            let message = format!("give 1 to {MAX_BUTTON_NAME_CHARS} characters, as approved");
            found.push(error(format!("buttons[{at}].name"), "invalid", message));
        } else if button.name.contains("#{") {
            let message = "variables are for its url: write the name out";
            found.push(error(format!("buttons[{at}].name"), "invalid", message));
        }
        let field = format!("buttons[{at}].url");
        match pieces(&button.url) {
            Ok(pieces) => {
                used.extend(pieces.iter().filter_map(Piece::variable));
                url(&field, template, &pieces, found);
            }
            Err(syntax) => found.push(syntax.finding(&field)),
        }
    }
}

/// Scheme first, written out, as Kakao approves it.
fn url(field: &str, template: &Template, pieces: &[Piece<'_>], found: &mut Vec<Finding>) {
    let begins = match pieces.first() {
        Some(Piece::Text(text)) => *text,
        _ => "",
    };
    let scheme = ["https://", "http://"].into_iter().find(|scheme| begins.starts_with(scheme));
    let fixed = pieces.iter().map(|piece| if let Piece::Text(text) = piece { length(text) } else { 0 }).sum::<usize>();
    let Some(scheme) = scheme else {
        let message = "begin with https:// as approved: a variable may only follow it, such as https://#{link}";
        found.push(error(field, "invalid", message));
        return;
    };
    if fixed > MAX_URL_CHARS || begins.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("give an address of at most {MAX_URL_CHARS} characters without spaces");
        found.push(error(field, "invalid", message));
    } else if fixed > RELAY_URL_CHARS {
        let message = format!("is longer than {RELAY_URL_CHARS} characters: Solapi may refuse it (1048)");
        found.push(warning(field, "long_url", message));
    }
    // What a variable begins with is decided by what stands before it.
    let expected = if begins == scheme { "link_without_scheme" } else { "link_path" };
    for name in pieces.iter().skip(1).filter_map(Piece::variable).filter(|name| template.is_link(name)) {
        let from = template.variables.get(name).and_then(|variable| variable.from).map_or("", |from| from.as_str());
        if from != expected {
            let message = format!("{name:?} stands after {begins:?}: take its value from {expected}, not from {from}");
            found.push(error(format!("variables.{name}"), "wrong_link", message));
        }
    }
}

fn variables(template: &Template, used: &BTreeSet<&str>, found: &mut Vec<Finding>) {
    if used.len() > MAX_VARIABLES {
        let message = format!("{} variables: Alimtalk has {MAX_VARIABLES} at most", used.len());
        found.push(error("content", "too_many_variables", message));
    }
    for name in used.iter().filter(|name| !template.variables.contains_key(**name)) {
        let message = format!("say what stands for #{{{name}}}: give it \"from\" or \"text\"");
        found.push(error(format!("variables.{name}"), "required", message));
    }
    for (name, variable) in &template.variables {
        let field = format!("variables.{name}");
        if !is_name(name) {
            found.push(error(field, "invalid", "give the name that stands between #{ and }, without a point"));
        } else if let Some(message) = variable.problem() {
            found.push(error(field, "invalid", message));
        } else if !used.contains(name.as_str()) {
            found.push(warning(field, "unused", "no such variable is in the template: look at its spelling"));
        }
    }
    let leads_on = |name: &&str| template.is_link(name);
    if !used.iter().any(leads_on) {
        let message = "no variable leads to the conversation: take one from link, link_without_scheme or link_path";
        found.push(warning("variables", "no_link", message));
    }
}

impl Variable {
    fn problem(&self) -> Option<&'static str> {
        let text = self.text.as_deref();
        match (self.from, text) {
            (None, None) => {
                Some("give \"from\", \"text\", or both: then the text stands in where the other is unknown")
            }
            (_, Some(text)) if text.trim().is_empty() => Some("an empty text is refused by Kakao: leave it out"),
            (_, Some(text)) if length(text) > MAX_CHARS || text.contains("#{") => {
                Some("give a text of at most 1000 characters without a variable in it")
            }
            (_, Some(text)) if text.contains(char::is_control) => Some("give one line"),
            _ => None,
        }
    }

    fn max_chars(&self) -> usize {
        let of_text = self.text.as_deref().map_or(0, length);
        self.from.map_or(0, super::Field::max_chars).max(of_text).max(1)
    }
}

impl Syntax {
    fn finding(&self, field: &str) -> Finding {
        match self {
            Syntax::Unclosed(at) => {
                error(field, "unclosed_variable", format!("the variable at character {at} has no }} in its line"))
            }
            Syntax::Name(name) => {
                let message =
                    format!("{name:?} is no name of a variable: up to 64 characters without points or braces");
                error(field, "bad_variable", message)
            }
        }
    }
}
