//! `backstop demo`: the whole story in a minute, on a real server with virtual phones, for whoever looks at it first.
//!
//! Nothing is acted: the server runs on an SQLite file and a port, each phone is the SDK core and speaks HTTP to it,
//! and what is shown is what the API answers. Only the clock is a sandbox's, unless `--real-time` is given.

mod cast;
mod ending;
mod screen;
mod words;

use crate::testing::{Answer, Keys, Launch, Sandbox, Workspace};
use backstop_domain::Ms;
use backstop_wire::time::from_rfc3339;
use cast::{CAST, Member};
use clap::Args;
pub use screen::View;
use screen::{Row, Screen};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The company whose customers these are.
const COMPANY: &str = "Lumen Market";
/// The agent who answers.
const AGENT: &str = "Kim";
/// The promise.
const ACK_WAIT_MS: Ms = 30_000;
/// When everything has happened, after the last reply.
const STORY_MS: Ms = 38_000;
/// Between two frames.
const TICK_MS: u64 = 100;
/// How far the sandbox clock goes in one frame: twice as fast as time.
const STEP_MS: Ms = 200;
/// Where it listens if that is free.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// How to play it.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Wait the 30 seconds in real time, instead of turning the sandbox clock.
    #[arg(long)]
    pub real_time: bool,
    /// End after the story instead of staying up.
    #[arg(long)]
    pub once: bool,
    /// Do not pause for the reader.
    #[arg(long, hide = true)]
    pub hurry: bool,
}

/// Plays the story on the terminal, then keeps the server up until Ctrl-C.
///
/// # Errors
/// When it cannot start, or the story came out otherwise than it should.
pub fn run(options: &Options) -> Result<(), String> {
    let view = View::of_terminal(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("threads cannot be started: {error}"))?;
    let played = runtime.block_on(async {
        tokio::select! {
            played = play(options, view, Box::new(std::io::stdout())) => played,
            () = told_to_end() => Ok(()),
        }
    });
    // A word of its own: the shell's prompt should not follow a "^C".
    let _ = writeln!(std::io::stdout());
    played
}

/// Ctrl-C, SIGTERM, or the terminal was closed: whichever it is, the temporary database goes.
async fn told_to_end() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Plays the story on `out`.
///
/// # Errors
/// When the story came out otherwise than it should.
pub async fn play(options: &Options, view: View, out: Box<dyn Write + Send>) -> Result<(), String> {
    let sandbox = start(options).await;
    let shop = sandbox.workspace_of(public_keys());
    let mut story = Story::new(options, &shop, Screen::new(view, out));
    story.open(&sandbox).await;
    story.post_replies().await;
    story.let_time_pass().await;
    let wrong = story.differences();
    ending::print(&mut story.screen, &shop, &story.rows).await;
    if !wrong.is_empty() {
        return Err(format!("the story came out otherwise than it should: {}", wrong.join("; ")));
    }
    if !options.once {
        ending::invite(&mut story.screen, &shop, options.real_time);
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn start(options: &Options) -> Sandbox {
    let wanted = SocketAddr::from(LISTEN);
    let free = !options.once && std::net::TcpListener::bind(wanted).is_ok();
    let listen = if free { wanted } else { SocketAddr::from((LISTEN.0, 0)) };
    Sandbox::launch_own(Launch { listen, phones_over_http: true }).await
}

fn public_keys() -> Keys {
    Keys {
        workspace: crate::app::SANDBOX_WORKSPACE.into(),
        api_key: "sk_sandbox".into(),
        app_key: "app_sandbox".into(),
        identity_secret: "0".repeat(64),
    }
}

struct Story<'a> {
    options: &'a Options,
    shop: &'a Workspace,
    screen: Screen,
    rows: Vec<Row>,
    /// The workspace's clock at the first reply.
    began: Ms,
    now: Ms,
}

impl<'a> Story<'a> {
    fn new(options: &'a Options, shop: &'a Workspace, screen: Screen) -> Story<'a> {
        let rows = CAST.iter().map(Row::new).collect();
        Story { options, shop, screen, rows, began: 0, now: 0 }
    }

    /// Customers become known, phones register.
    async fn open(&mut self, sandbox: &Sandbox) {
        self.shop.put("/v1/settings", json!({ "company_name": COMPANY })).await.ok();
        let clock = match self.options.real_time {
            true => "in real time",
            false => "on the sandbox clock, twice as fast as time",
        };
        self.screen.facts(&[
            ("server", sandbox.url().to_owned()),
            ("store", format!("SQLite {}", sandbox.database().display())),
            ("phones", "six, each the real SDK core, talking HTTP to that server".into()),
            ("clock", clock.into()),
        ]);
        if !self.options.real_time {
            self.shop.advance(0).await;
        }
        self.look().await;
        self.began = self.now;
        for member in CAST {
            self.shop.put_customer(member.id, member.contact()).await;
            let hello = json!({
                "message_id": format!("question-{}", member.id), "conversation_id": member.id,
                "customer_id": member.id, "text": member.question,
            });
            self.shop.post("/v1/customer-messages", hello).await.ok();
            if let Some(phone) = member.phone() {
                self.shop.post("/sandbox/phones", phone).await.ok();
                self.say(member, "a phone registers: the SDK core, over HTTP");
            } else {
                self.say(member, "has no app: known by phone number and address only");
            }
            self.draw();
            self.pause(250).await;
        }
    }

    /// The company's backend posts an agent's reply to each.
    async fn post_replies(&mut self) {
        self.pause(600).await;
        self.look().await;
        self.began = self.now;
        for (i, member) in CAST.iter().enumerate() {
            let reply = json!({
                "message_id": format!("reply-{}", member.id), "conversation_id": member.id,
                "customer_id": member.id, "author": {"name": AGENT}, "text": member.reply,
                "link": format!("https://market.example/chat/{}", member.id),
            });
            let posted = self.shop.post("/v1/messages", reply).await.ok();
            self.rows[i].followup_id = posted["followup_id"].as_str().unwrap_or_default().to_owned();
            self.refresh().await;
            self.draw();
            self.pause(500).await;
        }
    }

    async fn let_time_pass(&mut self) {
        let mut acted = vec![false; CAST.len()];
        self.look().await;
        let ends_at = self.now + STORY_MS;
        while self.now < ends_at {
            let passed = self.now - self.began;
            for (i, member) in CAST.iter().enumerate() {
                if !acted[i] && member.reads_after_ms.is_some_and(|after| after <= passed) {
                    acted[i] = true;
                    self.read(member).await;
                }
            }
            if self.options.real_time {
                self.look().await;
            } else {
                // Whole steps, so that what a customer does falls on its instant.
                let stepped = self.shop.advance(STEP_MS).await;
                self.now = instant(&stepped["now"]);
            }
            self.refresh().await;
            self.draw();
            self.pause(TICK_MS).await;
        }
        self.screen.finish();
    }

    /// The customer comes back and reads.
    async fn read(&mut self, member: &Member) {
        let at_the_page = json!({"customer_id": member.id, "source_id": "page", "state": "active"});
        self.shop.post("/v1/presence", at_the_page).await.ok();
        let read = json!({
            "conversation_id": member.id, "customer_id": member.id, "message_id": format!("reply-{}", member.id),
        });
        self.shop.post("/v1/reads", read).await.ok();
        self.say(member, "comes back to the page and reads");
    }

    async fn look(&mut self) {
        self.now = instant(&self.shop.get("/sandbox/clock").await.ok()["now"]);
    }

    /// Takes over what the API says of each follow-up; what is new in its history is told.
    async fn refresh(&mut self) {
        let mut news: Vec<(Ms, usize, String)> = Vec::new();
        for (i, row) in self.rows.iter_mut().enumerate().filter(|(_, row)| !row.followup_id.is_empty()) {
            let Answer { body: followup, .. } = self.shop.get(&format!("/v1/followups/{}", row.followup_id)).await;
            let history = followup["history"].as_array().cloned().unwrap_or_default();
            for entry in history.iter().skip(row.told) {
                if let Some(sentence) = words::sentence(entry) {
                    news.push((instant(&entry["at"]), i, sentence));
                }
            }
            row.told = history.len().max(row.told);
            row.take(&followup, self.now);
        }
        news.sort_by_key(|(at, ..)| *at);
        for (at, i, sentence) in news {
            let began = self.began;
            self.screen.tell(at - began, CAST[i].name, &sentence);
        }
    }

    fn say(&mut self, member: &Member, sentence: &str) {
        self.screen.tell((self.now - self.began).max(0), member.name, sentence);
    }

    fn draw(&mut self) {
        self.screen.draw(&self.rows, (self.now - self.began).max(0));
    }

    /// What did not come out as it should: the demo is a test, too.
    fn differences(&self) -> Vec<String> {
        let right = |row: &Row, member: &Member| {
            (row.state.as_str(), row.reason.as_str()) == member.outcome && row.late == member.acks_late()
        };
        let wrong = self.rows.iter().zip(CAST).filter(|(row, member)| !right(row, member));
        wrong.map(|(row, member)| format!("{}: {} ({})", member.name, row.state, row.reason)).collect()
    }

    async fn pause(&self, ms: u64) {
        if !self.options.hurry || self.options.real_time {
            pause(ms).await;
        }
    }
}

fn instant(time: &Value) -> Ms {
    time.as_str().and_then(from_rfc3339).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a story is told at the pace of its reader")]
async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
