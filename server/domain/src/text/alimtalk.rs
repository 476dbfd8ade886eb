//! Alimtalk templates: filled in only where Kakao approved a variable, and refused here where it would refuse (T3).
//!
//! Kakao compares what is sent with what it approved: anything else is refused by a report, minutes later and for every
//! customer. So a template is read, linted when it is stored, and checked again with the values of each text.

mod lint;
mod piece;
#[cfg(test)]
mod tests;

pub use lint::{Finding, Level, lint};

use piece::{Piece, pieces};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use unicode_segmentation::UnicodeSegmentation as _;

/// Of the text with its values, as Kakao counts: UTF-16 units, Hangul and Latin alike.
pub const MAX_CHARS: usize = 1_000;
/// Of one template.
pub const MAX_BUTTONS: usize = 5;
/// Of what is written on a button.
pub const MAX_BUTTON_NAME_CHARS: usize = 14;
/// Of what a button leads to, with its values.
pub const MAX_URL_CHARS: usize = 500;
/// Of what is shown of a reply: a notice that it is there, not the reply.
const MAX_EXCERPT_CHARS: usize = 200;
/// Of a name: what is longer is cut.
const MAX_NAME_CHARS: usize = 100;

/// A template as Kakao approved it, and what stands for its variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The approved text, with its variables as `#{name}`.
    pub content: String,
    /// Below it.
    pub buttons: Vec<Button>,
    /// By their names, without `#{}`.
    pub variables: BTreeMap<String, Variable>,
}

/// Something to tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What is written on it.
    pub name: String,
    /// Where it leads on a phone; may hold variables.
    pub url: String,
}

/// What stands for a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// What of a follow-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Field>,
    /// What stands there where that is unknown, or always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What of a follow-up can stand for a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The company's name.
    Company,
    /// The customer's name.
    CustomerName,
    /// Who answered.
    Author,
    /// The beginning of the answer; where texts show none (S10), that there is one.
    Excerpt,
    /// Where the conversation goes on.
    Link,
    /// The same, without `https://`: Kakao approves buttons whose scheme is written out.
    LinkWithoutScheme,
    /// The same, without scheme and host: for buttons whose host is written out, too.
    LinkPath,
}

/// What a follow-up says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values<'a> {
    /// The company's name.
    pub company: &'a str,
    /// The customer's name.
    pub customer_name: Option<&'a str>,
    /// Who answered.
    pub author: Option<&'a str>,
    /// What is shown of the answer.
    pub excerpt: Option<&'a str>,
    /// Where the conversation goes on.
    pub link: Option<&'a str>,
}

/// A template, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What the customer reads.
    pub text: String,
    /// What they can tap.
    pub buttons: Vec<Button>,
    /// What stands for each variable, by its name.
    pub variables: BTreeMap<String, String>,
}

/// Why Kakao would not take it, or the customer could not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The template itself cannot be read.
    Malformed,
    /// Nothing stands for this variable.
    Missing(String),
    /// Longer than [`MAX_CHARS`] with its values.
    TooLong,
    /// A button's address is none: its number, from 0.
    Url(usize),
    /// A button leads elsewhere than to the conversation: its number, from 0.
    LeadsElsewhere(usize),
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 7] = [
        Field::Company,
        Field::CustomerName,
        Field::Author,
        Field::Excerpt,
        Field::Link,
        Field::LinkWithoutScheme,
        Field::LinkPath,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Company => "company",
            Field::CustomerName => "customer_name",
            Field::Author => "author",
            Field::Excerpt => "excerpt",
            Field::Link => "link",
            Field::LinkWithoutScheme => "link_without_scheme",
            Field::LinkPath => "link_path",
        }
    }

    /// The field of this word.
    pub fn parse(word: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.as_str() == word)
    }

    fn is_link(self) -> bool {
        matches!(self, Field::Link | Field::LinkWithoutScheme | Field::LinkPath)
    }

    /// The longest that it becomes; the excerpt takes what room there is.
    fn max_chars(self) -> usize {
        match self {
            Field::Company | Field::CustomerName | Field::Author | Field::Link => MAX_NAME_CHARS,
            Field::LinkWithoutScheme | Field::LinkPath => MAX_NAME_CHARS,
            Field::Excerpt => 1,
        }
    }

    fn of(self, values: &Values<'_>) -> Option<String> {
        let without_scheme = || values.link.and_then(|link| link.split_once("://")).map(|(_, rest)| rest);
        match self {
            Field::Company => Some(short(values.company, MAX_NAME_CHARS)),
            Field::CustomerName => values.customer_name.map(|name| short(name, MAX_NAME_CHARS)),
            Field::Author => values.author.map(|name| short(name, MAX_NAME_CHARS)),
            Field::Excerpt => values.excerpt.map(|text| short(text, MAX_EXCERPT_CHARS)),
            Field::Link => values.link.map(str::to_owned),
            Field::LinkWithoutScheme => without_scheme().map(str::to_owned),
            Field::LinkPath => without_scheme()?.split_once('/').map(|(_, path)| path.to_owned()),
        }
    }
}

impl Mismatch {
    /// Stable word, for the why-log (S7).
    pub fn word(&self) -> &'static str {
        match self {
            Mismatch::Malformed => "malformed",
            Mismatch::Missing(_) => "variable_missing",
            Mismatch::TooLong => "too_long",
            Mismatch::Url(_) => "bad_url",
            Mismatch::LeadsElsewhere(_) => "leads_elsewhere",
        }
    }
}

/// What the customer would get. The approved text is unchanged but for its variables; an excerpt takes what room the
/// rest leaves.
pub fn render(template: &Template, values: &Values<'_>) -> Result<Rendered, Mismatch> {
    let content = pieces(&template.content).map_err(|_| Mismatch::Malformed)?;
    let urls = template.buttons.iter().map(|button| pieces(&button.url)).collect::<Result<Vec<_>, _>>();
    let urls = urls.map_err(|_| Mismatch::Malformed)?;
    let mut variables = BTreeMap::new();
    for name in content.iter().chain(urls.iter().flatten()).filter_map(Piece::variable) {
        let missing = || Mismatch::Missing(name.to_owned());
        let variable = template.variables.get(name).ok_or_else(missing)?;
        variables.insert(name.to_owned(), variable.value(values).ok_or_else(missing)?);
    }
    shorten_excerpts(template, &content, &mut variables)?;
    let text = fill(&content, &variables);
    if length(&text) > MAX_CHARS {
        return Err(Mismatch::TooLong);
    }
    let mut buttons = Vec::new();
    for (at, (button, url)) in template.buttons.iter().zip(&urls).enumerate() {
        let filled = fill(url, &variables);
        if !is_web_address(&filled) {
            return Err(Mismatch::Url(at));
        }
        let leads_on = url.iter().filter_map(Piece::variable).any(|name| template.is_link(name));
        if leads_on && !values.link.is_some_and(|link| filled.starts_with(link)) {
            return Err(Mismatch::LeadsElsewhere(at));
        }
        buttons.push(Button { name: button.name.clone(), url: filled });
    }
    Ok(Rendered { text, buttons, variables })
}

impl Template {
    fn is_link(&self, variable: &str) -> bool {
        self.variables.get(variable).and_then(|variable| variable.from).is_some_and(Field::is_link)
    }

    fn is_excerpt(&self, variable: &str) -> bool {
        self.variables.get(variable).is_some_and(|variable| variable.from == Some(Field::Excerpt))
    }
}

impl Variable {
    /// `None` = nothing stands for it: Kakao takes no empty value.
    fn value(&self, values: &Values<'_>) -> Option<String> {
        let given = self.from.and_then(|field| field.of(values)).map(|value| one_line(&value));
        let instead = || self.text.as_deref().map(one_line);
        given.filter(|value| !value.is_empty()).or_else(instead).filter(|value| !value.is_empty())
    }
}

/// Cuts what is shown of the reply so that all of it fits.
fn shorten_excerpts(
    template: &Template,
    content: &[Piece<'_>],
    variables: &mut BTreeMap<String, String>,
) -> Result<(), Mismatch> {
    let over = length(&fill(content, variables)).saturating_sub(MAX_CHARS);
    let shown: Vec<&str> =
        content.iter().filter_map(Piece::variable).filter(|name| template.is_excerpt(name)).collect();
    if over == 0 || shown.is_empty() {
        return Ok(());
    }
    let each = over.div_ceil(shown.len());
    for name in shown.into_iter().collect::<BTreeSet<_>>() {
        let Some(value) = variables.get_mut(name) else { continue };
        let room = length(value).checked_sub(each).filter(|room| *room > 0).ok_or(Mismatch::TooLong)?;
        *value = short(value, room);
    }
    Ok(())
}

fn fill(pieces: &[Piece<'_>], variables: &BTreeMap<String, String>) -> String {
    let of = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => (*text).to_owned(),
        Piece::Variable(name) => variables.get(*name).cloned().unwrap_or_default(),
    };
    pieces.iter().map(of).collect()
}

/// As Kakao counts: what is two units in UTF-16 counts as two.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// At most so long, cut between graphemes.
fn short(text: &str, max: usize) -> String {
    if length(text) <= max {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for grapheme in text.graphemes(true) {
        used += length(grapheme);
        if used > max {
            break;
        }
        cut.push_str(grapheme);
    }
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// A value is one line, and brings no variable of its own: the relay fills in once more.
fn one_line(value: &str) -> String {
    let words: Vec<&str> =
        value.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").replace("#{", "# {")
}

/// Something a phone's browser can open.
fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'@'));
    plain && host.len() >= 3 && !host.contains("//") && length(url) <= MAX_URL_CHARS
}
