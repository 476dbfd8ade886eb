//! What Backstop and a gateway say to each other, as `openapi.json` describes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A text to be sent: what Backstop posts to the gateway's URL, signed.
///
/// `{"probe": true}` instead asks whether the signature is right: answer 200.
#[derive(Serialize, ToSchema)]
pub struct GatewayText {
    /// Of this text: the same at each repeat, and the `webhook-id`. A gateway that has answered `accepted` or
    /// `rejected` under it answers the same again, and sends nothing.
    #[schema(example = "fu_01kb2n5qz8w3x:sms")]
    pub id: String,
    /// E.164.
    #[schema(example = "+818012345678")]
    pub to: String,
    /// The number it comes from; `null` = the gateway picks one.
    #[schema(example = "+815012345678")]
    pub from: Option<String>,
    /// What it travels as.
    pub form: GatewayForm,
    /// Of an LMS.
    pub subject: Option<String>,
    /// The whole text, to be sent as it is.
    pub text: String,
    /// Of `to`, ISO 3166; `null` = of no country.
    #[schema(example = "JP")]
    pub country: Option<String>,
    /// After this it is of no use: do not send it then.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// To be given back with every report.
    pub reference: GatewayReference,
    /// Where reports and answers go, signed with the same secret; `null` = nowhere, the server has no public URL.
    pub report_url: Option<String>,
}

/// What a text travels as.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatewayForm {
    /// In as many parts as it takes.
    Sms,
    /// To Korean numbers, by a gateway with `korean = true`.
    Lms,
}

/// Which try of which follow-up a text is.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct GatewayReference {
    /// The workspace's name.
    pub workspace: String,
    /// `fu_…`.
    pub followup_id: String,
    /// 1, 2, ….
    pub attempt: u32,
}

/// What the gateway answers to a text, with status 200. Any other answer, or none, and nobody knows whether it left.
#[derive(Deserialize, ToSchema)]
pub struct GatewayAnswer {
    /// What becomes of it.
    pub status: GatewayStatus,
    /// The gateway's id of it, up to 100 printable ASCII characters.
    #[serde(default)]
    pub provider_id: Option<String>,
    /// Why not: up to 64 of a-z, 0-9, `_`, `-`, `.`. `opted_out` = the number wants no texts from this company.
    #[serde(default)]
    #[schema(example = "bad_number")]
    pub code: Option<String>,
    /// With `retry`: not before so long.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub retry_after_ms: Option<i64>,
}

/// What becomes of a text.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatewayStatus {
    /// The gateway has it and sends it.
    Accepted,
    /// It will never be sent: another provider, or the email, is left.
    Rejected,
    /// It was not sent, and may be posted again.
    Retry,
}

/// What the gateway posts to `report_url`, signed. A repeat has the same `webhook-id` and changes nothing.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GatewayCall {
    /// What became of a text. Reports may come twice, out of order, and before the answer to the text itself.
    Report {
        /// As it came with the text.
        reference: GatewayReference,
        /// What became of it.
        status: GatewayReportStatus,
        /// With `failed`: why, as in an answer.
        #[serde(default)]
        code: Option<String>,
        /// The gateway's id of it.
        #[serde(default)]
        provider_id: Option<String>,
        /// Where it went, E.164.
        #[serde(default)]
        to: Option<String>,
    },
    /// Somebody wrote to one of our numbers.
    Text {
        /// Who, E.164.
        from: String,
        /// Which number, E.164.
        to: String,
        /// What.
        text: String,
        /// Where the gateway knows it as an opt-out or an opt-in.
        #[serde(default)]
        keyword: Option<GatewayKeyword>,
    },
}

/// What became of a text.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatewayReportStatus {
    /// It is under way.
    Accepted,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
}

/// What a customer asks for with a text.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GatewayKeyword {
    /// No more texts.
    Stop,
    /// Texts again.
    Start,
}
