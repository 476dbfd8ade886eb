//! A test push: one device, tried by the way that a follow-up's push to it takes. There is no follow-up.

use super::{Performer, SEND_TIMEOUT, Shop, counted, no_credentials, parcel, provider_of, timed_out};
use crate::engine::api::{EngineError, Tested};
use crate::engine::test_push::TokenTested;
use crate::engine::{Engine, gone};
use crate::providers::{Envelope, PushSend};
use crate::store::DeviceRow;
use crate::telemetry::TEST_PUSHES;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::apps::Origin;
use backstop_domain::device::NotLive;
use backstop_domain::followup::Outcome;
use backstop_wire::{Environment, Push, PushProvider as Via, WIRE_VERSION, time::to_rfc3339};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// What the customer sees of it, where the app shows it.
const TITLE: &str = "Test";
/// P10: whoever tests looks at the phone.
const LIFE_MS: Ms = 30_000;
/// Test pushes under way at once.
const HANDS: usize = 64;
/// What one too many is told to wait.
const BUSY_RETRY_MS: Ms = 5_000;

/// What test pushes are made of, and how many there may be.
#[derive(Clone)]
pub(super) struct Tests {
    shop: Arc<Shop>,
    hands: Arc<Semaphore>,
}

impl Tests {
    pub(super) fn new(shop: Shop) -> Tests {
        Tests { shop: Arc::new(shop), hands: Arc::new(Semaphore::new(HANDS)) }
    }
}

/// One of them under way.
struct Test {
    engine: Engine,
    shop: Arc<Shop>,
    ws: Arc<Workspace>,
    device: DeviceRow,
    effect_key: String,
    /// By the workspace's clock.
    at: Ms,
}

impl Performer {
    /// Tries a device. Who waits no longer does not stop it: what it finds out about the token is kept.
    pub(crate) async fn test(
        &self,
        engine: &Engine,
        ws: &Arc<Workspace>,
        device: DeviceRow,
    ) -> Result<Tested, EngineError> {
        let Ok(hand) = Arc::clone(&self.tests.hands).try_acquire_owned() else {
            return Err(EngineError::Overloaded { retry_after_ms: BUSY_RETRY_MS });
        };
        let under_way = self.begin(ws);
        let test = Test {
            engine: engine.clone(),
            shop: Arc::clone(&self.tests.shop),
            ws: Arc::clone(ws),
            effect_key: format!("test:{}:{}", device.id, uuid::Uuid::now_v7().simple()),
            at: engine.clocks().now_ms(ws.id),
            device,
        };
        let (to, answer) = oneshot::channel();
        tokio::spawn(async move {
            let tested = test.run().await;
            metrics::counter!(TEST_PUSHES, "outcome" => tested.outcome.label()).increment(1);
            let _ = to.send(tested);
            drop((under_way, hand));
        });
        answer.await.map_err(|_| gone())
    }
}

impl Test {
    async fn run(&self) -> Tested {
        if self.ws.facts_of(&self.device).live(self.at) == Err(NotLive::TokenGone) {
            return Tested { outcome: token_gone("token_gone".into()), environment: None };
        }
        let first = self.send(1, self.device.environment).await;
        let Outcome::WrongEnvironment { tried, .. } = first.outcome else {
            return self.told(first, None).await;
        };
        // C3: the other environment is tried once; what both refuse is dead.
        let second = self.send(2, Some(tried.other())).await;
        let outcome = match second.outcome {
            Outcome::WrongEnvironment { error, .. } => token_gone(error),
            outcome => outcome,
        };
        self.told(Tested { outcome, ..second }, Some(tried.other())).await
    }

    async fn send(&self, attempt: u32, environment: Option<Environment>) -> Tested {
        let origin = Origin { environment, ..self.device.origin() };
        let route = self.ws.apps.route(&origin);
        let asked = |outcome| Tested { outcome, environment };
        let Some(provider) = provider_of(&self.shop.providers, route, self.device.provider) else {
            return Tested { outcome: no_credentials(), environment: None };
        };
        let send = match self.parcel(attempt, environment) {
            Ok(send) => send,
            Err(outcome) => return asked(outcome),
        };
        let outcome = tokio::time::timeout(SEND_TIMEOUT, provider.send(&send)).await;
        asked(counted(provider.name(), outcome.unwrap_or_else(|_| timed_out())))
    }

    fn parcel(&self, attempt: u32, environment: Option<Environment>) -> Result<PushSend, Outcome> {
        let Test { shop, ws, device, at, .. } = self;
        let expires_at = at + LIFE_MS;
        let push = Push {
            v: WIRE_VERSION,
            followup_id: String::new(),
            receipt: shop.vault.test_receipt(ws.id, device.id, expires_at + parcel::RECEIPT_LIFE_MS),
            conversation_id: String::new(),
            title: TITLE.to_owned(),
            body: String::new(),
            link: None,
            collapse_key: String::new(),
            expires_at: to_rfc3339(expires_at),
        };
        let envelope = Envelope {
            workspace: ws.name.clone(),
            followup_id: String::new(),
            effect_key: self.effect_key.clone(),
            attempt,
            at_ms: *at,
        };
        Ok(PushSend {
            envelope,
            device_id: device.id.to_string(),
            token: parcel::token(&shop.vault, device)?,
            topic: device.topic.clone().filter(|_| device.provider == Via::Apns),
            environment,
            push,
            expires_at_ms: expires_at,
        })
    }

    /// C3: what it says of the token is kept, as if a follow-up's push had found it out.
    async fn told(&self, tested: Tested, elsewhere: Option<Environment>) -> Tested {
        let tells = elsewhere.is_some() || matches!(tested.outcome, Outcome::TokenGone { .. });
        if !tells {
            return tested;
        }
        let of_token = TokenTested {
            ws: Arc::clone(&self.ws),
            device: self.device.id,
            token_hash: self.device.token_hash,
            registered_at: self.device.registered_at,
            outcome: tested.outcome.clone(),
            elsewhere,
        };
        match self.engine.token_tested(of_token).await {
            Ok(outcome) => Tested { outcome, ..tested },
            Err(error) => {
                tracing::warn!(%error, "what a test push found out about a token was not stored; the next push will");
                tested
            }
        }
    }
}

fn token_gone(error: String) -> Outcome {
    Outcome::TokenGone { since_ms: None, error }
}
