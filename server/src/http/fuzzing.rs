//! Doors for `tests/fuzz`: the functions that a stranger's bytes meet first, without a server around them.

use super::messages;
use super::request::{credentials, device_of, parse};
use super::validate::{Check, CustomerData};
use crate::settings::SettingsInput;
use crate::vault::Vault;
use crate::workspace::Workspace;
use axum::http::{HeaderMap, HeaderValue, header};
use backstop_domain::ids::DeviceId;
use backstop_wire::DEVICE_SCHEME;

/// Whether the body of `POST /v1/messages` is taken.
pub fn message(workspace: &Workspace, vault: &Vault, body: &[u8]) -> bool {
    parse(body).and_then(|input| messages::checked(workspace, vault, input)).is_ok()
}

/// The phone number that the body of `PUT /v1/customers/{customer_id}` comes to; `None` = refused, or none in it.
pub fn customer_phone(workspace: &Workspace, body: &[u8]) -> Option<String> {
    let data: CustomerData = parse(body).ok()?;
    let mut check = Check::default();
    let input = check.customer("", data, &workspace.settings);
    check.finish().ok()?;
    input.phone
}

/// The body of `PUT /v1/settings`, if it is taken.
pub fn settings(body: &[u8]) -> Option<SettingsInput> {
    let input: SettingsInput = parse(body).ok()?;
    input.problems().is_empty().then_some(input)
}

/// The device that an `Authorization` header proves.
pub fn device(workspace: &Workspace, vault: &Vault, authorization: &[u8]) -> Option<DeviceId> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(authorization).ok()?);
    device_of(vault, workspace, credentials(&headers, DEVICE_SCHEME)?)
}
