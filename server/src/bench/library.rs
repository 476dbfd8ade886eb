//! How many a second by calls of the engine, as the peers' libraries are called: nine of ten are called off again.
//!
//! Twice. As a delayed job, which is all that the peers do: a reply that waits for its customer to leave, called off by
//! a read. And as Backstop is used: a reply whose push leaves at once, called off by the device's ack. CPU is of the
//! whole process, callers included.

use super::host::Host;
use super::load::{Run, closed, process_cpu_us};
use super::report::Rate;
use super::traffic::settled;
use crate::engine::api::{
    AckInput, CustomerInput, EngineError, MessageBody, PostMessage, Posted, Present, Registration,
};
use crate::registry::Created;
use crate::vault::Carrier;
use crate::workspace::Workspace;
use backstop_domain::followup::{AuthorKind, Kind};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_wire::{Alerts, Grade, Platform, PresenceState, PushProvider};
use std::sync::{Arc, OnceLock};

const CUSTOMERS: usize = 1_000;

/// A workspace and its customers, a device each.
pub(super) struct Caller<'a> {
    host: &'a Host,
    ws: Arc<Workspace>,
    devices: Arc<Vec<DeviceId>>,
    lanes: usize,
}

impl<'a> Caller<'a> {
    pub(super) async fn new(host: &'a Host, workspace: &Created, lanes: usize) -> Result<Caller<'a>, String> {
        let ws = host.registry.by_key(&workspace.api_key).await.map_err(|error| error.to_string())?;
        let (ws, _) = ws.ok_or("the workspace is gone")?;
        let mut devices = Vec::with_capacity(CUSTOMERS);
        for n in 0..CUSTOMERS {
            let input = CustomerInput { phone: Some("+821012345678".into()), ..CustomerInput::default() };
            host.engine.put_customer(&ws, customer(n), input).await.map_err(shown)?;
            devices.push(host.engine.register_device(&ws, device(n)).await.map_err(shown)?);
        }
        Ok(Caller { host, ws, devices: Arc::new(devices), lanes })
    }

    /// Replies whose push leaves, then acks.
    pub(super) async fn replies(&self, count: usize) -> Result<[Rate; 2], String> {
        let created: Arc<Vec<OnceLock<FollowupId>>> = Arc::new((0..count).map(|_| OnceLock::new()).collect());
        let before_us = process_cpu_us();
        let (engine, ws, ids) = (self.host.engine.clone(), Arc::clone(&self.ws), Arc::clone(&created));
        let creates = closed(count, self.lanes, move |n| {
            let (engine, ws, ids) = (engine.clone(), Arc::clone(&ws), Arc::clone(&ids));
            async move {
                match engine.post_message(&ws, small("r", n)).await.map_err(shown)? {
                    Posted::Followup { followup_id, .. } => ids[n].set(followup_id).map_err(|_| "twice".to_owned()),
                    Posted::Watching => Err("nobody is online".into()),
                }
            }
        });
        let creates = creates.await?;
        settled(self.host).await?;
        let creates = self.rate("creates, with their pushes", &creates, before_us);
        let acked = created.iter().enumerate().filter(|(n, _)| is_called_off(*n));
        let acked: Arc<Vec<_>> = Arc::new(acked.filter_map(|(n, id)| Some((n, *id.get()?))).collect());
        let before_us = process_cpu_us();
        let (engine, ws, devices) = (self.host.engine.clone(), Arc::clone(&self.ws), Arc::clone(&self.devices));
        let acks = closed(acked.len(), self.lanes, move |at| {
            let (engine, ws, (n, id)) = (engine.clone(), Arc::clone(&ws), acked[at]);
            let device = devices[n % CUSTOMERS];
            async move {
                let (receipt, grade) = (Some(Carrier::Followup { id, covers: 1 }), Grade::Displayed);
                let ack = AckInput { receipt, grade, recorded_at: 0, detail: None };
                match engine.acks(&ws, device, vec![ack]).await.map_err(shown)?.as_slice() {
                    [result] if result.counted => Ok(()),
                    results => Err(format!("not counted: {results:?}")),
                }
            }
        });
        let acks = acks.await?;
        self.host.pushed.take();
        Ok([creates, self.rate("acks", &acks, before_us)])
    }

    /// Replies to customers who are online, then reads: no push, only the wake-up and its end.
    pub(super) async fn jobs(&self, count: usize) -> Result<[Rate; 2], String> {
        self.all_online().await?;
        let messages: Arc<Vec<_>> = Arc::new((0..count).map(|n| small("j", n)).collect());
        let before_us = process_cpu_us();
        let (engine, ws, posted) = (self.host.engine.clone(), Arc::clone(&self.ws), Arc::clone(&messages));
        let creates = closed(count, self.lanes, move |n| {
            let (engine, ws, message) = (engine.clone(), Arc::clone(&ws), posted[n].clone());
            async move {
                match engine.post_message(&ws, message).await.map_err(shown)? {
                    Posted::Watching => Ok(()),
                    Posted::Followup { .. } => Err("a customer is not online any more".into()),
                }
            }
        });
        let creates = self.rate("jobs created", &creates.await?, before_us);
        let before_us = process_cpu_us();
        let (engine, ws) = (self.host.engine.clone(), Arc::clone(&self.ws));
        let off: Arc<Vec<usize>> = Arc::new((0..count).filter(|n| is_called_off(*n)).collect());
        let cancels = closed(off.len(), self.lanes, move |at| {
            let (engine, ws) = (engine.clone(), Arc::clone(&ws));
            let PostMessage { conversation_id, customer_id, message_id, .. } = messages[off[at]].clone();
            async move { engine.read(&ws, conversation_id, customer_id, message_id).await.map_err(shown) }
        });
        Ok([creates, self.rate("jobs cancelled", &cancels.await?, before_us)])
    }

    async fn all_online(&self) -> Result<(), String> {
        let present = |n| Present {
            customer_id: customer(n),
            source_id: "page".into(),
            state: PresenceState::Active,
            idle_ms: Some(0),
            device: None,
        };
        let reports = (0..CUSTOMERS).map(present).collect();
        self.host.engine.presence(&self.ws, reports).await.map_err(shown)
    }

    fn rate(&self, what: &str, run: &Run, since_us: i64) -> Rate {
        let cpu_us = process_cpu_us() - since_us;
        Rate::of(&format!("{what}, {} in flight", self.lanes), run, 1, (cpu_us, 0))
    }
}

/// As many as the peers' workload calls off.
fn is_called_off(n: usize) -> bool {
    n % 10 != 9
}

fn customer(n: usize) -> String {
    format!("u-{}", n % CUSTOMERS)
}

fn device(n: usize) -> Registration {
    Registration {
        install_id: format!("install-{n}"),
        platform: Platform::Android,
        provider: PushProvider::Fcm,
        token: format!("token-{n}"),
        topic: None,
        environment: None,
        alerts: Alerts::Allowed,
        wire: vec![1],
        locale: None,
        customer_id: Some(customer(n)),
        authenticated_as: None,
    }
}

/// As small as a peer's job, in a conversation of its own so that nothing folds.
fn small(run: &str, n: usize) -> PostMessage {
    PostMessage {
        message_id: uuid::Uuid::now_v7().to_string(),
        conversation_id: format!("{run}-{n}"),
        customer_id: customer(n),
        kind: Some(Kind::Reply),
        author_kind: AuthorKind::Agent,
        body: MessageBody { author: None, text: format!("{{\"i\":{n}}}"), link: None },
        channels: None,
        apps: None,
        customer: None,
        body_hash: [0; 32],
    }
}

fn shown(error: EngineError) -> String {
    error.to_string()
}
