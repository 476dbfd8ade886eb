//! What a template becomes with values that the caller makes up.

use backstop_domain::text::alimtalk::{Mismatch, Template, Values, render};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Values to fill a template in with; what is left out is as in an answer to a customer of whom nothing is known.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlimtalkPreviewInput)]
pub struct PreviewInput {
    /// The customer's name.
    #[serde(default)]
    #[schema(example = "김하나")]
    pub customer_name: Option<String>,
    /// Who answered; absent = the company.
    #[serde(default)]
    #[schema(example = "미나")]
    pub author: Option<String>,
    /// The answer; absent = that there is one.
    #[serde(default)]
    #[schema(example = "내일 도착합니다.")]
    pub text: Option<String>,
    /// Where the conversation goes on; absent = a short link as texts have it.
    #[serde(default)]
    #[schema(example = "https://shop.example/chat/1")]
    pub link: Option<String>,
}

/// A template, filled in; or why Kakao would not take it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AlimtalkPreview)]
pub struct PreviewView {
    /// Whether it would be sent; if not, the text goes by XMS.
    pub matches: bool,
    /// Why not: `malformed`, `variable_missing`, `too_long`, `bad_url`, `leads_elsewhere`.
    pub why: Option<&'static str>,
    /// The field that it is about.
    pub field: Option<String>,
    /// What the customer reads.
    pub text: Option<String>,
    /// As Kakao counts them, of 1,000.
    pub chars: Option<usize>,
    /// What they can tap: labels, and where they lead.
    pub buttons: Vec<super::ButtonInput>,
    /// What stands for each variable.
    pub variables: BTreeMap<String, String>,
}

/// Fills the template in.
pub fn preview(template: &Template, values: &Values<'_>) -> PreviewView {
    match render(template, values) {
        Ok(filled) => PreviewView {
            matches: true,
            why: None,
            field: None,
            chars: Some(filled.text.encode_utf16().count()),
            text: Some(filled.text),
            buttons: filled
                .buttons
                .into_iter()
                .map(|button| super::ButtonInput { name: button.name, url: button.url })
                .collect(),
            variables: filled.variables,
        },
        Err(mismatch) => PreviewView {
            matches: false,
            why: Some(mismatch.word()),
            field: Some(field(&mismatch)),
            text: None,
            chars: None,
            buttons: Vec::new(),
            variables: BTreeMap::new(),
        },
    }
}

fn field(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Malformed | Mismatch::TooLong => "content".into(),
        Mismatch::Missing(name) => format!("variables.{name}"),
        Mismatch::Url(at) | Mismatch::LeadsElsewhere(at) => format!("buttons[{at}].url"),
    }
}
