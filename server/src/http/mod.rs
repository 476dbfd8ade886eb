//! Requests to events: the only place that knows HTTP. One file per resource; what it says is `openapi.json`.

mod acks;
mod alimtalk;
mod answers;
mod apps;
mod audit;
mod callbacks;
mod consents;
mod customer_messages;
mod customers;
mod deliveries;
mod devices;
mod email_domain;
mod email_templates;
mod explain;
mod followups;
mod forwarded;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod golive;
mod health;
mod idempotency;
mod inbound_mail;
mod inbound_messages;
mod limits;
mod links;
mod messages;
mod observe;
pub(crate) mod openapi;
mod presence;
mod providers;
mod reads;
pub(crate) mod request;
mod settings;
mod suppression_import;
mod suppressions;
mod test_push;
pub(crate) mod test_sends;
mod text;
mod text_limits;
mod usage;
pub(crate) mod validate;
mod view;
mod wallet;

pub(crate) use callbacks::take;
pub use forwarded::{ForwardedHeader, TrustedProxies};
pub use front::{Front, Serves};
pub use inbound_mail::{MailIn, MailInError};
pub use limits::Limits;
pub use openapi::{document, document_json};
pub use test_push::TestPushes;
pub use test_sends::TestSends;
pub use view::{AckView, DeliveryRow, DeliveryView, FollowupView, HistoryView};
pub(crate) use wallet::print_ask;

use crate::clock::Clocks;
use crate::engine::Engine;
use crate::golive::GoLive;
use crate::providers::{Callbacks, Providers};
use crate::registry::Registry;
use crate::store::Store;
use crate::vault::Vault;
use crate::workspace::Workspace;
use axum::Router;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a sandbox read waits for what was committed before it.
const SETTLE: Duration = Duration::from_secs(5);

/// A piece of text made on demand.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;
/// Whether something works; `Err` says what does not.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Everything that requests are answered with.
pub struct Api {
    /// Takes every change.
    pub engine: Engine,
    /// Answers reads.
    pub store: Arc<dyn Store>,
    /// Keys and MACs.
    pub vault: Arc<Vault>,
    /// Time.
    pub clocks: Arc<Clocks>,
    /// Workspaces and keys.
    pub registry: Arc<Registry>,
    /// Bounds on what callers may ask.
    pub limits: Limits,
    /// What a launch needs.
    pub golive: GoLive,
    /// Tests of the last hour.
    pub test_sends: TestSends,
    /// Test pushes of the last minute.
    pub test_pushes: TestPushes,
    /// Prometheus text for `/metrics`.
    pub metrics: Render,
    /// What is sent by, beside the apps' own accounts.
    pub providers: Providers,
    /// Who may call us back.
    pub callbacks: Vec<Arc<dyn Callbacks>>,
    /// Takes answers and bounces in; `None` = no mail server is known.
    pub mail_in: Option<MailIn>,
    /// What `/readyz` asks beside the store: the timers.
    pub ready: Check,
}

impl Api {
    fn is_sandbox(&self) -> bool {
        self.registry.deployment().sandbox
    }

    /// Sandbox: what was committed before a read is done when the read is answered.
    async fn settle(&self, workspace: &Workspace) {
        if self.is_sandbox() {
            let _ = tokio::time::timeout(SETTLE, workspace.activity.settled()).await;
        }
    }
}

/// The whole surface. `sandbox` adds routes of its own.
pub fn router(api: Arc<Api>, sandbox: Option<Router>) -> Router {
    let (routes, _) = routes().split_for_parts();
    let routes = routes.route("/openapi.json", get(openapi::serve)).with_state(Arc::clone(&api));
    let routes = match sandbox {
        Some(sandbox) => routes.merge(sandbox),
        None => routes,
    };
    // After the merge, so that the sandbox's paths say it the same way.
    let routes = routes.fallback(request::no_route).method_not_allowed_fallback(request::no_method);
    routes.layer(observe::Observe::new(Arc::clone(&api.clocks)))
}

/// Every documented route with its handler: the document cannot name a route that is not there.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(customers::put, customers::show, customers::erase))
        .routes(routes!(customers::export::export))
        .routes(routes!(customers::devices))
        .routes(routes!(consents::post, consents::list))
        .routes(routes!(consents::withdraw))
        .routes(routes!(messages::post))
        .routes(routes!(messages::show, messages::withdraw))
        .routes(routes!(customer_messages::post))
        .routes(routes!(reads::post))
        .routes(routes!(presence::post))
        .route("/v1/presence", axum::routing::options(presence::preflight))
        .routes(routes!(followups::list))
        .routes(routes!(followups::show))
        .routes(routes!(explain::show))
        .routes(routes!(followups::cancel))
        .routes(routes!(deliveries::list))
        .routes(routes!(settings::show, settings::put))
        .routes(routes!(text_limits::show))
        .routes(routes!(wallet::show))
        .routes(routes!(wallet::entries))
        .routes(routes!(wallet::top_up))
        .routes(routes!(wallet::decline))
        .routes(routes!(usage::show))
        .routes(routes!(settings::versions))
        .routes(routes!(audit::list))
        .routes(routes!(apps::put, apps::show, apps::delete))
        .routes(routes!(apps::list))
        .routes(routes!(email_domain::put, email_domain::show, email_domain::delete))
        .routes(routes!(email_domain::check))
        .routes(routes!(email_domain::rotate))
        .routes(routes!(email_templates::list))
        .routes(routes!(email_templates::show_preview))
        .routes(routes!(email_templates::put, email_templates::show, email_templates::delete))
        .routes(routes!(alimtalk::put, alimtalk::show, alimtalk::delete))
        .routes(routes!(alimtalk::list))
        .routes(routes!(alimtalk::lint))
        .routes(routes!(alimtalk::preview))
        .routes(routes!(providers::list))
        .routes(routes!(golive::look))
        .routes(routes!(test_sends::post))
        .routes(routes!(inbound_messages::list))
        .routes(routes!(suppressions::list))
        .routes(routes!(suppression_import::post))
        .routes(routes!(suppressions::lift))
        .route("/in/mail/{domain}", axum::routing::post(inbound_mail::post))
        .route("/in/{provider}/{account}", axum::routing::post(callbacks::post))
        .routes(routes!(text::preview))
        .routes(routes!(links::redeem))
        .routes(routes!(links::follow))
        .routes(routes!(devices::register))
        .routes(routes!(devices::delete))
        .routes(routes!(devices::log_out))
        .routes(routes!(test_push::post))
        .routes(routes!(acks::post))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}
