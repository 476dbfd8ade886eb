//! A workspace's Alimtalk templates: what the API takes and shows of them, how they are kept, which one is in use (T3).

mod preview;

pub use preview::{PreviewInput, PreviewView, preview};

use crate::store::{AlimtalkRow, StoreError, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::text::alimtalk::{Button, Field, Finding, Level, Template, Variable, lint};
use backstop_wire::FieldError;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Templates of a workspace.
pub const MAX_TEMPLATES: usize = 50;
/// Far more than a template that Kakao takes; what is longer is not looked at.
const MAX_CONTENT_BYTES: usize = 16 * 1024;
const MAX_LISTED: usize = 50;
const MAX_PROFILE_CHARS: usize = 100;

/// A template as Kakao approved it; full replacement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlimtalkTemplateInput)]
pub struct TemplateInput {
    /// The relay's id of the company's Kakao channel (Solapi: `pfId`).
    #[schema(example = "KA01PF260101000000000000000000shop")]
    pub sender_profile: String,
    /// The approved text, letter by letter, with its variables as `#{name}`.
    #[schema(example = "[#{회사}] #{고객명}님, 새 답변이 도착했습니다.\n\n#{답변}")]
    pub content: String,
    /// Web links below it, in their approved order.
    #[serde(default)]
    #[schema(max_items = 5)]
    pub buttons: Vec<ButtonInput>,
    /// What stands for each variable, by its name without `#{}`.
    #[serde(default)]
    pub variables: BTreeMap<String, VariableInput>,
    /// Whether it may be used.
    #[serde(default)]
    pub status: TemplateStatus,
    /// Whether it goes before the others: of several that are active, the default one is used, then the one that
    /// changed last.
    #[serde(default)]
    pub default: bool,
}

/// Something to tap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlimtalkButton)]
pub struct ButtonInput {
    /// What is written on it, at most 14 characters.
    #[schema(example = "답변 확인하기")]
    pub name: String,
    /// Where it leads (`linkMo`); may hold variables after its scheme.
    #[schema(example = "https://#{링크}")]
    pub url: String,
}

/// What stands for a variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlimtalkVariable)]
pub struct VariableInput {
    /// What of the follow-up: `company`, `customer_name`, `author`, `excerpt` (the beginning of the answer; where
    /// `text_content` is `link_only`, that there is one), `link`, `link_without_scheme` (for `https://#{…}`) or
    /// `link_path` (for `https://your.host/#{…}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "customer_name")]
    pub from: Option<Field>,
    /// What stands there where that is unknown, or always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "고객")]
    pub text: Option<String>,
}

/// Whether a template may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlimtalkStatus)]
pub enum TemplateStatus {
    /// It may.
    #[default]
    Active,
    /// Texts go by XMS, or by another template.
    Paused,
}

/// A template as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AlimtalkTemplate)]
pub struct TemplateView {
    /// The relay's id of it.
    pub template_id: String,
    /// The relay's id of the company's Kakao channel.
    pub sender_profile: String,
    /// The approved text.
    pub content: String,
    /// Web links below it.
    pub buttons: Vec<ButtonInput>,
    /// What stands for each variable.
    pub variables: BTreeMap<String, VariableInput>,
    /// Whether it may be used.
    pub status: TemplateStatus,
    /// Whether it goes before the others.
    pub default: bool,
    /// Whether texts are made by it now: one at most is.
    pub in_use: bool,
    /// What the linter has to say.
    pub findings: Vec<FindingView>,
    /// When it was first put.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Something to know about a template.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AlimtalkFinding)]
pub struct FindingView {
    /// `error`: it cannot work, and is not taken. `warning`: look at it.
    #[schema(example = "warning")]
    pub level: &'static str,
    /// The field that it is about.
    #[schema(example = "content")]
    pub field: String,
    /// Stable code.
    #[schema(example = "advert")]
    pub code: &'static str,
    /// What is wrong, and the mend.
    pub message: String,
}

/// The answer of the linter.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AlimtalkLint)]
pub struct LintView {
    /// Whether it would be taken.
    pub usable: bool,
    /// Errors and warnings.
    pub findings: Vec<FindingView>,
}

/// The templates of a workspace, read. Replaced whole when one of them changes.
#[derive(Default)]
pub struct Templates {
    rows: Vec<AlimtalkRow>,
    inputs: Vec<TemplateInput>,
    /// As the rules take the one that is in use.
    current: Option<InUse>,
}

/// The template that texts are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The relay's id of it.
    pub template_id: String,
    /// The relay's id of the company's channel.
    pub sender_profile: String,
    /// What Kakao approved.
    pub template: Template,
}

impl Templates {
    /// Reads what is stored.
    pub fn open(rows: Vec<AlimtalkRow>) -> Result<Templates, StoreError> {
        let read = |row: &AlimtalkRow| serde_json::from_str(&row.config).map_err(|_| corrupt(row.workspace));
        let inputs = rows.iter().map(read).collect::<Result<Vec<TemplateInput>, _>>()?;
        let mut templates = Templates { rows, inputs, current: None };
        templates.current = templates.position_in_use().map(|at| InUse {
            template_id: templates.rows[at].template_id.clone(),
            sender_profile: templates.inputs[at].sender_profile.clone(),
            template: templates.inputs[at].template(),
        });
        Ok(templates)
    }

    /// As stored: tells whether anything changed.
    pub fn rows(&self) -> &[AlimtalkRow] {
        &self.rows
    }

    /// The one that texts are made by.
    pub fn in_use(&self) -> Option<&InUse> {
        self.current.as_ref()
    }

    /// All of them as the API shows them.
    pub fn views(&self) -> Vec<TemplateView> {
        (0..self.rows.len()).map(|at| self.view_at(at)).collect()
    }

    /// One of them.
    pub fn view(&self, template_id: &str) -> Option<TemplateView> {
        self.position(template_id).map(|at| self.view_at(at))
    }

    /// One of them, as the rules take it.
    pub fn template(&self, template_id: &str) -> Option<Template> {
        self.position(template_id).map(|at| self.inputs[at].template())
    }

    fn position(&self, template_id: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.template_id == template_id)
    }

    fn position_in_use(&self) -> Option<usize> {
        let active = (0..self.rows.len()).filter(|at| self.inputs[*at].status == TemplateStatus::Active);
        active.max_by_key(|at| (self.inputs[*at].default, self.rows[*at].updated_at, std::cmp::Reverse(*at)))
    }

    fn view_at(&self, at: usize) -> TemplateView {
        let (row, input) = (&self.rows[at], &self.inputs[at]);
        TemplateView {
            template_id: row.template_id.clone(),
            sender_profile: input.sender_profile.clone(),
            content: input.content.clone(),
            buttons: input.buttons.clone(),
            variables: input.variables.clone(),
            status: input.status,
            default: input.default,
            in_use: self.current.as_ref().is_some_and(|current| current.template_id == row.template_id),
            findings: input.findings().into_iter().map(FindingView::from).collect(),
            created_at: to_rfc3339(row.created_at),
            updated_at: to_rfc3339(row.updated_at),
        }
    }
}

/// What a PUT comes to.
pub enum Planned {
    /// All that is wrong with it.
    Invalid(Vec<FieldError>),
    /// It says what is stored already.
    Same,
    /// This row takes the place of the one before.
    Put(AlimtalkRow),
}

/// What the template `template_id` becomes by `input`, beside the others of its workspace.
pub fn plan(
    (workspace, template_id): (WorkspaceId, &str),
    input: &TemplateInput,
    rows: &[AlimtalkRow],
    now: Ms,
) -> Result<Planned, StoreError> {
    let mut errors: Vec<FieldError> =
        input.findings().into_iter().filter(|found| found.level == Level::Error).map(problem).collect();
    let known = rows.iter().find(|row| row.template_id == template_id);
    if known.is_none() && rows.len() >= MAX_TEMPLATES {
        let message = format!("a workspace has at most {MAX_TEMPLATES} templates: delete one first");
        errors.push(FieldError { field: "template_id".into(), code: "too_many".into(), message });
    }
    if !errors.is_empty() {
        return Ok(Planned::Invalid(errors));
    }
    let config = serde_json::to_string(input).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if known.is_some_and(|row| row.config == config) {
        return Ok(Planned::Same);
    }
    Ok(Planned::Put(AlimtalkRow {
        workspace,
        template_id: template_id.to_owned(),
        config,
        created_at: known.map_or(now, |row| row.created_at),
        updated_at: now,
    }))
}

/// What the audit log says of a template: which it is, and whether it may be used from now on.
pub fn told(template_id: &str, input: &TemplateInput) -> Value {
    json!({ "template_id": template_id, "status": input.status, "default": input.default })
}

impl TemplateInput {
    /// As the rules take it.
    pub fn template(&self) -> Template {
        let button = |button: &ButtonInput| Button { name: button.name.clone(), url: button.url.clone() };
        let variable = |variable: &VariableInput| Variable { from: variable.from, text: variable.text.clone() };
        Template {
            content: self.content.clone(),
            buttons: self.buttons.iter().map(button).collect(),
            variables: self.variables.iter().map(|(name, given)| (name.clone(), variable(given))).collect(),
        }
    }

    /// All that is to be said about it.
    pub fn findings(&self) -> Vec<Finding> {
        let error = |field: &str, message: String| Finding {
            level: Level::Error,
            field: field.into(),
            code: "invalid",
            message,
        };
        let mut found = Vec::new();
        let profile = self.sender_profile.as_str();
        let is_id = (1..=MAX_PROFILE_CHARS).contains(&profile.len()) && profile.bytes().all(|b| b.is_ascii_graphic());
        if !is_id {
            found.push(error("sender_profile", "give the relay's id of your Kakao channel (Solapi: pfId)".into()));
        }
        let urls = self.buttons.iter().map(|button| button.url.len() + button.name.len()).sum::<usize>();
        if self.content.len() + urls > MAX_CONTENT_BYTES {
            found.push(error("content", format!("give at most {MAX_CONTENT_BYTES} bytes, buttons among them")));
            return found;
        }
        found.extend(lint(&self.template()));
        found.truncate(MAX_LISTED);
        found
    }
}

impl LintView {
    /// What the linter says of a template.
    pub fn of(input: &TemplateInput) -> LintView {
        let findings = input.findings();
        let usable = findings.iter().all(|found| found.level == Level::Warning);
        LintView { usable, findings: findings.into_iter().map(FindingView::from).collect() }
    }
}

impl From<Finding> for FindingView {
    fn from(found: Finding) -> FindingView {
        let level = match found.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        FindingView { level, field: found.field, code: found.code, message: found.message }
    }
}

fn problem(found: Finding) -> FieldError {
    FieldError { field: found.field, code: found.code.into(), message: found.message }
}

fn corrupt(workspace: WorkspaceId) -> StoreError {
    StoreError::Corrupt(format!("an Alimtalk template of workspace {}", workspace.0))
}
