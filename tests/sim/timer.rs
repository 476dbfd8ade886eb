//! Due rows → events: an exact index in memory, and behind it a sweep over the store — as `server/src/timer.rs`.

use crate::mutant::Mutant;
use crate::node::{From, Job};
use crate::store::{Key, Mode, Put, Row};
use crate::work::Work;
use crate::world::{Action, World};
use backstop_domain::Ms;
use backstop_domain::followup::WakeReason;

/// How often the store is asked for due rows that no index knows.
const SWEEP_MS: Ms = 250;
/// A step of the wall clock beyond this rings.
const STEP_ALARM_MS: Ms = 500;

impl World {
    /// Everything pending goes into the index; offers nobody took before the restart are due at once.
    pub(crate) fn fill(&mut self, node: usize) {
        let now = self.node_now(node);
        let forgets = self.is(Mutant::OverdueForgotten);
        let pending = self.store.pending().filter(|(_, at, _)| !forgets || *at > now);
        let index = pending.map(|(id, at, why)| (if why == WakeReason::Offer { 0 } else { at }, id)).collect();
        self.nodes[node].index = index;
        self.arm(node);
    }

    pub(crate) fn rearm(&mut self, node: usize, unit: &[Put]) {
        for (key, _, row) in unit {
            if let (Key::Followup(id), Row::Followup(row)) = (key, row)
                && let Some(wake) = row.wake
            {
                self.nodes[node].index.insert((wake.at, *id));
            }
        }
        self.arm(node);
    }

    fn arm(&mut self, node: usize) {
        let ahead_ms = self.node_now(node) - self.now;
        let this = &mut self.nodes[node];
        let Some((at, _)) = this.index.first().copied() else { return };
        let at = (at - ahead_ms).max(self.now);
        if this.fire_at.is_none_or(|armed| at < armed) {
            this.fire_at = Some(at);
            let epoch = this.epoch;
            self.at(at, Action::Fire { node, epoch });
        }
    }

    pub(crate) fn fire(&mut self, node: usize, epoch: u32) {
        if !self.is_alive(node, epoch) {
            return;
        }
        self.nodes[node].fire_at = None;
        let now = self.node_now(node);
        while let Some((at, id)) = self.nodes[node].index.first().copied().filter(|(at, _)| *at <= now) {
            self.nodes[node].index.remove(&(at, id));
            // An entry that a later commit moved is found out by the state; skip what is plainly not due.
            let row = self.store.followup(id).map(|row| (row.workspace, row.wake));
            if let Some((workspace, Some(wake))) = row
                && (wake.at <= now || wake.why == WakeReason::Offer)
            {
                self.enqueue(node, epoch, Job::new(workspace, Work::Woke { followup: id }, From::Nobody));
            }
        }
        self.arm(node);
    }

    /// Looks at the store's own index at the next round moment after something is overdue. Between such moments a sweep
    /// would find nothing.
    pub(crate) fn watch_sweep(&mut self) {
        if self.is(Mutant::NoSweep) {
            return;
        }
        let Some(first) = self.store.first_wake() else { return };
        let round = |at: Ms| (at / SWEEP_MS + 1) * SWEEP_MS;
        let at = round((first - self.store.anchor_ms + SWEEP_MS).max(self.now));
        if self.sweep_at.is_none_or(|armed| at < armed) {
            self.sweep_at = Some(at);
            self.at(at, Action::Sweep);
        }
    }

    pub(crate) fn sweep(&mut self) {
        if self.sweep_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.sweep_at = None;
        let down = matches!(self.store.mode(self.now), Mode::Down(_));
        for node in 0..self.nodes.len() {
            if down || self.nodes[node].down || self.nodes[node].paused_until > self.now {
                continue;
            }
            let (epoch, until) = (self.nodes[node].epoch, self.node_now(node) - SWEEP_MS);
            let from = if self.is(Mutant::OverdueForgotten) { until - 2_000 } else { Ms::MIN };
            for followup in self.store.due(from, until) {
                self.oracle.reach("swept");
                let Some(workspace) = self.store.followup(followup).map(|row| row.workspace) else { continue };
                self.enqueue(node, epoch, Job::new(workspace, Work::Woke { followup }, From::Nobody));
            }
        }
        self.watch_clock();
        if self.nodes.iter().any(|node| !node.down) {
            self.watch_sweep();
        }
    }

    /// Time as measured does not follow a step of the wall clock while anything is measured by it. A node that has the
    /// store for itself is set to the wall clock when nothing is.
    pub(crate) fn watch_clock(&mut self) {
        if (self.wall_ms - self.store.anchor_ms).abs() <= STEP_ALARM_MS {
            return;
        }
        self.oracle.reach("wall clock alarm");
        if let [node] = &mut self.nodes[..]
            && !node.down
            && node.is_idle()
            && self.store.first_wake().is_none()
        {
            self.oracle.reach("clock set to the wall clock");
            node.anchor_ms = self.wall_ms;
            self.store.anchor_ms = self.wall_ms;
            self.oracle.clock_set();
        }
    }
}
