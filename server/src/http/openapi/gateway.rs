//! The protocol of `[providers.gateway]` in the document: the text that is posted to it, and what it posts back.

use crate::providers::gateway::wire::{GatewayAnswer, GatewayCall, GatewayText};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{
    Callback, HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(GatewayText, GatewayAnswer, GatewayCall)))]
struct Schemas;

/// The headers of Standard Webhooks, on both calls.
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "The same at each repeat"),
    ("webhook-timestamp", "Seconds of Unix time, at most five minutes off"),
    ("webhook-signature", "`v1,` and the base64 of HMAC-SHA256(secret, `id.timestamp.body`); several, a space between"),
];

/// Adds the webhook `text`, and its callback.
pub(super) fn describe(document: &mut OpenApi) {
    document.merge(Schemas::openapi());
    let text = signed("gateway_text", "GatewayText")
        .summary(Some("A text, posted to a gateway of the deployment's own"))
        .description(Some(
            "With `[providers.gateway]` Backstop posts each text to its `url`, signed by Standard Webhooks with the \
             secret that both sides share (`whsec_…`). Verify the signature before the body is read.",
        ))
        .response("200", answer("What becomes of it", "GatewayAnswer"))
        .response("401", ResponseBuilder::new().description("The signature is not right").build())
        .callback("report", callback());
    let webhooks = document.webhooks.get_or_insert_with(Paths::new);
    webhooks.paths.insert("text".into(), PathItem::new(HttpMethod::Post, text));
}

fn callback() -> Callback {
    let report = signed("gateway_call", "GatewayCall")
        .summary(Some("What became of a text, or what a customer wrote back"))
        .description(Some("At `/in/gateway/{account}`. Signed like the text, with the same secret."))
        .response("204", ResponseBuilder::new().description("Heard; a repeat changes nothing").build())
        .response("400", problem("It cannot be read; `errors` says what to mend"))
        .response("403", problem("The signature is not right, or too old"));
    let item = PathItem::new(HttpMethod::Post, report);
    Callback::from([("{$request.body#/report_url}".to_owned(), RefOr::T(item))])
}

fn signed(id: &str, body: &str) -> OperationBuilder {
    let operation = OperationBuilder::new().operation_id(Some(id)).tag("gateway").request_body(Some(json(body)));
    HEADERS.iter().fold(operation, |operation, (name, about)| operation.parameter(header(name, about)))
}

fn header(name: &str, about: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).description(Some(about));
    header.required(Required::True).schema(Some(schema)).build()
}

fn json(schema: &str) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name(schema)))).build();
    RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content).build()
}

fn answer(about: &str, schema: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name(schema)))).build();
    ResponseBuilder::new().description(about).content("application/json", content).build()
}

fn problem(about: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
    ResponseBuilder::new().description(about).content("application/problem+json", content).build()
}
