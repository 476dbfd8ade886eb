//! `/v1/customers`: contact data, what is known of a customer, and erasure (S8).

pub(super) mod export;

use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, Segment, parse};
use super::validate::{Check, CustomerData};
use super::{Api, openapi as words};
use crate::engine::api::{Contact, CustomerInput, CustomerView, EngineError};
use crate::engine::customer::open_contact;
use crate::problem::Problem;
use crate::store::{CustomerRow, DeviceRow, Key, Row, StoreError};
use crate::vault::CustomerKey;
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::device::Standing;
use backstop_wire::time::to_rfc3339;
use backstop_wire::{Alerts, Environment, Platform, PushProvider};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// How long an erasure waits until nothing of it is left in any file.
const SCRUB: Duration = Duration::from_secs(6);

/// A customer.
#[derive(Serialize, ToSchema)]
pub(super) struct Customer {
    /// Your id.
    customer_id: String,
    name: Option<String>,
    email: Option<String>,
    /// E.164.
    phone: Option<String>,
    /// The customer's user id at your LINE channel.
    line_user_id: Option<String>,
    /// `account`, `follow_up` or `consent`.
    #[schema(value_type = words::ContactSource)]
    contact_source: ContactSource,
    locale: Option<String>,
    time_zone: Option<String>,
    /// Whether the customer counts as online now.
    online: bool,
    /// When first seen.
    #[schema(format = DateTime)]
    created_at: String,
}

/// A device, without its token.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceView {
    /// `dev_…`.
    device_id: String,
    #[schema(value_type = words::Platform)]
    platform: Platform,
    #[schema(value_type = words::PushProvider)]
    provider: PushProvider,
    /// The app it is part of, of those in `GET /v1/apps`.
    app: Option<String>,
    /// APNs topic.
    topic: Option<String>,
    /// Android application id.
    package: Option<String>,
    #[schema(value_type = Option<words::Environment>)]
    environment: Option<Environment>,
    #[schema(value_type = words::Alerts)]
    alerts: Alerts,
    wire: Vec<u32>,
    locale: Option<String>,
    /// Whether a push goes to it now.
    live: bool,
    /// `registered` or `token_gone`.
    standing: &'static str,
    #[schema(format = DateTime)]
    registered_at: String,
    #[schema(format = DateTime)]
    confirmed_at: String,
    #[schema(format = DateTime)]
    used_at: String,
}

/// All devices of a customer.
#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    data: Vec<DeviceView>,
    /// Always `null`: a customer's devices are one page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<()>,
}

/// Puts a customer's data, whole
///
/// What is not given is gone afterwards.
#[utoipa::path(put, path = "/v1/customers/{customer_id}", tag = "backend", request_body = CustomerData,
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 200, description = "As put", body = Customer)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let mut check = Check::default();
    let input = check.customer("", parse(&body)?, &workspace.settings);
    check.finish()?;
    let idempotency = idempotency.about(&customer_id);
    let act = async { Ok(Reply::ok(&shown(api.engine.put_customer(&workspace, customer_id, input).await?))) };
    idempotency.once(&api, &workspace, &body, act).await
}

/// Shows a customer
#[utoipa::path(get, path = "/v1/customers/{customer_id}", tag = "backend",
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 200, description = "The customer", body = Customer)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
) -> Answer {
    let row = load(&api, &workspace, customer_id).await?;
    Ok(Reply::ok(&opened(&api, &workspace, &row)?.1))
}

/// Erases a customer
///
/// Shreds the customer's key; what stays of follow-ups and message ids names nobody. Repeatable.
#[utoipa::path(delete, path = "/v1/customers/{customer_id}", tag = "backend",
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 204, description = "There is nothing of this customer any more")))]
pub(super) async fn erase(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(customer_id): Segment,
) -> Answer {
    api.engine.erase_customer(&workspace, customer_id, who).await?;
    // Whoever reads on for longer keeps nobody waiting; what stays behind is logged, and goes with the next one.
    let _ = tokio::time::timeout(SCRUB, api.store.scrubbed()).await;
    Ok(Reply::no_content())
}

/// Shows a customer's devices
#[utoipa::path(get, path = "/v1/customers/{customer_id}/devices", tag = "backend",
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 200, description = "The devices, without their tokens", body = Devices)))]
pub(super) async fn devices(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
) -> Answer {
    let row = load(&api, &workspace, customer_id).await?;
    let now = api.clocks.now_ms(workspace.id);
    let data = device_rows(&api, &workspace, &row).await?.into_iter().map(|row| device_view(&workspace, row, now));
    Ok(Reply::ok(&Devices { data: data.collect(), next_cursor: None }))
}

async fn load(api: &Api, workspace: &Workspace, customer_id: String) -> Result<CustomerRow, Problem> {
    let rows = api.store.load(vec![Key::Customer(workspace.id, customer_id)]).await?;
    match rows.into_iter().next().flatten() {
        Some(Row::Customer(row)) => Ok(row),
        _ => Err(EngineError::UnknownCustomer.into()),
    }
}

/// A customer's contact data.
pub(super) fn contact_of(api: &Api, row: &CustomerRow) -> Result<Contact, Problem> {
    Ok(open_contact(&key_of(api, row)?, row)?)
}

fn key_of(api: &Api, row: &CustomerRow) -> Result<CustomerKey, Problem> {
    let key = api.vault.unwrap_key(row.workspace, &row.customer_id, &row.wrapped_key);
    Ok(key.map_err(|error| StoreError::Corrupt(error.to_string()))?)
}

fn opened(api: &Api, workspace: &Workspace, row: &CustomerRow) -> Result<(CustomerKey, Customer), Problem> {
    let key = key_of(api, row)?;
    let Contact { name, email, phone, line_user_id } = open_contact(&key, row)?;
    let (contact_source, locale, time_zone) = (row.contact_source, row.locale.clone(), row.time_zone.clone());
    let view = CustomerView {
        customer_id: row.customer_id.clone(),
        input: CustomerInput { name, email, phone, line_user_id, contact_source, locale, time_zone },
        created_at: row.created_at,
        online: row.presence.online_until(api.clocks.now_ms(workspace.id), &workspace.policy.presence).is_some(),
    };
    Ok((key, shown(view)))
}

fn shown(view: CustomerView) -> Customer {
    let CustomerInput { name, email, phone, line_user_id, contact_source, locale, time_zone } = view.input;
    let created_at = to_rfc3339(view.created_at);
    let (customer_id, online) = (view.customer_id, view.online);
    Customer { customer_id, name, email, phone, line_user_id, contact_source, locale, time_zone, online, created_at }
}

async fn device_rows(api: &Api, workspace: &Workspace, row: &CustomerRow) -> Result<Vec<DeviceRow>, Problem> {
    let keys = row.devices.iter().map(|id| Key::Device(workspace.id, *id)).collect();
    let rows = api.store.load(keys).await?;
    let devices = rows.into_iter().filter_map(|row| match row {
        Some(Row::Device(device)) => Some(device),
        _ => None,
    });
    Ok(devices.collect())
}

fn device_view(workspace: &Workspace, row: DeviceRow, now: Ms) -> DeviceView {
    let facts = workspace.facts_of(&row);
    let (topic, package) = match row.provider {
        PushProvider::Apns => (row.topic, None),
        PushProvider::Fcm => (None, row.topic),
    };
    DeviceView {
        device_id: row.id.to_string(),
        platform: row.platform,
        provider: row.provider,
        app: facts.app.as_deref().map(str::to_owned),
        topic,
        package,
        environment: row.environment,
        alerts: row.alerts,
        wire: row.wire,
        locale: row.locale,
        live: facts.live(now).is_ok() && workspace.policy.carries(&facts),
        standing: if row.standing == Standing::Registered { "registered" } else { "token_gone" },
        registered_at: to_rfc3339(row.registered_at),
        confirmed_at: to_rfc3339(row.confirmed_at),
        used_at: to_rfc3339(row.used_at),
    }
}
