//! `POST /v1/acks`: the device's own word that pushes reached it (P7, P8, P11). The other hot path.

use super::Api;
use super::request::{Answer, DEVICE_BYTES, Device, Payload, Reply, parse};
use crate::engine::api::{AckInput, EngineError};
use crate::failpoint::{Point, hit};
use crate::problem::Problem;
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::ids::DeviceId;
use backstop_wire::time::from_rfc3339;
use backstop_wire::{Ack, AckBatch, AckResults, MAX_ACKS};
use std::sync::Arc;

const MAX_DETAIL_CHARS: usize = 64;

/// Acknowledges pushes
///
/// Results are in the order of the acks. `refused` has one shape: it tells nobody why. The receipt of a test push is
/// `accepted` and not `counted`, each time until it expires: nothing is kept of it.
#[utoipa::path(post, path = "/v1/acks", tag = "device", request_body = super::openapi::AckBatch,
    responses((status = 200, description = "Recorded", body = super::openapi::AckResults)))]
pub(super) async fn post(State(api): State<Arc<Api>>, device: Device, Payload(body): Payload<DEVICE_BYTES>) -> Answer {
    let AckBatch { acks } = parse(&body)?;
    if !(1..=MAX_ACKS).contains(&acks.len()) {
        return Err(Problem::invalid_field("acks", "out_of_range", format!("give 1 to {MAX_ACKS} acks")));
    }
    let now = api.clocks.now_ms(device.workspace.id);
    let acks = acks.into_iter().map(|ack| opened(&api, &device.workspace, device.id, ack, now)).collect();
    hit(Point::AcksOpened);
    let recorded = api.engine.acks(&device.workspace, device.id, acks).await;
    hit(Point::AcksRecorded);
    match recorded {
        Ok(results) => Ok(Reply::ok(&AckResults { results })),
        // Its key fits and it is gone: it keeps its acks and registers again.
        Err(EngineError::UnknownDevice) => Err(Problem::unauthorized()),
        Err(error) => Err(error.into()),
    }
}

/// A receipt counts only from the device whose push carried it.
fn opened(api: &Api, workspace: &Workspace, device: DeviceId, ack: Ack, now: Ms) -> AckInput {
    let receipt = api.vault.open_receipt(workspace.id, &ack.receipt, now).filter(|r| r.device == device);
    AckInput {
        receipt: receipt.map(|receipt| receipt.carrier),
        grade: ack.grade,
        // The device's time is reported, never trusted: an unreadable one costs the ack nothing.
        recorded_at: from_rfc3339(&ack.at).unwrap_or(now),
        detail: ack.detail.filter(|detail| is_word(detail)),
    }
}

/// The SDK's words are short codes; anything else could be personal.
fn is_word(detail: &str) -> bool {
    (1..=MAX_DETAIL_CHARS).contains(&detail.len())
        && detail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
