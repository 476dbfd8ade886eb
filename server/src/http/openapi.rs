//! `GET /openapi.json`: the document, made from the handlers; its committed copy is `server/openapi.json`.

mod common;
mod gateway;

use crate::problem::Code;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use std::sync::LazyLock;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AnyOf, AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};

/// The one operation of a workspace that needs no key: it makes the workspace.
const OPEN_IN_A_SANDBOX: (&str, &str) = ("post", "/sandbox/workspaces");

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Backstop",
        description = "A push the phone acknowledges — or, within 30 seconds, a text and an email. One decision, never \
                       both by our doing.\n\nErrors are problem documents (RFC 9457) with stable codes. Times are \
                       RFC 3339 in UTC with milliseconds. Backend endpoints refuse unknown fields; device endpoints \
                       ignore them.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "backend", description = "For the company's backend: `Authorization: Bearer sk_…`. Every POST takes an \
                                          optional `Idempotency-Key`, kept 24 h."),
        (name = "device", description = "For the SDK: `Backstop-App: app_…`, and a device's own key where it has one."),
        (name = "presence", description = "For backend, device and web page alike."),
        (name = "links", description = "For the customer's browser: where the short link of a text leads."),
        (name = "sandbox", description = "Only on a server started with `--sandbox`, where nothing real is sent: the \
                                          workspace has a clock to turn, phones that run the SDK, and an outbox."),
        (name = "gateway", description = "For a text gateway of the deployment's own: what Backstop posts to it, and \
                                          what it posts back."),
        (name = "operations", description = "For the machinery around the server.")
    ),
    components(schemas(Problem, FieldError))
)]
struct Base;

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
struct Problem {
    /// `urn:backstop:problem:<code>`.
    #[serde(rename = "type")]
    #[schema(example = "urn:backstop:problem:invalid_request")]
    kind: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened, and what the caller can do.
    detail: Option<String>,
    /// Which fields, for `invalid_request`.
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
struct FieldError {
    /// A dotted path.
    #[schema(example = "customer.phone")]
    field: String,
    /// Stable code.
    #[schema(example = "invalid")]
    code: String,
    /// What to do about it.
    message: String,
}

/// `{}`: done, and there is nothing to say.
#[derive(ToSchema)]
pub(crate) struct Done {}

/// A registration.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::RegisterDevice, which devices compile too")]
pub(super) struct RegisterDevice {
    /// Made once by the SDK.
    #[schema(min_length = 1, max_length = 128)]
    install_id: String,
    platform: Platform,
    provider: PushProvider,
    /// The push token.
    #[schema(min_length = 1, max_length = 4_096)]
    token: String,
    /// APNs topic; ignored for FCM.
    topic: Option<String>,
    /// Default `production`; ignored for FCM.
    environment: Option<Environment>,
    /// Android application id, which tells a workspace's apps apart; ignored for APNs.
    package: Option<String>,
    alerts: Alerts,
    /// The payload versions the SDK understands.
    #[schema(required = false, example = json!([1]))]
    wire: Vec<u32>,
    /// The customer who is logged in; needs a proof.
    customer_id: Option<String>,
    /// Proof: lower-case hex of HMAC-SHA256(hex-decoded identity secret, customer_id).
    #[schema(example = "99427c7bba36a6902c5fd6383f2fb0214d19b81023296b4bd6b9e024836afea2")]
    customer_hash: Option<String>,
    /// Proof: a JWT (ES256, RS256, HS256) with `sub`, `aud` = workspace, `exp` at most 24 h ahead.
    customer_token: Option<String>,
    /// BCP 47.
    locale: Option<String>,
}

/// The device's id and key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::DeviceRegistered, which devices compile too")]
pub(super) struct DeviceRegistered {
    /// `dev_…`.
    device_id: String,
    /// The same at every retry.
    device_key: String,
}

/// Acknowledgements.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::AckBatch, which devices compile too")]
pub(super) struct AckBatch {
    /// Answered in this order.
    #[schema(min_items = 1, max_items = 100)]
    acks: Vec<Ack>,
}

/// One acknowledgement.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::Ack, which devices compile too")]
struct Ack {
    /// As it came in the push.
    receipt: String,
    grade: AckGrade,
    /// When the device recorded it, by its clock.
    #[schema(format = DateTime)]
    at: String,
    /// The SDK's word for why (`channel_off`).
    detail: Option<String>,
}

/// What became of the acks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::AckResults, which devices compile too")]
pub(super) struct AckResults {
    /// One an ack.
    results: Vec<AckOutcome>,
}

/// What became of one ack.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::AckOutcome, which devices compile too")]
struct AckOutcome {
    result: AckResult,
    /// Whether this ack is enough to settle the follow-up.
    counted: bool,
}

/// What became of a test push.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes backstop_wire::TestPushed, which devices compile too")]
pub(super) struct TestPushed {
    provider: PushProvider,
    outcome: TestOutcome,
    /// The push service's word for why, or the server's; `null` where there is nothing to say.
    #[schema(example = "no_push_credentials", required = true)]
    reason: Option<String>,
    /// The APNs environment that was asked last: it may be another one than was registered; `null` for FCM.
    #[schema(required = true)]
    environment: Option<Environment>,
    /// The server's clock at the answer.
    #[schema(format = DateTime)]
    at: String,
}

/// Words of the API, as the document lists them; the code has them in the domain and on the wire.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($word:ident),+ })+) => {$(
        $(#[$about])*
        #[derive(ToSchema)]
        #[schema(rename_all = "snake_case")]
        #[expect(dead_code, reason = "describes words")]
        pub(crate) enum $name { $($word),+ }
    )+};
}

words! {
    /// Where a follow-up stands; the last four are outcomes.
    FollowupState { Sending, AwaitingAck, FallingBack, Acked, FellBack, Cancelled, Failed }
    /// What a follow-up is.
    FollowupKind { Reply, Outreach }
    /// A way out.
    DeliveryChannel { Push, Alimtalk, Line, Sms, Lms, Email }
    /// What a text travels as.
    TextForm { Sms, Lms }
    /// How the characters of a text travel.
    TextEncoding { Gsm7, Ucs2, Cp949 }
    /// How one way out stands.
    DeliveryStatus { Queued, Claimed, Accepted, Delivered, Failed, Unknown, Stopped, Skipped }
    /// How far a push got; `unknown` = a grade of a newer SDK.
    AckGrade { Received, Displayed, Opened, Suppressed, Unknown }
    /// The lowest grade that counts.
    CountingGrade { Received, Displayed, Opened }
    /// What became of an ack; each is final.
    AckResult { Accepted, Late, Duplicate, Refused }
    /// What the push service made of a test push.
    TestOutcome { Accepted, TokenGone, Rejected, RetryAfter, Unknown }
    /// The phone's system.
    Platform { Ios, Android }
    /// Whose token it is.
    PushProvider { Apns, Fcm }
    /// Which of Apple's environments.
    Environment { Production, Sandbox }
    /// Whether notifications can be seen; `unknown` = a word of a newer SDK.
    Alerts { Allowed, Quiet, Denied, NotAsked, Unknown }
    /// What contact data may be used for.
    ContactSource { Account, FollowUp, Consent }
    /// Who writes to the customer.
    AuthorKind { Agent, Bot }
    /// What a page or device says of itself.
    PresenceState { Active, Hidden, Left }
    /// Who wrote a message.
    Direction { ToCustomer, FromCustomer }
}

/// What the routes add themselves to.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// The whole document.
pub fn document() -> OpenApi {
    let mut document = super::routes().into_openapi();
    document.merge(crate::sandbox::document());
    document.info.version = env!("CARGO_PKG_VERSION").into();
    gateway::describe(&mut document);
    describe_keys(&mut document);
    loosen_choices(&mut document);
    common::bound_fields(&mut document);
    let problem = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
    let codes = Code::ALL.iter().map(|code| code.parts().0).collect::<Vec<_>>().join(", ");
    let problem = ResponseBuilder::new()
        .description(format!("A problem document; its code is one of {codes}"))
        .content("application/problem+json", problem)
        .build();
    for (path, item) in &mut document.paths.paths {
        let operations =
            [("get", &mut item.get), ("put", &mut item.put), ("post", &mut item.post), ("delete", &mut item.delete)];
        for (method, operation) in operations.into_iter().filter_map(|(method, op)| Some((method, op.as_mut()?))) {
            operation.operation_id = Some(operation_id(method, path));
            common::bound_parameters(operation);
            common::link_answers(path, method, operation);
            let tag = operation.tags.as_ref().and_then(|tags| tags.first()).map_or("", String::as_str);
            operation.security = security(tag, path).filter(|_| (method, path.as_str()) != OPEN_IN_A_SANDBOX);
            if method == "post" && tag == "backend" && !KEEPS_NO_ANSWER.contains(&path.as_str()) {
                operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
            }
            if tag != "operations" {
                operation.responses.responses.insert("default".into(), problem.clone().into());
            }
        }
    }
    document
}

/// As it is committed and served.
pub fn document_json() -> String {
    let mut text = document().to_pretty_json().expect("the document is strings and lists of them");
    text.push('\n');
    text
}

pub(super) async fn serve() -> impl IntoResponse {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document_json().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

/// A body that fits two of the shapes is no error: the shapes only list what may come.
fn loosen_choices(document: &mut OpenApi) {
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
    for schema in schemas {
        if let RefOr::T(Schema::OneOf(choice)) = schema {
            let any = AnyOfBuilder::from(AnyOf::new()).description(choice.description.take());
            let any = choice.items.drain(..).fold(any, |any, item| any.item(item));
            *schema = RefOr::T(Schema::AnyOf(any.build()));
        }
    }
}

/// They change nothing, or are named by an id of their own: there is no answer to keep under an `Idempotency-Key`.
const KEEPS_NO_ANSWER: [&str; 6] = [
    "/v1/alimtalk-templates/lint",
    "/v1/alimtalk-templates/{template_id}/preview",
    "/v1/email-templates/preview",
    "/v1/text/preview",
    "/v1/wallet/asks/{ask_id}/decline",
    "/v1/wallet/top-ups",
];

fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some("Optional: the first answer again for 24 h; another body under it is refused"))
        .schema(Some(key))
        .build()
}

fn describe_keys(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let header =
        |name: &str, about: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, about)));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("sk_…").build();
    components.add_security_scheme("backend", SecurityScheme::Http(bearer));
    components.add_security_scheme("app", header("Backstop-App", "The workspace's app key, `app_…`."));
    let about = "`Backstop-Device <device_id>.<device_key>`, beside Backstop-App.";
    components.add_security_scheme("device", header("Authorization", about));
}

/// `post_messages`, `get_messages_by_message_id`: unique, since method and path are.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split('/').filter(|s| !s.is_empty() && *s != "v1").map(|segment| {
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => format!("by_{name}"),
            None => segment.replace('-', "_"),
        }
    });
    std::iter::once(method.to_owned()).chain(words).collect::<Vec<_>>().join("_")
}

fn security(tag: &str, path: &str) -> Option<Vec<SecurityRequirement>> {
    let one = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    let device = || one("app").add("device", Vec::<String>::new());
    match tag {
        "backend" | "sandbox" => Some(vec![one("backend")]),
        // The first registration has no device key yet.
        "device" if path == "/v1/devices" => Some(vec![one("app"), device()]),
        "device" => Some(vec![device()]),
        "presence" => Some(vec![one("backend"), device(), one("app")]),
        _ => None,
    }
}
