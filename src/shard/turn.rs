//! The shard itself and its turn.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{
    acceptors::Acceptors,
    access_log::AccessLog,
    addresses::Addresses,
    asks::Asks,
    behind::CatchUps,
    bodies::Bodies,
    carrying::Carrying,
    clock::Clock,
    connection::Flags,
    ending::Drain,
    fan_out::FanoutScratch,
    foundation::Foundation,
    gate::Gate,
    handler_timers::HandlerTimers,
    intake::Intake,
    kept::Kept,
    lines::Lines,
    messages::Messages,
    on_the_way::Levelling,
    pages::Pages,
    partial::PartialInput,
    past::Past,
    peers::Peers,
    proxied::Proxied,
    redirect::Redirect,
    rest::{RUN_AT_ONCE, Rest},
    room::Room,
    secrets::Secrets,
    setup::{RunErrand, ShardError, ShardSetup},
    several::Severals,
    sockets::Engines,
    wheel::Wheel,
    work::Turn,
};
use crate::{
    app::{
        Handler, Intents, ListenerHosts, Moment, Outside,
        guard::{Panicked, caught, caught_work},
        socketio::{Io, Orders},
    },
    backend::Notices,
    hub::Hub,
    limits::{CHANNELS_PER_TURN, Limits, UPGRADE_DRAIN_MS_MAX},
    mesh::{Bell, Command, ControlReceiver, Failure, Pulse, ShardReport},
    model::{Now, ShardId, Work},
    ring::{Completion, Ring},
    wire::http1::HeadTable,
};

/// Completions handled before the rest of the turn gets its share.
const COMPLETIONS_PER_TURN_MAX: usize = 8192;
/// Completions decoded at once.
const COMPLETIONS_AT_ONCE: usize = 512;

/// One core and all it owns.
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    pub(super) room: Room,
    pub(super) clock: Clock,
    /// When the turn under way began.
    pub(super) now: Now,
    pub(super) lines: Lines,
    pub(super) wheel: Wheel,
    pub(super) partial: PartialInput,
    pub(super) addresses: Addresses,
    pub(super) foundation: Foundation,
    pub(super) pulse: Arc<Pulse>,
    pub(super) acceptors: Acceptors,
    pub(super) redirect: Redirect,
    pub(super) proxied: Proxied,
    pub(super) errand: RunErrand,
    pub(super) gate: Gate,
    /// Where notices to the operator's backend are left, if it wants any.
    pub(super) notices: Option<Notices>,
    pub(super) hosts: ListenerHosts,
    pub(super) hub: Hub,
    pub(super) peers: Peers,
    pub(super) handler: Box<dyn Handler>,
    pub(super) intents: Intents,
    pub(super) asks: Asks,
    pub(super) handler_timers: HandlerTimers,
    pub(super) report: ShardReport,
    pub(super) drain: Option<Drain>,
    pub(super) carrying: Carrying,
    pub(super) levelling: Levelling,
    pub(super) drain_ms: u32,
    pub(super) head_table: HeadTable,
    pub(super) messages: Messages,
    pub(super) intake: Intake,
    pub(super) fanout: FanoutScratch,
    pub(super) engines: Engines,
    pub(super) bodies: Bodies,
    pub(super) kept: Kept,
    pub(super) work: Turn,
    pub(super) past: Past,
    pub(super) catch_ups: CatchUps,
    pub(super) severals: Severals,
    pub(super) pages: Pages,
    completions: Vec<Completion>,
    expired: Vec<u32>,
    pub(super) control: ControlReceiver,
    pub(super) outside: Outside,
    pub(super) access_log: AccessLog,
    pub(super) rest: Rest,
    is_stopped: bool,
}

/// Why a shard runs no longer before it was to end.
pub(super) enum End {
    /// It cannot.
    Failed(ShardError),
    /// A mistake was met.
    Panicked(Panicked),
}

impl Shard {
    pub(super) fn new(
        setup: ShardSetup,
        (ring, hub, peers): (Ring, Hub, Peers),
        mut handler: Box<dyn Handler>,
        foundation: Foundation,
    ) -> Self {
        let (limits, bell, slots) = (setup.limits, Rc::new(Bell::default()), foundation.descriptors());
        let io = Io::new(setup.socketio, setup.shard, setup.shards, Orders::new(Rc::clone(&bell)));
        let (served, now_ms) = (foundation.bind(&mut *handler, &io), elapsed_ms(setup.started));
        let per_address = limits.connections_per_address_max;
        let (secrets, redirect) = Secrets::of(setup.tls, slots);
        let engines = Engines::new(setup.shard, io, served, slots, setup.handshake_counts, now_ms, &limits);
        Self {
            id: setup.shard,
            room: Room::new(setup.connections_max, setup.connections_limit),
            clock: Clock::new(setup.started),
            now: Now::default(),
            lines: Lines::new(ring, slots, &limits, setup.shards, (secrets, setup.forms)),
            redirect,
            proxied: Proxied::default(),
            errand: setup.errand,
            wheel: Wheel::new(slots, now_ms),
            partial: PartialInput::new(&limits, setup.shards, setup.diagnostic_message_bytes_max),
            foundation,
            pulse: setup.pulse,
            addresses: Addresses::new(setup.address_counts, setup.proxies, per_address),
            acceptors: Acceptors::new(setup.listeners),
            gate: Gate::new(setup.tokens, setup.user_counts, limits.connections_per_user_max, setup.desk),
            notices: setup.notices,
            hosts: setup.hosts,
            hub,
            peers,
            handler,
            intents: Intents::default(),
            asks: Asks::new(setup.shard, setup.shards, 0),
            handler_timers: HandlerTimers::default(),
            report: ShardReport { shard: setup.shard.0, core: setup.core as u32, ..ShardReport::default() },
            drain: None,
            carrying: Carrying::default(),
            levelling: Levelling::default(),
            drain_ms: setup.drain_ms,
            head_table: HeadTable::default(),
            messages: Messages::new(&limits, setup.diagnostic_message_bytes_max),
            intake: Intake::default(),
            fanout: FanoutScratch::default(),
            engines,
            bodies: Bodies::default(),
            kept: Kept::default(),
            work: Turn::default(),
            past: Past::default(),
            catch_ups: CatchUps::default(),
            severals: Severals::default(),
            pages: Pages::default(),
            completions: Vec::with_capacity(COMPLETIONS_AT_ONCE),
            expired: Vec::new(),
            control: setup.control,
            outside: setup.outside,
            access_log: AccessLog::new(setup.access),
            rest: Rest::new(setup.spin, bell),
            is_stopped: false,
            limits,
        }
    }

    /// Runs until drained or stopped.
    pub(super) async fn run(&mut self, is_anew: bool) -> Result<(), End> {
        if is_anew {
            // What the application had begun before is cancelled, and goes when the executor has its turn.
            caught_work(self.let_tasks_run()).await.map_err(End::Panicked)?.map_err(End::Failed)?;
        }
        while !self.is_stopped {
            caught(|| self.turn()).map_err(End::Panicked)?;
            self.end_turn();
            self.pulse.beat(self.report.turns_total);
            self.show_load();
            caught_work(self.rest()).await.map_err(End::Panicked)?.map_err(End::Failed)?;
        }
        self.leave_to_heir();
        self.end_storage();
        self.rest.end();
        Ok(())
    }

    fn end_turn(&mut self) {
        self.work.end(self.id, self.clock.read_at().elapsed(), self.now.monotonic_ms, &mut self.report);
        if self.past.is_due(self.now) {
            let report = self.whole_report();
            self.past.note(self.now, &report);
        }
    }

    /// Does everything there is to do once.
    pub(super) fn turn(&mut self) {
        self.read_clock();
        self.look_at_storage();
        self.kept.begin_turn();
        self.gate.begin_turn();
        self.intents.begin_turn();
        self.engines.begin_turn();
        self.fanout.snapshots.begin_turn();
        self.lines.compression.begin_turn();
        self.messages.begin_turn();
        self.intake.begin_turn();
        self.lines.secrets.shaking.begin_turn();
        self.pages.begin_turn();
        self.obey_commands();
        self.take_calls();
        self.take_rulings();
        self.look_at_tokens();
        self.arm_accepts();
        self.lines.feed_starved();
        self.lines.arm_again(self.now.monotonic_ms);
        // A session whose time is over is so before a request that has just come is looked at.
        self.pass_engine_time();
        // Before anybody is heard, for then nobody's answer waits for those who come.
        self.continue_handshakes();
        self.hear_waiting();
        self.complete();
        self.hear_mesh();
        self.hear_broker();
        self.hear_cluster();
        self.pass_time();
        self.end_exhausted();
        self.lines.watch_sends(self.now.monotonic_ms);
        self.run_orders();
        self.continue_work();
        self.settle();
        self.continue_levelling();
        self.hand_out();
        self.read_publishers_on();
        self.leave_records();
        self.send_marks();
        self.answer_soon();
        self.answer_engines();
        self.step_drain();
        let sent = self.lines.flush();
        self.work.count(Work::Sent, sent);
        self.work.count(Work::Written, self.lines.outbox.take_made());
        self.work.count(Work::Heard, self.intake.heard());
        self.work.count(Work::Inflated, self.messages.spent());
        self.work.count(Work::Deflated, self.lines.compression.spent);
        self.ask_broker();
        self.flush_cluster();
        self.ask_for_room();
        self.peers.flush();
    }

    /// Whether a turn would find something to do that has not come from the kernel or from another shard.
    pub(super) fn has_more(&self) -> bool {
        self.is_stopped
            || self.hub.has_more()
            || !self.intents.is_empty()
            || self.outside.has_more()
            || self.engines.has_more()
            || self.lines.has_more()
            || !self.pages.is_empty()
            || self.catch_ups.has_more()
            || !self.kept.is_empty()
            || self.messages.waiting() > 0
            || self.intake.is_spent()
            || self.lines.secrets.shaking.has_turn()
            || self.acceptors.may_go_on(self.lines.secrets.shaking.is_overrun())
            || self.hub.has_lists()
            || self.gate.has_more()
            || self.gate.consults.has_more()
            || self.asks.has_more()
    }

    /// Goes on with what takes more than one turn, each so far.
    fn continue_work(&mut self) {
        self.work.count(Work::Channels, self.hub.continue_lists(CHANNELS_PER_TURN));
        self.continue_pages();
        self.continue_catching_up();
        self.continue_posts();
        self.continue_selecting();
        self.continue_returning();
    }

    /// Handles what the kernel has finished.
    fn complete(&mut self) {
        let mut handled = 0;
        while handled < COMPLETIONS_PER_TURN_MAX {
            let mut completions = std::mem::take(&mut self.completions);
            self.lines.ring.reap(&mut completions, COMPLETIONS_AT_ONCE);
            let count = completions.len();
            for completion in completions.drain(..) {
                self.handle_completion(completion);
            }
            self.completions = completions;
            // A turn costs more than the call that a few receives take.
            if count == 0 && (handled > RUN_AT_ONCE || !self.lines.ring.receive_now()) {
                break;
            }
            handled += count;
            self.shed_partial_input();
            self.settle();
            if self.intake.is_spent() {
                break;
            }
        }
        self.rest.note_completions(handled);
        self.report.completions_total += handled as u64;
    }

    pub(super) fn handle_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Received { connection, result, more } => {
                self.handle_received(connection, result, more)
            }
            Completion::Readable { connection, armed, is_ended, failed } => {
                self.handle_readable(connection, armed, is_ended, failed)
            }
            Completion::Sent { index, result, bytes } => self.handle_sent(index, result, bytes),
            Completion::Accepted { accept, index, result } => self.handle_accepted(accept, index, result),
            Completion::Exported { index, result } => self.handle_exported(index, result),
            Completion::Connected { .. } => unreachable!("a server connects to nobody"),
            Completion::Shut { index } => {
                self.lines.slab.at(index).flags.clear(Flags::SHUTTING);
                self.free_if_gone(index);
            }
            Completion::Closed { index } => {
                self.lines.slab.at(index).flags.set(Flags::CLOSED);
                self.free_if_gone(index);
            }
        }
    }

    /// Does what the supervisor has asked for; tells whether it has asked for anything.
    pub(super) fn obey_commands(&mut self) -> bool {
        let mut obeyed = false;
        while let Some(command) = self.control.next() {
            obeyed = true;
            match command {
                Command::Change(live) => {
                    self.change_settings(&live);
                    self.foundation.live = Some(live);
                }
                Command::Terms(terms) => self.lines.secrets.change_terms(&terms),
                Command::Silent(silent) => self.give_up_on(silent),
                Command::LookWhoWaits => self.accept_anew(),
                Command::Serve(queued) => self.serve_queued(&queued),
                Command::Memory { is_scarce } => self.acceptors.note_memory(is_scarce),
                Command::Leave => self.acceptors.leave(),
                Command::Drain => self.begin_drain(),
                Command::HandOver(heir) => {
                    self.drain_ms = self.drain_ms.min(UPGRADE_DRAIN_MS_MAX);
                    self.carrying.heir = Some(heir);
                    self.hub.hold_members();
                    self.begin_drain();
                }
                Command::Move(moves) => self.begin_moves(Some(moves)),
                Command::Fail(Failure::InTurn) => panic!("told to fail"),
                Command::Fail(Failure::InRing) => self.lines.ring.fail(),
                Command::Stop => self.is_stopped = true,
            }
        }
        obeyed
    }

    fn step_drain(&mut self) {
        if self.drain.is_some() && self.has_been_emptied() {
            self.is_stopped = true;
        }
    }

    /// Deadlines of connections and of the handler.
    fn pass_time(&mut self) {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(self.now.monotonic_ms, &mut expired);
        self.work.count(Work::Deadlines, expired.len());
        for index in expired.drain(..) {
            self.handle_deadline(index);
        }
        self.expired = expired;
        self.look_at_partial_input();
        self.pass_tokens();
        while let Some(timer) = self.handler_timers.take_due(self.now.monotonic_ms) {
            self.call("timer", |handler, cx| handler.timer(cx, timer));
            self.run_intents();
        }
        self.engines.io.pass_time(self.clock.read_at());
        self.work.count(Work::Aged, self.hub.handle_tick(self.now));
    }

    /// What a handler may know of this turn.
    pub(super) fn moment(&self) -> Moment {
        let is_draining = self.drain.is_some();
        let is_joined = self.is_joined();
        let is_ready = !is_draining && !self.acceptors.is_leaving() && is_joined;
        Moment {
            now: self.now,
            shard: self.id,
            shards: self.peers.shards(),
            is_draining,
            is_ready,
            is_joined,
        }
    }

    pub(super) fn read_clock(&mut self) {
        self.now = self.clock.read();
        self.work.begin(self.clock.read_at());
        self.hub.note_time(self.now);
        self.engines.note_time(self.now);
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
