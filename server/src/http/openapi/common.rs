//! What no handler says of itself, since it holds everywhere: how long ids are, how large numbers, what leads where.

use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::Number;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{OpenApi, RefOr, Response};

const IDS: [&str; 5] = ["customer_id", "conversation_id", "message_id", "install_id", "source_id"];
const ID_CHARS: usize = 128;
/// Everything but control characters.
const ID_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
const TEXT_CHARS: usize = 10_000;
const YEAR_MS: usize = 31_536_000_000;

/// From an answer to what can be asked with it: path, method and status; operation; its parameter, and where it stands.
const LINKS: [(&str, &str, &str, &str, &str, &str); 12] = [
    ("/v1/messages", "post", "202", "get_followups_by_followup_id", "followup_id", "$response.body#/followup_id"),
    (
        "/v1/messages",
        "post",
        "202",
        "post_followups_by_followup_id_cancel",
        "followup_id",
        "$response.body#/followup_id",
    ),
    ("/v1/messages", "post", "202", "get_messages_by_message_id", "message_id", "$request.body#/message_id"),
    ("/v1/messages", "post", "202", "delete_messages_by_message_id", "message_id", "$request.body#/message_id"),
    ("/v1/messages", "post", "202", "get_deliveries", "message_id", "$request.body#/message_id"),
    (
        "/v1/customers/{customer_id}",
        "put",
        "200",
        "get_customers_by_customer_id",
        "customer_id",
        "$request.path.customer_id",
    ),
    (
        "/v1/customers/{customer_id}",
        "put",
        "200",
        "get_customers_by_customer_id_export",
        "customer_id",
        "$request.path.customer_id",
    ),
    (
        "/v1/customers/{customer_id}",
        "put",
        "200",
        "get_customers_by_customer_id_devices",
        "customer_id",
        "$request.path.customer_id",
    ),
    (
        "/v1/customers/{customer_id}",
        "put",
        "200",
        "delete_customers_by_customer_id",
        "customer_id",
        "$request.path.customer_id",
    ),
    ("/v1/devices", "post", "200", "delete_devices_by_device_id", "device_id", "$response.body#/device_id"),
    ("/v1/devices", "post", "200", "delete_devices_by_device_id_customer", "device_id", "$response.body#/device_id"),
    ("/v1/devices", "post", "200", "post_devices_by_device_id_test_push", "device_id", "$response.body#/device_id"),
];

/// Bounds of what callers send, where a field's name says what it is. What they read may be less: an erasure empties
/// ids.
pub(super) fn bound_fields(document: &mut OpenApi) {
    let sent = sent(document);
    let schemas = document.components.iter_mut().flat_map(|components| &mut components.schemas);
    for (_, schema) in schemas.filter(|(name, _)| sent.contains(*name)) {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (name, field) in &mut object.properties {
            if let RefOr::T(Schema::Object(field)) = field {
                bound(name, field);
            }
        }
    }
}

/// The names of the schemas that request bodies are made of.
fn sent(document: &OpenApi) -> BTreeSet<String> {
    let items = document.paths.paths.values();
    let operations = items.flat_map(|item| [&item.put, &item.post]).flatten();
    let mut open: Vec<_> = operations.flat_map(|operation| references(&operation.request_body)).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        let schema = document.components.iter().find_map(|components| components.schemas.get(&name));
        open.extend(schema.filter(|_| !found.contains(&name)).into_iter().flat_map(references));
        found.insert(name);
    }
    found
}

/// The schemas that something refers to.
fn references(to: &impl Serialize) -> Vec<String> {
    let text = serde_json::to_string(to).expect("the document is strings and lists of them");
    let names = text.split("\"#/components/schemas/").skip(1);
    names.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

fn bound(name: &str, field: &mut Object) {
    match name {
        _ if IDS.contains(&name) => bound_id(field),
        "text" => bound_length(field, TEXT_CHARS),
        "idle_ms" => bound_number(field, 0, YEAR_MS),
        _ => {}
    }
}

/// Bounds of one operation's parameters: a path segment is an id, whatever its name.
pub(super) fn bound_parameters(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(Parameter { name, parameter_in, schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter
        else {
            continue;
        };
        match (name.as_str(), parameter_in) {
            (_, ParameterIn::Path) => bound_id(schema),
            ("limit", _) => bound_number(schema, 1, 200),
            _ => {}
        }
    }
}

fn bound_id(field: &mut Object) {
    bound_length(field, ID_CHARS);
    field.pattern = Some(ID_PATTERN.into());
}

fn bound_length(field: &mut Object, max: usize) {
    (field.min_length, field.max_length) = (Some(1), Some(max));
}

fn bound_number(field: &mut Object, min: usize, max: usize) {
    (field.minimum, field.maximum) = (Some(Number::from(min)), Some(Number::from(max)));
}

/// Where the answers of one operation lead.
pub(super) fn link_answers(path: &str, method: &str, operation: &mut Operation) {
    for (from, by, status, to, parameter, value) in LINKS {
        if (from, by) != (path, method) {
            continue;
        }
        if let Some(RefOr::T(Response { links, .. })) = operation.responses.responses.get_mut(status) {
            let link = LinkBuilder::new().operation_id(to).parameter(parameter, value).build();
            links.insert(to.into(), RefOr::T(link));
        }
    }
}
