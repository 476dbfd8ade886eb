//! `/v1/devices`: registration, deletion and log-out (C1–C3). Unknown fields are ignored: an SDK may be newer.

use super::Api;
use super::request::{Answer, App, DEVICE_BYTES, Device, Payload, Reply, Segment, device_id, parse};
use super::validate::{Check, locale};
use crate::engine::api::{EngineError, Registration};
use crate::failpoint::{Point, hit};
use crate::identity::{Claim, prove};
use crate::problem::Problem;
use axum::extract::State;
use axum::http::HeaderMap;
use backstop_wire::{DeviceRegistered, PushProvider, RegisterDevice};
use std::sync::Arc;

const MAX_TOKEN_CHARS: usize = 4_096;
const MAX_TOPIC_CHARS: usize = 255;
const MAX_WIRE_VERSIONS: usize = 32;

/// Registers a device, or confirms it
///
/// Repeatable: the same installation gets the same id and key. Registering a known `install_id` again needs its device
/// key in `Authorization`, or a customer's proof.
#[utoipa::path(post, path = "/v1/devices", tag = "device", request_body = super::openapi::RegisterDevice,
    responses((status = 200, description = "Registered", body = super::openapi::DeviceRegistered)))]
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    App(workspace): App,
    headers: HeaderMap,
    Payload(body): Payload<DEVICE_BYTES>,
) -> Answer {
    let input: RegisterDevice = parse(&body)?;
    check(&input)?;
    let claim = Claim {
        customer_id: input.customer_id.as_deref(),
        hash: input.customer_hash.as_deref(),
        token: input.customer_token.as_deref(),
    };
    let customer_id = prove(&workspace, claim, api.clocks.real_ms())?;
    let is_apns = input.provider == PushProvider::Apns;
    let registration = Registration {
        install_id: input.install_id,
        platform: input.platform,
        provider: input.provider,
        token: input.token,
        topic: if is_apns { input.topic } else { input.package },
        environment: input.environment.filter(|_| is_apns),
        alerts: input.alerts,
        wire: input.wire,
        locale: input.locale.as_deref().and_then(locale),
        customer_id,
        // A key that is not this device's proves nothing and harms nothing: a device that lost its server's favour
        // must be able to begin again.
        authenticated_as: device_id(&api, &workspace, &headers),
    };
    if let Some(id) = registration.authenticated_as {
        api.limits.check_device(workspace.id, id)?;
    }
    let id = api.engine.register_device(&workspace, registration).await?;
    hit(Point::DeviceRegistered);
    let device_key = api.vault.device_key(workspace.id, id);
    Ok(Reply::ok(&DeviceRegistered { device_id: id.to_string(), device_key }))
}

/// Deletes a device
#[utoipa::path(delete, path = "/v1/devices/{device_id}", tag = "device",
    params(("device_id" = String, Path, description = "`dev_…`, the caller itself")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(State(api): State<Arc<Api>>, device: Device, Segment(id): Segment) -> Answer {
    device.must_be(&id)?;
    gone(api.engine.delete_device(&device.workspace, device.id).await)
}

/// Logs the customer out of a device
///
/// Pushes to it end; acks of pushes that it got stay valid.
#[utoipa::path(delete, path = "/v1/devices/{device_id}/customer", tag = "device",
    params(("device_id" = String, Path, description = "`dev_…`, the caller itself")),
    responses((status = 204, description = "Nobody is logged in on it")))]
pub(super) async fn log_out(State(api): State<Arc<Api>>, device: Device, Segment(id): Segment) -> Answer {
    device.must_be(&id)?;
    gone(api.engine.log_out(&device.workspace, device.id).await)
}

/// What is gone already is gone: a repeat after a lost answer succeeds.
fn gone(done: Result<(), EngineError>) -> Answer {
    match done {
        Ok(()) | Err(EngineError::UnknownDevice) => Ok(Reply::no_content()),
        Err(error) => Err(error.into()),
    }
}

fn check(input: &RegisterDevice) -> Result<(), Problem> {
    let mut check = Check::default();
    check.id("install_id", &input.install_id);
    if let Some(id) = &input.customer_id {
        check.id("customer_id", id);
    }
    let plain = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if !plain(&input.token, MAX_TOKEN_CHARS) {
        check.error("token", "invalid", format!("give the push token: 1 to {MAX_TOKEN_CHARS} characters"));
    }
    if input.topic.as_deref().is_some_and(|topic| !plain(topic, MAX_TOPIC_CHARS)) {
        check.error("topic", "invalid", "give the app's bundle id");
    }
    if input.package.as_deref().is_some_and(|package| !plain(package, MAX_TOPIC_CHARS)) {
        check.error("package", "invalid", "give the app's application id, such as com.example.shop");
    }
    if !(1..=MAX_WIRE_VERSIONS).contains(&input.wire.len()) {
        check.error("wire", "invalid", "name the payload versions that the SDK understands, such as [1]");
    }
    check.finish()
}
