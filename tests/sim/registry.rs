//! Work of the devices: registration, log-out, dead tokens — as `server/src/engine/device.rs` and `outcome.rs`.

use crate::desk::Desk;
use crate::store::{CustomerRow, DeviceRow, Key, Row};
use crate::work::device_id;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{Event, Outcome, Reason};
use backstop_wire::{Alerts, Grade, PushProvider};
use std::rc::Rc;

/// C2, C3: what the app gave last.
pub(crate) fn register(desk: &mut Desk<'_>, device: usize, customer: Option<usize>, token: u64, alerts: Alerts) {
    let known = desk.device(device);
    let before = known.as_ref().and_then(|row| row.customer);
    let customer = customer.or(before);
    if let Some(old) = before.filter(|_| before != customer) {
        lose(desk, old, device, Reason::NoDevice);
        unlink(desk, old, device);
    }
    let same = known.as_ref().filter(|row| row.token == token && row.facts.standing == Standing::Registered);
    let registered_at = same.map_or(desk.now, |row| row.registered_at);
    let facts = DeviceFacts {
        id: device_id(device),
        provider: PushProvider::Fcm,
        alerts,
        standing: Standing::Registered,
        confirmed_at: desk.now,
        used_at: desk.now,
        counted_acks: known.map(|row| row.facts.counted_acks.clone()).unwrap_or_default(),
        app: None,
        carried: false,
    };
    let row = DeviceRow { workspace: desk.workspace, customer, token, registered_at, facts };
    desk.put(Key::Device(device), Row::Device(Rc::new(row)));
    let Some(customer) = customer else { return };
    let who = desk.customer(customer).expect("customers are put first");
    if !who.devices.contains(&device) {
        let mut who = who.as_ref().clone();
        who.devices.push(device);
        desk.put(Key::Customer(customer), Row::Customer(Rc::new(who)));
    }
    if !alerts.can_show() && before == Some(customer) {
        lose(desk, customer, device, Reason::AlertsDenied);
    }
}

fn unlink(desk: &mut Desk<'_>, customer: usize, device: usize) {
    if let Some(who) = desk.customer(customer).filter(|who| who.devices.contains(&device)) {
        let devices = who.devices.iter().copied().filter(|d| *d != device).collect();
        let who = CustomerRow { devices, ..who.as_ref().clone() };
        desk.put(Key::Customer(customer), Row::Customer(Rc::new(who)));
    }
}

/// C1: the acks of what it showed before stay valid.
pub(crate) fn log_out(desk: &mut Desk<'_>, device: usize) {
    let Some(row) = desk.device(device) else { return };
    if let Some(customer) = row.customer {
        unlink(desk, customer, device);
        desk.put(Key::Device(device), Row::Device(Rc::new(DeviceRow { customer: None, ..row.as_ref().clone() })));
    }
}

/// P5: nothing more can be hoped for from this device.
fn lose(desk: &mut Desk<'_>, customer: usize, device: usize, why: Reason) {
    for id in desk.open_of(customer) {
        desk.judge(id, &Event::DeviceLost { device: device_id(device), why });
    }
}

/// P6: what the device's acks came to.
pub(crate) fn remember(desk: &mut Desk<'_>, device: usize, grade: Grade, first_counted: bool) {
    let opened = grade == Grade::Opened;
    if !first_counted && !opened {
        return;
    }
    let Some(row) = desk.device(device) else { return };
    let mut row = row.as_ref().clone();
    if first_counted {
        let acks = std::mem::take(&mut row.facts.counted_acks);
        row.facts.counted_acks = DeviceFacts::with_counted_ack(acks, desk.now, &desk.policy().unread);
    }
    if opened {
        row.facts.used_at = desk.now;
    }
    desk.put(Key::Device(device), Row::Device(Rc::new(row)));
}

/// C3, P5: the follow-up hears it first, then the device is buried for all. A word about an older token says nothing of
/// the one that is registered now.
pub(crate) fn push_answered(desk: &mut Desk<'_>, id: i64, device: usize, attempt: u32, token: u64, outcome: &Outcome) {
    let row = desk.device(device);
    let gone = matches!(outcome, Outcome::TokenGone { .. });
    let older = row.as_ref().is_some_and(|row| row.token != token);
    let heard = if gone && older {
        Outcome::RetryAfter { after_ms: None, error: "older token".into() }
    } else {
        outcome.clone()
    };
    let event = Event::PushAnswered { device: device_id(device), attempt, outcome: heard };
    desk.judge(id, &event);
    if let Some((rest, _)) = desk.followup(id).and_then(|row| row.state.rest) {
        desk.judge(rest.0, &event);
    }
    if let Some(row) = row.filter(|row| gone && !older && row.facts.standing == Standing::Registered) {
        let customer = row.customer;
        let mut row = row.as_ref().clone();
        row.facts.standing = Standing::TokenGone(desk.now);
        desk.put(Key::Device(device), Row::Device(Rc::new(row)));
        if let Some(customer) = customer {
            lose(desk, customer, device, Reason::TokenGone);
        }
    }
}
