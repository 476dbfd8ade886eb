//! What goes wrong with machines: crashes, pauses, power, disks, clocks, failover — and how all is mended in the end.

use crate::mutant::Mutant;
use crate::node::Node;
use crate::provider::Mood;
use crate::store::Mode;
use crate::world::{Action, HOUR, MINUTE, World};
use backstop_domain::Ms;

impl World {
    /// What belongs to a node that is paused waits with it, as it is.
    pub(crate) fn deferred(&mut self, mut action: Action) -> Option<Action> {
        let node = match &action {
            Action::Begin { node, .. }
            | Action::Told { node, .. }
            | Action::Fire { node, .. }
            | Action::Hand { node, .. }
            | Action::Enqueue { node, .. }
            | Action::Send { node, .. } => *node,
            // The commit of a node that shares its store goes on without it.
            Action::Commit { node, .. } if self.nodes.len() == 1 => *node,
            _ => return Some(action),
        };
        let until = self.nodes[node].paused_until;
        if until <= self.now {
            return Some(action);
        }
        if let Action::Send { send, .. } = &mut action
            && self.rng.chance(500)
        {
            send.checked = true;
        }
        self.at(until, action);
        None
    }

    /// Everything not committed is gone: queue, index, effects, calls under way.
    pub(crate) fn crash(&mut self, node: usize) {
        if self.nodes[node].down {
            return;
        }
        self.say(format_args!("node {node} crashes"));
        let epoch = self.nodes[node].epoch + 1;
        self.nodes[node] = Node::anew(true, epoch, 0);
        self.oracle.forget_heard_by(node);
        self.look();
        let down_ms = match self.rng.below(1_000) {
            0 => self.rng.between(6 * HOUR, 8 * HOUR),
            1..50 => self.rng.between(MINUTE, 30 * MINUTE),
            _ => self.rng.between(100, MINUTE),
        };
        self.at(self.now + down_ms, Action::Restart { node });
    }

    /// A run that measures anything goes on with the clock that it was measured by.
    pub(crate) fn restart(&mut self, node: usize) {
        if !self.nodes[node].down {
            return;
        }
        self.say(format_args!("node {node} is back"));
        let others = self.nodes.iter().any(|node| !node.down);
        if !others && self.store.first_wake().is_none() {
            self.store.anchor_ms = self.wall_ms;
            self.oracle.clock_set();
        }
        let (epoch, anchor_ms) = (self.nodes[node].epoch, self.store.anchor_ms);
        self.nodes[node] = Node::anew(false, epoch, anchor_ms);
        self.fill(node);
        self.watch_sweep();
        self.look();
    }

    /// Whether anything can be decided at all: the oracle forgives lateness only while nothing can.
    pub(crate) fn look(&mut self) {
        let now = self.now;
        let nodes = self.nodes.iter().any(|node| !node.down && node.paused_until <= now);
        let able = nodes && self.store.mode(now) == Mode::Up;
        self.oracle.able(able, now);
    }

    pub(crate) fn resume(&mut self) {
        self.look();
        self.watch_sweep();
    }

    /// One of the great faults.
    pub(crate) fn trouble(&mut self) {
        if !self.chaos {
            return;
        }
        match self.rng.below(12) {
            0..=2 => self.pause(),
            3 => {
                let stall_ms = self.rng.between(100, 5_000);
                self.trouble_store("store stalls", Mode::Stalled(self.now + stall_ms), stall_ms);
            }
            4..=5 => {
                let full_ms = self.rng.between(1_000, 2 * MINUTE);
                self.trouble_store("disk full", Mode::Full(self.now + full_ms), full_ms);
            }
            6 => {
                let down_ms = self.rng.between(100, MINUTE);
                self.trouble_store("store outage", Mode::Down(self.now + down_ms), down_ms);
            }
            7..=8 => self.failover(),
            9 => self.power_cut(),
            _ => self.step_of_the_wall_clock(),
        }
        self.later(MINUTE, 25 * MINUTE, Action::Trouble);
    }

    /// A node stands still for longer than a claim lives, and wakes up with its sends in hand.
    fn pause(&mut self) {
        let node = self.rng.index(self.nodes.len());
        if self.nodes[node].down {
            return;
        }
        self.oracle.reach("pause");
        let pause_ms = self.rng.between(200, 60_000);
        self.say(format_args!("node {node} stands still for {pause_ms} ms"));
        self.nodes[node].paused_until = self.now + pause_ms;
        self.look();
        self.at(self.now + pause_ms, Action::Resume);
    }

    fn trouble_store(&mut self, name: &'static str, mode: Mode, for_ms: Ms) {
        if self.store.mode(self.now) != Mode::Up {
            return;
        }
        self.oracle.reach(name);
        self.say(format_args!("{name} for {for_ms} ms"));
        self.store.set_mode(mode);
        self.look();
        self.at(self.now + for_ms, Action::Resume);
    }

    /// The primary dies. A synchronous standby has everything that was answered; an asynchronous one lags.
    fn failover(&mut self) {
        if self.nodes.len() == 1 {
            return;
        }
        let down_ms = self.rng.between(300, 5_000);
        self.trouble_store("failover", Mode::Down(self.now + down_ms), down_ms);
        if self.is(Mutant::AsyncFailover) {
            self.store.lose_after(self.now - self.rng.between(1, 800));
        }
    }

    /// Every machine at once. What was answered is on the disk; the wall clock is right again afterwards.
    fn power_cut(&mut self) {
        if self.nodes.len() > 1 {
            return;
        }
        self.oracle.reach("power cut");
        self.wall_ms = self.store.anchor_ms;
        self.crash(0);
        if self.is(Mutant::NormalSync) {
            self.store.lose_after(self.now - self.rng.between(1, 2_000));
        }
    }

    /// The wall clock of a machine of its own, the database's clock where nodes share one.
    fn step_of_the_wall_clock(&mut self) {
        let sizes = [1_000, 30_000, HOUR, 24 * HOUR];
        let size_ms = *self.rng.pick(&sizes);
        let step_ms = if self.rng.chance(500) { size_ms } else { -size_ms };
        self.oracle.reach(if step_ms > 0 { "clock steps forth" } else { "clock steps back" });
        self.say(format_args!("the wall clock steps by {step_ms} ms"));
        self.wall_ms += step_ms;
        self.watch_clock();
    }

    pub(crate) fn weather(&mut self) {
        if !self.chaos {
            return;
        }
        self.push_mood = Mood::any(&mut self.rng);
        self.text_mood = Mood::any(&mut self.rng);
        self.email_mood = Mood::any(&mut self.rng);
        self.later(MINUTE, 20 * MINUTE, Action::Weather);
    }

    /// Everything works from now on, and nobody writes any more.
    pub(crate) fn heal(&mut self) {
        self.chaos = false;
        self.say(format_args!("-- healing"));
        (self.push_mood, self.text_mood, self.email_mood) = (Mood::Good, Mood::Good, Mood::Good);
        self.store.set_mode(Mode::Up);
        for node in 0..self.nodes.len() {
            if self.nodes[node].down {
                self.restart(node);
            }
        }
        self.look();
        self.watch_sweep();
        for phone in 0..self.phones.len() {
            self.phone_online(phone);
        }
    }
}
